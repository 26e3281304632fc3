"""What a sweep shows: while it runs, how many cells are done and how long it will take; at its end, one row an arm."""

import logging
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import mean, stdev
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vitsweep.study.plan import Cell, Plan
from vitsweep.study.record import Record, read_rows
from vitsweep.study.status import FAILURES, CellStatus

log = logging.getLogger(__name__)

ENDED = ("done", *FAILURES)
PIPED_WIDTH = 200
"""Columns of a table that goes into a file or another program: arms have long names, and rich would assume 80."""


def table_console() -> Console:
    """Where tables are printed: as wide as the terminal, or wide enough for any table where there is none."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


class LogProgress:
    """A log line whenever a cell has ended: for files, schedulers and everybody without a terminal.

    Args:
        standings: where the sweep's cells stand at the start.
        directory: the sweep's, where running cells leave a row an epoch.
    """

    def __init__(self, standings: list[CellStatus], directory: Path):
        self.directory = directory
        self.statuses = {now.cell.id: now.status for now in standings}
        self.num_epochs = {now.cell.id: now.cell.config["recipe"]["epochs"] for now in standings}
        self.most_at_once = 1
        self.began: dict[str, tuple[float, int]] = {}  # id -> when, and the epochs that were finished then
        self.seconds: list[float] = []

    def __enter__(self) -> "LogProgress":
        return self

    def __exit__(self, kind: type | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def tell(self, now: CellStatus | None) -> None:
        """Take note of a cell's new standing; None only means that time has passed."""
        if now is None:
            return
        before, self.statuses[now.cell.id] = self.statuses.get(now.cell.id), now.status
        if now.status == "running":
            if now.cell.id not in self.began:
                self.began[now.cell.id] = (time.monotonic(), self.epoch(now.cell.id))
            self.most_at_once = max(self.most_at_once, len(self.began))
        elif now.cell.id in self.began:
            began, _ = self.began.pop(now.cell.id)
            if now.status in ENDED:
                self.seconds.append(time.monotonic() - began)
            else:  # given back, so that many were not at it after all
                self.most_at_once = max(1, len(self.began))
        if now.status != before:
            self.changed(now)

    def changed(self, now: CellStatus) -> None:
        """Say that a cell has ended."""
        if now.status in ENDED:
            log.info("%s  |  %s", self.summary(), outcome(now))

    def summary(self) -> str:
        """Cells done, running, failed, and the time left."""
        count = Counter(self.statuses.values())
        failed = sum(count[status] for status in FAILURES)
        parts = [f"{count['done']}/{len(self.statuses)} done", f"{count['running']} running", f"{failed} failed"]
        left = self.seconds_left()
        return ", ".join(parts + ([f"about {duration(left)} left"] if left else []))

    def seconds_left(self) -> float:
        """From the durations of the cells that have ended since the start, else from the running ones; 0: not known."""
        left = sum(status not in ENDED for status in self.statuses.values())
        durations = self.seconds or [seconds for seconds in map(self.expected_seconds, self.began) if seconds]
        return mean(durations) * left / self.most_at_once if durations else 0.0

    def expected_seconds(self, cell_id: str) -> float:
        """How long a whole cell takes at the pace of this one; 0 before it has finished an epoch here."""
        began, first_epoch = self.began[cell_id]
        epochs = self.epoch(cell_id) - first_epoch
        return (time.monotonic() - began) / epochs * self.num_epochs[cell_id] if epochs > 0 else 0.0

    def epoch(self, cell_id: str) -> int:
        """Epochs that a cell has finished."""
        rows = read_rows(self.directory / cell_id)
        return rows[-1]["epoch"] if rows else 0


class LiveProgress(LogProgress):
    """The same as a picture that changes in place, with the running cells below it."""

    def __enter__(self) -> "LiveProgress":
        self.live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        self.live.start()
        return self

    def __exit__(self, kind: type | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.live.stop()

    def tell(self, now: CellStatus | None) -> None:
        """Take note, and draw."""
        super().tell(now)
        self.live.update(Group(Text(self.summary(), style="bold"), *map(Text, self.rows())), refresh=True)

    def changed(self, now: CellStatus) -> None:
        """Leave a line about a cell that has ended above the board."""
        if now.status in ENDED:
            self.live.console.print(Text(outcome(now), style="" if now.status == "done" else "red"))

    def rows(self) -> list[str]:
        """A line for each running cell; as many as a screen bears."""
        running = [id for id, status in self.statuses.items() if status == "running"][:16]
        return [
            f"  {id}  epoch {self.epoch(id)}/{self.num_epochs[id]}  {duration(time.monotonic() - self.began[id][0])}"
            for id in running
        ]


def make_progress(standings: list[CellStatus], directory: Path) -> LogProgress:
    """A live board if a person is looking, else lines."""
    return (LiveProgress if sys.stderr.isatty() else LogProgress)(standings, directory)


def outcome(now: CellStatus) -> str:
    """How a cell ended, in one line."""
    record = now.record
    text = f"{now.cell.arm} seed {now.cell.seed}: {now.status}"
    if record is not None and now.status == "done":
        accuracy = record.metrics["final"]["test/accuracy"]
        text += f", test accuracy {accuracy:.2%}, {duration(record.time_seconds)}"
    return text + reason(record)


def duration(seconds: float) -> str:
    """12 s, 3 min, 2.5 h: as exact as anybody wants to know."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def final_table(plan: Plan, records: list[tuple[Cell, Record | None]], directory: Path) -> Group:
    """Arms in planned order with accuracy, size and time, then every cell that is not done, then the path."""
    table = Table(title=f"{plan.study}: test accuracy after the last epoch", title_justify="left")
    for heading in ("arm", "cells", "accuracy %", "parameters", "time s", "images/s"):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for arm in dict.fromkeys(cell.arm for cell, _ in records):
        of_arm = [record for cell, record in records if cell.arm == arm]
        table.add_row(arm, *arm_figures([r for r in of_arm if r and r.status == "done"], len(of_arm)))
    missing = [
        Text(f"{cell.id}: {record.status if record else 'not started'}{reason(record)}", style="red")
        for cell, record in records
        if record is None or record.status != "done"
    ]
    return Group(table, *missing, Text(f"records: {directory}"))


def arm_figures(done: list[Record], num_cells: int) -> list[str]:
    """The cells of one row, from the arm's finished records."""
    if not done:
        return [f"0/{num_cells}", "-", "-", "-", "-"]
    accuracy = [100 * record.metrics["final"]["test/accuracy"] for record in done]
    spread = f" +- {stdev(accuracy):.2f}" if len(accuracy) > 1 else ""
    speeds = [record.images_per_second for record in done if record.images_per_second]
    return [
        f"{len(done)}/{num_cells}",
        f"{mean(accuracy):.2f}{spread}",
        f"{done[0].params:,}",
        f"{mean(record.time_seconds for record in done):.0f}",
        f"{mean(speeds):.0f}" if speeds else "-",
    ]


def reason(record: Record | None) -> str:
    """Why a cell is not done, if its record knows."""
    return f" ({record.error['type']}: {record.error['message']})" if record and record.error else ""
