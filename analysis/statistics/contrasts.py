"""Contrasts of arms: weighted sums that estimate effects of factors, and aliases that a design cannot separate.

A contrast is taken on each seed by itself and then given a t interval over seeds: seeds are the replicates, and arms of
one seed share their random streams. So no arm's spread has to be equal to another's, as in a pooled error it would.
A design is a frame (arms, factors) of levels; `baseline_levels` maps each factor to the baseline's level.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

TINY = 1e-9
"""A weight below this is rounding."""

ALIAS_ORDERS = (2, 3)
"""Orders of the interactions that a main effect may contain in a fraction of resolution III or IV."""

Level = tuple[str, str]
"""A factor and one of its levels."""


@dataclass(kw_only=True)
class Contrast:
    """A weighted sum of arms."""

    levels: tuple[Level, ...]
    """One level for a main effect, two for an interaction."""
    weight_A: pd.Series
    """Weights by arm, nonzero ones only."""
    aliases: list[tuple[Level, ...]] = field(default_factory=list)
    """Other effects that this sum contains."""

    def on_seeds(self, values: pd.DataFrame) -> np.ndarray:
        """Return its value on each seed of `values` (seeds, arms) on which all of its arms finished."""
        return (values[self.weight_A.index].dropna() @ self.weight_A).to_numpy()


def dummies(design: pd.DataFrame, baseline_levels: dict[str, str]) -> dict[Level, np.ndarray]:
    """Return 0/1 columns over arms for each level, the baseline's levels left out."""
    columns = {}
    for factor in design.columns:
        for level in dict.fromkeys(design[factor]):
            if level != baseline_levels[factor]:
                columns[(factor, level)] = (design[factor] == level).to_numpy(float)
    return columns


def is_crossed(design: pd.DataFrame) -> bool:
    """Return True if each two levels of different factors meet in equally many arms, as in a (fraction of a) full
    grid.

    Only then does a main effect average over the other factors without mixing in what those do together.
    """
    pairs = itertools.combinations(design.columns, 2)
    return all(np.ptp(pd.crosstab(design[one], design[other]).to_numpy()) == 0 for one, other in pairs)


def main_contrasts(design: pd.DataFrame, baseline_levels: dict[str, str]) -> list[Contrast]:
    """Contrast each level with the baseline's, other factors averaged: least squares with main effects only."""
    single = dummies(design, baseline_levels)
    X = np.column_stack([np.ones(len(design)), *single.values()])
    found = [_contrast((level,), row, design) for level, row in zip(single, np.linalg.pinv(X)[1:], strict=True)]
    products = [_centered_products(design, single, order) for order in ALIAS_ORDERS]
    for contrast in found:
        contrast.aliases = _main_aliases(contrast, products)
    return found


def _main_aliases(contrast: Contrast, products: list[dict]) -> list[tuple[Level, ...]]:
    """Return the interactions of the lowest order that a main effect's sum contains; [] in a full grid."""
    own = contrast.levels[0][0]
    for columns in products:
        found = {levels: column[contrast.weight_A.index] @ contrast.weight_A for levels, column in columns.items()}
        # With its own factor, an interaction is another contrast of that factor's levels.
        others = [levels for levels in found if own not in {factor for factor, _ in levels}]
        if aliases := [levels for levels in others if abs(found[levels]) > 1e-8]:
            return aliases
    return []


def _centered_products(
    design: pd.DataFrame, single: dict[Level, np.ndarray], order: int
) -> dict[tuple[Level, ...], pd.Series]:
    """Return the products of centered columns of `order` levels of different factors: zero on average over others."""
    number = {factor: design[factor].nunique() for factor in design.columns}
    centered = {level: column - 1 / number[level[0]] for level, column in single.items()}
    return {
        levels: pd.Series(np.prod([centered[level] for level in levels], axis=0), index=design.index)
        for levels in itertools.combinations(single, order)
        if len({factor for factor, _ in levels}) == order
    }


