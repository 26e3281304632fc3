"""jobs.json: the Slurm jobs of a study and the cells that each of them trains; changed under a lock only.

It lies in `slurm/` below the sweep's directory, with the jobs' script and output. A job is an array task: the cells of
task `i` of a part are `groups[i]`.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vitsweep.added_fields import from_values
from vitsweep.errors import RecordError, UserError
from vitsweep.files import write_json
from vitsweep.run.cluster.options import launcher_size, launcher_warning
from vitsweep.run.cluster.scheduler import QueuedJob, cancelled_for
from vitsweep.run.cluster.size import Need, arm_folder, job_size
from vitsweep.run.timing.estimate import count
from vitsweep.study.locks import CellLock, describe_owner, read_lock

FOLDER = "slurm"
BOOK_NAME = "jobs.json"
SCHEMA = 1
MARKER = "vitsweep job"
"""First words of a job's output at each of its starts."""
CANCELLED, NEVER_STARTED = "cancelled", "cancelled before its start"
LAST = "last"
"""End of the name of the job that writes the report."""
LOCK_SECONDS = 300.0
"""Time to wait for another process that submits jobs of the same study."""
LOCK_SECONDS_OF_JOB = 30.0
"""The same for a job that has trained its cells: what it cannot submit, a later job does."""


@dataclass(kw_only=True)
class Part:
    """One job array."""

    number: int
    groups: list[list[str]]
    """Ids of the cells of each array task."""
    job_id: str = ""
    """Slurm's id; empty if the process that submitted it died before it was known."""
    retry: bool = False
    """Whether failed cells are trained again."""
    sizes: list[list[int]] = field(default_factory=list)
    """Of each task: time limit in minutes and memory in MB; [] for the launcher's own."""
    newer: dict[str, Any] = field(default_factory=dict)
    """Fields that a newer version has written."""

    def size(self, index: int) -> list[int]:
        """Return time limit and memory of a task; [] for the launcher's own."""
        return self.sizes[index] if index < len(self.sizes) else []


@dataclass(kw_only=True)
class Book:
    """Jobs of a study, and what is needed to submit more."""

    schema: int = SCHEMA
    name: str = ""
    """Begin of the jobs' names; no other study has it."""
    options: list[str] = field(default_factory=list)
    """Of sbatch, for every job."""
    setup: list[str] = field(default_factory=list)
    """Lines of the job's script before the program."""
    parallel: int = 0
    """Largest number of tasks that run at a time; 0: no limit."""
    cells_per_job: int = 1
    jobs: str = "auto"
    """Cells at a time in one job, as sweep.jobs."""
    pack: str = "off"
    max_queued: int | None = None
    has_report: bool = True
    """Whether the last job writes the report."""
    retry: bool = False
    """Whether the cells that wait for room are trained again if they failed."""
    waiting: list[list[str]] = field(default_factory=list)
    """Groups of cells that are not submitted yet."""
    parts: list[Part] = field(default_factory=list)
    last_number: int = 0
    """Number of the job that writes the report; each one may submit a successor."""
    last_id: str = ""
    lost: dict[str, list[int]] = field(default_factory=dict)
    """Cell id -> [epochs finished when a job of the cell was last lost, such losses since it finished another one]."""
    size_jobs: bool = True
    """Whether jobs ask for what their cells need, at most for what the launcher's settings say."""
    needs: dict[str, Need] = field(default_factory=dict)
    """Folder of an arm -> expected use of one of its cells."""
    unsized: list[str] = field(default_factory=list)
    """Cells that needed more than their job had asked for; their jobs have the launcher's limits."""
    is_cancelled: bool = False
    """True after `vitsweep cancel`: jobs submit no others."""
    newer: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Return the names of all jobs."""
        return [self.part_name(part.number) for part in self.parts] + [self.last_name(self.last_number)]

    def part(self, number: int) -> Part:
        """Return the part with this number."""
        return next(part for part in self.parts if part.number == number)

    def part_name(self, number: int) -> str:
        """Return the name of a part's jobs."""
        return f"{self.name}.{number}"

    def last_name(self, number: int) -> str:
        """Return the name of a job that writes the report."""
        return f"{self.name}.{LAST}{number}"

    def group_size(self, group: list[str]) -> list[int]:
        """Return time limit in minutes and memory in MB of a job with these cells; [] for the launcher's own."""
        if not self.size_jobs or not self.needs or not set(group).isdisjoint(self.unsized):
            return []
        needs = [self.needs.get(arm_folder(cell)) for cell in group]
        if self.pack != "off" and len(group) > 1:  # what a pack takes is not known from cells that were trained alone
            return []
        at_a_time = min(len(group), int(self.jobs) if self.jobs.isdigit() else 1)
        return job_size(needs, at_a_time, launcher_size(self.options), launcher_warning(self.options))

    def places(self) -> dict[str, tuple[Part, int]]:
        """Return cell id -> its latest part and its task in it, of all cells that were ever submitted."""
        return {cell: (part, i) for part in self.parts for i, group in enumerate(part.groups) for cell in group}

    def cells_of(self, queued: list[QueuedJob]) -> dict[str, QueuedJob]:
        """Return cell id -> its job that waits or runs."""
        by_name = {self.part_name(part.number): part for part in self.parts}
        found: dict[str, QueuedJob] = {}
        for job in queued:
            part = by_name.get(job.name)
            if part is not None and job.index < len(part.groups):
                found |= dict.fromkeys(part.groups[job.index], job)
        return found


