"""Run files that cells left on disk: find the newest of each run, compare it with its record, rebuild it from that."""

import dataclasses
import json
import logging
import os
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitsweep.config.schema import TrackerConfig
from vitsweep.errors import UserError
from vitsweep.study.record import Record, read_record, read_rows, write_record
from vitsweep.tracking.deleted_runs import own_ids, read_deleted, usable_id
from vitsweep.tracking.run import exit_code
from vitsweep.tracking.run_file import find_run_files, read_run_file
from vitsweep.tracking.tracker import BEST_MODEL, PICTURES_NAME, SENT_SUFFIX, WANDB_FOLDER, WandbTracker

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Piece:
    """Newest run file of one run; older files are from killed attempts, and the newest has all their rows."""

    cell: Path
    path: Path
    record: Record | None
    """Record of the cell, None if it has none: then the file is sent as it is."""
    url: str = ""
    """Page of the run, once it is sent."""
    error: str = ""
    """Reason why it was not sent."""

    @property
    def id(self) -> str:
        """Id of the run."""
        return file_id(self.path)

    @property
    def is_deleted(self) -> bool:
        """True if the server refuses the run's id, because its run was deleted there."""
        return self.id in read_deleted(self.cell)

    @property
    def marker(self) -> Path:
        """File that marks the run file as sent."""
        return self.path.with_name(self.path.name + SENT_SUFFIX)

    @property
    def is_sent(self) -> bool:
        """True if the server has this file, and the file has everything in the record."""
        return self.marker.exists() and not missing_part(self)


def file_id(path: Path) -> str:
    """Return the id of a run file's run."""
    return path.stem.removeprefix("run-")


def find_pieces(directory: Path) -> tuple[list[Piece], list[str]]:
    """Return the newest run file of every run under `directory`, and an error message for each unreadable record."""
    files = [path for path in find_run_files(directory) if path.parents[1].name == WANDB_FOLDER]
    newest = {(path.parents[2], usable_id(path.parents[2], file_id(path))): path for path in files}
    pieces, errors = [], []
    for (cell, _), path in sorted(newest.items()):
        try:
            pieces.append(Piece(cell=cell, path=path, record=idle_record(read_record(cell))))
        except FileNotFoundError:
            pieces.append(Piece(cell=cell, path=path, record=None))
        except UserError as error:
            errors.append(str(error))
    return pieces, errors


def idle_record(record: Record) -> Record:
    """Return the record of a cell without a live process: `running` becomes `interrupted`."""
    return dataclasses.replace(record, status="interrupted") if record.status == "running" else record


def missing_part(piece: Piece) -> str:
    """Name a part of the record that the run file lacks; empty if it is complete or belongs to no record."""
    record = piece.record
    if record is None or piece.id not in own_ids(piece.cell, record):
        return ""
    content = read_run_file(piece.path)
    if content.exit_code is None:
        return "end"
    if {row["epoch"] for row in read_rows(piece.cell)} - content.epochs:
        return "epochs"
    if content.exit_code != exit_code(record):
        return "outcome"
    if needs_artifact(record) and (piece.cell / BEST_MODEL).exists() and not content.artifact_paths:
        return "artifact"
    return ""


def needs_artifact(record: Record) -> bool:
    """Return True if the best weights and the record are logged as an artifact of the run."""
    return record.status == "done" and record.config.get("tracker", {}).get("artifacts", False)


def can_send_as_is(piece: Piece) -> bool:
    """Return True for a complete offline run whose id the server takes and whose artifact, if any, lies in the cell.

    Sending the original keeps the machine's load and the real times, which the record does not have. The file of an
    online run is never sent as it is: wandb would append it to the server's run, and rows would arrive twice.

    Raises:
        FileNotFoundError: a run without a record, which cannot be rebuilt, lacks a file of its artifact.
    """
    if piece.record is None:
        if lost := next((name for name in read_run_file(piece.path).artifact_paths if not Path(name).exists()), None):
            raise FileNotFoundError(f"{lost} of its artifact is not there; start in the folder of the training command")
        return True
    if piece.is_deleted or not piece.path.parent.name.startswith("offline-") or missing_part(piece):
        return False
    files = [Path(name).resolve() for name in read_run_file(piece.path).artifact_paths]
    return all(file.is_relative_to(piece.cell) and file.exists() for file in files)


def rebuild(piece: Piece, directory: Path) -> None:
    """Write the cell's run again, offline, from its record, rows, predictions and pictures; point `piece` to it.

    A deleted run is written under its next id.

    Args:
        piece: of a cell that has a record.
        directory: folder from which the artifact's files are named.

    Raises:
        RuntimeError: the tracker gave up, after a warning.
    """
    record = piece.record
    assert record is not None
    config = dataclasses.replace(tracker_config(record.config), mode="offline")
    with chdir(directory):
        replay(record, piece.cell, config, piece.id)
    wanted = usable_id(piece.cell, piece.id)
    newest = next((path for path in reversed(find_run_files(piece.cell)) if file_id(path) == wanted), piece.path)
    if newest == piece.path:
        raise RuntimeError("the run could not be rebuilt from its record")
    piece.path = newest


def replay(record: Record, cell: Path, config: TrackerConfig, run_id: str = "") -> list[dict[str, str]]:
    """Log a finished cell's record, rows, predictions and pictures to W&B; return the run's id, url and mode.

    Args:
        record: of the cell.
        cell: its directory.
        config: mode, project and entity.
        run_id: id of the run; empty for the record's own.
    """
    tracker = WandbTracker(config, artifacts=needs_artifact(record), run_id=run_id, system_metrics=False)
    tracker.start(record, cell)
    for name, path, caption in read_pictures(cell):
        tracker.image(name, path, caption)
    tracker.finish(record)
    return tracker.runs


def replay_for_agent(record: Record, cell: Path, config: TrackerConfig) -> None:
    """Log an ended cell to the run that the agent of a W&B sweep started, unless it has been logged there.

    W&B waits for the result of every run that an agent starts, also if the cell was trained before. Updates the record
    on disk, so the caller holds the cell's lock.
    """
    agent_run = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
    if agent_run is None or config.name != "wandb" or agent_run in {run["id"] for run in record.wandb}:
        return
    log.info("%s seed %d is %s already; logging it to W&B's run %s", record.arm, record.seed, record.status, agent_run)
    record.wandb += replay(record, cell, config)
    write_record(cell, record)


def tracker_config(config: dict[str, Any]) -> TrackerConfig:
    """Return the tracker's part of a resolved configuration, without fields unknown to this version."""
    known = {field.name for field in dataclasses.fields(TrackerConfig)}
    return TrackerConfig(**{name: value for name, value in config.get("tracker", {}).items() if name in known})


def read_pictures(cell: Path) -> list[tuple[str, Path, str]]:
    """Return name, file and caption of the pictures that the tracker received and that still exist."""
    try:
        saved = json.loads((cell / WANDB_FOLDER / PICTURES_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [(name, cell / relative, caption) for name, relative, caption in saved if (cell / relative).exists()]
