"""Effects of factors alone and together, as far as the design identifies them.

Main effects where factors are crossed; interactions wherever two levels meet and their effect is not that of something
else; for leave-one-component-out and paths the one question that each can answer. Where every arm changes one factor
only, its effect is in the comparison of the arms and nothing is repeated here.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from vitsweep.config.schema import FACTORIAL
from vitsweep.significance.contrasts import (
    Contrast,
    Design,
    Effects,
    format_levels,
    interaction_contrasts,
    is_crossed,
    main_contrasts,
    make_design,
    removal_contrast,
    step_contrasts,
)
from vitsweep.significance.declared import Comparison
from vitsweep.significance.pooling import FEW_SEEDS, spread_ratios
from vitsweep.study import claims as rules

from ..records.selection import Selection
from ..text import format_ranges, interval, p_value, signed
from . import paired as stats
from .effects import (
    DEFAULT_METRIC,
    LOST_COLUMNS,
    POOLED,
    compare,
    decimal_places,
    direction,
    display_scale,
    effect_columns,
    find_lost_runs,
    metric_text,
    on_seeds,
    seed_values,
    unit,
    with_lost,
)

QUESTION_COLUMNS = (
    "arm uses factors delta ci_low ci_high pairs sd_delta p p_holm p_equivalent p_equivalent_holm verdict "
    "seeds_needed seeds_low seeds_high family"
).split()
VERDICT_COLUMNS = "p_holm p_equivalent p_equivalent_holm verdict seeds_needed seeds_low seeds_high family".split()
"""Columns of `questions` that the main effects of a factorial design have too."""
NUMBERS = "n effect ci_low ci_high p".split()
MAIN_COLUMNS = ["factor", "level", *NUMBERS, "mean", "aliases"]
INTERACTION_COLUMNS = ["factors", "levels", *NUMBERS, "p_holm", "aliases"]
NOT_IDENTIFIABLE = (
    "No arm changes two factors at once, so interactions are not identifiable: effects are those at the baseline's "
    "levels of all other factors, and nothing here says that they add up."
)
NOT_CROSSED = (
    "No main effects are given: the levels of two factors do not all meet equally often, so an average over the other "
    "factors would mix in what those do together. The comparison of the arms has the effect of each arm."
)
TOO_FEW = "Too few seeds finished to estimate interactions beside their error."
PATH = "Each arm adds one change to the arm before, so its effect against the baseline is that of all changes so far."


@dataclass(kw_only=True)
class Factorial:
    """Main effects, interactions and notes of one study."""

    main: pd.DataFrame
    """MAIN_COLUMNS, in a factorial design with VERDICT_COLUMNS: each level against the baseline's level of its factor,
    the other factors averaged; n: seeds."""
    interactions: pd.DataFrame
    """INTERACTION_COLUMNS: effect of two levels together beyond the sum of their single effects; n: seeds."""
    cells: pd.DataFrame
    """One column a factor, `mean` and `n`: the arms' means by level, for the plots."""
    removal: str = ""
    """A sentence: effect of removing all components beyond the single removals."""
    notes: list[str] = field(default_factory=list)
    questions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=QUESTION_COLUMNS))
    """QUESTION_COLUMNS, named as those of effects.COLUMNS: the family of a factorial design, main effects and the
    interactions that the plan names. `arm`: the levels; `uses`: the arms of the contrast. Empty for other designs."""


def is_factorial(selection: Selection) -> bool:
    """Return True if the family of a study is its main effects: a factorial design of two factors or more."""
    return selection.design in FACTORIAL and bool(planned_effects(selection).main)


def planned_effects(selection: Selection) -> Effects:
    """Return the main effects and interactions that the planned arms show, as the planner saw them."""
    levels = {arm: own for arm, own in selection.levels.items() if selection.roles[arm] != "placebo"}
    for arm, row in (selection.planned or {}).items():
        if row["role"] != "placebo":
            levels.setdefault(arm, {factor: str(level) for factor, level in row["levels"].items()})
    unplanned = selection.unplanned()
    levels = {arm: own for arm, own in levels.items() if arm not in unplanned}
    return rules.plan_effects({selection.baseline: levels.pop(selection.baseline, {})} | levels, selection.design)


