"""Status of each planned cell, from its record and lock."""

import builtins
import json
from dataclasses import dataclass
from pathlib import Path

from vitsweep.errors import RecordError
from vitsweep.study.locks import LivenessCheck, Owner, read_lock
from vitsweep.study.plan import Cell
from vitsweep.study.record import Record, read_record

FAILURES = ("failed", "diverged")
NOT_NEEDED = "not needed"
"""Status of a planned cell that need not be trained, since its arm was stopped at a look."""
REFUSALS = ("ConfigError", "DataError", "RecordError", "UserError")
"""Types of error that do not depend on the cell: it is tried again once the user has corrected them."""
SYSTEM_ERRORS = tuple(
    name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, OSError)
)
"""Types of error of the operating system: a missing file, a broken link, a missing permission."""


LOOKS_NAME = "looks.json"
"""What the last judgement at the looks needed, for `vitsweep status`; made again from the records at every start."""


@dataclass(kw_only=True)
class LooksVerdict:
    """Judgement of a study at its complete looks."""

    needed: dict[str, int]
    """Arm -> number of the plan's seeds that it needs, those of the next look included if it goes on."""
    lines: list[str]
    """A sentence on each complete look."""
    is_over: bool
    """True if nothing is open any more, or the last look is complete."""

    def is_needed(self, cell: Cell, seeds: list[int]) -> bool:
        """Return whether a cell is needed, or may still be: its arm goes on and looks are left."""
        number = self.needed.get(cell.arm, 0)
        is_going_on = not self.is_over and number == max(self.needed.values())
        return is_going_on or seeds.index(cell.seed) < number


def read_looks(directory: Path) -> LooksVerdict | None:
    """Read the judgement that a sweep with until=decided left; None without one, or if it cannot be read."""
    try:
        return LooksVerdict(**json.loads((directory / LOOKS_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@dataclass(kw_only=True)
class CellStatus:
    """Status of one cell, with its record and the owner of its lock."""

    cell: Cell
    status: str
    """planned, running (a live process holds the lock), interrupted, done, failed or diverged."""
    record: Record | None = None
    owner: Owner | None = None
    """Process that holds the lock, alive or dead."""
    is_locked: bool = False
    """True if there is a lock in the directory, of a live or a dead owner."""
    is_damaged: bool = False
    """True if the directory holds another cell or a record that cannot be read; `record` then holds that error only."""

    @property
    def refusal(self) -> str:
        """The message of an error that the user must correct before the cell can be trained; empty without one."""
        if self.status == "failed" and self.record and self.record.error and self.record.error["type"] in REFUSALS:
            return self.record.error["message"]
        return ""

    @property
    def has_outside_cause(self) -> bool:
        """Return whether the cell failed for want of something outside of it, so that it is tried again."""
        error = self.record.error if self.status == "failed" and self.record else None
        is_system = error is not None and error["type"] in SYSTEM_ERRORS and "[Errno" in error["message"]
        return is_system or bool(self.refusal)

    def is_wanted(self, retry: bool) -> bool:
        """Return whether the cell is still to be trained; `retry` includes those that failed."""
        if self.is_damaged or self.status == "done":
            return False
        return retry or self.status not in FAILURES or self.has_outside_cause


def cell_status(directory: Path, cell: Cell, liveness: LivenessCheck) -> CellStatus:
    """Return the status of a cell; `failed` if its directory holds another cell or a damaged record."""
    try:
        return read_status(directory, cell, liveness)
    except RecordError as error:
        record = new_record_of_cell(cell)
        record.status, record.error = "failed", {"type": "RecordError", "message": str(error), "traceback": ""}
        return CellStatus(cell=cell, status="failed", record=record, is_damaged=True)


def new_record_of_cell(cell: Cell) -> Record:
    """Return a record that names the cell and holds no result."""
    return Record(role=cell.role, arm=cell.arm, levels=cell.levels, seed=cell.seed, config_hash=cell.config_hash)


def read_status(directory: Path, cell: Cell, liveness: LivenessCheck) -> CellStatus:
    """Return the status of a cell.

    Raises:
        RecordError: its directory holds another cell, or a damaged record.
    """
    owner = None
    for _ in range(3):
        lock = read_lock(directory / cell.id)
        owner = lock.owner if lock else None
        record = cell_record(directory, cell)
        if lock is not None and not liveness.is_dead(directory / cell.id, lock):
            return CellStatus(cell=cell, status="running", record=record, owner=owner, is_locked=True)
        if record is None or record.status != "running":
            break
        # Running without a live owner: it died, or started or ended between the two reads. So read again.
    now = idle_status(cell, record)
    now.owner, now.is_locked = owner, lock is not None
    return now


def idle_status(cell: Cell, record: Record | None) -> CellStatus:
    """Return the status of a cell without a live owner: a record that says `running` was interrupted."""
    status = record.status if record else "planned"
    status = "interrupted" if status == "running" else status
    return CellStatus(cell=cell, status=status, record=record)


def cell_statuses(directory: Path, cells: list[Cell], liveness: LivenessCheck) -> list[CellStatus]:
    """Return the status of each cell."""
    return [cell_status(directory, cell, liveness) for cell in cells]


def cell_record(directory: Path, cell: Cell) -> Record | None:
    """Return the cell's record, or None if it was never started.

    Raises:
        RecordError: the directory holds another cell, or a damaged record.
    """
    try:
        record = read_record(directory / cell.id)
    except FileNotFoundError:
        return None
    if (record.config_hash, record.seed, record.arm) != (cell.config_hash, cell.seed, cell.arm):
        raise RecordError(f"{directory / cell.id}  holds another cell; move that folder away")
    return record
