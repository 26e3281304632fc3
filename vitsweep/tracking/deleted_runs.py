"""New ids of runs that were deleted on W&B's pages: the server never takes the id of a deleted run again.

The ids of a cell are a fixed sequence, each a hash of the one before, so that sending twice still gives one run. The
deleted ones are listed beside the cell's run files.
"""

import hashlib
import json
from pathlib import Path

from vitsweep.files import write_json
from vitsweep.study.record import Record
from vitsweep.tracking.run import run_id

DELETED_FILE = Path("wandb/deleted.json")
ANSWER = "previously created and deleted"  # of the server, HTTP 409
MAX_NEW_IDS = 2
"""Number of new ids that are tried for a run at one start or sync; the server takes seconds to refuse one."""


def is_deleted(message: str) -> bool:
    """Return True if an error of W&B says that the run of this id was deleted."""
    return ANSWER in message


def next_id(deleted: str) -> str:
    """Return the id that follows a deleted one."""
    return hashlib.sha256(f"after {deleted}".encode()).hexdigest()[:16]


def read_deleted(cell: Path) -> list[str]:
    """Return the ids of a cell's deleted runs."""
    try:
        found = json.loads((cell / DELETED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(entry) for entry in found] if isinstance(found, list) else []


def mark_deleted(cell: Path, deleted: str) -> None:
    """Add the id of a deleted run to the cell's list."""
    known = read_deleted(cell)
    if deleted not in known:
        (cell / DELETED_FILE).parent.mkdir(exist_ok=True)
        write_json(cell / DELETED_FILE, [*known, deleted])


def usable_id(cell: Path, first: str) -> str:
    """Return the first id of the sequence from `first` on whose run was not deleted."""
    deleted, found = set(read_deleted(cell)), first
    while found in deleted:
        found = next_id(found)
    return found


def own_ids(cell: Path, record: Record) -> set[str]:
    """Return all ids under which a cell's runs were or will be logged."""
    return {run_id(record), *(run["id"] for run in record.wandb), *map(next_id, read_deleted(cell))}