def analyze_factors(
    selection: Selection, metric: str = DEFAULT_METRIC, claimed: Mapping[Any, stats.AdjustedP] | None = None
) -> Factorial | None:
    """Estimate all of this; None when fewer than two factors are varied or no seed is finished.

    Args:
        claimed: as in effects.arm_effects; keys are also the levels of effects that a claim is about.
    """
    effects = planned_effects(selection) if is_factorial(selection) else None
    design = effects.design if effects else _design(selection)
    values = seed_values(selection, metric).reindex(columns=design.arms)
    if len(design.factors) < 2 or values.dropna(how="all").empty:
        return None
    found = Factorial(
        main=pd.DataFrame(columns=MAIN_COLUMNS),
        interactions=pd.DataFrame(columns=INTERACTION_COLUMNS),
        cells=pd.DataFrame(design.factors).assign(mean=values.mean().to_numpy(), n=values.notna().sum().to_numpy()),
    )
    if effects:
        _ask(found, effects, values, selection, metric, claimed)
        found.notes += _missing(values)
        return found
    removal, steps = removal_contrast(design), step_contrasts(design)
    if removal:
        found.removal = removal_sentence(removal, values, metric)
        found.notes.append(found.removal or "Too few seeds finished to say whether single removals add up.")
    elif steps:
        found.notes += [PATH, *(step_sentence(step, values, metric) for step in steps)]
    else:
        _effects_of_crossed(found, design, values)
    found.notes += _missing(values)
    return found


def _ask(
    found: Factorial,
    effects: Effects,
    values: pd.DataFrame,
    selection: Selection,
    metric: str,
    claimed: Mapping[Any, stats.AdjustedP] | None,
) -> None:
    """Judge the family of a factorial design: fill in its questions, main effects and interactions."""
    main, named = list(effects.main.values()), named_interactions(selection, effects)
    every = seed_values(selection, metric)
    found.questions = question_frame([*main, *named], every, selection, metric, claimed)
    added = [name for name in [*VERDICT_COLUMNS, *LOST_COLUMNS] if name in found.questions]
    found.main = main_frame(main, effects.design, values, all_rows=True)
    for name, own in {"n": "pairs", "effect": "delta", "ci_low": "ci_low", "ci_high": "ci_high", "p": "p"}.items():
        found.main[name] = found.questions.loc[: len(main) - 1, own]  # under the study's error
    found.main = pd.concat([found.main, found.questions.loc[: len(main) - 1, added]], axis=1)
    contrasts, found.notes = interaction_contrasts(effects.design)
    found.notes += _pooling_notes(every.reindex(columns=effects.design.arms)) if selection.error == POOLED else []
    results = compare(contrasts, every, selection, math.nan, 0)
    numbers = [(r.n, r.delta, r.ci_low, r.ci_high, r.p) for r in results]
    found.interactions = interaction_frame(contrasts, numbers, found.questions)
    found.notes += [TOO_FEW] if contrasts and found.interactions.empty else []
    levels = [level for factor in effects.design.factors for level in effects.levels(factor)]
    if hidden := [level for level in levels if level not in effects.main]:
        found.notes.append(
            f"No two arms differ in {', '.join(format_levels([level]) for level in hidden)} alone, so that main effect "
            "is not in this design."
        )


def _pooling_notes(values: pd.DataFrame) -> list[str]:
    """Return a sentence if a pooled error is doubtful for main effects, which use all arms.

    Args:
        values: (seeds, arms), the baseline first.
    """
    if values.notna().sum().min() < FEW_SEEDS:
        return [f"Fewer than {FEW_SEEDS} seeds cannot show how arms spread, which the pooled error takes to be alike."]
    doubtful = values.columns[spread_ratios(values.to_numpy(float)).is_doubtful()]
    if not len(doubtful):
        return []
    return [
        "The pooled error is doubtful for main effects, which use all arms: one of them spreads more than the others "
        f"({', '.join(doubtful)})."
    ]


def named_interactions(selection: Selection, effects: Effects) -> list[Contrast]:
    """Return the contrasts of the interactions that the plan names."""
    shown = [rules.interaction_contrasts(pair, effects, selection.design)[0] for pair in selection.interactions]
    return list({c.levels: c for contrasts in shown for c in contrasts.values()}.values())


