"""The same study at each arm's own setting: its plan, and the cells that it shares with the study at the baseline's.

It lies in `tuned/` below the sweep's directory and is a sweep directory of its own, so that everything that judges a
study judges it. Its baseline is the baseline at its own setting. A placebo is not searched: it has the baseline's.
"""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

from vitsweep.config.convert import from_dict, validate
from vitsweep.errors import RecordError
from vitsweep.study.arms import Arm
from vitsweep.study.locks import LOCK_NAME
from vitsweep.study.plan import Cell, Plan, make_plan, plan_hash
from vitsweep.study.record import Record, read_record, write_record
from vitsweep.study.tuning.rules import with_setting
from vitsweep.study.tuning.space import Setting
from vitsweep.study.tuning.trials import overrides_with

SUFFIX = "-tuned"


def tuned_plan(plan: Plan, settings: dict[str, Setting]) -> Plan:
    """Return the plan of the study at each arm's own setting, with the same arms, seeds and claims.

    Args:
        plan: the study's.
        settings: arm -> setting, the baseline's among them; other arms that are missing are left out.
    """
    cells = {cell.arm: cell for cell in reversed(plan.cells)}  # the first cell of each arm
    settings = settings | {row["arm"]: settings[plan.baseline] for row in plan.arms if row["role"] == "placebo"}
    arms = [
        tuned_arm(row, cells[row["arm"]], settings[row["arm"]])
        for row in plan.arms
        if row["arm"] in settings and row["arm"] in cells
    ]
    made = make_plan(plan.study + SUFFIX, plan.design, [], arms, plan.seeds, plan.factors)
    own = {row["arm"]: row["overrides"] for row in plan.arms}
    for row in made.arms:
        row["overrides"] = overrides_with(own[row["arm"]], settings[row["arm"]])
    tune = {"settings": {arm.name: settings[arm.name] for arm in arms}, "seeds": plan.tune["seeds"]}
    tuned = dataclasses.replace(plan, study=made.study, arms=made.arms, cells=made.cells, tune=tune, published={})
    tuned = dataclasses.replace(tuned, claims_before={}, seeds_before=[], sweep_id="", newer={})
    return dataclasses.replace(tuned, plan_hash=plan_hash(tuned))


def tuned_arm(row: dict, cell: Cell, setting: Setting) -> Arm:
    """Return an arm at a setting.

    Args:
        row: the arm's in the plan.
        cell: one of the arm's.
        setting: dotted key -> value.
    """
    config = validate(with_setting(from_dict(cell.config), setting))
    overrides = overrides_with(cell.overrides, setting)
    return Arm(name=row["arm"], role=row["role"], levels=row["levels"], overrides=overrides, config=config)


def share_cells(directory: Path, plan: Plan, tuned_directory: Path, tuned: Plan) -> int:
    """Copy the finished cells of arms whose own setting is the baseline's; return their number.

    Such a cell would be trained to the same result: configuration and seed are the same.
    """
    same = {cell.id for cell in plan.cells}
    shared = [cell for cell in tuned.cells if cell.id in same and not (tuned_directory / cell.id).exists()]
    return sum(_copy_cell(directory / cell.id, tuned_directory / cell.id, tuned) for cell in shared)


def _copy_cell(source: Path, destination: Path, plan: Plan) -> bool:
    """Copy a finished cell under another plan; return whether there was one."""
    try:
        record = read_record(source)
    except (OSError, RecordError):
        return False
    if record.status != "done":
        return False
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".copy-") as fresh:
        copy = Path(fresh) / destination.name
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(LOCK_NAME, "wandb"))
        write_record(copy, _moved(record, plan))
        os.replace(copy, destination)  # whole or not at all
    return True


def _moved(record: Record, plan: Plan) -> Record:
    """Return the record as one of another plan."""
    return dataclasses.replace(
        record, study=plan.study, plan_hash=plan.plan_hash, claims_hash=plan.claims_hash, sweep_id=plan.sweep_id
    )
