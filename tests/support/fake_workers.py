"""A fork server for tests, in place of `python -m vitsweep.run.workers`: real forks, locks and records, no training.

A cell does what its arm is called: `work=0.5` takes half a second, `fail` fails, `refuse` lacks data, `exit` leaves the
process, `die` kills itself, `once` does so at its first attempt, `fifth` does if its seed is 5, `full` finds the disk
full. Each completed training is a line `arm seed GPU` in trained.txt beside plan.json. A pack takes the number of cells
that stands in together.txt there; they begin together and are then trained one after another.
"""

import errno
import os
import signal
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitsweep.errors import DataError
from vitsweep.run import worker, workers
from vitsweep.study.record import METRIC_NAMES, Record, now, write_record
from vitsweep.train.stop import Interrupted, StopSignals

METRICS = dict.fromkeys(METRIC_NAMES, 0.5)


def run_cell(config: Any, record: Record, folder: Path) -> Record:
    """Imitate train.fit.run_cell as far as a record shows it."""
    begin(record, folder)
    return live(record, folder)


def run_pack(cells: list[tuple[Any, Record, Path]], release: Callable[[int], None]) -> list[BaseException | None]:
    """Imitate train.train_pack.run_pack as far as records show it: a crash ends all cells of the pack."""
    for _, record, folder in cells:
        begin(record, folder)
    for _, record, folder in sorted(cells, key=lambda cell: not is_deadly(cell[1])):
        live(record, folder)
    return [None] * len(cells)


def choose_size(directory: Path, configs: list[Any], pack: str, num_jobs: int) -> int:
    """Return the number in together.txt, or all cells, in place of pack_size.choose_size."""
    path = directory / "together.txt"
    return min(len(configs), int(path.read_text())) if path.exists() else len(configs)


def begin(record: Record, folder: Path) -> None:
    """Record that an attempt has started."""
    record.status, record.attempts, record.started = "running", record.attempts + 1, record.started or now()
    write_record(folder, record)


def is_deadly(record: Record) -> bool:
    """Return whether the cell kills its process."""
    arm = record.arm
    return arm == "die" or (arm == "once" and record.attempts == 1) or (arm == "fifth" and record.seed == 5)


def live(record: Record, folder: Path) -> Record:
    """Sleep for the cell's time, then record its outcome."""
    action, _, seconds = record.arm.partition("=")
    try:
        with StopSignals():
            time.sleep(float(seconds or 0))
        act(action, record, folder)
        record.status = "done"
    except Interrupted:
        record.status = "interrupted"
        raise
    except (OSError, DataError) as error:
        record.status, record.error = "failed", worker.error_info(error)
        if isinstance(error, DataError):
            raise
    finally:
        write_record(folder, record)
    return record


def act(action: str, record: Record, folder: Path) -> None:
    """Do what the arm is called."""
    if is_deadly(record):
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "exit":
        sys.exit(3)
    if action == "fail":
        raise OSError("broken")
    if action == "full" and not (folder.parent.parent / "room").exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if action == "refuse":
        raise DataError("data.root=/nowhere  has no images")
    record.metrics = {"final": METRICS, "best": METRICS | {"epoch": 1}}
    with open(folder.parent.parent / "trained.txt", "a", encoding="utf-8") as stream:
        stream.write(f"{record.arm} {record.seed} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")


def module(name: str, **contents: Any) -> types.ModuleType:
    """Return a module with the given contents."""
    made = types.ModuleType(name)
    vars(made).update(contents)
    return made


if __name__ == "__main__":
    sys.modules["vitsweep.train.fit"] = module("vitsweep.train.fit", run_cell=run_cell)
    sys.modules["vitsweep.train.train_pack"] = module("vitsweep.train.train_pack", run_pack=run_pack)
    sys.modules["vitsweep.run.pack_size"] = module("vitsweep.run.pack_size", choose_size=choose_size)
    sys.modules["vitsweep.train.checkpoint"] = module("vitsweep.train.checkpoint", drop_state=lambda folder: None)
    worker.from_dict = lambda values: values
    workers.PRELOAD = ()
    workers.main()
