"""Main effects and interactions of the factors: for grid, pairs and fraction designs by least squares.

A main effect is a contrast of arms, taken on each seed by itself and then given a t interval over seeds: seeds are the
replicates, cells of one seed share their random streams. Interactions come from one linear model with a block for each
seed, treatment coding against the baseline's levels, and a column for each pair of levels of two factors. A column that
the design cannot tell from others is not estimated but named with what it is aliased with.
"""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis import stats
from analysis.effects import DEFAULT_METRIC, seed_values
from analysis.selection import Selection

MAIN_COLUMNS = "factor level n effect ci_low ci_high p mean".split()
INTERACTION_COLUMNS = "factors levels n effect ci_low ci_high p p_holm".split()
NOT_IDENTIFIABLE = (
    "No arm changes two factors at once, so interactions are not identifiable: effects are those at the baseline's "
    "levels of all other factors, and nothing here says that they add up."
)


@dataclass(kw_only=True)
class Factorial:
    """What the factors do alone and together."""

    main: pd.DataFrame
    """MAIN_COLUMNS: each level against the baseline's level of its factor, the other factors averaged as designed."""
    interactions: pd.DataFrame
    """INTERACTION_COLUMNS: what two levels together do beyond the sum of their single effects."""
    terms: pd.DataFrame
    """factors, df, F, p of each pair of factors as a whole."""
    cells: pd.DataFrame
    """One column a factor, `mean` and `n`: the arms' means by level, for the plots."""
    notes: list[str] = field(default_factory=list)


def analyse(selection: Selection, metric: str = DEFAULT_METRIC) -> Factorial | None:
    """Everything above; None when fewer than two arms have levels or no seed is finished."""
    design = _design(selection)
    values = seed_values(selection, metric)
    if design.empty or values[list(design.index)].dropna(how="all").empty:
        return None
    values = values[list(design.index)]
    notes: list[str] = []
    main = main_effects(design, values, selection.levels[selection.baseline], notes)
    interactions, terms = interaction_effects(design, values, selection.levels[selection.baseline], notes)
    means = design.assign(mean=values.mean(), n=values.notna().sum()).reset_index(drop=True)
    return Factorial(main=main, interactions=interactions, terms=terms, cells=means, notes=notes)


def _design(selection: Selection) -> pd.DataFrame:
    """(arms, factors): the level of each varied factor in each arm, placebos left out."""
    arms = [arm for arm in selection.arms if selection.roles[arm] != "placebo"]
    design = pd.DataFrame([selection.levels[arm] for arm in arms], index=arms)
    varied = [name for name in design.columns if design[name].nunique() > 1]
    return design[varied] if varied else pd.DataFrame()


def dummies(design: pd.DataFrame, usual: dict[str, str]) -> pd.DataFrame:
    """(arms, levels) 0/1 columns named (factor, level), the baseline's levels left out."""
    columns = {}
    for factor in design.columns:
        for level in dict.fromkeys(design[factor]):
            if level != usual[factor]:
                columns[(factor, level)] = (design[factor] == level).astype(float)
    return pd.DataFrame(columns, index=design.index)


def main_effects(design: pd.DataFrame, values: pd.DataFrame, usual: dict[str, str], notes: list[str]) -> pd.DataFrame:
    """Each level's effect: least squares with main effects only on each complete seed, then t over those seeds."""
    columns = dummies(design, usual)
    X = np.column_stack([np.ones(len(columns)), columns.to_numpy()])
    complete = values.dropna()
    if np.linalg.matrix_rank(X) < X.shape[1]:
        notes.append("Main effects cannot be told apart in this design: some factors always change together.")
        return pd.DataFrame(columns=MAIN_COLUMNS)
    if len(complete) < len(values.dropna(how="all")):
        seeds = ", ".join(str(s) for s in sorted(set(values.index) - set(complete.index)))
        notes.append(f"Main effects use complete seeds only; arms are missing on seeds {seeds}.")
    effect_SK = (np.linalg.pinv(X) @ complete.to_numpy().T).T
    rows = []
    for number, (factor, level) in enumerate(columns.columns, start=1):
        value_S = effect_SK[:, number]
        mean = values.loc[:, (design[factor] == level).to_numpy()].stack().mean()
        interval = map(float, stats.mean_interval(value_S))
        rows.append((factor, level, len(value_S), *interval, float(stats.p_paired(value_S)), mean))
    return pd.DataFrame(rows, columns=MAIN_COLUMNS)