def question_frame(
    contrasts: list[Contrast],
    values: pd.DataFrame,
    selection: Selection,
    metric: str,
    claimed: Mapping[Any, stats.AdjustedP] | None,
) -> pd.DataFrame:
    """Tabulate QUESTION_COLUMNS: these contrasts judged as one family, unless claims are the family.

    Args:
        contrasts: main effects first.
        values: seed_values.
    """
    rope = selection.rope if display_scale(metric) == 100.0 else math.nan
    main = [contrast for contrast in contrasts if len(contrast.levels) == 1]
    signs = [direction(metric)] * len(main) + [0] * (len(contrasts) - len(main))  # an interaction is not better
    results = compare(main, values, selection, rope, direction(metric))
    results += compare(contrasts[len(main) :], values, selection, rope, 0)
    lost = find_lost_runs(selection, metric, values)
    guarded = [lost.guarded(*pair, rope) if lost else pair[1] for pair in zip(contrasts, results, strict=True)]
    first, adjusted = (
        stats.adjust_family(np.array([r.p for r in those]), np.array([r.p_equivalent for r in those]))
        for those in (results, guarded)
    )
    rows = []
    for number, (contrast, result, sign) in enumerate(zip(contrasts, results, signs, strict=True)):
        own, family = adjusted[number], "main effects" if claimed is None else "exploratory"
        if claimed and contrast.levels in claimed:
            within = claimed[contrast.levels].p_equivalent
            within = own.p_equivalent if math.isnan(within) else within
            own, family = dataclasses.replace(claimed[contrast.levels], p_equivalent=within), "claims"
        row: dict[str, Any] = {"arm": format_levels(contrast.levels), "uses": " ".join(contrast.weights)}
        row["factors"] = len(contrast.levels)
        row |= effect_columns(result, own, sign) | {"family": family}
        asked = Comparison(error=selection.error, arms=max(len(selection.family()), 1), family=own.size)
        needed = stats.decision_seeds(result, asked, rope)
        row |= dict(zip(("seeds_needed", "seeds_low", "seeds_high"), needed, strict=True))
        rows.append(row | (with_lost(row, result, first[number], guarded[number].p, sign) if lost else {}))
    return pd.DataFrame(rows, columns=QUESTION_COLUMNS + (LOST_COLUMNS if lost else []))


def _design(selection: Selection) -> Design:
    """Return the levels of varied factors, without placebos and arms that name no level."""
    baseline_levels = selection.levels.get(selection.baseline, {})
    arms = [arm for arm in selection.arms if arm == selection.baseline or selection.levels[arm] != baseline_levels]
    arms = [arm for arm in arms if selection.roles[arm] != "placebo"]
    return make_design({arm: selection.levels[arm] for arm in arms}, baseline_levels)


def _effects_of_crossed(found: Factorial, design: Design, values: pd.DataFrame) -> None:
    found.interactions, notes = _interactions(design, values)
    if is_crossed(design):
        found.main = main_frame(main_contrasts(design), design, values)
    elif len(found.interactions) or TOO_FEW in notes:
        notes.insert(len(notes) - (TOO_FEW in notes), NOT_CROSSED)
    elif not notes:
        notes.append(NOT_IDENTIFIABLE)
    found.notes += notes


