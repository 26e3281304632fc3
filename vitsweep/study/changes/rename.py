"""Other names for a study or an arm: in the plan, which keeps the earlier ones, in records and directories."""

import dataclasses
import os
import re
from pathlib import Path

from vitsweep.config.overrides import SLUG_LENGTH
from vitsweep.errors import ConfigError, did_you_mean
from vitsweep.study.arms import PLACEBO
from vitsweep.study.changes.extension import renamed_plan
from vitsweep.study.claims import CALLED
from vitsweep.study.plan import Plan, plan_hash
from vitsweep.study.record import cell_directories, now, read_record, write_record

TAKEN = ("baseline", PLACEBO)


def refuse_name(name: str, taken: list[str]) -> None:
    """Check that a name can be that of a directory and is free.

    Raises:
        ConfigError: it cannot, or is not.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=+-]*", name) or len(name) > SLUG_LENGTH:
        rule = f"must be at most {SLUG_LENGTH} letters, digits, . _ = + or -; it names a directory"
        raise ConfigError([f"{name}  {rule}"])
    if name in taken:
        raise ConfigError([f"{name}  is taken; choose another name"])


def with_arm_named(plan: Plan, arm: str, name: str) -> Plan:
    """Return a plan in which an arm has another name.

    Raises:
        ConfigError: there is no such arm, it is the baseline or the placebo, or the name is no free one.
    """
    names = [row["arm"] for row in plan.arms]
    if arm not in names:
        allowed = ", ".join(own for own in names if own not in TAKEN)
        raise ConfigError([f"{arm}  is no arm of {plan.study}{did_you_mean(arm, names)}; allowed: {allowed}"])
    if arm in TAKEN or arm == plan.baseline:
        raise ConfigError([f"{arm}  keeps its name, which says what it is; rename another arm"])
    refuse_name(name, [*names, *TAKEN])
    found = renamed_plan(plan, {own: name if own == arm else own for own in names}, plan.study)
    rows = [row | {CALLED: [*row.get(CALLED, []), arm]} if row["arm"] == name else row for row in found.arms]
    return _with_trace(dataclasses.replace(found, arms=rows), "arm", arm, name)


def with_study_named(plan: Plan, name: str) -> Plan:
    """Return a plan whose study has another name.

    Raises:
        ConfigError: it is no name of a directory, or the study's own.
    """
    refuse_name(name, [plan.study])
    return _with_trace(dataclasses.replace(plan, study=name), "study", plan.study, name)


def _with_trace(plan: Plan, kind: str, before: str, name: str) -> Plan:
    entry = {"kind": kind, "before": before, "name": name, "when": now()}
    found = dataclasses.replace(plan, renamed=[*plan.renamed, entry])
    return dataclasses.replace(found, plan_hash=plan_hash(found))


def move_arms(directory: Path, before: Plan, after: Plan) -> None:
    """Move the directories of arms to those of their new names; one that an interrupted rename has moved stays."""
    for old, new in zip(before.cells, after.cells, strict=True):
        source, place = (directory / cell.id.rpartition("/")[0] for cell in (old, new))
        if source != place and source.exists() and not place.exists():
            os.rename(source, place)


def rename_records(directory: Path, plan: Plan) -> int:
    """Write the plan's names of study and arms into the records of its cells; return how many were changed."""
    arms = {directory / cell.id: cell.arm for cell in plan.cells}
    changed = 0
    for folder in cell_directories(directory):
        if folder not in arms:
            continue
        record = read_record(folder)
        if (record.study, record.arm) != (plan.study, arms[folder]):
            write_record(folder, dataclasses.replace(record, study=plan.study, arm=arms[folder]))
            changed += 1
    return changed