def interaction_contrasts(design: pd.DataFrame, baseline_levels: dict[str, str]) -> tuple[list[Contrast], list[str]]:
    """Contrast two levels with the sum of their effects, with aliases; return notes on those not estimable."""
    single = dummies(design, baseline_levels)
    known = np.column_stack([np.ones(len(design)), *single.values()])
    kept, aliases, notes = estimable(known, _products(single))
    if not kept:
        return [], notes
    rows = np.linalg.pinv(np.column_stack([known, *kept.values()]))[known.shape[1] :]
    found = [_contrast(levels, row, design) for levels, row in zip(kept, rows, strict=True)]
    for contrast in found:
        contrast.aliases = aliases[contrast.levels]
    return found, notes


def estimable(known: np.ndarray, products: dict) -> tuple[dict, dict, list[str]]:
    """Split product columns into those independent of `known` and of earlier ones, and their aliases; with notes."""
    kept: dict = {}
    aliases: dict = {}
    notes, basis = [], _orthonormal(known)
    for levels, column in products.items():
        # Projected twice: once leaves rounding errors that look like a direction of their own.
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)
        if np.linalg.norm(rest) > 1e-8 * np.linalg.norm(column):
            kept[levels], aliases[levels] = column, []
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
            continue
        weights = np.linalg.lstsq(np.column_stack([known, *kept.values()]), column, rcond=None)[0]
        others = [k for k, w in zip(kept, weights[known.shape[1] :], strict=True) if abs(w) > 1e-8]
        for other in others:
            aliases[other].append(levels)
        partner = " and ".join(map(format_levels, others)) or "main effects"
        notes.append(f"The interaction {format_levels(levels)} cannot be told from {partner} in this design.")
    return kept, aliases, notes


def removal_contrast(design: pd.DataFrame, baseline_levels: dict[str, str]) -> Contrast | None:
    """Contrast all components removed with the sum of the single removals; None for other designs.

    With two components it is their interaction, which interaction_contrasts gives.
    """
    single = dummies(design, baseline_levels)
    changed = [frozenset(level for level, column in single.items() if column[place]) for place in range(len(design))]
    alone = [frozenset([level]) for level in single]
    wanted = {frozenset(), frozenset(single), *alone}
    if len(single) < 3 or len(single) != design.shape[1] or set(changed) != wanted or len(changed) != len(wanted):
        return None
    weight = {0: len(single) - 1, 1: -1, len(single): 1}
    return _contrast(tuple(single), np.array([weight[len(levels)] for levels in changed], float), design)


def step_contrasts(design: pd.DataFrame, baseline_levels: dict[str, str]) -> list[Contrast]:
    """Contrast each arm of a path (one more change per arm) with the arm before; [] for other designs."""
    single = dummies(design, baseline_levels)
    changed = {arm: {level for level, column in single.items() if column[n]} for n, arm in enumerate(design.index)}
    order = sorted(changed, key=lambda arm: len(changed[arm]))
    steps = list(itertools.pairwise(order))
    added = [changed[after] - changed[before] for before, after in steps]
    nested = all(changed[before] < changed[after] for before, after in steps)
    if len(order) < 3 or changed[order[0]] or not nested or any(len(levels) != 1 for levels in added):
        return []
    return [
        Contrast(levels=tuple(levels), weight_A=pd.Series({after: 1.0, before: -1.0}))
        for (before, after), levels in zip(steps, added, strict=True)
    ]


def format_levels(levels: tuple[Level, ...]) -> str:
    """Format `patch_size=8 x bias=false`."""
    return " x ".join(f"{factor}={level}" for factor, level in levels)


def _contrast(levels: tuple[Level, ...], row: np.ndarray, design: pd.DataFrame) -> Contrast:
    weight_A = pd.Series(row, index=design.index)
    return Contrast(levels=levels, weight_A=weight_A[weight_A.abs() > TINY])


def _products(single: dict[Level, np.ndarray]) -> dict[tuple[Level, Level], np.ndarray]:
    """Return 0/1 columns of arms that have both levels, for every two levels of different factors that meet."""
    pairs = itertools.combinations(single, 2)
    columns = {(one, other): single[one] * single[other] for one, other in pairs if one[0] != other[0]}
    return {levels: column for levels, column in columns.items() if column.any()}


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    left, size, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, size > 1e-10 * size[0]]
