"""Contrasts of arms: weighted sums that estimate effects of factors, and aliases that a design cannot separate.

A contrast is taken on each seed by itself, so seeds are its replicates and no arm's spread has to equal another's. The
main effect of a level is its difference to the baseline's level, averaged over the settings of the other factors that
the design has; the interaction of two levels is their effect together minus the sum of their single effects.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

TINY = 1e-9
"""A weight below this is rounding."""

ALIAS_ORDERS = (2, 3)
"""Orders of the interactions that a main effect may contain in a fraction of resolution III or IV."""

Level = tuple[str, str]
"""A factor and one of its levels."""


@dataclass(kw_only=True)
class Contrast:
    """A weighted sum of arms."""

    levels: tuple[Level, ...] = ()
    """One level for a main effect, two for an interaction; none for a difference of two arms."""
    weights: dict[str, float]
    """Arm -> weight, nonzero ones only."""
    aliases: list[tuple[Level, ...]] = field(default_factory=list)
    """Other effects that this sum contains."""

    @property
    def variance_ratio(self) -> float:
        """Variance on one seed over that of a difference of two arms, if all arms spread alike."""
        return math.fsum(weight**2 for weight in self.weights.values()) / 2


@dataclass(kw_only=True)
class Design:
    """The level of each varied factor in each arm."""

    arms: list[str]
    factors: dict[str, list[str]]
    """Factor -> level of each arm; only factors of which two levels occur."""
    baseline: dict[str, str]
    """Factor -> the baseline's level."""

    def dummies(self) -> dict[Level, np.ndarray]:
        """Return 0/1 columns over arms for each level, the baseline's levels left out."""
        return {
            (factor, level): np.array([own == level for own in levels], float)
            for factor, levels in self.factors.items()
            for level in dict.fromkeys(levels)
            if level != self.baseline[factor]
        }

    def contrast(self, levels: tuple[Level, ...], row_A: np.ndarray) -> Contrast:
        """Return the contrast with these weights of all arms."""
        weights = {arm: float(w) for arm, w in zip(self.arms, row_A, strict=True) if abs(w) > TINY}
        return Contrast(levels=levels, weights=weights)


@dataclass(kw_only=True)
class Effects:
    """Main effects and interactions that a design shows."""

    design: Design
    main: dict[Level, Contrast]
    """Empty where the design shows none."""

    @cached_property
    def interactions(self) -> tuple[dict[frozenset[Level], Contrast], list[str]]:
        """Contrasts by their two levels, and notes on those that cannot be estimated."""
        found, notes = interaction_contrasts(self.design)
        return {frozenset(contrast.levels): contrast for contrast in found}, notes

    def levels(self, factor: str) -> list[Level]:
        """Return the levels of a factor other than the baseline's."""
        own = dict.fromkeys(self.design.factors.get(factor, []))
        return [(factor, level) for level in own if level != self.design.baseline[factor]]


def make_effects(design: Design, is_factorial: bool) -> Effects:
    """Return the effects that a design shows.

    Args:
        is_factorial: its questions are main effects, so levels that do not all meet equally often are averaged over
            matched pairs of arms.
    """
    if len(design.factors) < 2:
        contrasts = []
    elif is_crossed(design):
        contrasts = main_contrasts(design)
    else:
        contrasts = matched_contrasts(design) if is_factorial else []
    return Effects(design=design, main={contrast.levels[0]: contrast for contrast in contrasts})


def make_design(levels: Mapping[str, Mapping[str, str]], baseline: Mapping[str, str]) -> Design:
    """Return the design of arms.

    Args:
        levels: arm -> factor -> level; a factor that is left out has the baseline's level.
        baseline: factor -> level, of every factor.
    """
    full = {arm: {**baseline, **own} for arm, own in levels.items()}
    factors = {factor: [own[factor] for own in full.values()] for factor in baseline}
    factors = {factor: found for factor, found in factors.items() if len(set(found)) > 1}
    return Design(arms=list(full), factors=factors, baseline={factor: baseline[factor] for factor in factors})


def is_crossed(design: Design) -> bool:
    """Return True if each two levels of different factors meet in equally many arms, as in a (fraction of a) full
    grid.

    Only then does least squares with main effects alone average over the other factors without mixing in what those do
    together.
    """
    for one, other in itertools.combinations(design.factors.values(), 2):
        met = Counter(zip(one, other, strict=True))
        if len(met) < len(set(one)) * len(set(other)) or len(set(met.values())) > 1:
            return False
    return True


def main_contrasts(design: Design) -> list[Contrast]:
    """Contrast each level of a crossed design with the baseline's, other factors averaged, by least squares."""
    single = design.dummies()
    X = np.column_stack([np.ones(len(design.arms)), *single.values()])
    found = [design.contrast((level,), row) for level, row in zip(single, np.linalg.pinv(X)[1:], strict=True)]
    if len(design.arms) == math.prod(len(set(levels)) for levels in design.factors.values()):
        return found  # a full grid, in which nothing is aliased
    products = [_centered_products(design, single, order) for order in ALIAS_ORDERS]
    for contrast in found:
        contrast.aliases = _main_aliases(contrast, products, design)
    return found


