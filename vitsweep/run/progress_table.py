"""Progress of a sweep: counts of cells and the time left while it runs, and a table with a row per arm at its end."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vitsweep.errors import printable
from vitsweep.files import is_screen
from vitsweep.study.plan import Cell, Plan
from vitsweep.study.record import TRIAL, Record, read_rows
from vitsweep.study.status import FAILURES, CellStatus

log = logging.getLogger(__name__)

ENDED = ("done", *FAILURES)
MAX_ROWS = 16  # running cells on the display
STATUS_ORDER = ("done", "running", "interrupted", "failed", "diverged", "planned")
PIPED_WIDTH = 200
"""Columns of a table that is written to a file or a pipe, where rich would assume 80; arms have long names."""


def table_console() -> Console:
    """Return the console for tables: as wide as the terminal, or PIPED_WIDTH without one.

    Texts are shown as they are: brackets and colons of names and errors are no markup.
    """
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False, emoji=False, highlight=False)


def print_tables(*content: RenderableType) -> None:
    """Print tables and lines; in a file or a pipe a line is not wrapped, so that it can be searched for."""
    console = table_console()
    for item in content:
        console.print(item, soft_wrap=not sys.stdout.isatty())


def new_table(title: str, first: str) -> Table:
    """Return a table that is read with and without a terminal: no frame, the name in the first column whole.

    Args:
        title: above it.
        first: heading of the first column.
    """
    lined = box.SIMPLE_HEAD if is_screen(sys.stdout) else None
    table = Table(title=title, title_justify="left", box=lined, pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold", min_width=12)
    return table


def describe_counts(statuses: Sequence[CellStatus]) -> str:
    """Return `2 done, 1 failed, 3 planned of 6`."""
    number = Counter(now.status for now in statuses)
    parts = [f"{number[status]} {status}" for status in STATUS_ORDER if number[status]]
    return f"{', '.join(parts)} of {len(statuses)}"


class LogProgress:
    """Progress as log lines, one for each cell that ends; for files and schedulers.

    Args:
        statuses: of the sweep's cells at the start.
        directory: the sweep's, where running cells write a row per epoch.
    """

    def __init__(self, statuses: list[CellStatus], directory: Path):
        self.directory = directory
        self.statuses = {status.cell.id: status.status for status in statuses}
        self.names = {status.cell.id: (status.cell.arm, f"seed {status.cell.seed}") for status in statuses}
        self.num_epochs = {status.cell.id: status.cell.config["recipe"]["epochs"] for status in statuses}
        self.max_running = 1
        self.started: dict[str, tuple[float, int]] = {}  # running cell's id -> when, and the epochs finished then
        self.durations: list[float] = []  # seconds, of cells that ended since the start

    def __enter__(self) -> "LogProgress":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def update(self, status: CellStatus | None) -> None:
        """Record a cell's new status; None: only time has passed."""
        if status is None:
            return
        cell_id = status.cell.id
        before, self.statuses[cell_id] = self.statuses.get(cell_id), status.status
        if status.status == "running":
            if cell_id not in self.started:
                self.started[cell_id] = (time.monotonic(), self.epoch(cell_id))
            self.max_running = max(self.max_running, len(self.started))
        elif cell_id in self.started:
            start, _ = self.started.pop(cell_id)
            if status.status in ENDED:
                self.durations.append(time.monotonic() - start)
            else:  # released untrained, so fewer cells really ran
                self.max_running = max(1, len(self.started))
        if status.status in ENDED and status.status != before:
            self.report(status)

    def report(self, status: CellStatus) -> None:
        """Log the outcome of a cell that has ended."""
        log.info("%s  |  %s", self.summary(), describe_outcome(status))

    def summary(self) -> str:
        """Return the numbers of cells done, running and failed, and the time left."""
        count = Counter(self.statuses.values())
        failed = sum(count[status] for status in FAILURES)
        parts = [f"{count['done']}/{len(self.statuses)} done", f"{count['running']} running", f"{failed} failed"]
        left = self.seconds_left()
        return ", ".join(parts + ([f"about {duration(left)} left"] if left else []))

    def seconds_left(self) -> float:
        """Estimate the time left from cells that ended since the start, else from running ones; 0: unknown."""
        left = sum(status not in ENDED for status in self.statuses.values())
        durations = self.durations or [seconds for seconds in map(self.expected_seconds, self.started) if seconds]
        return mean(durations) * left / self.max_running if durations else 0.0

    def expected_seconds(self, cell_id: str) -> float:
        """Estimate the duration of a running cell from its epochs so far; 0 before the first."""
        start, first_epoch = self.started[cell_id]
        epochs = self.epoch(cell_id) - first_epoch
        return (time.monotonic() - start) / epochs * self.num_epochs[cell_id] if epochs > 0 else 0.0

    def epoch(self, cell_id: str) -> int:
        """Return the number of epochs that a cell has finished."""
        return self.last_row(cell_id).get("epoch", 0)

    def last_row(self, cell_id: str) -> dict[str, Any]:
        """Return the metrics of a cell's last finished epoch; {} before the first."""
        rows = read_rows(self.directory / cell_id)
        return rows[-1] if rows else {}


