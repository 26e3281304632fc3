"""`python -m vitsweep status DIR`: print the status of every cell of a sweep, also while it runs on another machine.

Reads plan.json, records and locks; writes nothing.
"""

from collections import Counter
from pathlib import Path

from rich.table import Table

from vitsweep.commands.command_arguments import parse_directory
from vitsweep.errors import UserError, printable
from vitsweep.run.progress_table import table_console
from vitsweep.study.locks import STALE_SECONDS, LivenessCheck, age_text, describe_owner, seconds_since_heartbeat
from vitsweep.study.plan import require_plan
from vitsweep.study.status import CellStatus, cell_statuses

USAGE = "status DIR"
SILENT = "no heartbeat"
"""Shown for a cell whose owner may be dead. Clocks of two machines may differ, so no decision depends on it."""
COLORS = {"done": "green", "running": "cyan", "failed": "red", "diverged": "red", "interrupted": "yellow"}
COLORS |= {SILENT: "yellow"}


def main(arguments: list[str]) -> int:
    """Print the table; return 0 if all cells are done, else 1."""
    directory, words = parse_directory(arguments, USAGE)
    if words:
        raise UserError(f"usage: python -m vitsweep {USAGE}")
    plan = require_plan(directory)
    found = cell_statuses(directory, plan.cells, LivenessCheck())
    console = table_console()
    console.print(make_table(found, directory, plan.study))
    count = Counter(shown_status(now, directory) for now in found)
    console.print(", ".join(f"{count[status]} {status}" for status in sorted(count)) + f" of {len(found)} cells")
    return 0 if count["done"] == len(found) else 1


def make_table(found: list[CellStatus], directory: Path, title: str) -> Table:
    """Return a table with a row per cell: status, progress, and remarks."""
    table = Table(title=title, title_justify="left")
    for heading in ("cell", "status", "epoch", "test accuracy %", "time s", "attempts", "remarks"):
        table.add_column(heading, justify="left" if heading in ("cell", "status", "remarks") else "right")
    for now in found:
        table.add_row(
            now.cell.id,
            shown := shown_status(now, directory),
            *progress_columns(now),
            remarks(now, directory),
            style=COLORS.get(shown),
        )
    return table


def shown_status(now: CellStatus, directory: Path) -> str:
    """Return a cell's status, or SILENT if its lock has had no heartbeat for long by this machine's clock."""
    is_silent = now.status == "running" and seconds_since_heartbeat(directory / now.cell.id) > STALE_SECONDS
    return SILENT if is_silent else now.status


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
        owner = describe_owner(now.owner)
        if now.record is not None and "cells" in now.record.pack:
            owner += f", one of {len(now.record.pack['cells'])} cells in one pack"
        if shown_status(now, directory) == SILENT:
            age = age_text(directory / now.cell.id)
            owner += f", no heartbeat for {age}; if it is dead: python -m vitsweep reset {directory} --stale"
        return owner
    if now.record is not None and now.record.error:
        return printable(f"{now.record.error['type']}: {now.record.error['message']}".partition("\n")[0])
    return ""
