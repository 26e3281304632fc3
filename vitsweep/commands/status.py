"""`python -m vitsweep status DIR`: print the status of every cell of a sweep, also while it runs on another machine.

Reads plan.json, records and locks; writes nothing.
"""

import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from rich.table import Table

from vitsweep.commands.arguments import parse_directory
from vitsweep.errors import UserError
from vitsweep.run.progress_table import table_console
from vitsweep.study.locks import LOCK_NAME, STALE_SECONDS, LivenessCheck
from vitsweep.study.plan import require_plan
from vitsweep.study.status import CellStatus, cell_statuses

USAGE = "status DIR"
COLORS = {"done": "green", "running": "cyan", "failed": "red", "diverged": "red", "interrupted": "yellow"}


def main(arguments: list[str]) -> int:
    """Print the table; return 0 if all cells are done, else 1."""
    directory, words = parse_directory(arguments, USAGE)
    if words:
        raise UserError(f"usage: python -m vitsweep {USAGE}")
    plan = require_plan(directory)
    found = cell_statuses(directory, plan.cells, LivenessCheck())
    console = table_console()
    console.print(make_table(found, directory, plan.study))
    count = Counter(now.status for now in found)
    console.print(", ".join(f"{count[status]} {status}" for status in sorted(count)) + f" of {len(found)} cells")
    return 0 if count["done"] == len(found) else 1


def make_table(found: list[CellStatus], directory: Path, title: str) -> Table:
    """Return a table with a row per cell: status, progress, and remarks."""
    table = Table(title=title, title_justify="left")
    for heading in ("cell", "status", "epoch", "test accuracy %", "time s", "attempts", "remarks"):
        table.add_column(heading, justify="left" if heading in ("cell", "status", "remarks") else "right")
    for now in found:
        table.add_row(
            now.cell.id, now.status, *progress_columns(now), remarks(now, directory), style=COLORS.get(now.status)
        )
    return table


def progress_columns(now: CellStatus) -> list[str]:
    """Return epoch, test accuracy, time and attempts of a cell; empty texts for unknown values."""
    record = now.record
    if record is None:
        return ["", "", "", ""]
    accuracy = record.metrics["final"]["test/accuracy"] if now.status == "done" else None
    return [
        f"{record.epoch}/{now.cell.config['recipe']['epochs']}",
        "" if accuracy is None else f"{100 * accuracy:.2f}",
        f"{record.time_seconds:.0f}",
        str(record.attempts),
    ]


def remarks(now: CellStatus, directory: Path) -> str:
    """Return the process that trains a cell, or the first line of its error."""
    if now.status == "running" and now.owner is not None:
        owner = f"process {now.owner.pid} on {now.owner.host.partition(' ')[0]}"
        if now.record is not None and now.record.pack:
            owner += f", one of {len(now.record.pack['cells'])} cells in one pack"
        # Information only: clocks of two machines may differ, so no decision depends on it.
        with suppress(OSError):
            age = time.time() - (directory / now.cell.id / LOCK_NAME).stat().st_mtime
            if age > STALE_SECONDS:
                owner += f", no heartbeat for {age:.0f} s; if it is dead, run the sweep's command again"
        return owner
    if now.record is not None and now.record.error:
        return f"{now.record.error['type']}: {now.record.error['message']}".partition("\n")[0]
    return ""
