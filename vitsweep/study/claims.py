"""Rules of a study's claims: their form, and that the design shows what they ask. Judged by analysis/statistics/claims.

A claim asks about arms, a main effect or an interaction; each is a list of contrasts, which plan and report share.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vitsweep.config.overrides import yaml_text
from vitsweep.config.schema import FACTORIAL
from vitsweep.significance.contrasts import Contrast, Effects, Level, format_levels, make_design, make_effects
from vitsweep.significance.saturation import FITTED, LOWEST, RULES
from vitsweep.study.arms import changes_name, written_settings
from vitsweep.study.record import METRIC_NAMES, METRICS_TEXT, ROW_METRICS

KEYS = tuple("claim arm than main_effect interaction metric direction rope kind epoch within rule testable why".split())
KINDS = ("effect", "better", "equivalent", "not_worse", "saturation")
OF_EQUALITY = ("equivalent", "not_worse")
CURVES = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
DIRECTIONS = ("higher", "lower", "either")
CALLED = "called"
"""Key of a plan's arm: the names that it had before."""
SUBJECTS = ("arm", "main_effect", "interaction")
UNREAD = {
    "effect": ("epoch", "within", "rule"),
    "better": ("epoch", "within", "rule", "direction"),
    "equivalent": ("epoch", "within", "rule", "direction"),
    "not_worse": ("epoch", "within", "rule"),
    "saturation": ("than", "main_effect", "interaction", "direction", "rope"),
}
"""Keys that a kind of claim does not read."""


def claims_errors(
    claims: list[dict[str, Any]],
    arms: list[dict[str, Any]],
    baseline: dict[str, Any],
    design: str = "",
    interactions: Iterable[Any] = (),
) -> list[str]:
    """Return a message for each claim about an arm or effect that the plan does not show, and for each interaction.

    Args:
        claims: as in the study file, each of a valid form.
        arms: the plan's rows, the baseline first: arm, role, levels and changes of each.
        baseline: the baseline's configuration as plain values.
        design: its name.
        interactions: those that the study file names, each of two factors or levels.
    """
    testable = [(n, claim) for n, claim in enumerate(claims) if claim.get("testable", True)]
    if not testable and not interactions:
        return []
    levels = plan_levels(arms, written_settings(baseline))
    names = dict.fromkeys(row["arm"] for row in arms if row["arm"] not in levels)
    names = {name: name for name in names} | earlier_names(arms)
    effects = plan_effects(levels, design)
    found = []
    for number, claim in testable:
        own = arm_errors(claim, levels, names) or effect_contrasts(claim, effects, design)[1]
        found += [f"study.claims[{number}].{error}" for error in own]
    for number, pair in enumerate(interactions):
        own = interaction_contrasts(pair, effects, design)[1]
        found += [f"study.interactions[{number}]{error.removeprefix('interaction')}" for error in own]
    return found


def claims_form_errors(claims: list[Any], rope: float) -> list[str]:
    """Return a message for each claim that is wrong by itself.

    Args:
        rope: the study's.
    """
    found = []
    for number, claim in enumerate(claims):
        where = f"study.claims[{number}]"
        if isinstance(claim, dict):
            found += [f"{where}.{error}" for error in form_errors(claim) + unread_errors(claim)]
            found += [f"{where}.{error}" for error in margin_errors(claim, rope)]
        else:
            found.append(f"{where}={yaml_text(claim)}  must be a mapping such as {{claim: ..., arm: ...}}")
    return found


