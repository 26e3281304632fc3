"""Error spending over looks: nominal levels, sequential p values and intervals that hold at every look.

A study that is judged after 3, 4, ... seeds tests each hypothesis several times. An error-spending function says how
much of the error may be used up to each look (Lan & DeMets 1983, Biometrika 70:659); the nominal level of a look is
then the bound of its own p value. With three seeds a normal theory of the bounds is wrong, so they are computed from
the exact law of the t statistics of the first n of independent normal differences. Under the null hypothesis
s_n = sum(x) / sqrt(sum(x**2)) is a Markov chain, s_(n+1) = (s_n + r) / sqrt(1 + r**2) with r ~ t_n / sqrt(n)
independent of the past (Basu's theorem), and t_n is a function of s_n; so one dimension is integrated numerically.
An error that is pooled over arms has more degrees of freedom and p values that are more alike from look to look, so
that these bounds keep its error too, by a margin (docs/calibration/sequential.py).

A sequential p value is the smallest level whose bound is crossed at some look so far (Liu & Anderson 2008, JASA
103:1581). It is a p value at every look, however the looks end, so Holm's procedure over sequential p values is the
group-sequential Holm procedure (Ye, Li, Liu & Yao 2013, Statistics in Medicine 32:1112).
"""

import math
from functools import lru_cache

import numpy as np

SPENDINGS = ("constant", "obrien_fleming", "pocock")
MAX_LOOK = 100
"""Most seeds of the last look."""
SMALLEST = 1e-8
"""Levels below are not told apart."""
_STEP, _REACH = 0.02, 8.4  # of the grid of normal scores
_INNOVATION_STEP, _INNOVATION_REACH = 0.05, 8.0


def nominal_levels(looks: tuple[int, ...], spending: str, level: float = 0.05, sides: int = 2) -> np.ndarray:
    """Return (looks,): the bound of the p value of each look, of a test with this level over all looks.

    Args:
        looks: numbers of seeds, growing, from 2 up.
        spending: obrien_fleming, pocock, or constant (the same bound at each look; Pocock 1977).
        sides: 2 for a two-sided p value, 1 for a one-sided one.

    Raises:
        ValueError: the looks do not grow, start below 2 or end above MAX_LOOK, or the spending is unknown.
    """
    levels, bounds = _table(tuple(looks), spending, sides)
    return np.exp([np.interp(math.log(level), np.log(levels), np.log(bound)) for bound in bounds.T])


def sequential_p(p_L: np.ndarray, looks: tuple[int, ...], spending: str, sides: int = 2) -> np.ndarray:
    """Return (..., looks): the sequential p value at each look, from the p values of the looks so far.

    Args:
        p_L: (..., looks) p value of each look by itself; NaN for a look without one, which then counts as not crossed.
        looks: all looks that were declared; p_L may have fewer.
        spending: as nominal_levels.
        sides: as nominal_levels.
    """
    levels, bounds = _table(tuple(looks), spending, sides)
    p_L = np.asarray(p_L, float)
    found_L = np.full(p_L.shape, np.nan)
    for look in range(p_L.shape[-1]):
        p = np.log(np.maximum(p_L[..., look], np.finfo(float).tiny))
        found_L[..., look] = np.exp(np.interp(p, np.log(bounds[:, look]), np.log(levels), left=math.log(SMALLEST)))
    return np.fmin.accumulate(found_L, axis=-1)


def spent(level: float | np.ndarray, fraction: float, spending: str) -> np.ndarray:
    """Return the error that a one-sided spending function allows up to a fraction of the seeds; at 1 the level.

    A two-sided test spends half of its level on each side, as is usual.

    Raises:
        ValueError: the spending is unknown, or constant, which is a bound and not a function of the fraction.
    """
    from scipy import special

    level = np.asarray(level, float)
    if spending == "obrien_fleming":
        return 2 * special.ndtr(special.ndtri(level / 2) / math.sqrt(fraction))
    if spending == "pocock":
        return level * math.log1p((math.e - 1) * fraction)
    raise ValueError(f"spending={spending}  must be one of obrien_fleming, pocock")


@lru_cache(maxsize=32)
def _table(looks: tuple[int, ...], spending: str, sides: int) -> tuple[np.ndarray, np.ndarray]:
    """Return levels (levels,) and the bounds (levels, looks) of p values that belong to them; both grow, up to 1."""
    _check(looks, spending, sides)
    inner = np.geomspace(SMALLEST, 0.98, 60)
    make = _constant_bounds if spending == "constant" else _spending_bounds
    levels, bounds = make(inner, looks, spending, sides)
    bounds = np.maximum.accumulate(bounds, axis=0)
    return np.append(levels, 1.0), np.vstack([bounds, np.ones(len(looks))])


