"""A plan that is already there, and the plan of the same study that is started now: names, cells and history of both.

The study of a sweep directory keeps what was once named: an arm is known by its configuration, so the names that an
earlier version or `vitsweep rename` gave stay, and with them the directories of its cells.
"""

import dataclasses
from pathlib import Path
from typing import Any

from vitsweep.config.convert import flatten, from_dict, hashed_settings
from vitsweep.config.overrides import slug, yaml_text
from vitsweep.errors import RecordError
from vitsweep.study.arms import FINGERPRINT, differences
from vitsweep.study.plan import DECLARED, PLAN_NAME, TUNING_NAME, CellId, Plan, plan_hash
from vitsweep.study.record import read_record


def with_known_names(plan: Plan, earlier: Plan | None) -> Plan:
    """Return a plan with the names that an earlier plan of its directory gives to the study and to equal arms.

    Arms are equal if they have one configuration and one role; their cells then have the directories that they had.
    """
    if earlier is None:
        return plan
    planned = {(row["arm"], *_arm_key(row)) for row in plan.arms}
    free = [row for row in earlier.arms if (row["arm"], *_arm_key(row)) not in planned]
    own = {(row["arm"], *_arm_key(row)): row for row in earlier.arms}
    known = {
        row["arm"]: own.get((row["arm"], *_arm_key(row)))
        or next((other for other in free if _arm_key(other) == _arm_key(row)), None)
        for row in plan.arms
    }
    # Earlier versions had further levels in some arms, which their records repeat.
    levels = {arm: row["levels"] for arm, row in known.items() if row}
    arms = [row | {"levels": _wider(row["levels"], levels.get(row["arm"]))} for row in plan.arms]
    cells = [dataclasses.replace(cell, levels=_wider(cell.levels, levels.get(cell.arm))) for cell in plan.cells]
    study = earlier.study if plan.study.startswith(earlier.study) or earlier.renamed else plan.study
    names = {arm: row["arm"] if row else arm for arm, row in known.items()}
    return renamed_plan(dataclasses.replace(plan, arms=arms, cells=cells), names, study)


def _arm_key(row: dict[str, Any]) -> tuple[Any, Any]:
    return row.get("config_hash"), row["role"]


def _wider(levels: dict[str, str], known: dict[str, str] | None) -> dict[str, str]:
    return known if known is not None and levels.items() <= known.items() else levels


def renamed_plan(plan: Plan, names: dict[str, str], study: str) -> Plan:
    """Return a plan under other names.

    Args:
        names: arm -> its name; an arm that would share its name with another gets the beginning of its hash.
        study: the study's name.
    """
    taken = [names[row["arm"]] for row in plan.arms]
    for row in plan.arms:
        if taken.count(names[row["arm"]]) > 1 and names[row["arm"]] == row["arm"]:
            names = names | {row["arm"]: slug(f"{row['arm']}+{row['config_hash'][:8]}")}
    cells = [
        dataclasses.replace(cell, arm=names[cell.arm], id=str(CellId.of(names[cell.arm], cell.config_hash, cell.seed)))
        for cell in plan.cells
    ]
    found = dataclasses.replace(
        plan,
        study=study,
        baseline=names[plan.baseline],
        arms=[row | {"arm": names[row["arm"]]} for row in plan.arms],
        cells=cells,
        published={names.get(arm, arm): value for arm, value in plan.published.items()},
    )
    return dataclasses.replace(found, plan_hash=plan_hash(found))


