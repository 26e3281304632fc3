"""Estimate, standard error and degrees of freedom of a contrast of arms, under each of the three errors.

Values are (..., S, A): seeds, arms, NaN where a run has no result; leading axes are independent studies.

- paired: the contrast on each seed on which all of its arms finished, and the spread of these numbers. Nothing is
  assumed about other arms; freedom is seeds - 1.
- pooled: least squares with a mean for each arm and each seed (randomized complete blocks, or incomplete ones where
  runs are missing; intra-block analysis, Montgomery 2017, chapter 4), and one residual spread of all arms given. Equal
  to a mixed model with random seeds when no run is missing. Assumes that all arms spread alike beside what a seed adds
  to all of them.
- welch: arm means and each arm's own spread over seeds, unpaired, with Satterthwaite's degrees of freedom.

Two arms under `pooled` are the paired t test; two arms with equal numbers of seeds under `welch` are scipy's
ttest_ind(equal_var=False).
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

NO_SPREAD = 1e-12
"""Standard deviations below this share of the largest value are rounding, not spread."""
TINY = 1e-9
"""Weights, eigenvalues and parts of contrasts below this are rounding."""


@dataclass(kw_only=True)
class Estimates:
    """Contrasts of arms; every array has the leading axes of the values, then C contrasts."""

    n: np.ndarray
    """Seeds: those on which all arms of a contrast finished (pooled and welch: those of its arm that has fewest)."""
    value: np.ndarray
    """NaN where it cannot be estimated."""
    error: np.ndarray
    """Standard error; NaN where there is none, and where there is no spread."""
    freedom: np.ndarray
    """Degrees of freedom of the error; NaN where there is none."""
    covariance: np.ndarray | None = None
    """Under pooled (..., C, C): covariances of the contrasts in units of the residual variance."""

    @property
    def t(self) -> np.ndarray:
        """Return value over error."""
        return self.value / self.error

    def p(self) -> np.ndarray:
        """Return the two-sided p; without spread 2 ** (1 - n), as all signs agree, or 1 if there is no difference."""
        with np.errstate(invalid="ignore"):
            p = 2 * special.stdtr(self.freedom, -np.abs(self.t))
        flat = np.where(np.isclose(self.value, 0), 1.0, 2.0 ** (1 - self.n))
        return np.where(self._is_flat(), flat, p)

    def p_within(self, rope: float) -> np.ndarray:
        """Return the p of two one-sided t tests that the contrast lies within +-rope (Schuirmann 1987)."""
        beyond = np.abs(self.value) - rope
        with np.errstate(invalid="ignore"):
            p = special.stdtr(self.freedom, beyond / self.error)
        return np.where(self._is_flat(), np.where(beyond < 0, 2.0 ** (1 - self.n), 1.0), p)

    def interval(self, bound: np.ndarray | float | None = None, confidence: float = 0.95) -> tuple:
        """Return the ends of value -+ bound * error; NaN where there is no error.

        Args:
            bound: a critical value, such as Dunnett's, for simultaneous intervals; None: Student's t.
        """
        if bound is None:
            bound = special.stdtrit(self.freedom, 1 - (1 - confidence) / 2)
        return self.value - bound * self.error, self.value + bound * self.error

    def _is_flat(self) -> np.ndarray:
        return np.isnan(self.error) & (self.n > 1) & ~np.isnan(self.value)


def estimate_contrasts(value_SA: np.ndarray, weight_CA: np.ndarray, error: str) -> Estimates:
    """Estimate C contrasts of arms.

    Args:
        value_SA: (..., S, A); under `pooled` all of these arms make the error, also those without a weight.
        weight_CA: (C, A) weights, which sum to 0 in each row.
        error: paired, pooled or welch.

    Raises:
        ValueError: error is none of these.
    """
    estimators = {"paired": _paired, "pooled": _pooled, "welch": _welch}
    if error not in estimators:
        raise ValueError(f"error={error}  is unknown; allowed: {', '.join(estimators)}")
    return estimators[error](np.asarray(value_SA, float), np.atleast_2d(np.asarray(weight_CA, float)))


def against_baseline(number: int) -> np.ndarray:
    """Return (number - 1, number) weights: each arm minus the first."""
    return np.column_stack([-np.ones(number - 1), np.eye(number - 1)])


def _paired(value_SA: np.ndarray, weight_CA: np.ndarray) -> Estimates:
    parts = [value_SA[..., row != 0] @ row[row != 0] for row in weight_CA]
    value_SC = np.stack(parts, axis=-1) if parts else np.empty((*value_SA.shape[:-1], 0))
    n_C, mean_C, sd_C = moments(value_SC)
    error_C = np.where(sd_C > 0, sd_C, np.nan) / np.sqrt(np.maximum(n_C, 1))
    return Estimates(n=n_C, value=mean_C, error=error_C, freedom=np.where(n_C > 1, n_C - 1.0, np.nan))


def _welch(value_SA: np.ndarray, weight_CA: np.ndarray) -> Estimates:
    n_A, mean_A, sd_A = moments(value_SA)
    used_CA = weight_CA != 0
    fewest_C = np.where(used_CA, n_A[..., None, :], np.iinfo(int).max).min(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        part_CA = np.where(used_CA, weight_CA**2 * (sd_A**2 / n_A)[..., None, :], 0.0)
        variance_C = part_CA.sum(axis=-1)
        freedom_C = variance_C**2 / np.where(part_CA > 0, part_CA**2 / (n_A - 1.0)[..., None, :], 0.0).sum(axis=-1)
    value_C = np.where(used_CA, weight_CA * mean_A[..., None, :], 0.0).sum(axis=-1)
    known_C = (fewest_C > 1) & (variance_C > 0)
    error_C = np.sqrt(np.where(known_C, variance_C, np.nan))
    return Estimates(n=fewest_C, value=value_C, error=error_C, freedom=np.where(known_C, freedom_C, np.nan))


@dataclass(kw_only=True)
class BlockFit:
    """Least squares with a mean for each arm and each seed; leading axes as in the values."""

    arm: np.ndarray
    """(..., A) arm means around 0; only contrasts of them that are estimable mean something."""
    variance: np.ndarray
    """Residual variance; NaN without freedom, 0 where what is left is rounding."""
    freedom: np.ndarray
    inverse: np.ndarray
    """(..., A, A) generalized inverse of the information about the arms."""
    rank: np.ndarray


def fit_blocks(value_SA: np.ndarray) -> BlockFit:
    """Fit arms and seeds to (..., S, A) values, NaN where there is none."""
    value_SA = np.asarray(value_SA, float)
    is_known_SA = ~np.isnan(value_SA)
    inverse_AA, rank = _information(is_known_SA)
    size_S = np.maximum(is_known_SA.sum(axis=-1, keepdims=True), 1)
    # Block means first: the seeds' level, 90 % or so, would cost digits.
    value0_SA = np.where(is_known_SA, value_SA, 0.0)
    centered_SA = np.where(is_known_SA, value0_SA - value0_SA.sum(axis=-1, keepdims=True) / size_S, 0.0)
    arm_A = (inverse_AA @ centered_SA.sum(axis=-2)[..., None])[..., 0]
    fitted_SA = np.where(is_known_SA, arm_A[..., None, :], 0.0)
    residual_SA = np.where(is_known_SA, centered_SA - fitted_SA + fitted_SA.sum(axis=-1, keepdims=True) / size_S, 0.0)
    freedom = is_known_SA.sum(axis=(-1, -2)) - is_known_SA.any(axis=-1).sum(axis=-1) - rank
    variance = np.square(residual_SA).sum(axis=(-1, -2)) / np.maximum(freedom, 1)
    rounding = (NO_SPREAD * np.abs(value0_SA).max(axis=(-1, -2), initial=0.0)) ** 2
    variance = np.where(freedom > 0, np.where(variance > rounding, variance, 0.0), np.nan)
    return BlockFit(arm=arm_A, variance=variance, freedom=freedom, inverse=inverse_AA, rank=rank)


def _pooled(value_SA: np.ndarray, weight_CA: np.ndarray) -> Estimates:
    fit, is_known_SA = fit_blocks(value_SA), ~np.isnan(value_SA)
    # A contrast is estimable if seeds link its arms.
    information_AA = np.linalg.pinv(fit.inverse, hermitian=True)
    is_estimable_C = (np.abs(weight_CA @ information_AA @ fit.inverse - weight_CA) < 1e-6).all(axis=-1)
    covariance_CC = weight_CA @ fit.inverse @ weight_CA.T
    used_CA, n_A = weight_CA != 0, is_known_SA.sum(axis=-2)
    fewest_C = np.where(used_CA, n_A[..., None, :], np.iinfo(int).max).min(axis=-1)
    has_error = fit.variance > 0
    sd = np.sqrt(np.where(has_error, fit.variance, np.nan))
    error_C = sd[..., None] * np.sqrt(np.diagonal(covariance_CC, axis1=-2, axis2=-1))
    return Estimates(
        n=np.where(is_estimable_C, fewest_C, 0),
        value=np.where(is_estimable_C, (fit.arm[..., None, :] * weight_CA).sum(axis=-1), np.nan),
        error=np.where(is_estimable_C, error_C, np.nan),
        freedom=np.where(is_estimable_C & has_error[..., None], fit.freedom[..., None] * 1.0, np.nan),
        covariance=covariance_CC,
    )


def _information(is_known_SA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the generalized inverse (..., A, A) of the information about arms, and its rank."""
    seeds, number = is_known_SA.shape[-2:]
    if is_known_SA.all() and seeds:
        return (np.eye(number) - 1 / number) / seeds, np.array(number - 1)
    known_SA = is_known_SA.astype(float)
    size_S = np.maximum(known_SA.sum(axis=-1), 1)
    shared_AA = np.swapaxes(known_SA / size_S[..., None], -1, -2) @ known_SA
    information_AA = np.eye(known_SA.shape[-1]) * known_SA.sum(axis=-2)[..., None, :] - shared_AA
    root_A, vector_AA = np.linalg.eigh(information_AA)
    kept_A = root_A > TINY * max(known_SA.shape[-2], 1)
    inverse_A = np.where(kept_A, 1 / np.where(kept_A, root_A, 1.0), 0.0)
    return (vector_AA * inverse_A[..., None, :]) @ np.swapaxes(vector_AA, -1, -2), kept_A.sum(axis=-1)


def moments(value_SA: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return number, mean and standard deviation over seeds; 0 for a spread that is rounding, NaN where unknown."""
    is_known_SA = ~np.isnan(value_SA)
    n_A = is_known_SA.sum(axis=-2)
    value0_SA = np.where(is_known_SA, value_SA, 0.0)
    mean_A = np.where(n_A > 0, value0_SA.sum(axis=-2) / np.maximum(n_A, 1), np.nan)
    square_A = np.where(is_known_SA, np.square(value0_SA - mean_A[..., None, :]), 0.0).sum(axis=-2)
    sd_A = np.sqrt(square_A / np.maximum(n_A - 1, 1))
    sd_A = np.where(sd_A <= NO_SPREAD * np.abs(value0_SA).max(axis=-2, initial=0.0), 0.0, sd_A)
    return n_A, mean_A, np.where(n_A > 1, sd_A, np.nan)