def interaction_effects(
    design: pd.DataFrame, values: pd.DataFrame, usual: dict[str, str], notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interaction contrasts and, for each pair of factors, their joint F test."""
    single = dummies(design, usual)
    names, product_AK = _products(single)
    nothing = pd.DataFrame(columns=INTERACTION_COLUMNS), pd.DataFrame(columns=["factors", "df", "F", "p"])
    if not names:
        notes.append(NOT_IDENTIFIABLE)
        return nothing
    long = values.stack().rename("y").reset_index().dropna()
    long.columns = ["seed", "arm", "y"]
    blocks = pd.get_dummies(long["seed"], prefix="seed").to_numpy(float)
    row = single.index.get_indexer(long["arm"])
    # Levels that always change together take one column between them.
    known, _, _ = estimable(blocks, single.to_numpy()[row], [(pair,) for pair in single.columns])
    X, kept, aliased = estimable(known, product_AK[row], names)
    notes += aliased
    if not kept or len(long) <= X.shape[1]:
        notes.append("There are too few runs to estimate interactions beside their error.")
        return nothing
    return _fit(long["y"].to_numpy(), X, known.shape[1], kept)


def estimable(known: np.ndarray, product: np.ndarray, names: list) -> tuple[np.ndarray, list, list[str]]:
    """`known` and those product columns that add to it and to the ones before, their names, and notes on the rest."""
    kept: list = []
    notes = []
    X, basis = known, _orthonormal(known)
    for name, column in zip(names, product.T, strict=True):
        # Projected twice: once leaves rounding errors that look like a direction of their own.
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)
        if np.linalg.norm(rest) > 1e-8 * np.linalg.norm(column):
            X, basis = np.column_stack([X, column]), np.column_stack([basis, rest / np.linalg.norm(rest)])
            kept.append(name)
            continue
        weights = np.linalg.lstsq(X, column, rcond=None)[0][known.shape[1] :]
        others = [_named(k) for k, w in zip(kept, weights, strict=True) if abs(w) > 1e-8]
        partner = f"cannot be told from {' and '.join(others)}" if others else "cannot be told from main effects"
        notes.append(f"The interaction {_named(name)} {partner} in this design.")
    return X, kept, notes


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    left, size, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, size > 1e-10 * size[0]]


def _products(single: pd.DataFrame) -> tuple[list, np.ndarray]:
    """Names ((factor, level), (factor, level)) and (arms, names) columns that are 1 where an arm has both levels."""
    names, columns = [], []
    for one, other in itertools.combinations(single.columns, 2):
        product = (single[one] * single[other]).to_numpy()
        if one[0] != other[0] and product.any():
            names.append((one, other))
            columns.append(product)
    return names, np.array(columns).reshape(len(columns), len(single)).T


def _fit(y: np.ndarray, X: np.ndarray, start: int, kept: list) -> tuple[pd.DataFrame, pd.DataFrame]:
    # statsmodels takes two seconds to import; only designs with interactions pay for it.
    from statsmodels.regression.linear_model import OLS

    fit = OLS(y, X).fit()
    interval = fit.conf_int(alpha=stats.ALPHA)
    rows, groups = [], {}
    p_holm = stats.holm(fit.pvalues[start:])
    for number, (one, other) in enumerate(kept, start=start):
        factors = f"{one[0]} x {other[0]}"
        groups.setdefault(factors, []).append(number)
        numbers = (fit.params[number], *interval[number], fit.pvalues[number], p_holm[number - start])
        rows.append((factors, f"{one[1]} x {other[1]}", len(y), *map(float, numbers)))
    terms = []
    for factors, places in groups.items():
        test = fit.f_test(np.eye(X.shape[1])[places])
        terms.append((factors, len(places), float(np.squeeze(test.fvalue)), float(np.squeeze(test.pvalue))))
    return pd.DataFrame(rows, columns=INTERACTION_COLUMNS), pd.DataFrame(terms, columns=["factors", "df", "F", "p"])


def _named(pair) -> str:
    return " x ".join(f"{factor}={level}" for factor, level in pair)


def additive_p(factorial: Factorial) -> float:
    """The smallest Holm-adjusted p of any interaction; NaN when none was estimated."""
    p = factorial.interactions["p_holm"]
    return float(p.min()) if len(p) else math.nan
