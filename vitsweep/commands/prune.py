"""`python -m vitsweep prune DIR [--all]`: remove checkpoints of finished cells; keep records, curves and predictions.

Removes last.safetensors, the averages, the weights of single epochs and final.pt, so that `extend DIR epochs=N` no
longer works; with --all best.safetensors too, so that load_model and attention maps no longer work. Never removes
state.pt, from which an interrupted cell resumes.
"""

from pathlib import Path

from vitsweep.commands.command_arguments import parse_directory, refuse_published
from vitsweep.errors import UserError
from vitsweep.study.locks import CellLock, LivenessCheck
from vitsweep.study.plan import require_plan
from vitsweep.study.record import EPOCHS_FOLDER, FINAL_NAME, epoch_checkpoints
from vitsweep.study.status import cell_statuses

USAGE = "prune DIR [--all]"
LAST, AVERAGES, BEST = "last.safetensors", ("ema.safetensors", "average.safetensors"), "best.safetensors"


def main(arguments: list[str]) -> int:
    """Remove the checkpoints and print their number and size."""
    directory, words = parse_directory(arguments, USAGE)
    refuse_published(directory)
    if words not in ([], ["--all"]):
        raise UserError(f"usage: vitsweep {USAGE}")
    names = [LAST, FINAL_NAME, *AVERAGES, *([BEST] if words else [])]
    done = [
        now.cell
        for now in cell_statuses(directory, require_plan(directory).cells, LivenessCheck())
        if now.status == "done"
    ]
    sizes = [size for cell in done for size in remove_checkpoints(directory / cell.id, names)]
    print(f"Removed {len(sizes)} checkpoints of {len(done)} finished cells, {sum(sizes) / 2**20:.1f} MiB.")
    return 0


def remove_checkpoints(folder: Path, names: list[str]) -> list[int]:
    """Remove the named files and the weights of single epochs; return the bytes of each. Skip a locked cell."""
    with CellLock(folder) as lock:
        if not lock.acquire():
            return []
        paths = [folder / name for name in names if (folder / name).exists()]
        paths += epoch_checkpoints(folder).values()
        sizes = [path.stat().st_size for path in paths]
        for path in paths:
            path.unlink()
        epochs = folder / EPOCHS_FOLDER
        if epochs.exists() and not any(epochs.iterdir()):
            epochs.rmdir()
    return sizes
