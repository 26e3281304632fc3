"""Rules of a study's claims: their form, and that the arms they name exist. Judged by analysis/statistics/claims.py."""

import math
from collections.abc import Mapping
from typing import Any

from vitsweep.config.overrides import yaml_text
from vitsweep.study.arms import written_settings
from vitsweep.study.record import METRIC_NAMES

KEYS = ("claim", "arm", "than", "metric", "direction", "rope", "kind", "epoch", "within", "testable", "why")
KINDS = ("effect", "saturation")
CURVES = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
DIRECTIONS = ("higher", "lower")


def claims_errors(claims: list[dict[str, Any]], arms: list[dict[str, Any]], baseline: dict[str, Any]) -> list[str]:
    """Return a message for each claim about an arm that the plan does not have.

    Args:
        claims: as in the study file, each of a valid form.
        arms: the plan's rows, the baseline first: arm, role, levels and changes of each.
        baseline: the baseline's configuration as plain values.
    """
    testable = [(n, claim) for n, claim in enumerate(claims) if claim.get("testable", True)]
    if not testable:
        return []
    levels = {row["arm"]: row["levels"] for row in arms if row["role"] != "placebo"}
    levels[next(iter(levels))] = baseline_levels(arms, written_settings(baseline))
    placebos = {row["arm"] for row in arms} - set(levels)
    return [f"study.claims[{n}].{error}" for n, claim in testable for error in arm_errors(claim, levels, placebos)]


def claims_form_errors(claims: list[Any]) -> list[str]:
    """Return a message for each claim that is wrong by itself."""
    found = []
    for number, claim in enumerate(claims):
        where = f"study.claims[{number}]"
        if isinstance(claim, dict):
            found += [f"{where}.{error}" for error in form_errors(claim)]
        else:
            found.append(f"{where}={yaml_text(claim)}  must be a mapping such as {{claim: ..., arm: ...}}")
    return found


def baseline_levels(arms: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, str]:
    """Return factor -> level of the baseline: as stated, else its value if the factor is a field, as in a report."""
    stated = dict(arms[0]["levels"])
    for factor in dict.fromkeys(factor for row in arms for factor in row["levels"]):
        rows = [row for row in arms if factor in row["levels"]]
        for key in (key for key in settings if key.rpartition(".")[2] == factor and factor not in stated):
            if all(str(row["changes"].get(key, settings[key])) == row["levels"][factor] for row in rows):
                stated[factor] = str(settings[key])
    return stated


def form_errors(claim: dict[str, Any]) -> list[str]:
    """Return what is wrong with a claim by itself: `key=value  rule`."""
    found = [f"{key}  is unknown; allowed: {', '.join(sorted(KEYS))}" for key in claim if key not in KEYS]
    kind = claim.get("kind") or "effect"
    if kind not in KINDS:
        return [*found, f"kind={yaml_text(kind)}  is unknown; allowed: {', '.join(KINDS)}"]
    metrics = METRIC_NAMES if kind == "effect" else CURVES
    for name, allowed in (("metric", metrics), ("direction", DIRECTIONS)):
        if claim.get(name) is not None and claim[name] not in allowed:
            found.append(f"{name}={yaml_text(claim[name])}  is unknown; allowed: {', '.join(allowed)}")
    needed = ("epoch", "within") if kind == "saturation" else ()
    for name in ("rope", "epoch", "within"):
        if (name in needed or claim.get(name) is not None) and not _is_number(claim.get(name)):
            found.append(f"{name}={yaml_text(claim.get(name))}  must be a number of at least 0")
    for name in ("claim", "why"):
        if claim.get(name) is not None and not isinstance(claim[name], str):
            found.append(f"{name}={yaml_text(claim[name])}  must be a text")
    if not isinstance(claim.get("testable", True), bool):
        found.append(f"testable={yaml_text(claim['testable'])}  must be true or false")
    if claim.get("testable", True) is True and kind == "effect" and not claim.get("arm"):
        found.append(f"arm={yaml_text(claim.get('arm'))}  must name an arm, or a list of them")
    if kind == "saturation" and isinstance(claim.get("arm"), list):
        found.append(f"arm={yaml_text(claim['arm'])}  must be one arm for kind=saturation")
    return found + _unread_errors(claim, kind)


def _unread_errors(claim: dict[str, Any], kind: str) -> list[str]:
    """Return a message for each key that this kind of claim does not read."""
    unread = ("epoch", "within") if kind == "effect" else ("than", "direction", "rope")
    return [f"{key}  is not read by kind={kind}; drop it" for key in unread if claim.get(key) is not None]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def arm_errors(claim: dict[str, Any], levels: Mapping[str, Mapping[str, str]], placebos: set[str]) -> list[str]:
    """Return a message for each arm of a claim that a plan does not have, and for one compared with itself.

    Args:
        claim: of a valid form.
        levels: arm -> factor -> level, the baseline first.
        placebos: names of further arms.
    """
    found, named = [], {}
    for key in ("arm", "than"):
        value = claim.get(key)
        names = [str(v) for v in value] if isinstance(value, list) else [str(value)] if value else []
        named[key] = [name if name in placebos else find_arm(name, levels) for name in names]
        absent = [name for name, arm in zip(names, named[key], strict=True) if arm is None]
        found += [f"{key}={name}  is no arm of this study; allowed: {', '.join(levels)}" for name in absent]
    if found or claim.get("kind") == "saturation":
        return found
    others = named["than"] or [next(iter(levels))]
    if all(arm == other for arm in named["arm"] for other in others):
        return [f"arm={yaml_text(claim['arm'])}  would be compared with itself; name another arm, or than: ..."]
    return []


def find_arm(name: str, levels: Mapping[str, Mapping[str, str]]) -> str | None:
    """Return the arm of that name, else the one that differs from the baseline by that `factor=level` alone.

    Args:
        name: an arm, or `factor=level`.
        levels: arm -> factor -> level, the baseline first.
    """
    if name in levels:
        return name
    factor, _, level = name.partition("=")
    baseline = next(iter(levels))
    if level and levels[baseline].get(factor) == level:
        return baseline
    for arm, own in levels.items():
        changed = {key: value for key, value in own.items() if levels[baseline].get(key) != value}
        if changed == {factor: level}:
            return arm
    return None
