"""The trackers that the configuration names, behind the protocol of one."""

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from vitsweep.config.schema import TrackerConfig, local_folder
from vitsweep.study.record import Record
from vitsweep.tracking.backends import BACKENDS
from vitsweep.tracking.backends.background import BackgroundTracker
from vitsweep.tracking.tracker import Tracker, WandbTracker

TIMEOUTS = {"tensorboard": 30.0, "trackio": 30.0, "mlflow": 120.0}
"""Longest wait for a store on this machine, seconds. A new database of MLflow's is made by some 50 migrations."""
SERVER_TIMEOUT_SECONDS = 10.0


class Trackers(Tracker):
    """Several trackers, each of which gets every call; none raises."""

    def __init__(self, trackers: list[Tracker]):
        super().__init__()
        self.trackers = trackers

    def start(self, record: Record, directory: Path) -> None:
        for tracker in self.trackers:
            tracker.start(record, directory)
            self.runs += tracker.runs

    def log(self, row: dict[str, Any]) -> None:
        for tracker in self.trackers:
            tracker.log(row)

    def image(self, name: str, path: Path, caption: str) -> None:
        for tracker in self.trackers:
            tracker.image(name, path, caption)

    def finish(self, record: Record) -> None:
        for tracker in self.trackers:
            tracker.finish(record)
        self.is_complete = all(tracker.is_complete for tracker in self.trackers)


def make_tracker(config: TrackerConfig) -> Tracker:
    """Return the tracker that the configuration names, one that does nothing for none."""
    made = [make_one(name, config) for name in config.names]
    return Trackers(made) if len(made) > 1 else made[0] if made else Tracker()


def make_one(name: str, config: TrackerConfig) -> Tracker:
    """Return the tracker of one name."""
    if name == "wandb":
        return WandbTracker(config, timeout_seconds=config.patience_seconds, artifacts=config.artifacts)
    is_remote = name == "mlflow" and local_folder(config.store_uri) is None
    timeout = max(SERVER_TIMEOUT_SECONDS, config.patience_seconds) if is_remote else TIMEOUTS[name]
    return BackgroundTracker(name, partial(make_backend, name, config), timeout)


def make_backend(name: str, config: TrackerConfig) -> Tracker:
    """Return a tracker beside W&B; its library is imported here."""
    module, kind = BACKENDS[name]
    return getattr(import_module(module), kind)(config)
