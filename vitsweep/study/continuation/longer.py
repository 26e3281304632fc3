"""Plan and records of a study whose cells continue those of a finished one, with more epochs.

The longer study is what a fresh study of so many epochs would be: its hashes are those of cells trained in one go, and
its directory lies beside the old one, which stays as it is. Only schedules without an end can be continued: a cosine
over 100 epochs is no beginning of a cosine over 200.
"""

import dataclasses
import os
import re
import secrets
import shlex
from pathlib import Path
from typing import Any

from vitsweep.config.convert import config_hash, from_dict
from vitsweep.config.overrides import override_key, override_value
from vitsweep.config.recipe.rules import FALLING, SCHEDULES
from vitsweep.errors import ConfigError, RecordError
from vitsweep.paths import conf_dir
from vitsweep.study.plan import TUNED_NAME, Cell, CellId, Plan, new_record, plan_hash
from vitsweep.study.record import PLAN_NAME, Record, read_record
from vitsweep.study.tuning.trials import DESIGN as TRIALS

EPOCHS = "recipe.epochs"
ENDING = re.compile(r"-epochs=\d+$")
ALLOWED = ", ".join(schedule for schedule in SCHEDULES if schedule not in FALLING)


def longer_directory(directory: Path, epochs: int) -> Path:
    """Return the directory of the longer study: `<name>-epochs=<n>` beside the old one."""
    if directory.name == TUNED_NAME and (directory.parent / PLAN_NAME).exists():
        directory = directory.parent.with_name(f"{ENDING.sub('', directory.parent.name)}-{TUNED_NAME}")
    return directory.with_name(f"{ENDING.sub('', directory.name)}-epochs={epochs}")


def longer_errors(plan: Plan, epochs: int) -> list[str]:
    """Return why the cells of a plan cannot be trained up to so many epochs; empty if they can."""
    configs = {cell.arm: cell.config for cell in reversed(plan.cells)}
    before = {config["recipe"]["epochs"] for config in configs.values()}
    if plan.design == TRIALS:
        return ["epochs  of the trials of a search cannot be changed; extend the study itself, or its folder tuned"]
    if plan.looks:
        return [f"epochs  of a study with looks at {plan.looks} seeds cannot be changed; {fresh_command(plan, epochs)}"]
    if len(before) > 1:
        text = ", ".join(map(str, sorted(before)))
        return [f"epochs={epochs}  would undo the arms' own {EPOCHS} ({text}); {fresh_command(plan, epochs)}"]
    if epochs <= min(before):
        return [f"epochs={epochs}  must be more than the {min(before)} that the cells have"]
    arms: dict[str, list[str]] = {}  # by reason: as a rule one holds for all arms
    for arm, config in reversed(configs.items()):
        if reason := recipe_error(config["recipe"], epochs):
            arms.setdefault(reason, []).append(arm)
    return [
        f"epochs={epochs}  cannot continue {', '.join(names)}: {reason}; {fresh_command(plan, epochs)}"
        for reason, names in arms.items()
    ]


def recipe_error(recipe: dict[str, Any], epochs: int) -> str:
    """Return why a recipe cannot go on to so many epochs, and what is allowed; empty if it can."""
    before, schedule = recipe["epochs"], recipe["schedule"]
    if schedule in FALLING:
        return (
            f"recipe.schedule={schedule} has brought the learning rate to its end at epoch {before}, which a schedule "
            f"of {epochs} epochs would not have; allowed: {ALLOWED}"
        )
    last = recipe.get("average_last") or 0
    if epochs - last < before:
        return (
            f"the mean of the last recipe.average_last={last} epochs would need weights of epoch {epochs - last + 1}, "
            f"which are gone; allowed: at least {before + last}"
        )
    return ""


def fresh_command(plan: Plan, epochs: int) -> str:
    """Return the sentence with the command that trains the study from the start with so many epochs."""
    if (conf_dir() / "study" / f"{plan.study}.yaml").exists() or plan.design != "grid":
        words = [f"study={plan.study}"]
    else:
        lists = [[o for o in cell.overrides if override_key(o) not in ("seed", EPOCHS)] for cell in plan.cells]
        values: dict[str, dict[str, None]] = {}
        for override in (o for overrides in lists for o in overrides):
            values.setdefault(override_key(override), {})[override_value(override)] = None
        seeds = ",".join(str(seed) for seed in plan.seeds)
        words = ["-m", *(f"{key}={','.join(own)}" for key, own in values.items()), f"seed={seeds}"]
    return f"train a fresh study: vitsweep run {shlex.join([*words, f'{EPOCHS}={epochs}'])}"


