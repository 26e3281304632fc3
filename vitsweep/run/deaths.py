"""deaths."""

import logging
from pathlib import Path

from vitsweep.study.locks import CellLock
from vitsweep.study.plan import Cell, new_record, read_cell
from vitsweep.study.record import Record, write_record
from vitsweep.study.status import CellStatus, cell_record, idle_status

log = logging.getLogger(__name__)


class Deaths:
    """How often each cell's process has died without the cell having come further in between."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[int, int]] = {}  # id -> (deaths, epochs finished at the last one)

    def count(self, now: CellStatus) -> int:
        """Count one more death of the cell, and return how many there are."""
        epoch = now.record.epoch if now.record else 0
        deaths, before = self.known.get(now.cell.id, (0, 0))
        self.known[now.cell.id] = (deaths + 1 if epoch <= before else 1, epoch)
        return self.known[now.cell.id][0]


def num_attempts(record: Record | None) -> int:
    """How often a cell has been begun."""
    return record.attempts if record else 0


def give_up(directory: Path, cell: Cell, reason: str) -> CellStatus:
    """Write down that a cell failed which could not do so itself."""
    with CellLock(directory / cell.id) as lock:
        if lock.acquire():
            record = cell_record(directory, cell) or new_record(read_cell(directory, cell.id)[0], cell, None)
            if record.status not in ("done", "failed", "diverged"):
                log.error("%s: %s", cell.id, reason)
                record.status, record.error = "failed", {"type": "Died", "message": reason, "traceback": ""}
                write_record(directory / cell.id, record)
    return idle_status(cell, cell_record(directory, cell))
