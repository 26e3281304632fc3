"""Cells of a search: each trial of each arm on each seed of the search, in a plan of their own below the sweep's.

A trial's cell is trained as any other, except that no test image is scored and no tracker gets a copy. Its plan has a
row for each trial (`arms`: arm, trial, setting, cells), so plan and records alone say what was tried and found.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from vitsweep.added_fields import neutral_values
from vitsweep.config.convert import config_hash, flatten, from_dict, to_dict
from vitsweep.config.overrides import override_key, yaml_text
from vitsweep.config.schema import Config, TrackerConfig
from vitsweep.errors import RecordError
from vitsweep.study.plan import TUNING_NAME, Cell, CellId, Plan, plan_hash
from vitsweep.study.record import TRIAL, Record, read_record
from vitsweep.study.tuning.rules import with_setting
from vitsweep.study.tuning.search import Trial
from vitsweep.study.tuning.space import Search, Setting

DESIGN = "tuning"


@dataclass(kw_only=True, frozen=True)
class TrialResult:
    """A trial with what its runs have shown so far."""

    arm: str
    number: int
    setting: Setting
    values: tuple[float, ...]
    """The metric of each run that has ended; of a diverged one chance level."""
    num_runs: int
    """Runs that the trial has in all."""

    @property
    def value(self) -> float:
        """Mean over the runs; NaN until all have ended."""
        return fmean(self.values) if len(self.values) == self.num_runs else math.nan


def baseline_setting(cell: Cell, search: Search) -> Setting:
    """Return the baseline's values of the tuned fields.

    Args:
        cell: one of the baseline's.
        search: names the fields.
    """
    values = flatten(cell.config)
    return {parameter.key: values[parameter.key] for parameter in search.parameters}


def trial_cell(cell: Cell, config: Config, setting: Setting, seed: int) -> Cell:
    """Return the cell of a trial.

    Args:
        cell: one of the arm's.
        config: that cell's.
        setting: dotted key -> value.
        seed: one of the search's.
    """
    own = {"seed": seed, "checkpoint_every_epochs": 0}
    off = {f"tracker.{name}": value for name, value in neutral_values(TrackerConfig).items()} | {"tracker.name": "none"}
    config = with_setting(config, {**setting, **own, **off})
    return Cell(
        id=str(CellId.of(cell.arm, config_hash(config), seed)),
        arm=cell.arm,
        role=TRIAL,
        levels={key: yaml_text(value) for key, value in setting.items()},
        seed=seed,
        overrides=[*overrides_with(cell.overrides, setting, "tracker"), "tracker=none", f"seed={seed}"],
        config=to_dict(config),
        config_hash=config_hash(config),
    )


def overrides_with(overrides: Iterable[str], setting: Setting, *left_out: str) -> list[str]:
    """Return overrides without their seed and the keys `left_out`, a setting in place of what they set of it."""
    kept = [o for o in overrides if override_key(o) not in {*setting, "seed", *left_out}]
    return [*kept, *(f"{key}={yaml_text(value)}" for key, value in setting.items())]


def trials_plan(plan: Plan, search: Search, arms: dict[str, Cell], trials: Sequence[Trial]) -> Plan:
    """Return the plan of trials, each with a cell a seed; equal settings of one arm share their cells.

    Args:
        plan: the study's.
        arms: arm -> one of its cells.
        trials: of all arms.
    """
    configs = {arm: from_dict(cell.config) for arm, cell in arms.items()}
    cells: dict[str, Cell] = {}
    rows = []
    for trial in trials:
        own = [trial_cell(arms[trial.arm], configs[trial.arm], trial.setting, seed) for seed in search.seeds]
        cells |= {cell.id: cell for cell in own if cell.id not in cells}
        row: dict[str, Any] = {"arm": trial.arm, "role": TRIAL, "levels": own[0].levels, "overrides": []}
        row |= {"trial": trial.number, "setting": trial.setting, "cells": [cell.id for cell in own]}
        rows.append(row)
    found = Plan(
        study=f"{plan.study}-{TUNING_NAME}",
        design=DESIGN,
        baseline=plan.baseline,
        factors={},
        seeds=list(search.seeds),
        arms=rows,
        cells=list(cells.values()),
        sweep_id=plan.sweep_id,
        tune=plan.tune,
    )
    return dataclasses.replace(found, plan_hash=plan_hash(found))


def trial_results(directory: Path, rows: Iterable[dict[str, Any]], metric: str) -> list[TrialResult]:
    """Return the results of trials.

    Args:
        directory: of the search.
        rows: `arms` of its plan.
        metric: val/accuracy or val/loss, at the last epoch.
    """
    found = []
    for row in rows:
        values = [run_value(directory / cell, metric) for cell in row["cells"]]
        known = tuple(value for value in values if value is not None)
        own = {"arm": row["arm"], "number": row["trial"], "setting": row["setting"]}
        found.append(TrialResult(**own, values=known, num_runs=len(values)))
    return found


def run_value(cell: Path, metric: str) -> float | None:
    """Return the metric of a trial's run; chance level if it diverged, None if it has not ended or failed."""
    try:
        record = read_record(cell)
    except (OSError, RecordError):
        return None
    if record.status == "diverged":
        return chance_level(record, metric)
    return record.metrics["final"][metric] if record.status == "done" else None


def chance_level(record: Record, metric: str) -> float:
    """Return the metric of a model that gives every class the same probability."""
    classes = record.config["model"]["num_classes"]
    return 1 / classes if metric == "val/accuracy" else math.log(classes)


def best_settings(results: Iterable[TrialResult], search: Search) -> dict[str, Setting]:
    """Return arm -> the setting of its best trial, the first of equal ones; arms without a value are left out."""
    best: dict[str, TrialResult] = {}
    sign = 1 if search.is_maximized else -1
    for result in results:
        if not math.isnan(result.value):
            before = best.get(result.arm)
            if before is None or sign * result.value > sign * before.value:
                best[result.arm] = result
    return {arm: result.setting for arm, result in best.items()}
