"""Effects of factors alone and together, as far as the design identifies them.

Main effects where factors are crossed; interactions wherever two levels meet and their effect is not that of something
else; for leave-one-component-out and paths the one question that each can answer. Where every arm changes one factor
only, its effect is in the comparison of the arms and nothing is repeated here.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from vitsweep.significance.contrasts import (
    Contrast,
    Design,
    format_levels,
    interaction_contrasts,
    is_crossed,
    main_contrasts,
    make_design,
    removal_contrast,
    step_contrasts,
)

from ..records.selection import Selection
from ..text import format_ranges, interval, p_value, signed
from . import paired as stats
from .effects import DEFAULT_METRIC, decimal_places, display_scale, metric_text, on_seeds, seed_values, unit

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
PATH = "Each arm adds one change to the arm before, so its effect against the baseline is that of all changes so far."


@dataclass(kw_only=True)
class Factorial:
    """Main effects, interactions and notes of one study."""

    main: pd.DataFrame
    """MAIN_COLUMNS: each level against the baseline's level of its factor, the other factors averaged; n: seeds."""
    interactions: pd.DataFrame
    """INTERACTION_COLUMNS: effect of two levels together beyond the sum of their single effects; n: seeds."""
    cells: pd.DataFrame
    """One column a factor, `mean` and `n`: the arms' means by level, for the plots."""
    removal: str = ""
    """A sentence: effect of removing all components beyond the single removals."""
    notes: list[str] = field(default_factory=list)


def analyze_factors(selection: Selection, metric: str = DEFAULT_METRIC) -> Factorial | None:
    """Estimate all of this; None when fewer than two factors are varied or no seed is finished."""
    design = _design(selection)
    values = seed_values(selection, metric)[design.arms]
    if len(design.factors) < 2 or values.dropna(how="all").empty:
        return None
    found = Factorial(
        main=pd.DataFrame(columns=MAIN_COLUMNS),
        interactions=pd.DataFrame(columns=INTERACTION_COLUMNS),
        cells=pd.DataFrame(design.factors).assign(mean=values.mean().to_numpy(), n=values.notna().sum().to_numpy()),
    )
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


def _design(selection: Selection) -> Design:
    """Return the levels of varied factors, without placebos and arms that name no level."""
    baseline_levels = selection.levels.get(selection.baseline, {})
    arms = [arm for arm in selection.arms if arm == selection.baseline or selection.levels[arm] != baseline_levels]
    arms = [arm for arm in arms if selection.roles[arm] != "placebo"]
    return make_design({arm: selection.levels[arm] for arm in arms}, baseline_levels)


def _effects_of_crossed(found: Factorial, design: Design, values: pd.DataFrame) -> None:
    contrasts, notes = interaction_contrasts(design)
    found.interactions = interaction_frame(contrasts, values)
    found.notes += notes
    if is_crossed(design):
        found.main = main_frame(main_contrasts(design), design, values)
    elif contrasts:
        found.notes.append(NOT_CROSSED)
    elif not notes:
        found.notes.append(NOT_IDENTIFIABLE)
    if contrasts and found.interactions.empty:
        found.notes.append("Too few seeds finished to estimate interactions beside their error.")


def main_frame(contrasts: list[Contrast], design: Design, values: pd.DataFrame) -> pd.DataFrame:
    """Tabulate MAIN_COLUMNS; a level without a seed on which all of its arms finished has no row."""
    rows = []
    for contrast in contrasts:
        ((factor, level),) = contrast.levels
        mean = values.loc[:, np.array(design.factors[factor]) == level].stack().mean()
        aliases = ", ".join(map(format_levels, contrast.aliases))
        rows.append((factor, level, *_numbers(contrast, values), mean, aliases))
    frame = pd.DataFrame(rows, columns=MAIN_COLUMNS)
    return frame[frame["n"] > 0].reset_index(drop=True)


def interaction_frame(contrasts: list[Contrast], values: pd.DataFrame) -> pd.DataFrame:
    """Tabulate INTERACTION_COLUMNS; those without two complete seeds count in the family but have no row."""
    rows = []
    for contrast in contrasts:
        (one, level), (other, another) = contrast.levels
        numbers = _numbers(contrast, values)
        aliases = ", ".join(map(format_levels, contrast.aliases))
        rows.append((f"{one} x {other}", f"{level} x {another}", *numbers, math.nan, aliases))
    frame = pd.DataFrame(rows, columns=INTERACTION_COLUMNS)
    frame["p_holm"] = stats.holm(frame["p"].to_numpy(float))
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
