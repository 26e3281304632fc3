"""`vitsweep track DIR tracker=mlflow`: write the copies of cells that were trained before, from their records.

For a study that was trained without this tracker, or whose tracker failed. Cells that are being trained are skipped.
The same command again changes nothing. W&B has `vitsweep wandb sync`.
"""

from pathlib import Path

from vitsweep.commands.command_arguments import parse_directory
from vitsweep.config.composer import Composer
from vitsweep.config.hydra import make_loader
from vitsweep.config.overrides import override_key
from vitsweep.config.schema import TrackerConfig
from vitsweep.errors import ConfigError, RecordError, UserError
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.record import RECORD_NAME, read_record
from vitsweep.tracking.pieces import idle_record
from vitsweep.tracking.several import make_tracker
from vitsweep.tracking.tracker import PICTURES_NAME

USAGE = "track DIR tracker=tensorboard | mlflow | trackio | [mlflow,trackio] [tracker.KEY=VALUE ...]"


def main(arguments: list[str]) -> int:
    """Write the copies and print a line for each cell; return 0, or 1 if a tracker failed."""
    directory, words = parse_directory(arguments, USAGE)
    config = tracker_of(words)
    cells = sorted(path.parent for path in directory.rglob(RECORD_NAME))
    if not cells:
        raise RecordError(f"{directory}  has no cells; name the directory of a sweep or of a cell")
    liveness = LivenessCheck()
    failed = 0
    for cell in cells:
        if liveness.is_held(cell):
            print(f"running  {cell.relative_to(directory)}  skipped; run this command again when it has ended")
            continue
        is_written = track(cell, config)
        failed += not is_written
        print(f"{'written' if is_written else 'FAILED':8s} {cell.relative_to(directory)}")
    return 1 if failed else 0


def tracker_of(words: list[str]) -> TrackerConfig:
    """Return the trackers that the overrides choose.

    Raises:
        UserError: no tracker is chosen, W&B is, or a library is missing.
    """
    groups = {override_key(word).partition(".")[0] for word in words}
    if groups != {"tracker"} or not any(word.startswith("tracker=") for word in words):
        raise UserError(f"usage: vitsweep {USAGE}")
    config = Composer(make_loader(None), "config")(["data=shapes", *words]).tracker
    if config.name == "wandb" or not config.names:
        raise ConfigError(
            [f"tracker={config.name}  has no copies to write here; W&B's are sent by vitsweep wandb sync DIR"]
        )
    if missing := config.missing_libraries():
        raise ConfigError(missing)
    return config


def track(cell: Path, config: TrackerConfig) -> bool:
    """Write one cell's copies; return False if a tracker failed, after its warning."""
    record, tracker = idle_record(read_record(cell)), make_tracker(config)
    tracker.start(record, cell)
    for picture in sorted((cell / PICTURES_NAME).glob("*.png")):
        tracker.image(picture.stem, picture, "")
    tracker.finish(record)
    return tracker.is_complete
