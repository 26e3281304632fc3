"""Submission of a study's jobs: as many as Slurm takes now, the others later from the jobs themselves.

Every function that changes the book is called under book_lock. A part is noted in the book before sbatch is called, so
that a process which dies in between leaves no job that the study does not know: jobs are found by their names.
"""

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from vitsweep.run.cluster.book import Book, Part, jobs_folder, part_folder, write_book
from vitsweep.run.cluster.limits import Limits, site_limits
from vitsweep.run.cluster.options import option_value, with_size
from vitsweep.run.cluster.scheduler import QueuedJob, QueueFull, num_jobs_of_user, queued_jobs, submit
from vitsweep.run.packs import group_by_program
from vitsweep.study.plan import Cell

log = logging.getLogger(__name__)

SCRIPT_NAME = "job.sh"
UNSIZED = [1 << 30]
"""Place of jobs with the launcher's limits, the longest that there are."""


def grouped(cells: Sequence[Cell], book: Book) -> list[list[str]]:
    """Divide cells into the groups that one job trains; those that can share a program come together."""
    if book.cells_per_job > 1 and book.pack != "off":
        cells = [cell for program in group_by_program(list(cells)) for cell in program]
    ids, size = [cell.id for cell in cells], book.cells_per_job
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def write_script(directory: Path, book: Book, python_path: str) -> None:
    """Write the script that all jobs of a study run; its arguments name the job."""
    cpus = option_value(book.options, "--cpus-per-task")
    step = ["srun", "--nodes=1", "--ntasks=1", "--unbuffered", *([f"--cpus-per-task={cpus}"] if cpus else [])]
    program = [sys.executable, "-m", "vitsweep", "slurm", "job", str(directory)]
    lines = [
        "#!/bin/bash",
        f"# Jobs of {directory}; a step of srun receives the warning before a preemption, a script would not.",
        f"export PYTHONPATH={shlex.quote(python_path)}",
        *book.setup,
        f'{shlex.join([*step, *program])} "$@"',
    ]
    path = jobs_folder(directory) / SCRIPT_NAME
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def submit_waiting(directory: Path, book: Book, least: bool = False, own_id: str = "") -> int:
    """Submit groups that wait, as far as there is room, and a last job if none is queued; return the number of jobs.

    Args:
        least: whether to wait until half of the room is free, so that a study has few arrays.
        own_id: id of the last job that this process is, which does not count as the queued one.

    Raises:
        SlurmError: Slurm refuses the jobs, or does not answer; those submitted before are noted.
    """
    queued = [job for job in queued_jobs(book.names) if job.job_id != own_id]
    has_last = any(job.name == book.last_name(book.last_number) and job.state == "PENDING" for job in queued)
    limits = site_limits(book.options)
    room = free_room(book, limits, len(queued) + bool(own_id)) - (not has_last)
    if least and room < min(len(book.waiting), max(1, smallest(book, limits) // 2)):
        room = 0
    active, count = active_parts(book, queued), 0
    book.waiting.sort(key=lambda group: book.group_size(group) or UNSIZED, reverse=True)  # long jobs begin first
    try:
        while book.waiting and room > count:
            wanted = min(num_alike(book), limits.array, room - count)
            part = submit_part(directory, book, wanted, active)
            if part is None:
                break
            active.append(part)
            count += len(part.groups)
            if len(part.groups) < wanted and not has_last:  # the queue is nearly full; the last job takes a place now
                submit_last(directory, book, active)
                has_last = True
    finally:
        if active and not has_last:
            submit_last(directory, book, active)
    return count


def num_alike(book: Book) -> int:
    """Return how many of the waiting groups, from the first on, ask for the same time and memory: one array does."""
    first = book.group_size(book.waiting[0])
    return next((i for i, group in enumerate(book.waiting) if book.group_size(group) != first), len(book.waiting))


def active_parts(book: Book, queued: Sequence[QueuedJob]) -> list[Part]:
    """Return the parts of which a job waits or runs."""
    names = {job.name for job in queued}
    return [part for part in book.parts if book.part_name(part.number) in names]


def free_room(book: Book, limits: Limits, num_queued: int) -> int:
    """Return how many more jobs the study may have in the queue."""
    room = len(book.waiting) + 1
    if limits.jobs is not None:
        room = min(room, limits.jobs - num_jobs_of_user())
    if book.max_queued is not None:
        room = min(room, book.max_queued - num_queued)
    return max(0, room)


def smallest(book: Book, limits: Limits) -> int:
    """Return the smallest limit on the number of queued jobs; without any, that of one array."""
    return min(limit for limit in (limits.jobs, book.max_queued, limits.array) if limit is not None)


def submit_part(directory: Path, book: Book, size: int, active: list[Part]) -> Part | None:
    """Submit the first `size` waiting groups as one array, fewer if the queue is full, and return it; None for none.

    Args:
        active: parts that wait or run.

    Raises:
        SlurmError: Slurm refuses them for another reason; nothing is noted then.
    """
    while size:
        groups, rest = book.waiting[:size], book.waiting[size:]
        part = Part(number=len(book.parts) + 1, groups=groups, retry=book.retry)
        part.sizes = [own for group in groups if (own := book.group_size(group))]
        part_folder(directory, part.number).mkdir(parents=True, exist_ok=True)
        book.parts.append(part)
        book.waiting = rest
        write_book(directory, book)
        try:
            options = part_options(directory, book, part, active)
            part.job_id = submit(job_script(directory), ["part", str(part.number)], options)
        except BaseException as error:
            book.parts.remove(part)
            book.waiting = groups + rest
            write_book(directory, book)
            if not isinstance(error, QueueFull):
                raise
            log.info("the queue is full for %d more jobs: %s", size, error)
            size //= 2
            continue
        write_book(directory, book)
        return part
    return None


def part_options(directory: Path, book: Book, part: Part, active: list[Part]) -> list[str]:
    """Return sbatch's options for one array."""
    size = len(part.groups)
    array = f"--array=0-{size - 1}" + (f"%{book.parallel}" if 0 < book.parallel < size else "")
    output = str(part_folder(directory, part.number)).replace("%", "%%")
    own = with_size(common_options(book), part.size(0))
    options = [*own, f"--job-name={book.part_name(part.number)}", array, f"--output={output}/%a.out"]
    return options + after(parts_before(book, size, active))


def parts_before(book: Book, size: int, active: list[Part]) -> list[Part]:
    """Return the parts that must end before one of `size` tasks may start, so that no more than `parallel` run."""
    if not book.parallel:
        return []
    room = book.parallel - min(size, book.parallel)
    for i in reversed(range(len(active))):
        room -= min(len(active[i].groups), book.parallel)
        if room < 0:
            return active[: i + 1]
    return []


def after(parts: list[Part]) -> list[str]:
    """Return the option of a job that waits for the end of these parts, however they end."""
    known = [part.job_id for part in parts if part.job_id]
    return [f"--dependency=afterany:{':'.join(known)}"] if known else []


def common_options(book: Book) -> list[str]:
    """Return the options of every job."""
    return [*book.options, "--requeue", "--open-mode=append", "--export=ALL"]


def submit_last(directory: Path, book: Book, active: list[Part], begin: str = "") -> None:
    """Submit the job that runs when all active parts have ended: it submits lost cells again, or writes the report.

    If the queue is full, a job of the study that ends later does it.

    Args:
        begin: earliest start, as sbatch reads it.

    Raises:
        SlurmError: Slurm refuses it.
    """
    book.last_number, book.last_id = book.last_number + 1, ""
    write_book(directory, book)
    output = str(jobs_folder(directory)).replace("%", "%%")
    options = [*common_options(book), f"--job-name={book.last_name(book.last_number)}", f"--output={output}/last.out"]
    options += after(active) + ([f"--begin={begin}"] if begin else [])
    try:
        book.last_id = submit(job_script(directory), ["last", str(book.last_number)], options)
    except QueueFull as error:
        log.info("the queue is full for the job that writes the report: %s", error)
    write_book(directory, book)


def job_script(directory: Path) -> Path:
    """Return the path of the jobs' script."""
    return jobs_folder(directory) / SCRIPT_NAME
