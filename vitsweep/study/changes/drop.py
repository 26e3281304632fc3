"""Arms and seeds that leave a plan: a trace in the plan, their cells kept aside, and what a start did not ask for.

Cells that are dropped lie in `dropped/` beside the plan, under their ids; they come back when a study asks for them
again. Neither a report nor a start reads them there.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitsweep.errors import RecordError
from vitsweep.study.changes.extension import has_result
from vitsweep.study.locks import CellLock
from vitsweep.study.plan import Cell, Plan, plan_hash
from vitsweep.study.record import DROPPED_NAME, now


def without_arms(plan: Plan, arms: list[str], directory: Path) -> Plan:
    """Return a plan without some arms, with a trace of them.

    Raises:
        RecordError: an arm is the baseline, which the others are compared with.
    """
    if plan.baseline in arms:
        raise RecordError(
            f"{plan.baseline}  is the baseline, which cannot be dropped; compare with another arm by "
            f"`vitsweep report {directory} --baseline ARM`"
        )
    left = [cell for cell in plan.cells if cell.arm not in arms]
    found = dataclasses.replace(
        plan,
        arms=[row for row in plan.arms if row["arm"] not in arms],
        factors=_factors_left(plan, [row for row in plan.arms if row["arm"] in arms]),
        asked=_asked_without(plan, "arms", arms),
    )
    return _with_trace(plan, found, left, {"arms": arms}, directory)


def without_seeds(plan: Plan, seeds: list[int], directory: Path) -> Plan:
    """Return a plan without some seeds, with a trace of them.

    Raises:
        RecordError: it has looks, at numbers of seeds, or no other seed.
    """
    if plan.looks:
        raise RecordError(f"seeds  of a study with looks at {plan.looks} seeds cannot be dropped; drop arms instead")
    if set(seeds) >= set(plan.seeds):
        raise RecordError(f"seeds={','.join(map(str, seeds))}  are all seeds of the study; keep at least one")
    left = [cell for cell in plan.cells if cell.seed not in seeds]
    kept = [seed for seed in plan.seeds if seed not in seeds]
    found = dataclasses.replace(plan, seeds=kept, asked=_asked_without(plan, "seeds", seeds))
    return _with_trace(plan, found, left, {"seeds": seeds}, directory)


def _with_trace(plan: Plan, found: Plan, left: list[Cell], what: dict[str, Any], directory: Path) -> Plan:
    gone = dropped_cells(plan, left)
    finished = sum(has_result(directory / cell.id) for cell in gone)
    seen = finished + sum(has_result(directory / cell.id) for cell in left)
    entry = {**what, "when": now(), "runs": len(gone), "finished": finished, "seen": seen}
    found = dataclasses.replace(found, cells=left, dropped=[*plan.dropped, entry])
    return dataclasses.replace(found, plan_hash=plan_hash(found))


def dropped_cells(plan: Plan, left: list[Cell]) -> list[Cell]:
    """Return the cells of a plan that are not among those left."""
    ids = {cell.id for cell in left}
    return [cell for cell in plan.cells if cell.id not in ids]


def _factors_left(plan: Plan, gone: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the plan's factors without levels that only arms that are gone had."""
    names = {row["arm"] for row in gone}
    used = {item for row in plan.arms if row["arm"] not in names for item in row["levels"].items()}
    unused = {item for row in gone for item in row["levels"].items()} - used
    levels = {name: [level for level in own if (name, level) not in unused] for name, own in plan.factors.items()}
    return {name: own for name, own in levels.items() if own}


def _asked_without(plan: Plan, key: str, values: list[Any]) -> dict[str, list[Any]]:
    """Return the plan's `asked` without arms or seeds; {} if it then asks for all that is left."""
    if not plan.asked:
        return {}
    asked = plan.asked | {key: [value for value in plan.asked[key] if value not in values]}
    there = {"arms": [row["arm"] for row in plan.arms], "seeds": plan.seeds}
    there[key] = [value for value in there[key] if value not in values]
    return {} if all(set(there[name]) <= set(asked[name]) for name in there) else asked


def move_aside(directory: Path, cells: list[Cell]) -> list[str]:
    """Move the directories of cells to `dropped/`; return the ids of those that are being trained and stay."""
    held = []
    for cell in cells:
        folder = directory / cell.id
        if not folder.exists():
            continue
        with CellLock(folder) as lock:
            if not lock.acquire_or_wait():
                held.append(cell.id)
                continue
        _move(folder, directory / DROPPED_NAME / cell.id)
    return held


def bring_back(directory: Path, plan: Plan) -> list[str]:
    """Move cells of the plan that were dropped before back to their places; return their ids."""
    if not (directory / DROPPED_NAME).is_dir():
        return []
    back = []
    for cell in plan.cells:
        aside = directory / DROPPED_NAME / cell.id
        if aside.exists() and not (directory / cell.id).exists():
            _move(aside, directory / cell.id)
            back.append(cell.id)
    return back


def _move(source: Path, destination: Path) -> None:
    """Move a cell's directory, to another name if one is there, and remove the arm's folder if it is left empty."""
    number = 1
    place = destination
    while place.exists():
        number += 1
        place = destination.with_name(f"{destination.name}.{number}")
    place.parent.mkdir(parents=True, exist_ok=True)
    os.rename(source, place)
    if not any(source.parent.iterdir()):
        source.parent.rmdir()


def is_asked(asked: dict[str, list[Any]], arm: str, seed: int) -> bool:
    """Return whether the last start of a study asked for a cell.

    Args:
        asked: Plan.asked.
    """
    return not asked or (arm in asked["arms"] and seed in asked["seeds"])


def beyond_lines(plan: Plan, directory: Path) -> Iterator[str]:
    """Yield a sentence on the arms, and one on the seeds, that the plan has beyond what its last start asked for."""
    if not plan.asked:
        return
    for key, name in (("arms", "arm"), ("seeds", "seed")):
        there = [row["arm"] for row in plan.arms] if key == "arms" else plan.seeds
        more = [value for value in there if value not in plan.asked[key]]
        if not more:
            continue
        cells = [cell for cell in plan.cells if (cell.arm if key == "arms" else cell.seed) in more]
        done = sum(has_result(directory / cell.id) for cell in cells)
        words = " ".join(map(str, more)) if key == "arms" else f"seeds={','.join(map(str, more))}"
        yield (
            f"beyond this command the plan has the {name}{'s' * (len(more) > 1)} {', '.join(map(str, more))} "
            f"({done} of {len(cells)} runs finished), which stay in the report; to take them out: "
            f"vitsweep drop {directory} {words}"
        )