class LiveProgress(LogProgress):
    """Progress as a display that is updated in place: the summary and the running cells."""

    def __enter__(self) -> "LiveProgress":
        self.live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        self.live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.live.stop()

    def update(self, status: CellStatus | None) -> None:
        """Record a cell's new status and refresh the display."""
        super().update(status)
        self.live.update(Group(Text(self.summary(), style="bold"), *map(Text, self.rows())), refresh=True)

    def report(self, status: CellStatus) -> None:
        """Print the outcome of a cell that has ended above the display."""
        self.live.console.print(Text(describe_outcome(status), style="" if status.status == "done" else "red"))

    def rows(self) -> list[str]:
        """Return a line for each running cell, at most MAX_ROWS, then how many more there are."""
        running = [cell_id for cell_id, status in self.statuses.items() if status == "running"]
        lines = [self.row(cell_id) for cell_id in running[:MAX_ROWS]]
        return lines + ([f"  and {len(running) - MAX_ROWS} more"] if len(running) > MAX_ROWS else [])

    def row(self, cell_id: str) -> str:
        """Return a running cell's line: its name, as long as there is room, and epoch, loss, accuracy and time."""
        row, spent = self.last_row(cell_id), duration(time.monotonic() - self.started[cell_id][0])
        figures = f"epoch {row.get('epoch', 0)}/{self.num_epochs[cell_id]}{describe_epoch(row)}  {spent}"
        arm, seed = self.names[cell_id]
        room = max(8, self.live.console.width - len(figures) - len(seed) - 5)
        return f"  {shortened(arm, room)} {seed}  {figures}"


def make_progress(statuses: list[CellStatus], directory: Path) -> LogProgress:
    """Return a live display on a terminal, else log lines."""
    return (LiveProgress if is_screen(sys.stderr) else LogProgress)(statuses, directory)


def shortened(text: str, length: int) -> str:
    """Return a text of at most `length` characters, its middle replaced by `...` if it is longer."""
    if len(text) <= length:
        return text
    start = (length - 3) // 2
    return f"{text[:start]}...{text[len(text) - (length - 3 - start) :]}"


def describe_epoch(row: dict[str, Any]) -> str:
    """Return `  loss 1.234  val 45.0 %` of an epoch's metrics; empty before the first."""
    if "val/accuracy" not in row:
        return ""
    loss = f"  loss {row['train/loss']:.3f}" if row.get("train/loss") is not None else ""
    return f"{loss}  val {row['val/accuracy']:.1%}"


def describe_outcome(status: CellStatus) -> str:
    """Return one line on how a cell ended."""
    record = status.record
    text = f"{status.cell.arm} seed {status.cell.seed}: {status.status}"
    if record is not None and status.status == "done":
        split, name = ("val", "validation") if record.role == TRIAL else ("test", "test")
        accuracy = record.metrics["final"][f"{split}/accuracy"]
        text += f", {name} accuracy {accuracy:.2%}, {duration(record.time_seconds)}"
    return text + reason(record)


def duration(seconds: float) -> str:
    """Format seconds as `12 s`, `3 min` or `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def final_table(plan: Plan, records: list[tuple[Cell, Record | None]], directory: Path) -> Group:
    """Return a table of the arms in planned order, a line for each cell that is not done, and the path."""
    table = new_table(f"{plan.study}: test set after the last epoch, mean of the seeds", "arm")
    for heading in ("cells", "accuracy %", "loss", "parameters", "time s", "images/s"):
        table.add_column(heading, justify="right")
    for arm in dict.fromkeys(cell.arm for cell, _ in records):
        of_arm = [record for cell, record in records if cell.arm == arm]
        table.add_row(arm, *arm_columns([r for r in of_arm if r and r.status == "done"], len(of_arm)))
    missing = [
        Text(f"{cell.id}: {record.status if record else 'not started'}{reason(record)}", style="red")
        for cell, record in records
        if record is None or record.status != "done"
    ]
    return Group(table, *missing, Text(f"records: {directory}"))


def arm_columns(done: list[Record], num_cells: int) -> list[str]:
    """Return the columns of an arm after its name, from its `done` records."""
    if not done:
        return [f"0/{num_cells}", "-", "-", "-", "-", "-"]
    accuracy = [100 * record.metrics["final"]["test/accuracy"] for record in done]
    spread = f" +- {stdev(accuracy):.2f}" if len(accuracy) > 1 else ""
    losses = [record.metrics["final"].get("test/loss") for record in done]
    speeds = [record.images_per_second for record in done if record.images_per_second]
    return [
        f"{len(done)}/{num_cells}",
        f"{mean(accuracy):.2f}{spread}",
        "-" if None in losses else f"{mean(losses):.3f}",
        f"{done[0].params:,}",
        f"{mean(record.time_seconds for record in done):.0f}",
        f"{mean(speeds):.0f}" if speeds else "-",
    ]


def reason(record: Record | None) -> str:
    """Return the error in a record as printable text, or an empty string."""
    return printable(f" ({record.error['type']}: {record.error['message']})") if record and record.error else ""
