"""`python -m vitsweep prune DIR [--all]`: make room by removing checkpoints; records, curves and predictions stay.

Of each finished cell last.safetensors and the weights of single epochs go, with --all best.safetensors too (then
load_model and the attention maps have nothing to load). A state that somebody could go on from is never touched.
"""

from pathlib import Path

from vitsweep.commands.arguments import parse_directory
from vitsweep.errors import UserError
from vitsweep.study.locks import CellLock, LivenessCheck
from vitsweep.study.plan import require_plan
from vitsweep.study.record import EPOCHS_FOLDER, epoch_checkpoints
from vitsweep.study.status import cell_statuses

LAST, BEST = "last.safetensors", "best.safetensors"


def main(arguments: list[str]) -> int:
    """Remove the checkpoints and say how much room that made."""
    directory, words = parse_directory(arguments, "prune DIR [--all]")
    if words not in ([], ["--all"]):
        raise UserError("usage: python -m vitsweep prune DIR [--all]")
    names = [LAST, BEST] if words else [LAST]
    done = [
        now.cell
        for now in cell_statuses(directory, require_plan(directory).cells, LivenessCheck())
        if now.status == "done"
    ]
    sizes = [size for cell in done for size in remove_checkpoints(directory / cell.id, names)]
    print(f"{len(sizes)} checkpoints of {len(done)} finished cells removed, {sum(sizes) / 2**20:.1f} MiB")
    return 0


def remove_checkpoints(folder: Path, names: list[str]) -> list[int]:
    """Remove the files and those of single epochs; return the bytes of each, none if somebody is at the cell."""
    with CellLock(folder) as lock:
        if not lock.acquire():
            return []
        there = [folder / name for name in names if (folder / name).exists()]
        there += epoch_checkpoints(folder).values()
        sizes = [path.stat().st_size for path in there]
        for path in there:
            path.unlink()
        epochs = folder / EPOCHS_FOLDER
        if epochs.exists() and not any(epochs.iterdir()):
            epochs.rmdir()
    return sizes
