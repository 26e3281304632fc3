"""Where each cell of a plan stands, read from its directory: what its record says, and whether somebody is at it."""

from dataclasses import dataclass
from pathlib import Path

from vitsweep.errors import RecordError
from vitsweep.study.locks import Owner, Witness, read_hold
from vitsweep.study.plan import Cell
from vitsweep.study.record import Record, read_record

ENDED_BADLY = ("failed", "diverged")
REFUSALS = ("ConfigError", "DataError", "RecordError", "UserError")
"""Types of error that say nothing about the cell: the user mends something and the cell is tried again."""


@dataclass(kw_only=True)
class Standing:
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
        return self.status != "done" and (retry or self.status not in ENDED_BADLY or bool(self.refusal))


def standing(directory: Path, cell: Cell, witness: Witness) -> Standing:
    """Where a cell stands.

    Raises:
        RecordError: its directory holds something else, or a damaged record.
    """
    owner = None
    for _ in range(3):
        hold = read_hold(directory / cell.id)
        owner = hold.owner if hold else None
        record = record_of(directory, cell)
        if hold is not None and not witness.is_dead(directory / cell.id, hold):
            return Standing(cell=cell, status="running", record=record, owner=owner, is_locked=True)
        if record is None or record.status != "running":
            break
        # Running, and nobody at it: its owner has died, or began or ended between these two looks. So look again.
    now = at_rest(cell, record)
    now.owner, now.is_locked = owner, hold is not None
    return now


def at_rest(cell: Cell, record: Record | None) -> Standing:
    """Where a cell stands that nobody is at: a record that says `running` was interrupted."""
    status = record.status if record else "planned"
    status = "interrupted" if status == "running" else status
    return Standing(cell=cell, status=status, record=record)


def standings(directory: Path, cells: list[Cell], witness: Witness) -> list[Standing]:
    """Where each of the cells stands.

    Raises:
        RecordError: some directories hold something else; all of them in one message.
    """
    found, faults = [], []
    for cell in cells:
        try:
            found.append(standing(directory, cell, witness))
        except RecordError as fault:
            faults.append(str(fault))
    if faults:
        raise RecordError("\n".join(faults))
    return found


def record_of(directory: Path, cell: Cell) -> Record | None:
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
