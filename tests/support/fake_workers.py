"""Stands in for `python -m vitsweep.run.workers` in tests: its forks, locks and records, but no torch and no training.

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
from vitsweep.run import worker as work
from vitsweep.run import workers as nursery
from vitsweep.study.record import METRIC_NAMES, Record, now, write_record
from vitsweep.train.stop import Interrupted, StopSignals

METRICS = dict.fromkeys(METRIC_NAMES, 0.5)


def run_cell(config: Any, record: Record, folder: Path) -> Record:
    """What train.run_cell does, as far as a record shows it."""
    begin(record, folder)
    return live(record, folder)


def run_pack(cells: list[tuple[Any, Record, Path]], let_go: Callable[[int], None]) -> list[BaseException | None]:
    """What pack.run_pack does, as far as records show it: who kills the process takes the others along."""
    for _, record, folder in cells:
        begin(record, folder)
    for _, record, folder in sorted(cells, key=lambda cell: not is_deadly(cell[1])):
        live(record, folder)
    return [None] * len(cells)


def choose_size(directory: Path, configs: list[Any], pack: str, num_jobs: int) -> int:
    """What pack_size.choose_size answers."""
    path = directory / "together.txt"
    return min(len(configs), int(path.read_text())) if path.exists() else len(configs)


def begin(record: Record, folder: Path) -> None:
    """Say that an attempt is under way."""
    record.status, record.attempts, record.started = "running", record.attempts + 1, record.started or now()
    write_record(folder, record)


def is_deadly(record: Record) -> bool:
    """Whether the cell kills its process."""
    arm = record.arm
    return arm == "die" or (arm == "once" and record.attempts == 1) or (arm == "fifth" and record.seed == 5)


def live(record: Record, folder: Path) -> Record:
    """The cell's time and end."""
    action, _, seconds = record.arm.partition("=")
    try:
        with StopSignals():
            time.sleep(float(seconds or 0))
        act(action, record, folder)
        record.status = "done"
    except Interrupted:
        record.status = "interrupted"
        raise
    except (OSError, DataError) as fault:
        record.status, record.error = "failed", work.error_info(fault)
        if isinstance(fault, DataError):
            raise
    finally:
        write_record(folder, record)
    return record


def act(action: str, record: Record, folder: Path) -> None:
    """The cell's doing at the end of its time."""
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
    """A module made of the given names."""
    made = types.ModuleType(name)
    vars(made).update(contents)
    return made


if __name__ == "__main__":
    sys.modules["vitsweep.train.fit"] = module("vitsweep.train.fit", run_cell=run_cell)
    sys.modules["vitsweep.train.pack"] = module("vitsweep.train.pack", run_pack=run_pack)
    sys.modules["vitsweep.run.pack_size"] = module("vitsweep.run.pack_size", choose_size=choose_size)
    sys.modules["vitsweep.train.checkpoint"] = module("vitsweep.train.checkpoint", drop_state=lambda folder: None)
    work.from_dict = lambda values: values
    nursery.PRELOADED = ()
    nursery.main()
