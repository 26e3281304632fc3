"""Ctrl-C, SIGTERM and the scheduler's USR2, turned into an orderly stop between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """The cell stopped because it was asked to; its state is saved.

    It is a KeyboardInterrupt so that a launcher which records exceptions and goes on does not go on after it.

    Args:
        signum: the signal's number, for the exit code 128 + signum.
    """

    def __init__(self, signum: int = signal.SIGINT):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = int(signum)


class StopSignals:
    """While active, the first signal only sets `requested`, where the training loop looks; the second raises at once.

    Outside the `deferred` stretch a signal raises Interrupted immediately. Signal handlers exist in the main thread
    alone; elsewhere this object does nothing.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self.deferred = 0
        self._previous: dict[int, object] = {}

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
        """A stretch in which the first signal waits for the loop to ask; those of several cells may overlap."""
        self.deferred += 1
        try:
            yield
        finally:
            self.deferred -= 1

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.deferred and self.requested is None:
            self.requested = signum
        else:
            raise Interrupted(signum)
