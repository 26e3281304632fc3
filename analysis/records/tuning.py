"""Records of a study's search: a row for each run of each trial, and the setting that each arm is judged at."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vitsweep.config.convert import flatten
from vitsweep.errors import ConfigError, RecordError
from vitsweep.study.plan import TUNED_NAME, TUNING_NAME, Plan, read_plan
from vitsweep.study.record import Record, read_record
from vitsweep.study.tuning.space import Search, Setting, parse_search
from vitsweep.study.tuning.trials import best_settings, run_value, trial_results

RUN_COLUMNS = ("arm", "trial", "setting", "cell", "seed", "status", "value", "accuracy", "core_hours")


@dataclass(kw_only=True)
class TuningRecords:
    """Search of one sweep directory."""

    directory: Path
    """Of the study at the settings found; it need not exist."""
    search: Search
    baseline: Setting
    """The baseline's own values of the tuned fields."""
    runs: pd.DataFrame
    """RUN_COLUMNS: a row for each trial and seed; `value` is the search's metric, `accuracy` a fraction of 1."""
    best: dict[str, Setting]
    """Arm -> setting of its best trial, from the records."""
    frozen: dict[str, Setting]
    """Arm -> setting at which it is judged, from the plan; empty before the search has ended."""
    problems: list[str]
    """Sentences about what cannot be read, or is not what the records say."""


def read_tuning(directory: Path) -> TuningRecords | None:
    """Read the search of a sweep directory; None if there is none, or if it cannot be read."""
    try:
        plan, study = read_plan(directory / TUNING_NAME), read_plan(directory)
        tuned = read_plan(directory / TUNED_NAME)
        if plan is None or study is None or not study.tune:
            return None
        search = parse_search(study.tune)
        start = _baseline_setting(study, search)
        best = best_settings(trial_results(directory / TUNING_NAME, plan.arms, search.metric), search)
        runs = pd.DataFrame(_rows(directory / TUNING_NAME, plan, search), columns=list(RUN_COLUMNS))
    except (RecordError, ConfigError, KeyError, TypeError):
        return None
    frozen = tuned.tune.get("settings", {}) if tuned else {}
    problems = [
        f"{arm} is judged at {setting_text(setting)}, and its best trial has {setting_text(best[arm])}."
        for arm, setting in frozen.items()
        if arm in best and setting != best[arm]
    ]
    return TuningRecords(
        directory=directory / TUNED_NAME,
        search=search,
        baseline=start,
        runs=runs,
        best=best,
        frozen=frozen,
        problems=problems,
    )


def setting_text(setting: Setting) -> str:
    """Return a setting as `lr=0.001 weight_decay=0.05`."""
    return " ".join(f"{key.rpartition('.')[2]}={json.dumps(value)}" for key, value in setting.items())


def _baseline_setting(study: Plan, search: Search) -> Setting:
    values = flatten(next(cell.config for cell in study.cells if cell.role == "baseline"))
    return {parameter.key: values[parameter.key] for parameter in search.parameters}


def _rows(directory: Path, plan: Plan, search: Search) -> list[tuple]:
    rows, seen = [], set()
    for row in plan.arms:
        for cell, seed in zip(row["cells"], search.seeds, strict=True):
            record = _record(directory / cell)
            status = record.status if record else "planned"
            hours = core_hours(record) if record and cell not in seen else 0.0  # equal trials share a run
            seen.add(cell)
            values = [run_value(directory / cell, metric) for metric in (search.metric, "val/accuracy")]
            rows.append((row["arm"], row["trial"], row["setting"], cell, seed, status, *values, hours))
    return rows


def _record(cell: Path) -> Record | None:
    try:
        return read_record(cell)
    except (OSError, RecordError):
        return None


def core_hours(record: Record | Any) -> float:
    """Return the hours that a run has kept a core busy, or the device if it is none of CPU cores."""
    cores = max(1, record.threads) if record.device in ("", "cpu") else 1
    return record.time_seconds * cores / 3600