def _spending_bounds(
    level_G: np.ndarray, looks: tuple[int, ...], spending: str, sides: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels and, at each look, the bound that spends what the function allows beyond what was spent."""
    chain, bound_GL = _Chain(looks[0], len(level_G)), np.empty((len(level_G), len(looks)))
    used_G = np.zeros(len(level_G))
    for index, look in enumerate(looks):
        chain.advance(look)
        allowed_G = sides * spent(level_G / sides, look / looks[-1], spending)
        bound_GL[:, index] = chain.bound(np.maximum(allowed_G - used_G, 1e-16), sides)
        used_G = used_G + chain.stop(bound_GL[:, index], sides)
    return level_G, bound_GL


def _constant_bounds(
    bound_G: np.ndarray, looks: tuple[int, ...], spending: str, sides: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities that some look crosses each bound, which are its levels, and the bounds."""
    chain, level_G = _Chain(looks[0], len(bound_G)), np.zeros(len(bound_G))
    for look in looks:
        chain.advance(look)
        level_G = level_G + chain.stop(bound_G, sides)
    return level_G, np.repeat(bound_G[:, None], len(looks), axis=1)


class _Chain:
    """Law of the normal score z = Phi^-1(P(T < t_n)) of those tests that have not stopped yet, on a grid.

    Args:
        start: seeds of the first look, where the law is the standard normal.
        number: laws that are followed at once, one for each level.
    """

    def __init__(self, start: int, number: int):
        half = round(_REACH / _STEP)
        self.z_M = np.arange(-half, half + 1) * _STEP
        density = np.exp(-0.5 * self.z_M**2) / math.sqrt(2 * math.pi)
        self.mass_GM = np.tile(density * _STEP, (number, 1))
        self.seeds = start

    def advance(self, seeds: int) -> None:
        """Follow the chain to the given number of seeds."""
        for n in range(self.seeds, seeds):
            self.mass_GM = self.mass_GM @ _transition(n)
        self.seeds = seeds

    def bound(self, probability_G: np.ndarray, sides: int) -> np.ndarray:
        """Return the p value below which a test crosses with these probabilities."""
        tail_GB = np.maximum.accumulate(self._tails(sides)[:, ::-1], axis=1)  # from the outside, by rising p
        p_B = self._p(sides)[::-1]
        return np.exp(
            [
                np.interp(math.log(wanted), np.log(np.maximum(tail_B, 1e-300)), np.log(p_B))
                for wanted, tail_B in zip(probability_G, tail_GB, strict=True)
            ]
        )

    def stop(self, bound_G: np.ndarray, sides: int) -> np.ndarray:
        """Remove the tests whose p value is below the bound; return their probability."""
        from scipy import special

        edge_G = -special.ndtri(bound_G / sides)
        before_G = self.mass_GM.sum(axis=1)
        # A node stands for the cell of _STEP around it, of which the part inside the bounds is kept.
        kept_GM = np.clip((edge_G[:, None] - self.z_M) / _STEP + 0.5, 0, 1)
        if sides == 2:
            kept_GM *= np.clip((edge_G[:, None] + self.z_M) / _STEP + 0.5, 0, 1)
        self.mass_GM = self.mass_GM * kept_GM
        return before_G - self.mass_GM.sum(axis=1)

    def _tails(self, sides: int) -> np.ndarray:
        """Return the mass beyond each upper cell edge of z >= 0, in both tails if there are two sides."""
        upper_GM = np.cumsum(self.mass_GM[:, ::-1], axis=1)[:, ::-1]
        if sides == 2:
            upper_GM = upper_GM + np.cumsum(self.mass_GM, axis=1)[:, ::-1]
            return upper_GM[:, len(self.z_M) // 2 + 1 :]
        return upper_GM

    def _p(self, sides: int) -> np.ndarray:
        from scipy import special

        z_M = self.z_M[len(self.z_M) // 2 + 1 :] if sides == 2 else self.z_M
        return sides * special.ndtr(-(z_M - _STEP / 2))


@lru_cache(maxsize=16)
def _transition(n: int) -> np.ndarray:
    """Return (from, to): probabilities of the normal scores after n + 1 seeds, given those after n >= 2."""
    z_M = np.arange(-round(_REACH / _STEP), round(_REACH / _STEP) + 1) * _STEP
    step_R = np.arange(-_INNOVATION_REACH, _INNOVATION_REACH + 1e-9, _INNOVATION_STEP)
    weight_R = np.exp(-0.5 * step_R**2)
    s_M = _cosine(z_M, n)
    r_R = _t_quantile(step_R, n) / math.sqrt(n)
    after_MR = (s_M[:, None] + r_R) / np.sqrt(1 + r_R**2)
    place_MR = np.interp(after_MR, _cosine(z_M, n + 1), np.arange(len(z_M)))
    low_MR = np.minimum(place_MR.astype(int), len(z_M) - 2)
    share_MR = place_MR - low_MR
    weight_MR = np.broadcast_to(weight_R / weight_R.sum(), place_MR.shape)
    flat = np.arange(len(z_M))[:, None] * len(z_M) + low_MR
    size = len(z_M) ** 2
    mass = np.bincount(flat.ravel(), (weight_MR * (1 - share_MR)).ravel(), size)
    mass += np.bincount(flat.ravel() + 1, (weight_MR * share_MR).ravel(), size)
    return mass.reshape(len(z_M), len(z_M))


def _cosine(z: np.ndarray, n: int) -> np.ndarray:
    """Return s_n of a normal score: sum(x) / sqrt(sum(x**2)), in (-sqrt(n), sqrt(n))."""
    t = _t_quantile(z, n - 1)
    return t * np.sqrt(n / (n - 1 + t**2))


def _t_quantile(z: np.ndarray, freedom: int) -> np.ndarray:
    """Return the t value of a normal score, exact in both tails."""
    from scipy import special

    lower = special.stdtrit(freedom, special.ndtr(-np.abs(z)))
    return np.copysign(np.abs(lower), z)


def _check(looks: tuple[int, ...], spending: str, sides: int) -> None:
    if not looks or looks[0] < 2 or looks[-1] > MAX_LOOK or any(b <= a for a, b in zip(looks, looks[1:], strict=False)):
        raise ValueError(f"looks={list(looks)}  must grow, from 2 seeds up to at most {MAX_LOOK}")
    if spending not in SPENDINGS or sides not in (1, 2):
        raise ValueError(f"spending={spending}, sides={sides}  must be one of {', '.join(SPENDINGS)}; 1 or 2")
