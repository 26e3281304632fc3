"""Progress of a report: a line that is updated in place on a terminal, log lines elsewhere; silent unless shown.

A report of some dozen cells takes a minute, most of it for rollout measures and pictures.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console

from vitsweep.files import is_screen

log = logging.getLogger(__name__)

Item = TypeVar("Item")
PAUSE_SECONDS = 5.0
"""Shortest time between two log lines of one stage."""

_listeners: list[Callable[[str, bool], None]] = []


@contextmanager
def shown(title: str) -> Iterator[None]:
    """Show the stages that the block goes through.

    Args:
        title: in front of each stage.
    """
    if not is_screen(sys.stderr):
        with _listening(_LogLines(title)):
            yield
        return
    console = Console(stderr=True, markup=False, highlight=False)
    with console.status(title) as line, _listening(lambda text, _: line.update(f"{title}: {text}")):
        yield


def stage(text: str, is_new: bool = True) -> None:
    """Say what is made now.

    Args:
        text: `figures`, `rollout measures 3/8`.
        is_new: False for a further step of the same stage.
    """
    for listener in _listeners[-1:]:
        listener(text, is_new)


def steps(items: Iterable[Item], text: str) -> Iterator[Item]:
    """Yield the items and say before each how many are done: `rollout measures 3/8`."""
    total = f"/{len(items)}" if isinstance(items, Sized) else ""
    for number, item in enumerate(items, 1):
        stage(f"{text} {number}{total}", number == 1)
        yield item


@contextmanager
def _listening(listener: Callable[[str, bool], None]) -> Iterator[None]:
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class _LogLines:
    """Listener that logs each new stage, and its steps at most every PAUSE_SECONDS."""

    def __init__(self, title: str):
        self.title, self.logged = title, 0.0

    def __call__(self, text: str, is_new: bool) -> None:
        now = time.monotonic()
        if is_new or now - self.logged >= PAUSE_SECONDS:
            self.logged = now
            log.info("%s: %s", self.title, text)
