"""`sweep.on_end=COMMAND`: run a command of the user with a summary as JSON when a sweep, or a single run, has ended.

The command may hold a secret, such as the address of a chat's hook, so it stays out of plans and records.
"""

import json
import logging
import os
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from vitsweep.files import finite
from vitsweep.study.record import Record
from vitsweep.study.status import LooksVerdict, read_looks

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 60.0
SUMMARY_VARIABLE = "VITSWEEP_SUMMARY"
PAGE = Path("report/index.html")
MAX_ERRORS = 20


Cells = Sequence[tuple[str, str, Record | None]]
"""Id, status and record of each cell."""


class EndCommand:
    """Command to run at the end. Until `start` is called nothing is run: a refused or a dry run has no end to report.

    Args:
        command: of the shell; empty for none.
    """

    def __init__(self, command: str = ""):
        self.command = command
        self.study, self.directory = "", Path()
        self._find_cells: Callable[[], Cells] | None = None

    def start(self, study: str, directory: Path, find_cells: Callable[[], Cells], configured: str = "") -> None:
        """Note what is going to be trained.

        Args:
            study: its name.
            directory: of the sweep or the single run.
            find_cells: returns the cells as they are at the end.
            configured: the command of a configuration file, used if the command line has none.
        """
        self.study, self.directory, self._find_cells = study, directory, find_cells
        self.command = self.command or configured

    def run(self, exit_code: int) -> None:
        """Run the command, if there is one, with the summary on standard input and in a file; warn if it fails."""
        if not self.command or self._find_cells is None:
            return
        text = json.dumps(finite(self.summary(exit_code)), indent=1) + "\n"
        with tempfile.TemporaryDirectory(prefix="vitsweep-end-") as folder:
            path = Path(folder, "summary.json")
            path.write_text(text, encoding="utf-8")
            if problem := run_command(self.command, path):
                log.warning("sweep.on_end  %s; the sweep and its exit code are not affected", problem)

    def summary(self, exit_code: int) -> dict[str, Any]:
        """Return the summary: plain values, accuracies as fractions of 1."""
        cells = self._find_cells() if self._find_cells else []
        looks = read_looks(self.directory)
        counts = Counter(status for _, status, _ in cells)
        failed = [(id, record) for id, status, record in cells if status in ("failed", "diverged") and record]
        page = self.directory / PAGE
        return {
            "study": self.study,
            "status": end_status(exit_code, counts, looks),
            "exit_code": exit_code,
            "directory": str(self.directory),
            "report": str(page) if page.exists() else None,
            "num_cells": len(cells),
            "cells": dict(sorted(counts.items())),
            "time_seconds": sum(record.time_seconds for _, _, record in cells if record),
            "arms": arm_summaries([record for _, status, record in cells if record and status == "done"]),
            "errors": [
                {"cell": id, "error": f"{r.error['type']}: {r.error['message']}"} for id, r in failed if r.error
            ][:MAX_ERRORS],
            "looks": looks.lines if looks else [],
        }


def end_status(exit_code: int, counts: Counter[str], looks: LooksVerdict | None) -> str:
    """Return interrupted, failed, stopped (at a look, with cells that are not needed), done or incomplete."""
    if exit_code > 128:
        return "interrupted"
    if counts["failed"] or counts["diverged"]:
        return "failed"
    if counts["done"] == counts.total():
        return "done"
    return "stopped" if looks and exit_code == 0 else "incomplete"


def arm_summaries(done: Sequence[Record]) -> list[dict[str, Any]]:
    """Return for each arm its seeds and the means over them of the metrics after the last epoch."""
    found = []
    for arm in dict.fromkeys(record.arm for record in done):
        records = [record for record in done if record.arm == arm]
        metrics = [record.metrics.get("final", {}) for record in records]
        names = [name for name in ("val/accuracy", "test/accuracy") if all(name in one for one in metrics)]
        means = {name: fmean(one[name] for one in metrics) for name in names}
        found.append({"arm": arm, "seeds": [record.seed for record in records]} | means)
    return found


def run_command(command: str, path: Path, seconds: float = TIMEOUT_SECONDS) -> str:
    """Run a command of the shell, which prints to our error output; return what went wrong, else an empty text.

    Args:
        path: file that is its standard input, named in VITSWEEP_SUMMARY too.
        seconds: after which it is killed with all that it has started.
    """
    environment = os.environ | {SUMMARY_VARIABLE: str(path)}
    with open(path, encoding="utf-8") as text:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=text, stdout=2, env=environment, start_new_session=True
        )
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"did not end within {seconds:g} s and was killed"
    return f"ended with code {code}" if code else ""
