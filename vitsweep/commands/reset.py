"""`python -m vitsweep reset DIR CELL ... | --failed | --all`: delete the results of cells, so that they train again.

Prints each cell that it resets. Refuses a cell that is being trained.
"""

import shutil
from pathlib import Path

from vitsweep.commands.arguments import parse_directory
from vitsweep.errors import UserError
from vitsweep.study.locks import LOCK_NAME, CellLock, LivenessCheck
from vitsweep.study.plan import require_plan
from vitsweep.study.status import FAILURES, CellStatus, cell_statuses

USAGE = "reset DIR CELL ... | --failed | --all"


def main(arguments: list[str]) -> int:
    """Reset the chosen cells; return 0.

    Raises:
        UserError: one of them is being trained; the others are reset.
    """
    directory, words = parse_directory(arguments, USAGE)
    found = cell_statuses(directory, require_plan(directory).cells, LivenessCheck())
    chosen = choose_cells(found, words)
    held = [now.cell.id for now in chosen if not reset_cell(directory / now.cell.id)]
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
                or f"usage: python -m vitsweep {USAGE}"
            )
        wanted = [known[word.rstrip("/")] for word in words]
    return [now for now in wanted if now.status != "planned"]


def reset_cell(folder: Path) -> bool:
    """Delete everything in a cell's folder except its lock; return False if the cell is being trained."""
    with CellLock(folder) as lock:
        if not lock.acquire():
            return False
        for path in folder.iterdir():
            if path.name == LOCK_NAME:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return True
