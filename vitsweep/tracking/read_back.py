"""From what W&B was told back to a cell's record and rows: the reverse of wandb_run. wandb is imported to read files.

Everything that the report needs is told except the predictions of single images, the checkpoints and tracebacks. A run
that was killed has told no outcome; its record says as much as its epochs do.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitsweep.errors import RecordError
from vitsweep.study.record import Record
from vitsweep.tracking.run import DESCRIPTION, FLAT_KEYS, OUTCOME, PLAN_KEY, RECORD_KEY
from vitsweep.tracking.run_file import read_run_file

FOLDER_NAME = re.compile(r"(?:offline-)?run-(?P<moment>\d{8}_\d{6})-[^/]+?(?:-(?P<again>\d+))?$")
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
        """Whether vitsweep has told it, and far enough for its configuration."""
        return isinstance(self.config.get(RECORD_KEY), dict) and set(FLAT_KEYS) <= set(self.config)

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl: one an epoch, of a row told twice the later one."""
        by_epoch = {row["epoch"]: row for row in self.rows if row.get("epoch") is not None}
        return [{k: v for k, v in by_epoch[e].items() if not k.startswith("_")} for e in sorted(by_epoch)]


def read_runs(directory: Path) -> list[RemoteRun]:
    """The runs whose files lie under a directory; the pieces that a killed cell has left are put together."""
    pieces: dict[str, list[tuple[tuple[str, int], Path]]] = {}
    for path in directory.rglob("run-*.wandb"):
        if name := FOLDER_NAME.match(path.parent.name):
            pieces.setdefault(path.stem, []).append(((name["moment"], int(name["again"] or 0)), path))
    return [merge_pieces(stem.removeprefix("run-"), sorted(found)) for stem, found in sorted(pieces.items())]


def merge_pieces(run_id: str, pieces: list[tuple[tuple[str, int], Path]]) -> RemoteRun:
    """One run from its pieces, oldest first; a later piece wins, but one torn in its first second says nothing."""
    told = RemoteRun(id=run_id, config={}, summary={}, rows=[])
    for _, path in pieces:
        content = read_run_file(path)
        if content.config:
            told.config, told.summary = content.config, content.summary
            told.rows += content.rows
    return told


def rebuild_record(told: RemoteRun) -> Record:
    """The record of a run, as far as it was told.

    Raises:
        RecordError: it is no run of vitsweep, or one of another version.
    """
    if not told.is_cell:
        raise RecordError(f"{told.id}  is no cell of vitsweep, or was killed before it said what it is")
    used = {name: value for name, value in told.config[RECORD_KEY].items() if name in DESCRIPTION}
    own = {name: told.config[name] for name in FLAT_KEYS}
    config = {k: v for k, v in told.config.items() if k not in NOT_OF_CONFIG and "." not in k and k[:1] != "+"}
    # A sweep's parameters arrive beside the configuration, as dotted keys and as +study_cell.
    record = Record(config=config | {"seed": own["seed"]}, **used | own)
    for name, value in read_outcome(told).items():
        setattr(record, name, value)
    record.metrics = read_metrics(told.summary)
    if "error" in told.summary:
        kind, _, message = str(told.summary["error"]).partition(": ")
        record.error = {"type": kind, "message": message, "traceback": ""}
    return record


def read_outcome(told: RemoteRun) -> dict[str, Any]:
    """How the cell ended; for one that did not say, what its epochs tell."""
    if "status" in told.summary:
        return {name: told.summary[name] for name in OUTCOME if name in told.summary}
    epochs = told.epochs
    return {
        "status": "running" if told.is_running else "interrupted",
        "epoch": int(epochs[-1]["epoch"]) if epochs else 0,
        "time_seconds": sum(row.get("time_seconds") or 0.0 for row in epochs),
    }


def read_metrics(summary: dict[str, Any]) -> dict[str, Any]:
    """The record's metrics: final/... and best/... of the summary."""
    found: dict[str, Any] = {}
    for key, value in summary.items():
        when, _, name = key.partition("/")
        if when in ("final", "best") and name:
            found.setdefault(when, {})[name] = value
    return found


def _growth(plan: dict[str, Any]) -> tuple[int, int]:
    """What only grows in the life of a plan: its cells, and the claims that it had before."""
    return sum(map(len, plan["seeds_of"].values())), len(plan.get("claims_before") or {})


def rebuild_plan(told: list[RemoteRun]) -> dict[str, Any] | None:
    """The study's plan.json as the runs told it, the latest one; its cells have no configuration."""
    plans = [run.config[PLAN_KEY] for run in told if isinstance(run.config.get(PLAN_KEY), dict)]
    if not plans:
        return None
    plan = dict(max(plans, key=_growth))
    seeds_of = plan.pop("seeds_of")
    keys = ("arm", "role", "levels", "overrides", "config_hash")
    cells = [
        {key: arm[key] for key in keys} | {"id": cell_id(arm["arm"], arm["config_hash"], seed), "seed": seed}
        for arm in plan["arms"]
        for seed in seeds_of.get(arm["arm"], [])
    ]
    return plan | {"cells": [cell | {"config": {}} for cell in cells]}


def cell_id(arm: str, config_hash: str, seed: int) -> str:
    """The cell's directory inside its sweep's, as plan.py names it."""
    return f"{arm}-{config_hash[:8]}/seed={seed}"