def extend_plan(old: Plan, new: Plan, directory: Path) -> Plan:
    """Return the old plan with the new one's arms, seeds and cells added.

    Raises:
        RecordError: the baselines differ, so the results could not be compared; or what DECLARED names does, and a cell
            has begun.
    """
    if differing := differences(baseline_values(new), baseline_values(old)):
        keys = [_difference_text(key, before, after) for key, (after, before) in differing.items()]
        raise RecordError(
            f"hydra.sweep.dir={directory}  holds a study with another baseline ({'; '.join(keys)}); "
            f"choose another hydra.sweep.dir=... or move that folder away"
        )
    new = with_known_names(new, old)
    refuse_restated(old, new, directory)
    refuse_other_search(old, new, directory)
    known_arms, known_cells = {a["arm"] for a in new.arms}, {c.id for c in new.cells}
    rows = {(a["arm"], a["config_hash"]): a for a in old.arms}
    newer = {cell.id: cell.newer for cell in old.cells}
    new = dataclasses.replace(
        new,
        arms=[rows.get((a["arm"], a["config_hash"]), {}) | a for a in new.arms],
        cells=[dataclasses.replace(cell, newer=newer.get(cell.id, {})) for cell in new.cells],
    )
    merged = dataclasses.replace(
        new,
        arms=new.arms + [a for a in old.arms if a["arm"] not in known_arms],
        cells=new.cells + [c for c in old.cells if c.id not in known_cells],
        seeds=new.seeds if new.looks else sorted(set(old.seeds) | set(new.seeds)),
        factors={
            key: list(dict.fromkeys(old.factors.get(key, []) + new.factors.get(key, [])))
            for key in new.factors | old.factors
        },
        renamed=old.renamed,
        dropped=old.dropped,
        claims_before=old.claims_before,
        seeds_before=old.seeds_before,
        sweep_id=old.sweep_id,
        continued_from=old.continued_from,
        newer=old.newer,
    )
    if all(getattr(old, name) == getattr(new, name) for name in ("claims", *DECLARED)):
        merged.claims_hash = old.claims_hash  # perhaps made by an earlier rule; nothing has changed
    else:
        merged.claims_before = old.claims_before | {old.claims_hash: old.claims}
    if len(merged.cells) > len(new.cells):
        merged.asked = {"arms": [row["arm"] for row in new.arms], "seeds": new.seeds}
    note_added_seeds(merged, old, directory)
    merged.plan_hash = plan_hash(merged)
    return merged


def refuse_restated(old: Plan, new: Plan, directory: Path) -> None:
    """Refuse to change what DECLARED names once a cell of the old plan has begun: verdicts would follow the data.

    Raises:
        RecordError: one of them differs.
    """
    names = (*DECLARED, "seeds") if old.looks and new.looks else DECLARED
    changed = [name for name in names if getattr(old, name) != getattr(new, name)]
    if changed and any(has_begun(directory / cell.id) for cell in old.cells):
        wrong, right = (
            " ".join(f"study.{name}={yaml_text(getattr(plan, name))}" for name in changed) for plan in (new, old)
        )
        raise RecordError(
            f"{wrong}  cannot be changed once a run has begun; allowed: {right}; state it again, or choose another "
            f"hydra.sweep.dir=... than {directory} for fresh runs"
        )


def refuse_other_search(old: Plan, new: Plan, directory: Path) -> None:
    """Refuse another search once the old plan's has begun: arms would be tuned unequally.

    Raises:
        RecordError: it differs.
    """
    if old.tune != new.tune and (directory / TUNING_NAME / PLAN_NAME).exists():
        changed = [key for key in old.tune | new.tune if old.tune.get(key) != new.tune.get(key)]
        raise RecordError(
            f"study.tune  differs in {', '.join(changed)} from the search that has begun in {directory / TUNING_NAME}; "
            "state it as it was, or choose another hydra.sweep.dir=... for a fresh search"
        )


def _difference_text(key: str, before: Any, after: Any) -> str:
    if key == FINGERPRINT:
        there, now = (value[:8] if value else "not stated" for value in (before, after))
        return f"other images: {there} there, {now} now"
    return f"{key}: {before} there, {after} now"


def note_added_seeds(plan: Plan, before: Plan, directory: Path) -> None:
    """Note in a plan's history that seeds were added, if `directory` already had a result."""
    if len(plan.seeds) > len(before.seeds) and any(has_result(directory / cell.id) for cell in before.cells):
        plan.seeds_before = [*before.seeds_before, len(before.seeds)]


def has_result(cell: Path) -> bool:
    """Return whether a cell's directory has a finished, readable record."""
    try:
        return read_record(cell).status == "done"
    except (OSError, RecordError):
        return False


def has_begun(cell: Path) -> bool:
    """Return whether a cell's directory has a record that is no longer `planned`; an unreadable one counts."""
    try:
        return read_record(cell).status != "planned"
    except FileNotFoundError:
        return False
    except (OSError, RecordError):
        return True


def baseline_values(plan: Plan) -> dict[str, Any]:
    """Return dotted key -> value of the baseline's model, data and recipe, without paths."""
    cell = next(cell for cell in plan.cells if cell.role == "baseline")
    return flatten(hashed_settings(from_dict(cell.config)))