def jobs_folder(directory: Path) -> Path:
    """Return the folder of a sweep's jobs."""
    return directory / FOLDER


def part_folder(directory: Path, number: int) -> Path:
    """Return the folder with the output of a part's jobs."""
    return jobs_folder(directory) / f"part-{number}"


def output_path(directory: Path, part: Part, index: int) -> Path:
    """Return the file with the output of one job; it exists once the job has started."""
    return part_folder(directory, part.number) / f"{index}.out"


def lost_reason(directory: Path, part: Part, index: int) -> str:
    """Return how the job of a cell that is not done left the queue, as text."""
    output = output_path(directory, part, index)
    if not part.job_id and not output.exists():
        return "never submitted"
    if not output.exists():
        return NEVER_STARTED
    reason = cancelled_for(output, MARKER)
    if reason is None:
        return "ended without its cells' ends"
    return f"ended by Slurm ({reason.lower()})" if reason else CANCELLED


def describe_jobs(book: Book, queued: list[QueuedJob]) -> str:
    """Return a sentence on the study's jobs."""
    running = sum(job.state == "RUNNING" for job in queued)
    parts = [f"{running} jobs run", f"{len(queued) - running} are queued"]
    parts += [f"{len(book.waiting)} wait for room in the queue"] if book.waiting else []
    parts += [f"{count(len(book.unsized), 'cell')} needed more than the job had asked for"] if book.unsized else []
    return f"{book.name}: {', '.join(parts)}{'; cancelled' if book.is_cancelled else ''}"


def read_book(directory: Path) -> Book | None:
    """Read the jobs of a sweep; None if it never had any.

    Raises:
        RecordError: jobs.json is damaged.
    """
    path = jobs_folder(directory) / BOOK_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        parts = [Part(**from_values(Part, part)) for part in values["parts"]]
        needs = {arm: Need(**from_values(Need, need)) for arm, need in values.get("needs", {}).items()}
        return Book(**from_values(Book, values) | {"parts": parts, "needs": needs})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        advice = "cancel the study's jobs with scancel, delete that file and run the command again"
        raise RecordError(f"{path}  is damaged ({error}); {advice}") from error


def require_book(directory: Path) -> Book:
    """Read the jobs of a sweep.

    Raises:
        RecordError: it has none.
    """
    book = read_book(directory)
    if book is None:
        raise RecordError(f"{directory}  has no jobs of sweep.detach=true; python -m vitsweep status shows its cells")
    return book


def write_book(directory: Path, book: Book) -> None:
    """Write the jobs of a sweep."""
    values = asdict(book)
    newer = values.pop("newer")
    parts = [part | part.pop("newer") for part in values["parts"]]
    needs = {arm: need | need.pop("newer") for arm, need in values["needs"].items()}
    write_json(jobs_folder(directory) / BOOK_NAME, values | {"parts": parts, "needs": needs} | newer)


@contextmanager
def book_lock(directory: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Exclude other processes, on any machine, that submit or cancel jobs of the same study.

    The lock is that of a cell: a dead process loses it when its heartbeat has stood still, without a look at a clock.

    Raises:
        UserError: another process holds it for longer than `seconds`.
    """
    folder = jobs_folder(directory)
    deadline = time.monotonic() + seconds
    with CellLock(folder) as lock:
        while not lock.acquire_or_wait():
            if time.monotonic() > deadline:
                held = read_lock(folder)
                owner = describe_owner(held.owner) if held else "another process"
                raise UserError(
                    f"{directory}  has its jobs changed by {owner}; run the command again when it has ended"
                )
            time.sleep(0.2)
        yield