def _interactions(design: Design, values: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the table of interactions, and notes on those that cannot be estimated."""
    contrasts, notes = interaction_contrasts(design)
    frame = interaction_frame(contrasts, [_numbers(contrast, values) for contrast in contrasts])
    return frame, notes + ([TOO_FEW] if contrasts and frame.empty else [])


def main_frame(contrasts: list[Contrast], design: Design, values: pd.DataFrame, all_rows: bool = False) -> pd.DataFrame:
    """Tabulate MAIN_COLUMNS.

    Args:
        all_rows: keep a level without a seed on which all of its arms finished.
    """
    rows = []
    for contrast in contrasts:
        ((factor, level),) = contrast.levels
        mean = values.loc[:, np.array(design.factors[factor]) == level].stack().mean()
        aliases = ", ".join(map(format_levels, contrast.aliases))
        rows.append((factor, level, *_numbers(contrast, values), mean, aliases))
    frame = pd.DataFrame(rows, columns=MAIN_COLUMNS)
    return frame if all_rows else frame[frame["n"] > 0].reset_index(drop=True)


def interaction_frame(
    contrasts: list[Contrast], numbers: list[tuple], questions: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Tabulate INTERACTION_COLUMNS; those without two complete seeds count in the family but have no row.

    Args:
        numbers: NUMBERS of each contrast.
        questions: as in Factorial; those among them have its p and family, all others are another family. None: all
            are one family, and there is no column of it.
    """
    rows = []
    for contrast, own_numbers in zip(contrasts, numbers, strict=True):
        (one, level), (other, another) = contrast.levels
        aliases = ", ".join(map(format_levels, contrast.aliases))
        rows.append((f"{one} x {other}", f"{level} x {another}", *own_numbers, math.nan, aliases))
    frame = pd.DataFrame(rows, columns=INTERACTION_COLUMNS)
    if questions is None:
        frame["p_holm"] = stats.holm(frame["p"].to_numpy(float))
    else:
        names = pd.Series([format_levels(contrast.levels) for contrast in contrasts], dtype=object)
        asked, own = names.isin(questions["arm"]), questions.set_index("arm")
        frame.loc[asked, "p_holm"] = names[asked].map(own["p_holm"])
        frame.loc[~asked, "p_holm"] = stats.holm(frame.loc[~asked, "p"].to_numpy(float))
        frame["family"] = names.map(own["family"]).fillna("exploratory")
    return frame[frame["n"] > 1].reset_index(drop=True)


def _numbers(contrast: Contrast, values: pd.DataFrame) -> tuple:
    """Return NUMBERS of one contrast."""
    value_S = on_seeds(contrast, values)
    return len(value_S), *map(float, stats.mean_interval(value_S)), float(stats.p_paired(value_S))


def removal_sentence(contrast: Contrast, values: pd.DataFrame, metric: str) -> str:
    """Describe removing all against the single removals, with a t interval over seeds; empty below two seeds."""
    n, effect, low, high, p = _numbers(contrast, values)
    if n < 2:
        return ""
    much = f"{format_effect(effect, low, high, metric)}, p {p_value(p)}, {n} seeds"
    if not p < stats.ALPHA:
        return (
            f"Removing all and the sum of the single removals do not differ significantly ({much}), which does not "
            "show that effects add up."
        )
    if display_scale(metric) != 100.0:
        return f"Removing all changes the {metric_text(metric)} otherwise than the single removals add up to ({much})."
    return (
        f"Removing all costs {abs(effect):.2f} points {'more' if effect < 0 else 'less'} than the single removals add "
        f"up to ({much}); which parts interact cannot be told."
    )


def step_sentence(contrast: Contrast, values: pd.DataFrame, metric: str) -> str:
    """Describe one step of a path."""
    after, before = contrast.weights
    n, effect, low, high, _ = _numbers(contrast, values)
    much = (
        f"{format_effect(effect, low, high, metric)}, {n} seed{'' if n == 1 else 's'}"
        if n
        else "no seed finished in both"
    )
    return f"{format_levels(contrast.levels)}, {after} minus {before}: {much}."


def format_effect(effect: float, low: float, high: float, metric: str) -> str:
    """Format `+0.30 points [+0.10, +0.50]`."""
    digits = decimal_places(metric)
    return f"{signed(effect, digits)}{unit(metric)} {interval(low, high, digits)}".strip()


def _missing(values: pd.DataFrame) -> list[str]:
    """List the seeds that some effects lack."""
    seeds = {arm: format_ranges(sorted(values.index[values[arm].isna()])) for arm in values}
    parts = [f"{arm} (seeds {lacking})" for arm, lacking in seeds.items() if lacking]
    if not parts:
        return []
    return [f"An effect uses the seeds on which all arms that it compares finished; not finished: {', '.join(parts)}."]


def interaction_name(row: pd.Series | dict) -> str:
    """Name the factors of an interaction, with its aliases."""
    return f"{row['factors']} (or {row['aliases']}: not told apart)" if row["aliases"] else row["factors"]


def main_name(row: pd.Series | dict) -> str:
    """Name the factor of a main effect, with the interactions that its design cannot separate from it."""
    return f"{row['factor']} (or {row['aliases']}: not told apart)" if row["aliases"] else row["factor"]


def additive_p(factorial: Factorial) -> float:
    """Return the smallest Holm-adjusted p of any interaction; NaN when none was estimated."""
    p = factorial.interactions["p_holm"]
    return float(p.min()) if len(p) else math.nan
