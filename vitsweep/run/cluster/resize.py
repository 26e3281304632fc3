"""Change of a study's limits while its jobs run: less for those that wait, more for those that did not suffice."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from vitsweep.errors import UserError
from vitsweep.run.cluster.book import LOCK_SECONDS_OF_JOB, Book, Part, book_lock, require_book, write_book
from vitsweep.run.cluster.options import launcher_size
from vitsweep.run.cluster.scheduler import SlurmError, call, queued_jobs
from vitsweep.run.cluster.size import Need, arm_folder
from vitsweep.run.cluster.submit import submit_waiting
from vitsweep.run.timing.estimate import count
from vitsweep.study.locks import CellLock
from vitsweep.study.plan import Cell
from vitsweep.study.record import write_record
from vitsweep.study.status import cell_record

log = logging.getLogger(__name__)


def is_news(book: Book, cell_ids: Sequence[str]) -> bool:
    """Return whether one of these cells, which have ended, is the first of its arm."""
    needs = [book.needs.get(arm_folder(cell)) for cell in cell_ids]
    return book.size_jobs and any(need is None or not need.is_measured for need in needs)


def lower_pending(directory: Path, book: Book, needs: dict[str, Need]) -> int:
    """Let the jobs that wait ask for what their cells need by now, and return their number; call under book_lock.

    Slurm lets every user change the limits of own jobs that wait. They are noted first: if Slurm has changed only some,
    or none, a job has at least what is noted, and its cells come again if that does not suffice.
    """
    book.needs = needs
    parts = {book.part_name(part.number): part for part in book.parts}
    tasks: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
    for job in queued_jobs(parts):
        part = parts[job.name]
        size = book.group_size(part.groups[job.index]) if job.state == "PENDING" else []
        if size and not part.size(job.index):
            tasks[part.number, tuple(size)].append(job.index)
    for (number, own), indexes in tasks.items():
        part = parts[book.part_name(number)]
        part.sizes = [list(own) if i in indexes else part.size(i) for i in range(len(part.groups))]
    write_book(directory, book)
    return sum(lower(parts[book.part_name(number)], indexes, own) for (number, own), indexes in tasks.items())


def lower(part: Part, indexes: list[int], size: tuple[int, ...]) -> int:
    """Lower the limits of some tasks of an array and return their number; 0 if Slurm refuses one."""
    minutes, megabytes = size
    words = [f"JobId={part.job_id}_[{','.join(map(str, sorted(indexes)))}]", f"TimeLimit={minutes}"]
    words += [f"MinMemoryNode={megabytes}"] if megabytes else []
    try:
        call("scontrol", "update", *words)
    except SlurmError as error:
        log.info("the limits of some jobs that wait stay as they are: %s", error)
        return 0
    return len(indexes)


def submit_with_more(directory: Path, part: Part, index: int, cell_ids: list[str], what: str) -> bool:
    """Submit cells again, once, with the launcher's limits; return False if the job had them, or the cells came again.

    If the jobs cannot be changed now, the study's last job finds the cells and submits them.

    Args:
        part: this job's, as read when it began.
        index: its task.
        cell_ids: cells that are not done; none changes nothing.
        what: `time` or `memory`, of which the job had too little.
    """
    try:
        with book_lock(directory, LOCK_SECONDS_OF_JOB):
            book = require_book(directory)
            had = limit(book, book.part(part.number).size(index), what)
            if not (had and cell_ids) or book.is_cancelled or not set(cell_ids).isdisjoint(book.unsized):
                return False
            book.unsized += cell_ids
            book.waiting.insert(0, cell_ids)
            write_book(directory, book)
            again = f"{count(len(cell_ids), 'cell')} again, with the launcher's limits"
            log.warning("%s of %s did not suffice; submitting %s", had, what, again)
            submit_waiting(directory, book)
    except UserError as error:
        log.warning("%s; a later job submits them", error)
    return True


def limit(book: Book, size: list[int], what: str) -> str:
    """Return the limit of a job, `15 min` or `896 MB`; empty if it is the launcher's."""
    minutes, megabytes = launcher_size(book.options)
    if not size:
        return ""
    if what == "time":
        return f"{size[0]} min" if size[0] < minutes else ""
    return f"{size[1]} MB" if size[1] and megabytes is not None and size[1] < megabytes else ""


def mark_interrupted(directory: Path, cell: Cell) -> None:
    """Let a cell whose process was killed go on from its saved state, unless another process trains it."""
    with CellLock(directory / cell.id) as lock:
        record = cell_record(directory, cell) if lock.acquire() else None
        if record is not None and record.status == "failed":
            record.status, record.error = "interrupted", None
            write_record(directory / cell.id, record)
