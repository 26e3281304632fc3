"""Parts of the spread between runs: what comes from seeds, what from the test images, and ratios of two spreads.

Of K runs that differ in their seed, each right or wrong on the same N images, the variance of the accuracy is that of
the runs' accuracies on all possible images plus the chance of these N: if no two images depended on each other, the
latter would be the mean over images of p (1 - p) / N, p the share of runs that are right (Jordan 2023, arXiv
2304.01910, section 3). More images reduce this part, and no choice of a recipe at equal accuracy does.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special


@dataclass(kw_only=True)
class Spread:
    """Standard deviations between runs, in the unit of the values, each with its 95 % interval."""

    runs: int
    total: tuple[float, float, float]
    seeds: tuple[float, float, float]
    """Of the runs' accuracies on all possible images; 0 where the test images alone explain the spread."""
    images: float
    """What the chance of N test images adds; its own error is negligible for thousands of images."""


def split_spread(right_KN: np.ndarray) -> Spread:
    """Split the spread of K runs' accuracies on N images (1 right, 0 wrong) into seeds and test images.

    Also for differences of paired runs (values -1, 0, 1).
    """
    right_KN = np.asarray(right_KN, float)
    runs, images = right_KN.shape
    total = float(right_KN.mean(axis=1).var(ddof=1))
    chance = float(right_KN.var(axis=0, ddof=1).mean()) / images
    low, high = (total * ratio for ratio in variance_bounds(runs - 1))
    shown = tuple(math.sqrt(v) for v in (total, low, high))
    # Of the true variance the part of the images is known, so the interval moves with it.
    seeds = tuple(math.sqrt(max(v - chance, 0.0)) for v in (total, low, high))
    return Spread(runs=runs, total=shown, seeds=seeds, images=math.sqrt(chance))  # type: ignore[arg-type]


def variance_bounds(freedom: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the ends of the interval of a variance, in estimated variances (chi-square)."""
    tail = (1 - confidence) / 2
    return tuple(freedom / float(special.chdtri(freedom, p)) for p in (tail, 1 - tail))  # type: ignore[return-value]


def ratio_of_paired(one_K: np.ndarray, other_K: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return variance of `one` over that of `other` with its interval, both of the same K runs.

    Pitman 1939 and Morgan 1939 (Biometrika 31): exact for correlated normal values. NaN below three runs or without
    spread.
    """
    one_K, other_K = np.asarray(one_K, float), np.asarray(other_K, float)
    runs = len(one_K)
    if runs < 3 or not (np.ptp(one_K) > 0 and np.ptp(other_K) > 0):
        return math.nan, math.nan, math.nan
    ratio = float(one_K.var(ddof=1) / other_K.var(ddof=1))
    t = float(special.stdtrit(runs - 2, 1 - (1 - confidence) / 2))
    r = float(np.corrcoef(one_K, other_K)[0, 1])
    k = 1 + 2 * (1 - r**2) * t**2 / (runs - 2)
    width = math.sqrt(max(k**2 - 1, 0.0))
    return ratio, ratio * (k - width), ratio * (k + width)


def ratio_of_independent(
    one_K: np.ndarray, other_L: np.ndarray, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return variance of `one` over that of `other` with its F interval; NaN below two runs or without spread."""
    one_K, other_L = np.asarray(one_K, float), np.asarray(other_L, float)
    if min(len(one_K), len(other_L)) < 2 or not (np.ptp(one_K) > 0 and np.ptp(other_L) > 0):
        return math.nan, math.nan, math.nan
    ratio, tail = float(one_K.var(ddof=1) / other_L.var(ddof=1)), (1 - confidence) / 2
    freedom = len(one_K) - 1, len(other_L) - 1
    return ratio, ratio / float(special.fdtri(*freedom, 1 - tail)), ratio / float(special.fdtri(*freedom, tail))
