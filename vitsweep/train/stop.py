"""Orderly stop between two steps on Ctrl-C, SIGTERM and the scheduler's USR2."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """Requested stop of a cell whose state is saved.

    A subclass of KeyboardInterrupt, so that a launcher that records exceptions and continues stops as well.

    Args:
        signum: the signal's number, for the exit code 128 + signum.
    """

    def __init__(self, signum: int = signal.SIGINT):
        by_user = signum == signal.SIGINT
        super().__init__("interrupted by the user (Ctrl-C)" if by_user else f"stopped by {signal.Signals(signum).name}")
        self.signum = int(signum)


class StopSignals:
    """Signal handlers: inside `deferring` the first signal only sets `requested`, which the training loop polls.

    A second Ctrl-C, and any signal outside of `deferring`, raises Interrupted. A second SIGTERM or USR2 is ignored
    while the state is saved: schedulers signal every process of a job, and the sweep then asks its workers once more.
    Only the main thread can have signal handlers; in other threads this object does nothing.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self.deferred = 0
        self._previous: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Defer the first signal until the loop polls; the blocks of several cells may overlap."""
        self.deferred += 1
        try:
            yield
        finally:
            self.deferred -= 1

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.deferred and self.requested is None:
            self.requested = signum
        elif not self.deferred or signum == signal.SIGINT:
            raise Interrupted(signum)
