"""Differences between the maps of two arms, beyond those between two seeds of one arm.

Two tests. Patch by patch: differences of log lift between arm and baseline, paired by seed, tested with Smyth's
moderated t (2004, "Linear models and empirical Bayes methods", equations 3 to 5), because three seeds alone say next
to nothing about one patch's noise while all patches together say a lot; the false discovery rate of all patches of an
arm is controlled by Benjamini and Hochberg's procedure. As a whole: the distance between the arms' maps over that
between seeds, with an exact test that exchanges arm and baseline within seeds.
Shapes: S seeds, N images, P patches of the grid that both models share.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from .looks import ModelView
from .measures import coarsen, density, lift, log2_lift, total_variation

RATE = 0.05
"""False discovery rate of the marked patches."""
FLOOR = 1e-3
"""Smallest lift: the logarithm of less is rounding."""


@dataclass(kw_only=True)
class Difference:
    """An arm minus the baseline, in doublings of the lift, over the seeds that both have."""

    arm: str
    seeds: list[int]
    grid: tuple[int, int]
    """Rows and columns of the finest grid whose patches are whole patches of both models."""
    mean_NP: np.ndarray
    """Mean over seeds."""
    p_NP: np.ndarray
    """Two-sided p of the moderated t; NaN with fewer than two seeds."""
    exceeds_NP: np.ndarray
    """Patches among the discoveries at RATE."""
    between: float
    """Mean total variation between arm and baseline at the same seed."""
    within: float
    """Mean total variation between two seeds of one arm; NaN with one seed."""
    p: float
    """Exact p of the whole maps' difference; NaN with one seed."""
    attainable_p: float
    """The smallest p that this many seeds can give."""


def compare_arms(arm: list[ModelView], baseline: list[ModelView]) -> Difference | None:
    """Compare two arms' maps of the same images; None when they have no seed in common."""
    pairs = [(a, b) for a in arm for b in baseline if a.seed == b.seed]
    if not pairs:
        return None
    grid = common_grid(arm[0].maps.grid, baseline[0].maps.grid)
    arm_SNP, base_SNP = (on_grid([pair[side] for pair in pairs], grid) for side in (0, 1))
    change_SNP = log_lift(arm_SNP) - log_lift(base_SNP)
    p_NP = moderated_p(change_SNP)
    between, within, p, attainable_p = compare_whole_maps(arm_SNP, base_SNP)
    return Difference(
        arm=arm[0].arm,
        seeds=[a.seed for a, _ in pairs],
        grid=grid,
        mean_NP=change_SNP.mean(0),
        p_NP=p_NP,
        exceeds_NP=discoveries(p_NP),
        between=between,
        within=within,
        p=p,
        attainable_p=attainable_p,
    )


def common_grid(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """Return the finest grid of which both are refinements."""
    return math.gcd(one[0], other[0]), math.gcd(one[1], other[1])


def on_grid(model_views: list[ModelView], grid: tuple[int, int]) -> np.ndarray:
    """Return the densities of several seeds, mass summed onto the grid, (S, N, P)."""
    return np.stack([coarsen(density(view.maps.patches), view.maps.grid, grid) for view in model_views])


def log_lift(density_SNP: np.ndarray) -> np.ndarray:
    """Return the binary logarithm of the lift, bounded below by that of FLOOR."""
    S, N, P = density_SNP.shape
    return log2_lift(np.maximum(lift(density_SNP.reshape(S * N, P)), FLOOR)).reshape(S, N, P)


def moderated_p(change_SNP: np.ndarray) -> np.ndarray:
    """Return the two-sided p of each patch's mean change, its variance shrunk towards that of all patches; NaN for
    one seed.
    """
    S = len(change_SNP)
    mean_NP = change_SNP.mean(0)
    if S < 2:
        return np.full(mean_NP.shape, np.nan)
    variance_NP, freedom = change_SNP.var(0, ddof=1), S - 1
    prior_freedom, prior_variance = variance_prior(variance_NP, freedom)
    moderated_NP = (prior_freedom * prior_variance + freedom * variance_NP) / (prior_freedom + freedom)
    # Patches are not independent, so never more degrees of freedom than all of them together can have.
    total = min(prior_freedom + freedom, freedom * variance_NP.size)
    error_NP = np.sqrt(moderated_NP / S)
    t_NP = np.divide(mean_NP, error_NP, out=np.zeros_like(mean_NP), where=error_NP > 0)
    return 2 * special.stdtr(total, -np.abs(t_NP))


def variance_prior(variance: np.ndarray, freedom: int) -> tuple[float, float]:
    """Estimate degrees of freedom and value of the variance that all patches share (Smyth 2004, section 6.2).

    Deviation from the source: how much the true variances scatter is put one standard error higher than estimated. A
    few hundred patches cannot separate equal variances from unequal ones, and taking them for equal would mark the
    noisiest.
    """
    logs = np.log(np.maximum(variance.ravel(), 1e-12))
    centred = logs - special.digamma(freedom / 2) + math.log(freedom / 2)
    scatter = centred.var(ddof=1)
    error = math.sqrt(max(((centred - centred.mean()) ** 4).mean() - scatter**2, 0.0) / len(centred))
    excess = max(scatter - special.polygamma(1, freedom / 2), 0.0) + max(error, 1e-6)
    half = optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-3, 1e8)
    return 2 * half, math.exp(centred.mean() + special.digamma(half) - math.log(half))


def discoveries(p: np.ndarray, rate: float = RATE) -> np.ndarray:
    """Return True where Benjamini and Hochberg's procedure rejects, same shape; False for NaN."""
    from scipy.stats import false_discovery_control  # late: it takes a second to import

    found, known = np.zeros(p.shape, dtype=bool), ~np.isnan(p)
    if known.any():
        found[known] = false_discovery_control(p[known]) <= rate
    return found


def compare_whole_maps(arm_SNP: np.ndarray, base_SNP: np.ndarray) -> tuple[float, float, float, float]:
    """Return the distances between and within arms, exact p of the former exceeding the latter, smallest p."""
    S = len(arm_SNP)
    all_XNP = np.concatenate([arm_SNP, base_SNP])
    distance_XX = np.array([[total_variation(a, b).mean() for b in all_XNP] for a in all_XNP])
    between = float(np.mean([distance_XX[s, S + s] for s in range(S)]))
    if S < 2:
        return between, math.nan, math.nan, math.nan
    within_pairs = [*itertools.combinations(range(S), 2), *itertools.combinations(range(S, 2 * S), 2)]
    within = float(np.mean([distance_XX[i, j] for i, j in within_pairs]))
    swaps = list(itertools.product((False, True), repeat=S - 1))  # the last seed stays: swapping all changes nothing
    energies = np.array([_energy(distance_XX, (*swap, False)) for swap in swaps])
    p = float((energies >= energies[0] - 1e-12).mean())
    return between, within, p, 1 / len(swaps)


def _energy(distance_XX: np.ndarray, swap: tuple[bool, ...]) -> float:
    """Return twice the mean distance across groups minus those within, with the swapped seeds exchanged."""
    S = len(swap)
    one = [s + S * swapped for s, swapped in enumerate(swap)]
    other = [s + S * (not swapped) for s, swapped in enumerate(swap)]
    within = distance_XX[np.ix_(one, one)].mean() + distance_XX[np.ix_(other, other)].mean()
    return 2 * distance_XX[np.ix_(one, other)].mean() - within
