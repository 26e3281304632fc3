"""Cells for the tracker: hand-made records and rows, logged with the real wandb client without any training.

As a program (`python -m tests.support.wandb_cells DIR KEY=VALUE ...`) it is a cell in its own process, to be killed.
"""

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from vitsweep.config.schema import TrackerConfig
from vitsweep.study.record import METRIC_NAMES, Record, append_row, drop_rows_after, read_rows, write_record
from vitsweep.tracking.tracker import WandbTracker

CLASSES = ["cat", "dog", "owl"]
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8ffff3f0005fe02fe"
    "dccc59e70000000049454e44ae426082"
)
"""The smallest PNG: one white pixel."""


def make_row(epoch: int) -> dict[str, Any]:
    """Return a row of metrics.jsonl."""
    row = {"epoch": epoch, "train/loss": 2 / epoch, "train/accuracy": 0.1, "val/loss": 3 / epoch, "val/accuracy": 0.25}
    return row | {"lr": 0.001, "time_seconds": 1.5, "images_per_second": 100.0}


def make_record(seed: int = 0, status: str = "running", arm: str = "patch_size=8", **changes: Any) -> Record:
    """Return a record of the study `tiny`."""
    record = Record(
        status=status,
        study="tiny",
        arm=arm,
        levels={"patch_size": "8"},
        seed=seed,
        overrides=["model.patch_size=8", f"seed={seed}"],
        config={"model": {"patch_size": 8}, "seed": seed, "tracker": {"project": "shelf"}},
        config_hash="ab" * 32,
        classes=CLASSES,
        params=1234,
    )
    return dataclasses.replace(record, **changes)


def ended(record: Record, directory: Path, status: str) -> Record:
    """Set the record's outcome, and write a finished cell's predictions and weights."""
    record.status, record.finished = status, "2026-01-01T00:00:00+00:00"
    record.epoch = len(read_rows(directory))
    if status == "failed":
        record.error = {"type": "ValueError", "message": "no", "traceback": "..."}
    if status == "done":
        values = {name: 0.5 for name in METRIC_NAMES}
        record.metrics = {"final": values, "best": {"epoch": 1} | values}
        predictions = {"label": [0, 0, 1, 2], "best_class": [0, 1, 1, 2], "best_probability": [0.9, 0.4, 0.8, 0.7]}
        np.savez(directory / "predictions.npz", id=np.arange(4), **{k: np.array(v) for k, v in predictions.items()})
        (directory / "best.safetensors").write_bytes(b"weights " * 1000)
    return record


def run_cell(
    directory: Path,
    record: Record,
    *,
    first: int = 1,
    last: int = 3,
    end: str = "done",
    mode: str = "offline",
    seconds: float = 0.0,
    picture: bool = False,
    **optional: Any,
) -> WandbTracker:
    """Simulate one attempt at a cell: epochs `first` to `last`, then its end.

    Args:
        directory: the cell's.
        record: of the cell.
        first: first epoch of this attempt; later rows are dropped, as training does.
        last: the last epoch that is trained.
        end: the status it ends with; `sigkill` and `sigterm` send this process that signal.
        mode: tracker.mode.
        seconds: duration of an epoch.
        picture: add a picture.
        optional: further arguments of WandbTracker.
    """
    directory.mkdir(parents=True, exist_ok=True)
    drop_rows_after(directory, first - 1)
    write_record(directory, record)
    config = TrackerConfig(mode=mode, project="shelf", share_host=optional.pop("share_host", False))
    tracker = WandbTracker(config, **optional)
    tracker.start(record, directory)
    for epoch in range(first, last + 1):
        append_row(directory, make_row(epoch))
        tracker.log(make_row(epoch))
        time.sleep(seconds)
    if end.startswith("sig"):
        os.kill(os.getpid(), getattr(signal, end.upper()))
    write_record(directory, ended(record, directory, end))
    if picture:
        (directory / "pictures").mkdir(exist_ok=True)
        (directory / "pictures/graph.png").write_bytes(PIXEL)
        tracker.image("graph", directory / "pictures/graph.png", "a pixel")
    tracker.finish(record)
    record.wandb += tracker.runs
    write_record(directory, record)
    return tracker


if __name__ == "__main__":
    chosen = {key: json.loads(value) for key, value in (a.split("=", 1) for a in sys.argv[2:])}
    run_cell(Path(sys.argv[1]), make_record(chosen.pop("seed", 0)), **chosen)
