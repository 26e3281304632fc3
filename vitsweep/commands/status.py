"""`python -m vitsweep status DIR`: where every cell of a sweep stands, also while it runs, also from another machine.

Reads plan.json, records and locks, and writes nothing.
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

COLOURS = {"done": "green", "running": "cyan", "failed": "red", "diverged": "red", "interrupted": "yellow"}


def main(arguments: list[str]) -> int:
    """Print the table; 0 if all cells are done, else 1."""
    directory, words = parse_directory(arguments, "status DIR")
    if words:
        raise UserError("usage: python -m vitsweep status DIR")
    plan = require_plan(directory)
    found = cell_statuses(directory, plan.cells, LivenessCheck())
    console = table_console()
    console.print(make_table(found, directory, plan.study))
    count = Counter(now.status for now in found)
    console.print(", ".join(f"{count[status]} {status}" for status in sorted(count)) + f" of {len(found)} cells")
    return 0 if count["done"] == len(found) else 1


def make_table(found: list[CellStatus], directory: Path, title: str) -> Table:
    """A row a cell: how it stands, how far it has come, and who is at it."""
    table = Table(title=title, title_justify="left")
    for heading in ("cell", "status", "epoch", "test accuracy %", "time s", "attempts", "remarks"):
        table.add_column(heading, justify="left" if heading in ("cell", "status", "remarks") else "right")
    for now in found:
        table.add_row(
            now.cell.id, now.status, *progress_columns(now), remarks(now, directory), style=COLOURS.get(now.status)
        )
    return table


def progress_columns(now: CellStatus) -> list[str]:
    """Epoch, accuracy, time and attempts of a cell, as far as it has any."""
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
    """Who is at a cell, or what went wrong with it."""
    if now.status == "running" and now.owner is not None:
        who = f"process {now.owner.pid} on {now.owner.host.partition(' ')[0]}"
        if now.record is not None and now.record.pack:
            who += f", one of {len(now.record.pack['cells'])} cells in one program"
        # Only for people: two machines' clocks may differ, so nothing is decided by this.
        with suppress(OSError):
            silent = time.time() - (directory / now.cell.id / LOCK_NAME).stat().st_mtime
            if silent > STALE_SECONDS:
                who += f", no heartbeat for {silent:.0f} s: the same command takes over if it is dead"
        return who
    if now.record is not None and now.record.error:
        return f"{now.record.error['type']}: {now.record.error['message']}".partition("\n")[0]
    return ""
