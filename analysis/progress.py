"""Progress of a report: a line that is updated in place on a terminal, lines elsewhere; silent unless shown.

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
PAUSE_SECONDS = 4.0
"""Shortest time before the first line and between two lines: a short report has none."""

_listeners: list[Callable[[str], None]] = []


@contextmanager
def shown(title: str, write: Callable[[str], None] = log.info) -> Iterator[None]:
    """Show the stages that the block goes through.

    Args:
        title: in front of each stage.
        write: takes a line, where there is no terminal.
    """
    if not is_screen(sys.stderr):
        with _listening(_Lines(title, write)):
            yield
        return
    console = Console(stderr=True, markup=False, highlight=False)
    with console.status(title) as line, _listening(lambda text: line.update(f"{title}: {text}")):
        yield


def stage(text: str) -> None:
    """Say what is made now: `figures`, `rollout measures 3/8`."""
    for listener in _listeners[-1:]:
        listener(text)


def steps(items: Iterable[Item], text: str) -> Iterator[Item]:
    """Yield the items and say before each how many are done: `rollout measures 3/8`."""
    total = f"/{len(items)}" if isinstance(items, Sized) else ""
    for number, item in enumerate(items, 1):
        stage(f"{text} {number}{total}")
        yield item


@contextmanager
def _listening(listener: Callable[[str], None]) -> Iterator[None]:
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class _Lines:
    """Listener that writes a line for the stage that is reached after PAUSE_SECONDS, and so on."""

    def __init__(self, title: str, write: Callable[[str], None]):
        self.title, self.write, self.written = title, write, time.monotonic()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self.written >= PAUSE_SECONDS:
            self.written = now
            self.write(f"{self.title}: {text}")
