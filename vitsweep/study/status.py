"""Where each cell of a plan stands, read from its directory: what its record says, and whether somebody is at it."""

from dataclasses import dataclass
from pathlib import Path

from vitsweep.errors import RecordError
from vitsweep.study.locks import LivenessCheck, Owner, read_lock
from vitsweep.study.plan import Cell
from vitsweep.study.record import Record, read_record

FAILURES = ("failed", "diverged")
REFUSALS = ("ConfigError", "DataError", "RecordError", "UserError")
"""Types of error that say nothing about the cell: the user mends something and the cell is tried again."""


@dataclass(kw_only=True)
class CellStatus:
    """One cell's state of affairs."""

    cell: Cell
    status: str
    """planned, running (somebody alive is at it), interrupted, done, failed or diverged."""
    record: Record | None = None
    owner: Owner | None = None
    """Who is at it, or was when it died."""
    is_locked: bool = False
    """Whether a lock lies in its directory, also a dead one."""

    @property
    def refusal(self) -> str:
        """What the user must change before this cell can be trained, or nothing."""
        if self.status == "failed" and self.record and self.record.error and self.record.error["type"] in REFUSALS:
            return self.record.error["message"]
        return ""

    def is_wanted(self, retry: bool) -> bool:
        """Whether the cell is still to be trained; `retry` includes those that failed."""
        return self.status != "done" and (retry or self.status not in FAILURES or bool(self.refusal))


def cell_status(directory: Path, cell: Cell, liveness: LivenessCheck) -> CellStatus:
    """Where a cell stands.

    Raises:
        RecordError: its directory holds something else, or a damaged record.
    """
    owner = None
    for _ in range(3):
        hold = read_lock(directory / cell.id)
        owner = hold.owner if hold else None
        record = cell_record(directory, cell)
        if hold is not None and not liveness.is_dead(directory / cell.id, hold):
            return CellStatus(cell=cell, status="running", record=record, owner=owner, is_locked=True)
        if record is None or record.status != "running":
            break
        # Running, and nobody at it: its owner has died, or began or ended between these two looks. So look again.
    now = idle_status(cell, record)
    now.owner, now.is_locked = owner, hold is not None
    return now


def idle_status(cell: Cell, record: Record | None) -> CellStatus:
    """Where a cell stands that nobody is at: a record that says `running` was interrupted."""
    status = record.status if record else "planned"
    status = "interrupted" if status == "running" else status
    return CellStatus(cell=cell, status=status, record=record)


def cell_statuses(directory: Path, cells: list[Cell], liveness: LivenessCheck) -> list[CellStatus]:
    """Where each of the cells stands.

    Raises:
        RecordError: some directories hold something else; all of them in one message.
    """
    found, faults = [], []
    for cell in cells:
        try:
            found.append(cell_status(directory, cell, liveness))
        except RecordError as fault:
            faults.append(str(fault))
    if faults:
        raise RecordError("\n".join(faults))
    return found


def cell_record(directory: Path, cell: Cell) -> Record | None:
    """The cell's record, or None if it was never started.

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
