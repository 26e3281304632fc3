"""A tracker's calls in a thread of its own, in order, so that a slow or broken store costs the training nothing."""

import copy
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from vitsweep.study.record import Record, read_rows
from vitsweep.tracking.client import describe_error
from vitsweep.tracking.tracker import Tracker

log = logging.getLogger(__name__)


class BackgroundTracker(Tracker):
    """Tracker that passes every call on to a backend. Its first error becomes one warning and turns it off.

    Args:
        name: of the backend, for warnings.
        make: returns the backend; called in the training's thread, since it imports a library.
        timeout_seconds: longest wait at the end of the cell for what is not yet written.
    """

    def __init__(self, name: str, make: Callable[[], Tracker], timeout_seconds: float):
        super().__init__()
        self.name, self.make, self.timeout_seconds = name, make, timeout_seconds
        self._calls: SimpleQueue[tuple[str, Callable[[], object]] | None] = SimpleQueue()
        self._backend: Tracker | None = None
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._directory = Path()

    def start(self, record: Record, directory: Path) -> None:
        self._directory = directory
        try:
            self._backend = self.make()
        except Exception as error:
            self._turn_off("be loaded", error)
            return
        rows = read_rows(directory)
        shown = copy.deepcopy(record)  # the training goes on changing its own
        shown.epoch = rows[-1]["epoch"] if rows else 0
        self._thread.start()
        self._call("start", shown, directory)
        for row in rows:
            self._call("log", row)

    def log(self, row: dict[str, Any]) -> None:
        self._call("log", dict(row))

    def image(self, name: str, path: Path, caption: str) -> None:
        self._call("image", name, Path(path), caption)

    def finish(self, record: Record) -> None:
        self._call("finish", copy.deepcopy(record))
        self._calls.put(None)
        if self._thread.ident is None:
            return
        self._thread.join(self.timeout_seconds)
        if self._thread.is_alive():
            self.is_complete = False
            log.warning(
                "%s did not finish within %g s; training continues; %s", self.name, self.timeout_seconds, self._hint()
            )

    def _call(self, name: str, *arguments: Any) -> None:
        if self.is_complete and self._backend is not None:
            method = getattr(self._backend, name)
            self._calls.put((name, lambda: method(*arguments)))

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            name, action = call
            try:
                action()
            except Exception as error:  # the copy must never stop the cell
                if self.is_complete:
                    self._turn_off(name, error)
                return

    def _turn_off(self, verb: str, error: Exception) -> None:
        self.is_complete = False
        log.warning("%s could not %s: %s; training continues; %s", self.name, verb, describe_error(error), self._hint())

    def _hint(self) -> str:
        return f"write the copy again with: vitsweep track {self._directory} tracker={self.name}"
