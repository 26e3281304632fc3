"""`python -m vitsweep status DIR`: print the status of every cell of a sweep, also while it runs on another machine.

Reads plan.json, records and locks; writes nothing. DIR may also be outputs/single, or the directory of one run.
"""

import dataclasses
from collections import Counter
from contextlib import suppress
from pathlib import Path

from rich.table import Table

from vitsweep.commands.command_arguments import parse_directory
from vitsweep.errors import RecordError, UserError, printable
from vitsweep.run.cluster.book import Book, describe_jobs, lost_reason, read_book
from vitsweep.run.cluster.scheduler import QueuedJob, SlurmError, queued_jobs
from vitsweep.run.progress_table import new_table, print_tables
from vitsweep.study.changes.drop import is_asked
from vitsweep.study.locks import STALE_SECONDS, LivenessCheck, age_text, describe_owner, seconds_since_heartbeat
from vitsweep.study.plan import TUNED_NAME, TUNING_NAME, Cell, Plan, read_plan, require_plan
from vitsweep.study.record import TRIAL, cell_directories, read_record
from vitsweep.study.status import NOT_NEEDED, CellStatus, LooksVerdict, cell_statuses, read_looks
from vitsweep.study.tuning.trials import DESIGN as TRIALS

BELOW = {TUNING_NAME: "trials of the search", TUNED_NAME: "cells at the arms' own settings"}
USAGE = "status DIR"
QUEUED = "queued"
"""Status of a cell that is not trained yet and has a Slurm job."""
SILENT = "no heartbeat"
"""Shown for a cell whose owner may be dead. Clocks of two machines may differ, so no decision depends on it."""
COLORS = {"done": "green", "running": "cyan", "failed": "red", "diverged": "red", "interrupted": "yellow"}
COLORS |= {SILENT: "yellow", QUEUED: "blue"}


def main(arguments: list[str]) -> int:
    """Print the table; return 0 if all cells that are needed are done, else 1."""
    directory, words = parse_directory(arguments, USAGE)
    if words:
        raise UserError(f"usage: vitsweep {USAGE}")
    plan = read_plan(directory) or single_runs(directory)
    looks = read_looks(directory)
    found = [without_need(now, plan, looks) for now in cell_statuses(directory, plan.cells, LivenessCheck())]
    book = read_book(directory)
    queued = jobs_in_queue(book)
    notes = {}
    if book is not None:
        notes = job_notes(directory, book, found, queued or [], is_known=queued is not None)
        with_job = book.cells_of(queued or [])
        found = [dataclasses.replace(now, status=QUEUED) if is_queued(now, with_job) else now for now in found]
    title, images = plan.study, "validation" if plan.design == TRIALS else "test"
    print_tables(make_table(found, directory, title, images, notes))
    count = Counter(shown_status(now, directory) for now in found)
    print_tables(", ".join(f"{count[status]} {status}" for status in sorted(count)) + f" of {len(found)} cells")
    if book is not None:
        print_tables(describe_jobs(book, queued) if queued is not None else "Slurm does not answer here")
    for line in looks.lines if looks else []:
        print_tables(line)
    missing = sum(num_missing(directory / name, words) for name, words in BELOW.items())
    return 0 if count["done"] + count[NOT_NEEDED] == len(found) and not missing else 1


def single_runs(directory: Path) -> Plan:
    """Return runs without a sweep as a plan: those of outputs/single, or the one run of a directory.

    Raises:
        RecordError: there is neither a plan nor a record.
    """
    cells = []
    for folder in cell_directories(directory):
        with suppress(RecordError):
            record = read_record(folder)
            known = {key: getattr(record, key) for key in ("arm", "role", "levels", "seed", "overrides", "config")}
            place = folder.relative_to(directory).as_posix()
            cells.append(Cell(id=place, config_hash=record.config_hash, **known))
    if not cells:
        require_plan(directory)
    seeds = sorted({cell.seed for cell in cells})
    return Plan(study="single runs", design="", baseline="", factors={}, seeds=seeds, arms=[], cells=cells)


