"""MLflow: nested runs (study, arm, seed) in a SQLite or file store, or on a tracking server.

A run is found again by the tag `vitsweep.id`; processes that start at once take turns under a lock, so that each parent
run is made once.
"""

import hashlib
import logging
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else MLflow 3 refuses a store of files

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param, RunTag  # noqa: E402

from vitsweep.config.convert import flatten  # noqa: E402
from vitsweep.config.schema import TrackerConfig, local_folder  # noqa: E402
from vitsweep.study.locks import exclusive_access  # noqa: E402
from vitsweep.study.record import Record  # noqa: E402
from vitsweep.tracking.run import history_row, run_arguments, run_id, run_outcome  # noqa: E402
from vitsweep.tracking.tracker import Tracker, plan_beside  # noqa: E402

ID, PARENT = "vitsweep.id", "mlflow.parentRunId"
STATUSES = {"done": "FINISHED", "interrupted": "KILLED"}
PARAMS_A_CALL, LONGEST_PARAM = 100, 6000  # of MLflow


class MlflowTracker(Tracker):
    """One MLflow run for one cell; in a sweep below the run of its arm, which is below the run of its study."""

    def __init__(self, config: TrackerConfig):
        super().__init__()
        self.config = config
        self._epoch = 0

    def start(self, record: Record, directory: Path) -> None:
        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
        folder = local_folder(self.config.store_uri)
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        with exclusive_access(folder or directory):
            self._client = MlflowClient(tracking_uri=self.config.store_uri)
            experiment = self._client.get_experiment_by_name(self.config.project)
            is_database = self.config.store_uri.startswith("sqlite:")
            place = (folder / "mlartifacts" / self.config.project).as_uri() if folder and is_database else None
            create = self._client.create_experiment
            self._experiment = experiment.experiment_id if experiment else create(self.config.project, place)
            self._run = self._open_cell(record, directory)
        self._known = self._steps("lr")

    def log(self, row: dict[str, Any]) -> None:
        self._epoch = row["epoch"]
        if self._epoch not in self._known:  # MLflow keeps every point, also a second one of a step
            self._write(metrics={name: value for name, value in history_row(row).items() if name != "epoch"})

    def image(self, name: str, path: Path, caption: str) -> None:
        self._client.log_artifact(self._run, str(path), "pictures")

    def finish(self, record: Record) -> None:
        summary = run_outcome(record, self.config.share_host)
        texts = {name: value for name, value in summary.items() if isinstance(value, str)}
        numbers = (
            {} if self._epoch in self._steps("cell/epoch") else {k: v for k, v in summary.items() if k not in texts}
        )
        self._write(metrics=numbers, tags=texts)
        self._client.set_terminated(self._run, STATUSES.get(record.status, "FAILED"))

    def _open_cell(self, record: Record, directory: Path) -> str:
        """Return the id of the cell's run: that of an earlier attempt, unless it began anew."""
        plan = plan_beside(record, directory)
        arguments = run_arguments(record, self.config.share_host, plan)
        parent = ""
        for names in ([record.study], [record.study, record.arm]) if plan else ():
            key = hashlib.sha256("\n".join([*names, record.sweep_id]).encode()).hexdigest()[:16]
            above, parent = parent, self._find(key)
            if not parent:
                parent = self._create(key, arguments["group" if len(names) == 1 else "job_type"], above)
                self._client.set_terminated(parent, "FINISHED")  # it only holds others
        found = self._find(run_id(record))
        if found and record.epoch:
            self._client.update_run(found, status="RUNNING")
            return found
        if found:
            self._client.delete_run(found)
        made = self._create(run_id(record), arguments["name"], parent)
        parts = ("model", "data", "recipe", "seed", "arm", "study", "role", "config_hash")
        settings = flatten({part: value for part, value in arguments["config"].items() if part in parts})
        params = [Param(key, str(value)[:LONGEST_PARAM]) for key, value in settings.items()]
        for first in range(0, len(params), PARAMS_A_CALL):
            self._client.log_batch(made, params=params[first : first + PARAMS_A_CALL])
        return made

    def _steps(self, key: str) -> set[int]:
        return {point.step for point in self._client.get_metric_history(self._run, key)}

    def _find(self, key: str) -> str:
        found = self._client.search_runs([self._experiment], f"tags.`{ID}` = '{key}'", max_results=1)
        return found[0].info.run_id if found else ""

    def _create(self, key: str, name: str, parent: str) -> str:
        tags = {ID: key} | ({PARENT: parent} if parent else {})
        return self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id

    def _write(self, metrics: dict[str, Any], tags: dict[str, str] | None = None) -> None:
        points = [Metric(k, float(v), int(time.time() * 1000), self._epoch) for k, v in metrics.items()]
        self._client.log_batch(self._run, metrics=points, tags=[RunTag(k, v) for k, v in (tags or {}).items()])
