"""trackio: runs in its local SQLite store, which `trackio show` reads. Nothing is sent anywhere.

Writes to the storage itself: trackio.init() would look up the user's name at Hugging Face and start a sender thread.
"""

import datetime
from pathlib import Path
from typing import Any

from trackio import Image
from trackio.sqlite_storage import SQLiteStorage

from vitsweep.config.schema import TrackerConfig
from vitsweep.study.record import Record
from vitsweep.tracking.run import history_row, run_arguments, run_id, run_outcome
from vitsweep.tracking.tracker import Tracker, plan_beside


class TrackioTracker(Tracker):
    """One trackio run for one cell, in the group of its study."""

    def __init__(self, config: TrackerConfig):
        super().__init__()
        self.project, self.share_host = config.project, config.share_host
        self._media: dict[str, Any] = {}
        self._epoch = 0

    def start(self, record: Record, directory: Path) -> None:
        arguments = run_arguments(record, self.share_host, plan_beside(record, directory))
        self._id, self._name = run_id(record), arguments["name"]
        created = datetime.datetime.now(datetime.UTC).isoformat()
        own = {"_Username": None, "_Created": created, "_Group": arguments["group"]}
        self._config: dict[str, Any] | None = arguments["config"] | own
        if not record.epoch:  # rows of a failed attempt, which began anew
            SQLiteStorage.delete_run(self.project, self._name, run_id=self._id)

    def log(self, row: dict[str, Any]) -> None:
        self._epoch = row["epoch"]
        self._write({name: value for name, value in history_row(row).items() if name != "epoch"}, "row")

    def image(self, name: str, path: Path, caption: str) -> None:
        picture = Image(str(path), caption=caption)
        picture._save(self.project, self._name, self._epoch)
        self._media[name] = picture._to_dict()

    def finish(self, record: Record) -> None:
        self._write(run_outcome(record, self.share_host) | self._media, f"end {record.status}")

    def _write(self, values: dict[str, Any], key: str) -> None:
        # trackio ignores a second row with the same log id, so a resumed cell adds no step twice.
        SQLiteStorage.bulk_log(
            self.project,
            self._name,
            [values],
            steps=[self._epoch],
            config=self._config,
            log_ids=[f"{self._id} {self._epoch} {key}"],
            run_id=self._id,
        )
        self._config = None