def without_need(now: CellStatus, plan: Plan, looks: LooksVerdict | None) -> CellStatus:
    """Return the status of a cell, NOT_NEEDED for a planned one of an arm that was stopped at a look."""
    if now.status == "planned" and not is_asked(plan.asked, now.cell.arm, now.cell.seed):
        return dataclasses.replace(now, status=NOT_NEEDED)
    if looks is None or now.status != "planned" or looks.is_needed(now.cell, plan.seeds):
        return now
    return dataclasses.replace(now, status=NOT_NEEDED)


def jobs_in_queue(book: Book | None) -> list[QueuedJob] | None:
    """Return the study's jobs that wait or run; None if there are none, or if Slurm does not answer here."""
    try:
        return None if book is None else queued_jobs(book.names)
    except SlurmError:
        return None


def is_queued(now: CellStatus, with_job: dict[str, QueuedJob]) -> bool:
    """Return whether a cell that nothing trains yet has a job."""
    return now.status in ("planned", "interrupted") and now.cell.id in with_job


def job_notes(
    directory: Path, book: Book, found: list[CellStatus], queued: list[QueuedJob], is_known: bool
) -> dict[str, str]:
    """Return cell id -> a remark on its job, for cells that are neither trained nor done.

    Args:
        is_known: whether Slurm has answered; else a cell without a queued job may have one.
    """
    with_job, places = book.cells_of(queued), book.places()
    waiting = {cell for group in book.waiting for cell in group}
    notes = {}
    for cell_id in [now.cell.id for now in found if now.status in ("planned", "interrupted")]:
        if cell_id in with_job:
            job = with_job[cell_id]
            notes[cell_id] = f"job {job.job_id} {job.state.lower()}" + (
                f", {job.reason}" if job.reason != "None" else ""
            )
        elif cell_id in waiting:
            notes[cell_id] = "waits for room in the queue"
        elif cell_id in places:
            part, index = places[cell_id]
            reason = lost_reason(directory, part, index) if is_known else "submitted"
            notes[cell_id] = f"job {part.job_id}_{index} {reason}"
    return notes


def num_missing(directory: Path, words: str) -> int:
    """Print a line on the cells of a search, or of the study at the settings found; return how many are not done.

    Args:
        directory: of their plan; without one nothing is printed.
        words: name of the cells.
    """
    plan = read_plan(directory)
    if plan is None:
        return 0
    count = Counter(shown_status(now, directory) for now in cell_statuses(directory, plan.cells, LivenessCheck()))
    parts = ", ".join(f"{count[status]} {status}" for status in sorted(count))
    print_tables(f"{words}: {parts} of {len(plan.cells)}; python -m vitsweep status {directory} lists them")
    return len(plan.cells) - count["done"] - (count["diverged"] if plan.design == TRIALS else 0)


def make_table(
    found: list[CellStatus], directory: Path, title: str, images: str = "test", notes: dict[str, str] | None = None
) -> Table:
    """Return a table with a row per cell: arm, seed, status and accuracy first, then progress and remarks.

    Args:
        images: those that the accuracy is about; of trials validation.
        notes: cell id -> a remark on its job.
    """
    table = new_table(f"{title}: accuracy in % on the {images} images", "arm")
    for heading in ("seed", "status", "accuracy", "epoch", "time s", "attempts", "remarks"):
        is_text = heading in ("status", "remarks")
        table.add_column(
            heading, justify="left" if is_text else "right", overflow="fold" if heading == "remarks" else "ellipsis"
        )
    for now in found:
        epoch, accuracy, *rest = progress_columns(now)
        shown = shown_status(now, directory)
        remark = "; ".join(filter(None, [remarks(now, directory), (notes or {}).get(now.cell.id)]))
        table.add_row(now.cell.arm, str(now.cell.seed), shown, accuracy, epoch, *rest, remark, style=COLORS.get(shown))
    return table


def shown_status(now: CellStatus, directory: Path) -> str:
    """Return a cell's status, or SILENT if its lock has had no heartbeat for long by this machine's clock."""
    is_silent = now.status == "running" and seconds_since_heartbeat(directory / now.cell.id) > STALE_SECONDS
    return SILENT if is_silent else now.status


def progress_columns(now: CellStatus) -> list[str]:
    """Return epoch, accuracy, time and attempts of a cell; empty texts for unknown values."""
    record = now.record
    if record is None:
        return ["", "", "", ""]
    metric = "val/accuracy" if now.cell.role == TRIAL else "test/accuracy"
    accuracy = record.metrics["final"][metric] if now.status == "done" else None
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
