"""Records and plans rebuilt from W&B runs: the reverse of tracking.run, for runs on a server or in run files.

A run has all that the report needs, except the predictions of single images, checkpoints and tracebacks. A killed run
has no outcome; its record is derived from its epochs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitsweep.errors import RecordError
from vitsweep.study.plan import CellId
from vitsweep.study.record import METRIC_ROWS, Record
from vitsweep.tracking.run import DESCRIPTION, FLAT_KEYS, OUTCOME, PLAN_KEY, RECORD_KEY
from vitsweep.tracking.run_file import find_run_files, read_run_file

NOT_OF_CONFIG = {*FLAT_KEYS, RECORD_KEY, PLAN_KEY, "_wandb"}


@dataclass(kw_only=True)
class RemoteRun:
    """One run as W&B has it."""

    id: str
    config: dict[str, Any]
    summary: dict[str, Any]
    rows: list[dict[str, Any]]
    """History, in any order, wandb's own keys included."""
    is_running: bool = False

    @property
    def is_cell(self) -> bool:
        """True if vitsweep logged the run, at least up to its configuration."""
        return isinstance(self.config.get(RECORD_KEY), dict) and set(FLAT_KEYS) <= set(self.config)

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """Rows as in metrics.jsonl: one an epoch; of a row logged twice the later one."""
        by_epoch = {row["epoch"]: row for row in self.rows if row.get("epoch") is not None}
        return [{k: v for k, v in by_epoch[e].items() if not k.startswith("_")} for e in sorted(by_epoch)]


def read_runs(directory: Path) -> list[RemoteRun]:
    """Return the runs whose files lie under a directory; files of one run are merged, the later ones win."""
    runs: dict[str, RemoteRun] = {}
    for path in find_run_files(directory):
        content = read_run_file(path)
        run = runs.setdefault(path.stem, RemoteRun(id=path.stem.removeprefix("run-"), config={}, summary={}, rows=[]))
        if content.config:  # else torn in its first second
            run.config, run.summary = content.config, content.summary
            run.rows += content.rows
    return [run for _, run in sorted(runs.items())]


def rebuild_record(run: RemoteRun) -> Record:
    """Return the record of a run, as far as it was logged.

    Raises:
        RecordError: it is not a run of vitsweep, or one of another version.
    """
    if not run.is_cell:
        raise RecordError(f"{run.id}  is not a cell of vitsweep, or was killed before it logged its configuration")
    used = {name: value for name, value in run.config[RECORD_KEY].items() if name in DESCRIPTION}
    own = {name: run.config[name] for name in FLAT_KEYS}
    # A sweep's parameters arrive beside the configuration, as dotted keys and as +study_cell.
    config = {k: v for k, v in run.config.items() if k not in NOT_OF_CONFIG and "." not in k and k[:1] != "+"}
    values = used | own | read_outcome(run)  # the outcome repeats some of the description, with final values
    record = Record(config=config | {"seed": own["seed"]}, **values)
    record.metrics = read_metrics(run.summary)
    if "error" in run.summary:
        kind, _, message = str(run.summary["error"]).partition(": ")
        record.error = {"type": kind, "message": message, "traceback": ""}
    return record


def read_outcome(run: RemoteRun) -> dict[str, Any]:
    """Return the outcome fields of a run's record; derive them from the epochs if the run logged none."""
    if "status" in run.summary:
        return {name: run.summary[name] for name in OUTCOME if name in run.summary}
    epochs = run.epochs
    return {
        "status": "running" if run.is_running else "interrupted",
        "epoch": int(epochs[-1]["epoch"]) if epochs else 0,
        "time_seconds": sum(row.get("time_seconds") or 0.0 for row in epochs),
    }


def read_metrics(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the record's metrics: final/... and those of the other METRIC_ROWS of the summary, nested."""
    found: dict[str, Any] = {}
    for key, value in summary.items():
        when, _, name = key.partition("/")
        if when in METRIC_ROWS and name:
            found.setdefault(when, {})[name] = value
    return found


def _plan_growth(plan: dict[str, Any]) -> tuple[int, int]:
    """Return the numbers of cells and of former claims, neither of which ever shrinks."""
    return sum(map(len, plan["seeds_of"].values())), len(plan.get("claims_before") or {})


def rebuild_plan(runs: list[RemoteRun]) -> dict[str, Any] | None:
    """Return the study's plan.json as logged by the runs, the latest one; its cells have no configuration."""
    plans = [run.config[PLAN_KEY] for run in runs if isinstance(run.config.get(PLAN_KEY), dict)]
    if not plans:
        return None
    latest: dict[str, Any] = max(plans, key=_plan_growth)
    plan = dict(latest)
    seeds_of = plan.pop("seeds_of")
    keys = ("arm", "role", "levels", "overrides", "config_hash")
    cells = [
        {key: arm[key] for key in keys} | {"id": str(CellId.of(arm["arm"], arm["config_hash"], seed)), "seed": seed}
        for arm in plan["arms"]
        for seed in seeds_of.get(arm["arm"], [])
    ]
    return plan | {"cells": [cell | {"config": {}} for cell in cells]}