def longer_plan(plan: Plan, directory: Path, epochs: int, longer: Path) -> Plan:
    """Return the plan of the longer study, with the same arms, seeds and claims.

    Args:
        plan: of the finished study.
        directory: its directory.
        longer: directory of the longer study.

    Raises:
        ConfigError: longer_errors.
    """
    if errors := longer_errors(plan, epochs):
        raise ConfigError(errors)
    cells = [longer_cell(cell, epochs) for cell in plan.cells]
    hashes = {cell.arm: cell.config_hash for cell in cells}
    before = plan.cells[0].config["recipe"]["epochs"]
    scale = {key: list(value) for key, value in plan.scale.items()}
    if "epochs" in scale:
        scale["epochs"][0] = epochs
        scale = {key: value for key, value in scale.items() if value[0] != value[1]}
    made = dataclasses.replace(
        plan,
        study=f"{ENDING.sub('', plan.study)}-epochs={epochs}",
        arms=[row | {"config_hash": hashes.get(row["arm"], "")} for row in plan.arms],
        cells=cells,
        scale=scale,
        tune={},
        sweep_id=secrets.token_hex(8),
        continued_from={
            "study": plan.study,
            "directory": os.path.relpath(directory, longer),
            "sweep_id": plan.sweep_id,
            "epochs": [*plan.continued_from.get("epochs", []), before],
        },
    )
    return dataclasses.replace(made, plan_hash=plan_hash(made))


def longer_cell(cell: Cell, epochs: int) -> Cell:
    """Return the same cell with so many epochs."""
    config = cell.config | {"recipe": cell.config["recipe"] | {"epochs": epochs}}
    new_hash = config_hash(from_dict(config))
    return dataclasses.replace(
        cell,
        id=str(CellId.of(cell.arm, new_hash, cell.seed)),
        overrides=longer_overrides(cell.overrides, epochs),
        config=config,
        config_hash=new_hash,
    )


def longer_overrides(overrides: list[str], epochs: int) -> list[str]:
    """Return overrides with so many epochs, the seed last."""
    kept = [override for override in overrides if override_key(override) not in ("seed", EPOCHS)]
    return [*kept, f"{EPOCHS}={epochs}", *(o for o in overrides if override_key(o) == "seed")]


def with_earlier_plan(made: Plan, earlier: Plan | None, longer: Path) -> Plan:
    """Return the plan to write where an earlier start of the same command has left one: its cells, then new ones.

    Raises:
        RecordError: the plan there is another study's.
    """
    if earlier is None:
        return made
    own, there = made.continued_from, earlier.continued_from
    if {**there, "directory": ""} != {**own, "directory": ""}:
        raise RecordError(f"{longer}  holds another study; move that folder away")
    known = {cell.id for cell in earlier.cells}
    merged = dataclasses.replace(
        earlier,
        cells=earlier.cells + [cell for cell in made.cells if cell.id not in known],
        seeds=earlier.seeds + [seed for seed in made.seeds if seed not in earlier.seeds],
    )
    return dataclasses.replace(merged, plan_hash=plan_hash(merged))


def continued_record(plan: Plan, cell: Cell, before: Record, before_id: str) -> Record:
    """Return the record with which a cell of the longer study continues a finished one.

    Times add up over both; attempts and W&B runs are its own.

    Args:
        before: record of the finished cell.
        before_id: its id.
    """
    record = new_record(plan, cell, None)
    for name in ("device", "threads", "code", "pack", "environment", "time_seconds"):
        setattr(record, name, getattr(before, name))
    record.status, record.epoch = "interrupted", before.epoch
    record.continued_from = {
        "study": before.study,
        "cell": before_id,
        "sweep_id": before.sweep_id,
        "config_hash": before.config_hash,
        "epochs": before.epoch,
    }
    return record


def done_record(folder: Path, config_hash: str) -> Record | None:
    """Return the record of a finished cell; None for one that failed or diverged.

    Raises:
        RecordError: it has not ended, or its directory holds another cell.
    """
    try:
        record = read_record(folder)
    except FileNotFoundError as error:
        raise RecordError(f"{folder}  has not been trained; finish the study first, with its own command") from error
    if record.config_hash != config_hash:
        raise RecordError(f"{folder}  holds another cell; move that folder away")
    if record.status in ("failed", "diverged"):
        return None
    if record.status != "done":
        raise RecordError(f"{folder}  is {record.status}; finish the study first, with its own command")
    return record
