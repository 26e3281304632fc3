"""`python -m vitsweep reset DIR CELL ... | --failed | --all`: forget what cells did, so that they are trained again.

Nothing is forgotten silently: the cells must be named, and each is told. A cell that somebody is at is refused.
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
    """Forget the cells that are named; 0 if every one was free."""
    directory, words = parse_directory(arguments, USAGE)
    found = cell_statuses(directory, require_plan(directory).cells, LivenessCheck())
    chosen = choose_cells(found, words)
    held = [now.cell.id for now in chosen if not reset_cell(directory / now.cell.id)]
    for now in chosen:
        if now.cell.id not in held:
            print(f"{now.cell.id}: {now.status}, forgotten")
    if held:
        raise UserError("\n".join(f"{id}  is being trained; stop that first" for id in held))
    print(f"{len(chosen)} of {len(found)} cells forgotten; the same command as before trains them")
    return 0


def choose_cells(found: list[CellStatus], words: list[str]) -> list[CellStatus]:
    """The cells that were ever started, of those that the words name.

    Raises:
        UserError: they name none, or one that there is not.
    """
    if words == ["--all"]:
        wanted = found
    elif words == ["--failed"]:
        wanted = [now for now in found if now.status in FAILURES]
    else:
        known = {now.cell.id: now for now in found}
        strange = [word for word in words if word.rstrip("/") not in known]
        if strange or not words:
            raise UserError(
                "\n".join(f"{word}  is no cell of this sweep; python -m vitsweep status lists them" for word in strange)
                or f"usage: python -m vitsweep {USAGE}"
            )
        wanted = [known[word.rstrip("/")] for word in words]
    return [now for now in wanted if now.status != "planned"]


def reset_cell(folder: Path) -> bool:
    """Remove all that a cell has left; False if somebody is at it."""
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
