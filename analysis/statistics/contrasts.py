"""Contrasts of arms: which weighted sum of arms answers a question about the factors, and what a design cannot tell.

A contrast is taken on each seed by itself and then given a t interval over seeds: seeds are the replicates, and arms of
one seed share their random streams. So no arm's spread has to be equal to another's, as in a pooled error it would.
A design is a frame (arms, factors) of levels; `usual` holds the baseline's.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

TINY = 1e-9
"""A weight below this is rounding."""

Level = tuple[str, str]
"""A factor and one of its levels."""


@dataclass(kw_only=True)
class Contrast:
    """A weighted sum of arms."""

    levels: tuple[Level, ...]
    """What it is about: one level for a main effect, two for an interaction."""
    weight_A: pd.Series
    """By arm, only the arms that count."""
    aliases: list[tuple[Level, ...]] = field(default_factory=list)
    """What else this very sum would show."""

    def on_seeds(self, values: pd.DataFrame) -> np.ndarray:
        """Its value on each seed of `values` (seeds, arms) on which all of its arms finished."""
        return (values[self.weight_A.index].dropna() @ self.weight_A).to_numpy()


def dummies(design: pd.DataFrame, usual: dict[str, str]) -> dict[Level, np.ndarray]:
    """0/1 columns over arms, the baseline's levels left out."""
    columns = {}
    for factor in design.columns:
        for level in dict.fromkeys(design[factor]):
            if level != usual[factor]:
                columns[(factor, level)] = (design[factor] == level).to_numpy(float)
    return columns


def is_crossed(design: pd.DataFrame) -> bool:
    """Whether each two levels of different factors meet in equally many arms, as in a full grid or a fraction of one.

    Only then does a main effect average over the other factors without mixing in what those do together.
    """
    pairs = itertools.combinations(design.columns, 2)
    return all(np.ptp(pd.crosstab(design[one], design[other]).to_numpy()) == 0 for one, other in pairs)


def main_contrasts(design: pd.DataFrame, usual: dict[str, str]) -> list[Contrast]:
    """Each level against the baseline's, the other factors averaged: least squares with main effects only."""
    single = dummies(design, usual)
    X = np.column_stack([np.ones(len(design)), *single.values()])
    return [_contrast((level,), row, design) for level, row in zip(single, np.linalg.pinv(X)[1:], strict=True)]


def interaction_contrasts(design: pd.DataFrame, usual: dict[str, str]) -> tuple[list[Contrast], list[str]]:
    """What two levels do beyond the sum of their effects, with what cannot be told from it; notes on the rest."""
    single = dummies(design, usual)
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
    """Those product columns that add to `known` and to the ones before, the others as their aliases, notes on these."""
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


def removal_contrast(design: pd.DataFrame, usual: dict[str, str]) -> Contrast | None:
    """All components removed minus the sum of the single removals; None for another design than that.

    With two components it is their interaction, which interaction_contrasts gives.
    """
    single = dummies(design, usual)
    changed = [frozenset(level for level, column in single.items() if column[place]) for place in range(len(design))]
    alone = [frozenset([level]) for level in single]
    wanted = {frozenset(), frozenset(single), *alone}
    if len(single) < 3 or len(single) != design.shape[1] or set(changed) != wanted or len(changed) != len(wanted):
        return None
    weight = {0: len(single) - 1, 1: -1, len(single): 1}
    return _contrast(tuple(single), np.array([weight[len(levels)] for levels in changed], float), design)


def step_contrasts(design: pd.DataFrame, usual: dict[str, str]) -> list[Contrast]:
    """On a path, where each arm adds one change to the arm before: each against that one; empty for another design."""
    single = dummies(design, usual)
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
    """`patch_size=8 x bias=false`."""
    return " x ".join(f"{factor}={level}" for factor, level in levels)


def _contrast(levels: tuple[Level, ...], row: np.ndarray, design: pd.DataFrame) -> Contrast:
    weight_A = pd.Series(row, index=design.index)
    return Contrast(levels=levels, weight_A=weight_A[weight_A.abs() > TINY])


def _products(single: dict[Level, np.ndarray]) -> dict[tuple[Level, Level], np.ndarray]:
    """Columns that are 1 where an arm has both levels, for every two levels of different factors that meet."""
    pairs = itertools.combinations(single, 2)
    columns = {(one, other): single[one] * single[other] for one, other in pairs if one[0] != other[0]}
    return {levels: column for levels, column in columns.items() if column.any()}


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    left, size, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, size > 1e-10 * size[0]]
