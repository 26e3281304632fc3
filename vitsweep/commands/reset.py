"""`python -m vitsweep reset DIR CELL ... | --failed | --all`: delete the results of cells, so that they train again.

Prints each cell that it resets. Refuses a cell that is being trained. `reset DIR --stale` deletes no results: it
removes the locks of processes that died on another machine, so that the next run continues those cells at once.
"""

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vitsweep.commands.command_arguments import parse_directory, refuse_published
from vitsweep.errors import UserError
from vitsweep.study.locks import (
    LOCK_NAME,
    STALE_SECONDS,
    CellLock,
    LivenessCheck,
    age_text,
    remove_stale_lock_elsewhere,
)
from vitsweep.study.plan import require_plan
from vitsweep.study.status import FAILURES, CellStatus, cell_statuses

USAGE = "reset DIR CELL ... | --failed | --all | --stale"


def main(arguments: list[str]) -> int:
    """Reset the chosen cells; return 0.

    Raises:
        UserError: one of them is being trained; the others are reset.
    """
    directory, words = parse_directory(arguments, USAGE)
    refuse_published(directory)
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # locks.py logs what it waits for
    liveness = LivenessCheck()
    found = cell_statuses(directory, require_plan(directory).cells, liveness)
    if words == ["--stale"]:
        return remove_stale_locks(directory, found)
    chosen = choose_cells(found, words)
    held = [now.cell.id for now in chosen if not reset_cell(directory / now.cell.id, liveness)]
    for now in chosen:
        if now.cell.id not in held:
            print(f"{now.cell.id}: reset, was {now.status}")
    if held:
        raise UserError(
            "\n".join(f"{id}  is being trained; stop that process, then run this command again" for id in held)
        )
    print(f"Reset {len(chosen)} of {len(found)} cells. Run the command again to train them.")
    return 0


def choose_cells(found: list[CellStatus], words: list[str]) -> list[CellStatus]:
    """Return the started cells among those that the words name.

    Raises:
        UserError: the words name no cell, or an unknown one.
    """
    if words == ["--all"]:
        wanted = found
    elif words == ["--failed"]:
        wanted = [now for now in found if now.status in FAILURES]
    else:
        known = {now.cell.id: now for now in found}
        unknown = [word for word in words if word.rstrip("/") not in known]
        if unknown or not words:
            raise UserError(
                "\n".join(
                    f"{word}  is not a cell of this sweep; list its cells with: python -m vitsweep status DIR"
                    for word in unknown
                )
                or f"usage: vitsweep {USAGE}"
            )
        wanted = [known[word.rstrip("/")] for word in words]
    return [now for now in wanted if now.status != "planned"]


def remove_stale_locks(directory: Path, found: list[CellStatus]) -> int:
    """Remove the locks of dead processes and keep all results; return 0.

    Raises:
        UserError: a locked cell may be being trained; the other locks are removed.
    """
    locked = [now.cell.id for now in found if now.is_locked]
    with ThreadPoolExecutor(max_workers=max(1, len(locked))) as watchers:  # each lock is watched for a while
        removed = list(watchers.map(lambda id: remove_stale_lock_elsewhere(directory / id), locked))
    for id, is_removed in zip(locked, removed, strict=True):
        if is_removed:
            print(f"{id}: lock removed")
    kept = [id for id, is_removed in zip(locked, removed, strict=True) if not is_removed]
    if kept:
        raise UserError(
            "\n".join(
                f"{id}  is being trained (last heartbeat {age_text(directory / id)} ago); "
                f"a lock is stale {STALE_SECONDS:.0f} s after the last heartbeat"
                for id in kept
            )
        )
    print(f"Removed {len(locked)} locks. Run the command again to continue those cells.")
    return 0


def reset_cell(folder: Path, liveness: LivenessCheck) -> bool:
    """Delete everything in a cell's folder except its lock; return False if the cell is being trained."""
    with CellLock(folder, liveness) as lock:
        if not lock.acquire_or_wait():
            return False
        for path in folder.iterdir():
            if path.name == LOCK_NAME:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return True
