"""Pooling of the arms' spreads: their ratios with intervals, where pooling is doubtful, and what decides instead.

The pooled error assumes that all arms spread alike beside what a seed adds to all of them. A baseline that spreads
three times as much as the arms turns 5 % false positives into 12 to 27 %, since every comparison shares it; an arm that
does so spoils its own verdict. docs/calibration/pooled.md publishes the rates of the rules below.

- An arm's ratio is its spread over the others' common one. Its difference to the others' mean on each seed and their
  residuals are independent, so the ratio has an exact F test and interval (Russell and Bradley 1958) if no run is
  missing, whatever the seeds add.
- Pooling is doubtful for an arm's comparisons if its ratio exceeds ARM_DOUBT (the baseline's: BASELINE_DOUBT). The
  verdict stays and says so. Two verdicts in which neither arm is doubtful are false in at most 5 % of studies of
  FEW_SEEDS seeds and more, also where spreads differ up to threefold; fewer seeds cannot show how arms spread.
- Pooling is refuted for an arm if the F test's p falls below REFUTED: then the paired error decides its comparisons.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from .estimates import Estimates, estimate_contrasts, fit_blocks, moments

FEW_SEEDS = 5
BASELINE_DOUBT = 1.2
ARM_DOUBT = 2.0
REFUTED = 0.001


@dataclass(kw_only=True)
class Spreads:
    """Spread of each arm over that of the others, (..., A); NaN with fewer than three arms or two seeds."""

    ratio: np.ndarray
    low: np.ndarray
    """Lower end of the 95 % interval."""
    high: np.ndarray
    p: np.ndarray
    """p of the one-sided F test that the arm spreads no more than the others."""

    @property
    def is_refuted(self) -> np.ndarray:
        """Return True for arms whose comparisons the paired error decides."""
        return self.p < REFUTED

    def is_doubtful(self, baseline: int = 0) -> np.ndarray:
        """Return True for arms, refuted ones included, whose comparisons need the paired p beside the pooled one."""
        bound_A = np.full(self.ratio.shape[-1], ARM_DOUBT)
        bound_A[baseline] = BASELINE_DOUBT
        return (self.ratio > bound_A) | self.is_refuted


def spread_ratios(value_SA: np.ndarray) -> Spreads:
    """Compare the spread of each arm with the others'.

    Args:
        value_SA: (..., S, A), NaN where a run has no result.
    """
    value_SA = np.asarray(value_SA, float)
    number = value_SA.shape[-1]
    if number < 3:
        nothing = np.full((*value_SA.shape[:-2], number), np.nan)
        return Spreads(ratio=nothing, low=nothing, high=nothing, p=nothing)
    parts = [_spread_ratio(value_SA, arm) for arm in range(number)]
    ratio, low, high, p = (np.stack(column, axis=-1) for column in zip(*parts, strict=True))
    return Spreads(ratio=ratio, low=low, high=high, p=p)


def declared_contrasts(
    value_SA: np.ndarray, weight_CA: np.ndarray, error: str, spreads: Spreads | None = None
) -> Estimates:
    """Estimate contrasts under the declared error: as estimate_contrasts, but paired where pooling is refuted.

    Args:
        value_SA: (..., S, A) of all arms that are pooled.
        weight_CA: (C, A), rows that sum to 0.
        error: paired, pooled or welch.
        spreads: spread_ratios of the values, if they are known.
    """
    found = estimate_contrasts(value_SA, weight_CA, error)
    if error != "pooled":
        return found
    is_own_C = own_error(spreads or spread_ratios(value_SA), weight_CA)
    if not is_own_C.any():
        return found
    own = estimate_contrasts(value_SA, weight_CA, "paired")
    names = ("n", "value", "error", "freedom")
    return replace(found, **{name: np.where(is_own_C, getattr(own, name), getattr(found, name)) for name in names})


def own_error(spreads: Spreads, weight_CA: np.ndarray) -> np.ndarray:
    """Return True for the contrasts with an arm for which pooling is refuted, (..., C)."""
    return _uses(spreads.is_refuted, weight_CA)


def doubtful_contrasts(spreads: Spreads, weight_CA: np.ndarray, baseline: int = 0) -> np.ndarray:
    """Return True for the contrasts with an arm for which pooling is doubtful, (..., C)."""
    return _uses(spreads.is_doubtful(baseline), weight_CA)


def _uses(is_marked_A: np.ndarray, weight_CA: np.ndarray) -> np.ndarray:
    used_CA = np.atleast_2d(np.asarray(weight_CA, float)) != 0
    return (is_marked_A[..., None, :] & used_CA).any(axis=-1)


def _spread_ratio(value_SA: np.ndarray, arm: int) -> tuple[np.ndarray, ...]:
    """Return ratio, low, high and p of one arm against all others."""
    other_SA = np.delete(value_SA, arm, axis=-1)
    fit = fit_blocks(other_SA)
    is_known_SA = ~np.isnan(other_SA)
    size_S = is_known_SA.sum(axis=-1)
    level_S = np.where(is_known_SA, other_SA - fit.arm[..., None, :], 0.0).sum(axis=-1)
    own_S = np.where(size_S > 0, value_SA[..., arm] - level_S / np.maximum(size_S, 1), np.nan)
    n, _, sd = (x[..., 0] for x in moments(own_S[..., None]))
    is_used_S = ~np.isnan(own_S)
    # The others' mean has a variance of its own; the mean of its share over the seeds is exact if none is missing.
    share = np.where(is_used_S, 1 / np.maximum(size_S, 1), 0.0).sum(axis=-1) / np.maximum(n, 1)
    is_known = (n > 1) & (fit.variance > 0)
    F = np.where(is_known, sd**2, np.nan) / ((1 + share) * np.where(is_known, fit.variance, np.nan))
    freedom = np.maximum(n - 1, 1), np.maximum(fit.freedom, 1)
    squares = [F, *(F / special.fdtri(*freedom, level) for level in (0.975, 0.025))]
    ratios = [np.sqrt(np.maximum(square * (1 + share) - share, 0.0)) for square in squares]
    return (*ratios, special.fdtrc(*freedom, F))
