"""The command line: Hydra composes, this module types, trains one cell, and turns faults into sentences.

torch is imported inside the task, so that `--help`, `--cfg job` and every refusal answer at once.
"""

import logging
import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vitsweep.config.convert import config_hash, from_omegaconf, to_dict
from vitsweep.config.hydra import register
from vitsweep.config.messages import user_message
from vitsweep.config.overrides import short_key, single_name
from vitsweep.config.schema import Config
from vitsweep.errors import RecordError
from vitsweep.paths import conf_dir
from vitsweep.run.worker import train_cell
from vitsweep.study.locks import CellLock
from vitsweep.study.record import Record, read_record
from vitsweep.train.stop import Interrupted

log = logging.getLogger(__name__)

ALL_DONE, SOME_FAILED, REFUSED = 0, 1, 2


class Task:
    """What Hydra calls for each cell.

    What it returns is lost inside Hydra, and what it raises is announced by Hydra in its own words. So the exit code of
    the run or the sweep, and the user's faults, are left here for `main`.
    """

    def __init__(self) -> None:
        self.exit_code = ALL_DONE
        self.errors: list[str] = []

    def __call__(self, composed: DictConfig) -> str:
        """Train the cell that the sweep names, else the one that was composed; returns its status."""
        directory = Path(HydraConfig.get().runtime.output_dir)
        try:
            if "cell" in composed:
                retry = composed.sweep.retry == "failed"
                return train_cell(Path(HydraConfig.get().sweep.dir), composed.cell, retry=retry)
            config, record = single_cell(from_omegaconf(composed))
            status = train(config, record, directory)
        except Exception as fault:
            sentence = user_message(fault)
            if sentence is None:
                raise
            self.refuse(sentence)
            leave_no_trace(directory)
            return "refused"
        if status != "done":
            self.exit_code = SOME_FAILED
        return status

    def refuse(self, sentence: str) -> None:
        """Remember the user's fault; the same one of many cells is told once."""
        self.exit_code = REFUSED
        if sentence not in self.errors:
            self.errors.append(sentence)


def leave_no_trace(directory: Path) -> None:
    """Remove the directory that Hydra made for a run that was refused, if only an empty log is in it."""
    if [path.name for path in directory.iterdir()] == ["run.log"] and not (directory / "run.log").stat().st_size:
        (directory / "run.log").unlink()
        directory.rmdir()


def single_cell(config: Config) -> tuple[Config, Record]:
    """The cell of a run without a sweep."""
    overrides = list(HydraConfig.get().overrides.task)
    record = Record(
        study="single",
        role="baseline",
        arm=single_name([o for o in overrides if short_key(o) != "seed"]),
        seed=config.seed,
        overrides=overrides,
        config=to_dict(config),
        config_hash=config_hash(config),
    )
    return config, record


def train(config: Config, record: Record, directory: Path) -> str:
    """Train a cell unless its directory says that it is done; returns its status.

    Raises:
        RecordError: the directory holds another cell, which must not be overwritten, or somebody is training in it.
    """
    with CellLock(directory) as lock:
        if not lock.acquire():
            raise RecordError(
                f"hydra.run.dir={directory}  is being trained in by another process; "
                "wait for its end, or choose another hydra.run.dir=..."
            )
        return train_alone(config, record, directory)


def train_alone(config: Config, record: Record, directory: Path) -> str:
    """Train a cell whose directory is locked for us."""
    earlier = earlier_record(directory, record)
    if earlier is not None and earlier.status == "done":
        log.info("%s seed %d is done already: %s", record.arm, record.seed, directory)
        return "done"
    if earlier is not None:
        for name in ("started", "attempts", "time_seconds", "wandb"):
            setattr(record, name, getattr(earlier, name))
    from vitsweep.train.fit import run_cell

    return run_cell(config, record, directory).status


def earlier_record(directory: Path, record: Record) -> Record | None:
    """What an earlier attempt at this very cell left in its directory."""
    try:
        earlier = read_record(directory)
    except FileNotFoundError:
        return None
    if (earlier.config_hash, earlier.seed) != (record.config_hash, record.seed):
        raise RecordError(
            f"hydra.run.dir={directory}  holds another cell ({earlier.arm}, seed {earlier.seed}); "
            "choose another hydra.run.dir=... or move that folder away"
        )
    return earlier


def wait_asleep() -> None:
    """Let threads that wait for others soon sleep, unless the user says how they are to wait.

    GNU's OpenMP, which torch brings on Linux, reads this when torch is imported. Its own default spins so long that two
    threads beside one busy program took almost four times as long for a step (docs/results/speed/log.md).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def main() -> int:
    """The console command. Returns 0 if all is done, 1 if a cell failed, 2 if the user must change something."""
    wait_asleep()
    register()
    task = Task()
    run = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(task)
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets faults through to us, instead of printing and leaving
    try:
        run()
    except Interrupted as event:
        print(f"\n{event}; the same command goes on from here", file=sys.stderr)
        return 128 + event.signum
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as fault:
        sentence = user_message(fault, sys.argv[1:])
        if wants_traceback or sentence is None:
            raise
        print(sentence, file=sys.stderr)
        return REFUSED
    finally:
        if not wants_traceback:
            del os.environ["HYDRA_FULL_ERROR"]
    for sentence in task.errors:
        print(sentence, file=sys.stderr)
    return task.exit_code