def matched_contrasts(design: Design) -> list[Contrast]:
    """Contrast each level with the baseline's over all pairs of arms that differ in nothing else, equally weighted.

    In a full grid these are `main_contrasts`. In a design of pairs the other factors are at the baseline's levels, or
    one of them is not. A level without such a pair has no contrast.
    """
    names = list(design.factors)
    arm_of = dict(zip(zip(*design.factors.values(), strict=True), design.arms, strict=True))
    found = []
    for factor, level in design.dummies():
        place = names.index(factor)
        pairs = [
            (arm, other)
            for own, arm in arm_of.items()
            if own[place] == level and (other := arm_of.get((*own[:place], design.baseline[factor], *own[place + 1 :])))
        ]
        weights = {arm: sign / len(pairs) for pair in pairs for arm, sign in zip(pair, (1, -1), strict=True)}
        found += [Contrast(levels=((factor, level),), weights=weights)] if pairs else []
    return found


def interaction_contrasts(design: Design) -> tuple[list[Contrast], list[str]]:
    """Contrast two levels with the sum of their effects, with aliases; return notes on those not estimable."""
    single = design.dummies()
    known = np.column_stack([np.ones(len(design.arms)), *single.values()])
    kept, aliases, notes = estimable(known, _products(single))
    if not kept:
        return [], notes
    rows = np.linalg.pinv(np.column_stack([known, *kept.values()]))[known.shape[1] :]
    found = [design.contrast(levels, row) for levels, row in zip(kept, rows, strict=True)]
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


def removal_contrast(design: Design) -> Contrast | None:
    """Contrast all components removed with the sum of the single removals; None for other designs.

    With two components it is their interaction, which interaction_contrasts gives.
    """
    single, changed = design.dummies(), _changed_levels(design)
    wanted = {frozenset(), frozenset(single), *(frozenset([level]) for level in single)}
    if len(single) < 3 or len(single) != len(design.factors):
        return None
    if set(changed.values()) != wanted or len(changed) != len(wanted):
        return None
    weight = {0: len(single) - 1, 1: -1, len(single): 1}
    return design.contrast(tuple(single), np.array([weight[len(levels)] for levels in changed.values()], float))


def step_contrasts(design: Design) -> list[Contrast]:
    """Contrast each arm of a path (one more change per arm) with the arm before; [] for other designs."""
    changed = _changed_levels(design)
    order = sorted(changed, key=lambda arm: len(changed[arm]))
    steps = list(itertools.pairwise(order))
    added = [changed[after] - changed[before] for before, after in steps]
    nested = all(changed[before] < changed[after] for before, after in steps)
    if len(order) < 3 or changed[order[0]] or not nested or any(len(levels) != 1 for levels in added):
        return []
    return [
        Contrast(levels=tuple(levels), weights={after: 1.0, before: -1.0})
        for (before, after), levels in zip(steps, added, strict=True)
    ]


def format_levels(levels: Iterable[Level]) -> str:
    """Format `patch_size=8 x bias=false`."""
    return " x ".join(f"{factor}={level}" for factor, level in levels)


def _main_aliases(contrast: Contrast, products: list[dict], design: Design) -> list[tuple[Level, ...]]:
    """Return the interactions of the lowest order that a main effect's sum contains; [] in a full grid."""
    ((own, _),) = contrast.levels
    weight_A = np.array([contrast.weights.get(arm, 0.0) for arm in design.arms])
    for columns in products:
        # With its own factor, an interaction is another contrast of that factor's levels.
        others = [levels for levels in columns if own not in {factor for factor, _ in levels}]
        if aliases := [levels for levels in others if abs(columns[levels] @ weight_A) > 1e-8]:
            return aliases
    return []


def _centered_products(
    design: Design, single: dict[Level, np.ndarray], order: int
) -> dict[tuple[Level, ...], np.ndarray]:
    """Return the products of centered columns of `order` levels of different factors: zero on average over others."""
    centered = {level: column - 1 / len(set(design.factors[level[0]])) for level, column in single.items()}
    return {
        levels: np.prod([centered[level] for level in levels], axis=0)
        for levels in itertools.combinations(single, order)
        if len({factor for factor, _ in levels}) == order
    }


def _changed_levels(design: Design) -> dict[str, frozenset[Level]]:
    """Return arm -> its levels that are not the baseline's."""
    own = zip(*design.factors.values(), strict=True)
    levels = [frozenset(zip(design.factors, row, strict=True)) - set(design.baseline.items()) for row in own]
    return dict(zip(design.arms, levels, strict=True))


def _products(single: dict[Level, np.ndarray]) -> dict[tuple[Level, Level], np.ndarray]:
    """Return 0/1 columns of arms that have both levels, for every two levels of different factors that meet."""
    pairs = itertools.combinations(single, 2)
    columns = {(one, other): single[one] * single[other] for one, other in pairs if one[0] != other[0]}
    return {levels: column for levels, column in columns.items() if column.any()}


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    left, size, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, size > 1e-10 * size[0]]
