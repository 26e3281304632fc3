"""Tests of claims (an effect, equivalence, non-inferiority): p values from estimates, and the chance of passing.

Equivalence by two one-sided t tests (Schuirmann 1987), non-inferiority by one of them, with the ROPE as its margin. An
estimate comes with its standard error and degrees of freedom, all in one unit; arrays broadcast. Without spread the t
statistic does not exist: then only the number of values speaks, as in a sign test.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from .power import fewest_seeds

EITHER = 0
"""Sign of a claim of a difference without a direction."""


def claim_p(kind: str, sign: int, rope: float, value, error, freedom, n) -> tuple[np.ndarray, np.ndarray]:
    """Return the p that a claim about all comparisons (last axis) holds, and the p that its contrary does.

    What must hold for all comparisons has the largest p (an intersection-union test); for the contrary one comparison
    is enough, so it has the smallest, times their number. With EITHER the effect itself is such a contrary: of none.

    Args:
        kind: effect, equivalent (within +-rope) or not_worse (sign times the value above -rope).
        sign: 1 for an effect above zero, -1 below, EITHER; which side is better for not_worse.
        rope: ROPE or margin, positive.
        value: estimates; with their standard error (NaN without spread), its degrees of freedom, and n, the seeds.
    """
    value, error, freedom, n = (np.asarray(x, float) for x in (value, error, freedom, n))
    number = value.shape[-1]
    above, below = p_above(value, error, freedom, n), p_above(-value, error, freedom, n)
    differs = np.where(np.isnan(error), np.minimum(above, below), np.minimum(1.0, 2 * np.minimum(above, below)))
    impossible = np.where(np.isnan(differs), np.nan, 1.0)
    if kind == "equivalent":
        holds, fails = p_within(value, error, freedom, n, rope), p_beyond(value, error, freedom, n, rope)
    elif kind == "not_worse":
        holds = p_above(sign * value, error, freedom, n, -rope)
        # Doubled as in any other contradiction, although only one side can be worse.
        fails = np.minimum(1.0, 2 * p_above(-sign * value, error, freedom, n, rope))
    elif sign == EITHER:
        return np.minimum(1.0, number * differs.min(axis=-1)), impossible.max(axis=-1)
    else:
        holds = np.where(value * sign > 0, differs, impossible)
        fails = np.where(value * sign > 0, impossible, differs)
    return holds.max(axis=-1), np.minimum(1.0, number * fails.min(axis=-1))


def p_above(value, error, freedom, n, bound: float = 0.0) -> np.ndarray:
    """Return the one-sided p that the true value exceeds `bound`; NaN below two seeds."""
    value, error, freedom, n = (np.asarray(x, float) for x in (value, error, freedom, n))
    with np.errstate(invalid="ignore"):
        p = special.stdtr(freedom, (bound - value) / error)
    flat = np.where((value > bound) & ~np.isclose(value, bound), 2.0 ** (1 - n), 1.0)
    return np.where(np.isnan(error), np.where(n > 1, flat, np.nan), p)


def p_within(value, error, freedom, n, rope: float) -> np.ndarray:
    """Return the p of the two one-sided tests that the true value lies within +-rope."""
    return np.maximum(p_above(value, error, freedom, n, -rope), p_above(-np.asarray(value), error, freedom, n, -rope))


def p_beyond(value, error, freedom, n, rope: float) -> np.ndarray:
    """Return the two-sided p that the true value lies outside +-rope."""
    one_sided = np.minimum(
        p_above(value, error, freedom, n, rope), p_above(-np.asarray(value), error, freedom, n, rope)
    )
    return np.minimum(1.0, 2 * one_sided)


def chance_to_show(kind: str, error: float, freedom: float, rope: float, alpha: float = 0.05) -> float:
    """Return the probability that one comparison without any true difference is shown equivalent or not worse.

    The normal probability that the estimate falls where the tests reject, averaged over the chi distribution of its
    estimated error (400 quantiles).
    """
    if not freedom > 0:
        return 0.0
    if error == 0:
        return float(rope > 0)
    level = (np.arange(400) + 0.5) / 400
    ratio = np.sqrt(special.chdtri(freedom, 1 - level) / freedom)
    window = rope / error - special.stdtrit(freedom, 1 - alpha) * ratio
    if kind == "not_worse":
        return float(special.ndtr(window).mean())
    return float(np.where(window > 0, 2 * special.ndtr(window) - 1, 0.0).mean())


def rope_to_show(kind: str, error: float, freedom: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest ROPE at which chance_to_show reaches `power`; inf without a degree of freedom."""
    from scipy.optimize import brentq

    if not freedom > 0:
        return math.inf
    high = max(error, 1e-12)
    while chance_to_show(kind, error, freedom, high, alpha) < power:
        high *= 2
    return float(brentq(lambda rope: chance_to_show(kind, error, freedom, rope, alpha) - power, 0.0, high))


def seeds_to_show(
    kind: str, spread: Callable[[int], tuple[float, float]], rope: float, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the fewest seeds at which chance_to_show reaches `power`; inf when MAX_SEEDS are too few.

    Args:
        spread: number of seeds -> standard error and degrees of freedom of the comparison.
    """
    return fewest_seeds(lambda n: chance_to_show(kind, *spread(n), rope, alpha) >= power) if rope > 0 else math.inf