def plan_levels(arms: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return arm -> factor -> level of a plan's arms without its placebos, the baseline first.

    Args:
        settings: the baseline's, as in arms.written_settings.
    """
    levels = {row["arm"]: dict(row["levels"]) for row in arms if row["role"] != "placebo"}
    levels[next(iter(levels))] = baseline_levels(arms, settings)
    return levels


def plan_effects(levels: Mapping[str, Mapping[str, str]], design: str) -> Effects:
    """Return the main effects and interactions that the arms of a plan show.

    Args:
        levels: arm -> factor -> level, the baseline first.
        design: its name.
    """
    factors = dict.fromkeys(factor for own in levels.values() for factor in own)
    stated = next(iter(levels.values()), {})
    return make_effects(
        make_design(levels, {factor: stated.get(factor, "baseline") for factor in factors}), design in FACTORIAL
    )


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
    """Return what makes a claim unreadable: `key=value  rule`."""
    found = [f"{key}  is unknown; allowed: {', '.join(sorted(KEYS))}" for key in claim if key not in KEYS]
    kind = claim.get("kind") or "effect"
    if kind not in KINDS:
        return [*found, f"kind={yaml_text(kind)}  is unknown; allowed: {', '.join(KINDS)}"]
    metrics = CURVES if kind == "saturation" else (*METRIC_NAMES, *ROW_METRICS)
    directions = DIRECTIONS if kind == "effect" else DIRECTIONS[:2]
    for name, allowed in (("metric", metrics), ("direction", directions), ("rule", RULES)):
        if claim.get(name) is not None and claim[name] not in allowed:
            shown = METRICS_TEXT if allowed[-1] in ROW_METRICS else ", ".join(allowed)
            found.append(f"{name}={yaml_text(claim[name])}  is unknown; allowed: {shown}")
    needed = ("epoch", "within") if kind == "saturation" else ()
    for name in ("rope", "epoch", "within"):
        if (name in needed or claim.get(name) is not None) and not _is_number(claim.get(name)):
            found.append(f"{name}={yaml_text(claim.get(name))}  must be a number of at least 0")
    for name in ("claim", "why"):
        if claim.get(name) is not None and not isinstance(claim[name], str):
            found.append(f"{name}={yaml_text(claim[name])}  must be a text")
    if not isinstance(claim.get("testable", True), bool):
        found.append(f"testable={yaml_text(claim['testable'])}  must be true or false")
    if kind == "saturation" and isinstance(claim.get("arm"), list):
        found.append(f"arm={yaml_text(claim['arm'])}  must be one arm for kind=saturation")
    return found + (_subject_errors(claim) if kind != "saturation" and claim.get("testable", True) is True else [])


def _subject_errors(claim: dict[str, Any]) -> list[str]:
    """Return a message if a claim does not ask about exactly one of SUBJECTS."""
    named = [key for key in SUBJECTS if claim.get(key)]
    if not named:
        return [f"arm={yaml_text(claim.get('arm'))}  must name an arm, or a list of them (or main_effect, interaction)"]
    if len(named) > 1:
        return [f"{key}  cannot stand beside {named[0]}; ask about one of them" for key in named[1:]]
    if claim.get("than") and named != ["arm"]:
        return [f"than  is not read beside {named[0]}; drop it"]
    return pair_errors("interaction", claim["interaction"]) if named == ["interaction"] else []


def pair_errors(key: str, pair: Any) -> list[str]:
    """Return a message if a value is not two different factors, each with or without a level."""
    if isinstance(pair, list) and len({str(name).partition("=")[0] for name in pair}) == len(pair) == 2:
        return []
    return [f"{key}={yaml_text(pair)}  must be two factors such as [depth, dropout] or [depth=l2, dropout=none]"]


def margin_errors(claim: dict[str, Any], rope: float) -> list[str]:
    """Return a message if a claim of equality has no ROPE to lie within.

    Args:
        rope: the study's, percent points of accuracy.
    """
    kind, metric = claim.get("kind"), claim.get("metric") or "test/accuracy"
    if kind not in OF_EQUALITY or claim.get("testable", True) is False or metric not in (*METRIC_NAMES, *ROW_METRICS):
        return []
    if claim.get("rope") is None and not metric.endswith("accuracy"):
        return [f"rope  is missing: study.rope is one of accuracies; give kind={kind} of {metric} a rope of its own"]
    own = rope if claim.get("rope") is None else claim["rope"]
    return [f"rope={own}  must be above 0 for kind={kind}"] if _is_number(own) and own == 0 else []


def unstated_rule_errors(claims: list[dict[str, Any]], earlier: list[dict[str, Any]]) -> list[str]:
    """Return a message for each saturation claim without a rule that the earlier plan of this directory lacks.

    Plans made when there was only one rule state none, and are judged by it.

    Args:
        claims: of a valid form.
        earlier: claims of that plan; [] without one.
    """
    return [
        f"study.claims[{number}].rule=null  must be stated for kind=saturation; allowed: {FITTED}, or {LOWEST} as in "
        f"plans that state none; add rule: {FITTED}"
        for number, claim in enumerate(claims)
        if claim.get("kind") == "saturation" and claim.get("testable", True) and not claim.get("rule")
        if claim not in earlier
    ]


def unread_errors(claim: dict[str, Any]) -> list[str]:
    """Return a message for each key that this kind of claim does not read."""
    kind = claim.get("kind") or "effect"
    unread = UNREAD.get(kind, ()) if isinstance(kind, str) else ()
    return [f"{key}  is not read by kind={kind}; drop it" for key in unread if claim.get(key) is not None]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def arm_errors(claim: dict[str, Any], levels: Mapping[str, Mapping[str, str]], others: Mapping[str, str]) -> list[str]:
    """Return a message for each arm of a claim that a plan does not have, and for one compared with itself.

    Args:
        claim: of a valid form.
        levels: arm -> factor -> level, the baseline first.
        others: name -> arm, of placebos and of earlier_names.
    """
    found, named = [], {}
    for key in ("arm", "than"):
        names = _names(claim.get(key))
        named[key] = [find_arm(name, levels, others) for name in names]
        absent = [name for name, arm in zip(names, named[key], strict=True) if arm is None]
        found += [f"{key}={name}  is no arm of this study; allowed: {', '.join(levels)}" for name in absent]
    if found or claim.get("kind") == "saturation" or not named["arm"]:
        return found
    compared_with = named["than"] or [next(iter(levels))]
    if all(arm == other for arm in named["arm"] for other in compared_with):
        return [f"arm={yaml_text(claim['arm'])}  would be compared with itself; name another arm, or than: ..."]
    return []


def earlier_names(arms: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return name -> arm, of the names that arms had before a rename, and in versions that named them by one field.

    Args:
        arms: the plan's rows.
    """
    rows = [row for row in arms if row["role"] == "arm"]
    found = {name: row["arm"] for row in rows for name in row.get(CALLED, [])}
    return {changes_name(row["changes"]): row["arm"] for row in rows if 1 <= len(row.get("changes") or {}) <= 2} | found


def find_arm(name: str, levels: Mapping[str, Mapping[str, str]], others: Mapping[str, str] | None = None) -> str | None:
    """Return the arm of that name, else the one that differs from the baseline by that `factor=level` alone.

    Args:
        name: an arm, or `factor=level`.
        levels: arm -> factor -> level, the baseline first.
        others: further name -> arm.
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
    return (others or {}).get(name)


def claim_contrasts(
    claim: dict[str, Any], find: Callable[[str], str | None], baseline: str, effects: Effects | None, design: str
) -> tuple[dict[str, Contrast], list[str]]:
    """Return the comparisons of a claim, by how a report names them, and why it has none.

    Args:
        claim: of a valid form, not of kind saturation.
        find: name -> arm, None if there is none.
        baseline: the arm that arms are compared with where `than` is left out.
        effects: those of the design; None is enough for a claim about arms.
        design: its name.
    """
    if not claim.get("arm"):
        assert effects is not None
        return effect_contrasts(claim, effects, design)
    ours, theirs = _names(claim["arm"]), _names(claim.get("than") or baseline)
    arms = {name: find(name) for name in dict.fromkeys((*ours, *theirs))}
    if absent := [name for name, arm in arms.items() if arm is None]:
        return {}, [f"No arm {', '.join(absent)}."]
    pairs = dict.fromkeys((arms[a], arms[b]) for a in ours for b in theirs if arms[a] != arms[b])
    found = {f"{a} minus {b}": Contrast(weights={a: 1.0, b: -1.0}) for a, b in pairs if a and b}
    return found, [] if found else ["An arm would be compared with itself."]


def effect_contrasts(claim: dict[str, Any], effects: Effects, design: str) -> tuple[dict[str, Contrast], list[str]]:
    """Return the contrasts of a claim about a main effect or an interaction, and messages on those not shown."""
    if claim.get("interaction"):
        return interaction_contrasts(claim["interaction"], effects, design)
    found: dict[str, Contrast] = {}
    errors: list[str] = []
    for name in _names(claim.get("main_effect")):
        levels, own = _levels(f"main_effect={name}", name, effects)
        errors += own
        if hidden := [level for level in levels if level not in effects.main]:
            errors.append(
                f"main_effect={format_levels(hidden[:1])}  cannot be seen by design={design or 'none'}; use arm: "
                f"{format_levels(hidden[:1])}, or design=grid, fraction or pairs"
            )
            continue
        found |= {f"main effect of {format_levels([level])}": effects.main[level] for level in levels}
    return found, errors


def interaction_contrasts(pair: Any, effects: Effects, design: str) -> tuple[dict[str, Contrast], list[str]]:
    """Return the contrasts of two factors or levels together beyond their sum, and messages on those not shown."""
    where = f"interaction={yaml_text(pair)}"
    (one, errors), (other, more) = (_levels(where, str(name), effects) for name in pair)
    if errors or more:
        return {}, errors + more
    shown, notes = effects.interactions
    found: dict[str, Contrast] = {}
    for levels in ((a, b) for a in one for b in other):
        contrast, name = shown.get(frozenset(levels)), format_levels(levels)
        if contrast is None or contrast.aliases:
            errors.append(f"{where}  cannot be seen by design={design or 'none'}: {_hidden(levels, contrast, notes)}")
        else:
            found[f"interaction {name}"] = contrast
    return found, errors


def _hidden(levels: tuple[Level, Level], contrast: Contrast | None, notes: list[str]) -> str:
    """Return why an interaction cannot be seen, and what to do."""
    name = format_levels(levels)
    if contrast is not None:
        others = " and ".join(format_levels(alias) for alias in contrast.aliases)
        return f"{name} cannot be told from {others}; use design=grid or pairs, or a higher study.resolution"
    for both in (name, format_levels(levels[::-1])):
        for note in notes:
            if note.startswith(f"The interaction {both} cannot"):
                rest = note.removeprefix(f"The interaction {both} ").removesuffix(" in this design.")
                return f"{name} {rest}; use design=grid or pairs, or a higher study.resolution"
    return f"no arm has both {levels[0][0]}={levels[0][1]} and {levels[1][0]}={levels[1][1]}; use design=grid or pairs"


def _levels(where: str, name: str, effects: Effects) -> tuple[list[Level], list[str]]:
    """Return the levels that `factor` or `factor=level` names, without the baseline's, or a message."""
    factor, _, level = name.partition("=")
    known = effects.levels(factor)
    if not known:
        return [], [f"{where}  names no factor of this study; allowed: {', '.join(effects.design.factors) or 'none'}"]
    if not level:
        return known, []
    if (factor, level) in known:
        return [(factor, level)], []
    shown = ", ".join(format_levels([own]) for own in known)
    what = "the baseline's own level" if effects.design.baseline[factor] == level else "no level of this study"
    return [], [f"{where}  names {factor}={level}, {what}; allowed: {shown}"]


def claim_sign(claim: dict[str, Any]) -> int:
    """Return 1 for a claim of a higher value, -1 of a lower one, 0 for either; left out: what is better.

    An interaction that is claimed without a direction may have either sign.
    """
    stated = claim.get("direction")
    if stated is None and claim.get("interaction") and (claim.get("kind") or "effect") == "effect":
        stated = "either"
    if stated is None:
        stated = "lower" if str(claim.get("metric") or "").endswith("loss") else "higher"
    return {"higher": 1, "lower": -1, "either": 0}[stated]


def claim_identity(claim: dict[str, Any], contrasts: Mapping[str, Contrast]) -> str:
    """Return what a claim asks, the same for each of its restatements.

    `a than b, higher` and `b than a, lower` ask the same; so do a list of arms in another order, and other words.
    """
    kind = claim.get("kind") or "effect"
    if kind == "saturation":
        return json.dumps({key: value for key, value in claim.items() if key != "claim"}, sort_keys=True, default=str)
    kind, sign = "effect" if kind == "better" else kind, claim_sign(claim)
    asked = []
    for contrast in contrasts.values():
        items = sorted((arm, round(weight, 9)) for arm, weight in contrast.weights.items())
        two_sided = kind == "equivalent" or not sign
        turn = math.copysign(1, items[0][1]) if two_sided else sign
        asked.append([two_sided, [(arm, turn * weight) for arm, weight in items]])
    return json.dumps([kind, claim.get("metric") or "test/accuracy", claim.get("rope"), sorted(asked)])


def _names(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)] if value else []
