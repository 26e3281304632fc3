"""Dunnett's test: several arms against one baseline, with one error of all arms.

The statistics T_i = (estimate_i - baseline) / error_i share the baseline's mean and the pooled spread, so they are a
multivariate t with correlations b_i * b_j. The probability that all of them are small is therefore a double integral,
over what they share (standard normal) and over the spread (chi), which Gauss-Legendre quadrature gives to about
1e-9 without random numbers (Dunnett 1955; Hsu 1996, appendix A). Suffix _A: arms.
"""

import functools
import math
from typing import Any

import numpy as np
from scipy import special

HALF = math.sqrt(0.5)
"""b of an arm with as many seeds as the baseline: correlations of 1/2."""
NODES = 96
TAIL = 1e-14
"""Probability of the chi distribution that the quadrature leaves out at either end."""
REACH = 8.5
"""End of the normal integral, in standard deviations."""


def loadings(covariance_AA: np.ndarray) -> np.ndarray:
    """Return (A,) b with b_i * b_j the closest product to the correlations of these estimates.

    Exact for unpaired arms of any number of seeds, b_i = sqrt(n_i / (n_i + n_0)), and for complete blocks; an
    approximation where seeds are missing, since the correlations are then no product.
    """
    sd_A = np.sqrt(np.diag(covariance_AA))
    correlation_AA = covariance_AA / np.outer(sd_A, sd_A)
    if len(sd_A) < 3:
        shared = correlation_AA[0, -1] if len(sd_A) == 2 else 0.5
        return np.full(len(sd_A), math.sqrt(min(max(shared, 0.0), 0.999)))
    b_A = np.full(len(sd_A), HALF)
    other_AA = correlation_AA * (1 - np.eye(len(sd_A)))
    for _ in range(200):  # alternating least squares over the correlations of different arms
        before_A = b_A.copy()
        for i in range(len(b_A)):
            rest_A = np.delete(b_A, i)
            b_A[i] = np.clip(np.delete(other_AA[i], i) @ rest_A / (rest_A @ rest_A), 0.0, 0.999)
        if np.abs(b_A - before_A).max() < 1e-12:
            break
    return b_A


def tail_probability(bound: Any, b_A: np.ndarray, freedom: float) -> np.ndarray:
    """Return P(max |T_i| >= bound) for arms without effect, in the shape of `bound`.

    Args:
        bound: not negative.
        b_A: loadings, each in [0, 1).
        freedom: degrees of freedom of the spread; inf for a known one.
    """
    bound = np.asarray(bound, float)
    scale_S, weight_S = _chi_nodes(float(freedom))
    shared_Z, weight_Z = _normal_nodes()
    groups = _groups(np.asarray(b_A, float))
    inside = np.empty(bound.shape)
    for place, c in np.ndenumerate(bound):
        # (Z, S): all arms inside, given what they share and the spread.
        inside_ZS = np.ones((len(shared_Z), len(scale_S)))
        for b, count in groups:
            center_Z1, rest = b * shared_Z[:, None], math.sqrt(1 - b * b)
            high_ZS = special.ndtr((center_Z1 + c * scale_S) / rest)
            inside_ZS *= (high_ZS - special.ndtr((center_Z1 - c * scale_S) / rest)) ** count
        inside[place] = weight_Z @ inside_ZS @ weight_S
    return np.clip(1 - inside, 0.0, 1.0)


def critical_value(b_A: np.ndarray, freedom: float, alpha: float = 0.05) -> float:
    """Return the bound that max |T_i| exceeds with probability alpha when no arm has an effect."""
    key = tuple(np.round(np.asarray(b_A, float), 12))
    return _critical_value(key, float(freedom), alpha)


def step_down(t_A: np.ndarray, b_A: np.ndarray, freedom: float) -> np.ndarray:
    """Return step-down adjusted p values (Dunnett and Tamhane 1991), never above those of a single step.

    The largest |T| is compared with the largest of all arms, the next with the largest of the others, and so on. A NaN
    (an arm without a result) counts at every step and stays NaN.
    """
    size_A, b_A = np.abs(np.asarray(t_A, float)), np.asarray(b_A, float)
    known_A = ~np.isnan(size_A)
    order = np.argsort(-np.where(known_A, size_A, -1.0), kind="stable")
    adjusted_A, largest = np.full(len(size_A), np.nan), 0.0
    for step, arm in enumerate(order[: known_A.sum()]):
        largest = max(largest, float(tail_probability(size_A[arm], b_A[order[step:]], freedom)))
        adjusted_A[arm] = largest
    return adjusted_A


def step_down_rejects(t_A: np.ndarray, freedom: float, alpha: float = 0.05) -> np.ndarray:
    """Return True for the arms that step_down rejects at alpha, for complete data; leading axes broadcast.

    By critical values, of which there is one for each number of arms that are left.
    """
    size_A = np.abs(np.asarray(t_A, float))
    number = size_A.shape[-1]
    bound_A = np.array([critical_value(np.full(number - step, HALF), freedom, alpha) for step in range(number)])
    order_A = np.argsort(-size_A, axis=-1, kind="stable")
    passed_A = np.logical_and.accumulate(np.take_along_axis(size_A, order_A, -1) >= bound_A, axis=-1)
    rejects_A = np.empty_like(passed_A)
    np.put_along_axis(rejects_A, order_A, passed_A, -1)
    return rejects_A


@functools.lru_cache(maxsize=1024)
def _critical_value(b_A: tuple[float, ...], freedom: float, alpha: float) -> float:
    from scipy.optimize import brentq

    # Bonferroni's bound is never below, a single comparison's never above.
    low, high = (float(special.stdtrit(freedom, 1 - alpha / 2 / count)) for count in (1, len(b_A)))
    if len(b_A) == 1:
        return low
    return float(brentq(lambda c: float(tail_probability(c, np.array(b_A), freedom)) - alpha, low, high, xtol=1e-10))


def _groups(b_A: np.ndarray) -> list[tuple[float, int]]:
    """Return the distinct loadings with their numbers of arms: equal factors of the product are raised to a power."""
    values, counts = np.unique(np.round(b_A, 12), return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


@functools.cache
def _normal_nodes() -> tuple[np.ndarray, np.ndarray]:
    """Return nodes of the standard normal distribution and their weights, which sum to 1."""
    node_Z, weight_Z = np.polynomial.legendre.leggauss(NODES)
    node_Z = REACH * node_Z
    density_Z = REACH * weight_Z * np.exp(-(node_Z**2) / 2)
    return node_Z, density_Z / density_Z.sum()


@functools.lru_cache(maxsize=256)
def _chi_nodes(freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes of the spread over its true value, sqrt(chi2 / freedom), and their weights, which sum to 1."""
    if math.isinf(freedom):
        return np.ones(1), np.ones(1)
    low, high = (math.sqrt(float(special.chdtri(freedom, p)) / freedom) for p in (1 - TAIL, TAIL))
    node_S, weight_S = np.polynomial.legendre.leggauss(NODES)
    node_S = (low + high) / 2 + (high - low) / 2 * node_S
    log_density_S = (freedom - 1) * np.log(node_S) - freedom * node_S**2 / 2
    density_S = weight_S * np.exp(log_density_S - log_density_S.max())
    return node_S, density_S / density_S.sum()
