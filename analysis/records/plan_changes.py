"""Sentences on how a plan was changed: what was dropped or renamed, and what it has beyond the last start."""

from collections.abc import Collection
from typing import Any

MAX_NAMED = 6


def dropped_after_results(plan: dict[str, Any] | None) -> list[str]:
    """Return the arms that were dropped from a plan when a run of theirs had finished."""
    entries = (plan or {}).get("dropped") or []
    return list(dict.fromkeys(arm for entry in entries if entry["finished"] for arm in entry.get("arms", [])))


def change_sentences(plan: dict[str, Any], arms: Collection[str]) -> list[str]:
    """Return a sentence for each change that a reader must know.

    Args:
        plan: plan.json, or {}.
        arms: those that the plan has now.
    """
    lines = [_dropped(entry, arms, plan) for entry in plan.get("dropped") or []]
    lines += [_renamed(entry) for entry in plan.get("renamed") or []]
    return lines + _beyond(plan)


def _dropped(entry: dict[str, Any], arms: Collection[str], plan: dict[str, Any]) -> str:
    values = entry.get("arms") or entry.get("seeds") or []
    what = "seed" if entry.get("seeds") else "arm"
    names = f"{what}{'s' * (len(values) > 1)} {_listed(values)}"
    seen = (
        f"{entry['finished']} of {entry['runs']} runs had finished"
        if entry["finished"]
        else f"none of {entry['runs']} runs had finished"
    )
    others = entry["seen"] - entry["finished"]
    seen += f", {others} of the study's other runs had" if others else ", nor had any other of the study"
    can = "could be seen" if entry["finished"] else "could not be seen"
    if all(value in (arms if what == "arm" else plan.get("seeds", [])) for value in values):
        return f"Dropped on {entry['when'][:10]} and planned again since: {names} ({seen})."
    then = ""
    if entry["finished"] and what == "arm":
        then = "; still counted in the family of arms"
    elif entry["finished"]:
        then = "; p values hold for seeds chosen before results are seen, so verdicts are exploratory"
    return f"Dropped on {entry['when'][:10]}: {names}, whose results {can} ({seen}){then}."


def _renamed(entry: dict[str, str]) -> str:
    return f"Renamed on {entry['when'][:10]}: {entry['kind']} {entry['name']} was {entry['before']}."


def _beyond(plan: dict[str, Any]) -> list[str]:
    """Return a sentence on unfinished arms that the last start did not ask for."""
    asked = plan.get("asked") or {}
    more = [row["arm"] for row in plan.get("arms", []) if asked and row["arm"] not in asked["arms"]]
    if not more:
        return []
    return [
        f"In the plan, and not asked for by the last start: {_listed(more)}; counted in the family of arms until "
        "dropped (vitsweep drop)."
    ]


def _listed(values: list[Any]) -> str:
    more = f" and {len(values) - MAX_NAMED} more" if len(values) > MAX_NAMED else ""
    return f"{', '.join(map(str, values[:MAX_NAMED]))}{more}"
