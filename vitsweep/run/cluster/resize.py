"""Change of a study's limits while its jobs run: less for those that wait, more for those that did not suffice."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from vitsweep.errors import UserError
from vitsweep.run.cluster.book import LOCK_SECONDS_OF_JOB, Book, Part, book_lock, require_book, write_book
from vitsweep.run.cluster.scheduler import SlurmError, call, queued_jobs
from vitsweep.run.cluster.size import arm_folder, arm_needs
from vitsweep.run.cluster.submit import submit_waiting
from vitsweep.study.plan import Plan

log = logging.getLogger(__name__)


def is_news(book: Book, cell_ids: Sequence[str]) -> bool:
    """Return whether one of these cells, which have ended, is the first of its arm."""
    needs = [book.needs.get(arm_folder(cell)) for cell in cell_ids]
    return book.size_jobs and any(need is None or not need.is_measured for need in needs)


def lower_pending(directory: Path, book: Book, plan: Plan) -> int:
    """Let the jobs that wait ask for what their cells need by now, and return their number; call under book_lock.

    Slurm lets every user change the limits of own jobs that wait.
    """
    book.needs = arm_needs(directory, plan)
    parts = {book.part_name(part.number): part for part in book.parts}
    tasks: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
    for job in queued_jobs(parts):
        part = parts[job.name]
        size = book.group_size(part.groups[job.index]) if job.state == "PENDING" else []
        if size and not part.size(job.index):
            tasks[part.number, tuple(size)].append(job.index)
    count = sum(lower(parts[book.part_name(number)], indexes, list(size)) for (number, size), indexes in tasks.items())
    write_book(directory, book)
    return count


def lower(part: Part, indexes: list[int], size: list[int]) -> int:
    """Lower the limits of some tasks of an array, note them, and return their number; 0 if Slurm refuses it."""
    minutes, megabytes = size
    words = [f"JobId={part.job_id}_[{','.join(map(str, sorted(indexes)))}]", f"TimeLimit={minutes}"]
    words += [f"MinMemoryNode={megabytes}"] if megabytes else []
    try:
        call("scontrol", "update", *words)
    except SlurmError as error:
        log.info("the limits of jobs that wait stay as they are: %s", error)
        return 0
    part.sizes = [size if i in indexes else part.size(i) for i in range(len(part.groups))]
    return len(indexes)


def submit_with_more(directory: Path, part: Part, index: int, cell_ids: list[str], what: str) -> bool:
    """Submit cells again, once, with the launcher's limits; return whether this was done.

    Args:
        part: this job's, as read when it began.
        index: its task.
        cell_ids: cells that are not done; none changes nothing.
        what: `time` or `memory`, of which the job had too little.
    """
    try:
        with book_lock(directory, LOCK_SECONDS_OF_JOB):
            book = require_book(directory)
            size = next(one for one in book.parts if one.number == part.number).size(index)
            if not (size and cell_ids) or book.is_cancelled or not set(cell_ids).isdisjoint(book.unsized):
                return False
            book.unsized += cell_ids
            book.waiting.insert(0, cell_ids)
            write_book(directory, book)
            log.warning("%s", describe(size, what, len(cell_ids)))
            submit_waiting(directory, book)
    except UserError as error:
        log.warning("%s; a later job submits them", error)
    return True


def describe(size: list[int], what: str, num_cells: int) -> str:
    """Return a sentence on cells that are submitted again."""
    had = f"{size[0]} min" if what == "time" else f"{size[1]} MB"
    return f"{had} of {what} did not suffice; {num_cells} cells are submitted again with the launcher's limits"
