"""The pieces of W&B runs that cells left on disk: which are the newest, what they lack, and how one is made again."""

import dataclasses
import json
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitsweep.config.schema import TrackerConfig
from vitsweep.errors import UserError
from vitsweep.study.record import Record, read_record, read_rows
from vitsweep.tracking.read_back import FOLDER_NAME
from vitsweep.tracking.run import exit_code, run_id
from vitsweep.tracking.run_file import RunFile, read_run_file
from vitsweep.tracking.tracker import BEST_MODEL, PICTURES_NAME, SENT_SUFFIX, WANDB_FOLDER, WandbTracker


@dataclass(kw_only=True)
class Piece:
    """The newest run file of one cell; the older ones are of attempts that were killed, and it has all their rows."""

    cell: Path
    path: Path
    record: Record | None
    """None for a run that no record goes with: it is sent as it is."""
    url: str = ""
    """Where the run is shown, once it is sent."""
    fault: str = ""
    """Why it could not be sent."""
    is_remade: bool = False
    """Whether it was written anew from the record for this sync."""

    @property
    def id(self) -> str:
        """The run's id."""
        return self.path.stem.removeprefix("run-")

    @property
    def marker(self) -> Path:
        """The file that says that the server has it."""
        return self.path.with_name(self.path.name + SENT_SUFFIX)

    @property
    def is_sent(self) -> bool:
        """Whether the server has this piece, and the piece all that the record has."""
        return self.marker.exists() and not missing_part(self, read_run_file(self.path))


def find_pieces(directory: Path) -> tuple[list[Piece], list[str]]:
    """The newest run file of every run under `directory`, and a sentence for each record that cannot be read."""
    newest: dict[tuple[Path, str], tuple[tuple[str, int], Path]] = {}
    for path in directory.rglob(f"{WANDB_FOLDER}/*run-*/run-*.wandb"):
        name = FOLDER_NAME.match(path.parent.name)
        if name is None:
            continue
        key, age = (path.parents[2], path.stem), (name["moment"], int(name["again"] or 0))
        newest[key] = max(newest.get(key, (age, path)), (age, path))
    pieces, faults = [], []
    for (cell, _), (_, path) in sorted(newest.items()):
        try:
            pieces.append(Piece(cell=cell, path=path, record=idle_record(read_record(cell))))
        except FileNotFoundError:
            pieces.append(Piece(cell=cell, path=path, record=None))
        except UserError as fault:
            faults.append(str(fault))
    return pieces, faults


def idle_record(record: Record) -> Record:
    """The record of a cell that nobody is at: one that still says `running` was interrupted by its process's death."""
    return dataclasses.replace(record, status="interrupted") if record.status == "running" else record


def missing_part(piece: Piece, content: RunFile) -> str:
    """What the record has and the piece has not, in a word; empty if it is whole or no record goes with it."""
    record = piece.record
    if record is None or piece.id not in run_ids(record):
        return ""
    if content.exit_code is None:
        return "end"
    if {row["epoch"] for row in read_rows(piece.cell)} - content.epochs:
        return "epochs"
    if content.exit_code != exit_code(record):
        return "outcome"
    if wants_artifact(record) and (piece.cell / BEST_MODEL).exists() and not content.artifact_paths:
        return "artifact"
    return ""


def run_ids(record: Record) -> set[str]:
    """The runs that tell of this record: its own, and those whose id an agent of W&B has given."""
    return {run_id(record)} | {run["id"] for run in record.wandb}


def wants_artifact(record: Record) -> bool:
    """Whether the cell's best weights and record belong to its run."""
    return record.status == "done" and record.config.get("tracker", {}).get("artifacts", False)


def make_whole(piece: Piece, directory: Path) -> Path:
    """See to it that the piece can be sent, if need be by making it again; returns the folder to send it from."""
    content = read_run_file(piece.path)
    base = base_of(piece, content) if content.artifact_paths else directory
    if piece.record is None or (base and not missing_part(piece, content) and starting_step(piece.path) == 0):
        return base or directory
    rebuild(piece, directory)
    return directory


def base_of(piece: Piece, content: RunFile) -> Path | None:
    """The folder from which the piece's artifact names its files, or None if the cell has been moved since."""
    name = next((path for path in content.artifact_paths if Path(path).name == BEST_MODEL), "")
    whole, part = (piece.cell / BEST_MODEL).parts, Path(name).parts
    return Path(*whole[: -len(part)]) if part and whole[-len(part) :] == part else None


def starting_step(path: Path) -> int:
    """The step that the server's run was at when this piece went on with it; 0 for one that was begun anew.

    wandb would add such a piece to what the server has, and so twice what had arrived.
    """
    try:
        state = json.loads(path.with_name(path.name + ".syncstate").read_text(encoding="utf-8"))
        return int(state["starting_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def rebuild(piece: Piece, directory: Path) -> None:
    """Write the cell's run anew, offline, from its record, rows, predictions and pictures.

    Raises:
        RuntimeError: the tracker gave up; it has said why.
    """
    config = dataclasses.replace(tracker_config(piece.record.config), mode="offline")
    with chdir(directory):  # an artifact's files are named from the working folder
        replay(piece.record, piece.cell, config, piece.id)
    made = [found for found in find_pieces(piece.cell)[0] if found.id == piece.id and found.path != piece.path]
    if not made:
        raise RuntimeError("the run could not be made again from its record")
    piece.path, piece.is_remade = made[0].path, True


def replay(record: Record, cell: Path, config: TrackerConfig, run_id: str = "") -> list[dict[str, str]]:
    """Tell W&B what a cell's record, rows, predictions and pictures say; returns the run's id, url and mode.

    Args:
        run_id: of the run; empty for the record's own.
    """
    tracker = WandbTracker(config, artifacts=wants_artifact(record), run_id=run_id, samples_load=False)
    tracker.start(record, cell)
    for name, path, caption in kept_pictures(cell):
        tracker.image(name, path, caption)
    tracker.finish(record)
    return tracker.runs


def tracker_config(config: dict[str, Any]) -> TrackerConfig:
    """The tracker's part of a resolved configuration; what this version does not know is left out."""
    known = {field.name for field in dataclasses.fields(TrackerConfig)}
    return TrackerConfig(**{name: value for name, value in config.get("tracker", {}).items() if name in known})


def kept_pictures(cell: Path) -> list[tuple[str, Path, str]]:
    """The pictures that the tracker was given: name, file, caption; those whose file is gone are left out."""
    try:
        kept = json.loads((cell / WANDB_FOLDER / PICTURES_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [(name, cell / relative, caption) for name, relative, caption in kept if (cell / relative).exists()]
