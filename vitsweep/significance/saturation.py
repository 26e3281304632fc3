"""Saturation of a learning curve: the epoch at which a loss has stopped falling, by one of two rules.

`fitted`: least squares of loss = floor + fall * exp(-t / time) + rise * t with t = epoch - 1, fall > 0, rise >= 0; the
loss saturates where the fitted curve has done 95 % of its way from the first epoch to its lowest value. `time` is
searched on a grid and the other coefficients follow in closed form (variable projection: Golub & Pereyra 1973, SIAM J.
Numer. Anal. 10(2)); single spikes are drawn in by modified residuals (Huber 1981, Robust Statistics, section 7.8). The
exponential is the family exp3 of Viering & Loog 2023 (arXiv 2103.10948), the rise is overfitting. The epoch does not
depend on how long a run goes on after it has saturated, and lies beyond the run's end where a run still improves.

`lowest`: the first epoch at which the lowest loss so far has come within 1 % of the way from the first epoch's loss to
the run's lowest. The rule of plans that state none: under noise it moves with the length of the run, which
docs/calibration/saturation.md measures.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

FITTED, LOWEST = "fitted", "lowest"
RULES = (FITTED, LOWEST)
SHARE = 0.95
"""Share of the fitted fall after which a loss has saturated: three time constants of an exponential."""
REMAINDER = 0.01
"""Share of the fall that `lowest` leaves."""
MIN_EPOCHS = 5
"""Shortest curve that is fitted: one more than the coefficients."""
RULE_TEXTS = {
    FITTED: f"the epoch at which an exponential fall (with a linear rise, where it overfits) that is fitted to the "
    f"curve has done {100 * SHARE:g} % of its way",
    LOWEST: f"the first epoch at which the lowest validation loss so far has come within {100 * REMAINDER:g} % of the "
    "way from the first epoch's loss to the run's lowest",
}
NUM_TIMES, NUM_FINE, NUM_BISECTIONS, NUM_REFITS = 60, 21, 50, 3
SPIKE_SD = 3.0
"""Residuals are drawn in to this many robust standard deviations."""
ALPHA_FALL, ALPHA_RISE = 0.05, 0.01
"""Levels of the F tests that a curve falls at all, and that it rises again."""


def saturation_epochs(curves: Sequence[np.ndarray], rule: str = FITTED) -> np.ndarray:
    """Return the epoch (from 1) at which each loss curve saturates by a rule of RULES; NaN where it never falls.

    Args:
        curves: loss of each epoch, in order; NaN for a curve with a NaN and below two epochs (`fitted`: five).
    """
    arrays = [np.asarray(curve, float) for curve in curves]
    epoch_C = np.full(len(arrays), np.nan)
    whole = [i for i, loss_E in enumerate(arrays) if len(loss_E) > 1 and np.isfinite(loss_E).all()]
    if rule == LOWEST:
        epoch_C[whole] = [lowest_epoch(arrays[i]) for i in whole]
        return epoch_C
    for length in {len(arrays[i]) for i in whole}:  # together, which is 20 times as fast
        same = [i for i in whole if len(arrays[i]) == length]
        epoch_C[same] = fitted_epochs(np.stack([arrays[i] for i in same]))
    return epoch_C


def lowest_epoch(loss_E: np.ndarray) -> float:
    """Return the saturation epoch by the rule `lowest` of a curve without NaN; NaN when it never falls."""
    if not loss_E.min() < loss_E[0]:
        return math.nan
    bound = loss_E.min() + REMAINDER * (loss_E[0] - loss_E.min())
    return float(np.argmax(loss_E <= bound) + 1)


def fitted_epochs(loss_DE: np.ndarray) -> np.ndarray:
    """Return the saturation epoch by the rule `fitted` of each of D curves of E epochs.

    Not rounded, and not limited to the E epochs. NaN below MIN_EPOCHS, and for a curve whose fall is no better than a
    constant by an F test.
    """
    loss_DE = np.asarray(loss_DE, float)
    num_curves, num_epochs = loss_DE.shape
    if num_epochs < MIN_EPOCHS:
        return np.full(num_curves, np.nan)
    scale_D1 = np.ptp(loss_DE, axis=1, keepdims=True)
    y_DE = (loss_DE - loss_DE.min(axis=1, keepdims=True)) / np.where(scale_D1 > 0, scale_D1, 1.0)
    time_D, fall_D, rise_D, fit_DE = _fit(y_DE)
    for _ in range(NUM_REFITS):
        rest_DE = y_DE - fit_DE
        robust_D1 = SPIKE_SD * np.median(np.abs(rest_DE), axis=1, keepdims=True) / special.ndtri(0.75)
        modified_DE = fit_DE + np.clip(rest_DE, -robust_D1, robust_D1)
        time_D, fall_D, rise_D, fit_DE = _fit(modified_DE)
    return 1 + _time_of_share(time_D, fall_D, rise_D)


def _fit(y_DE: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fit each curve; return time, fall (NaN: none), rise and the fitted curve."""
    num_epochs = y_DE.shape[1]
    t_E = np.arange(num_epochs, dtype=float)
    flat_E1 = np.full((num_epochs, 1), num_epochs**-0.5)
    line_E2 = np.linalg.qr(np.stack([np.ones(num_epochs), t_E], axis=1))[0]
    time_D, fall_D, square_D = _best_time(y_DE, flat_E1)
    total_D = _squares(y_DE - y_DE.mean(axis=1, keepdims=True))
    falls_D = (fall_D > 0) & (_p_of_f(total_D, square_D, 2, num_epochs - 3) < ALPHA_FALL)

    time2_D, fall2_D, square2_D = _best_time(y_DE, line_E2)
    rest_DE = y_DE - fall2_D[:, None] * np.exp(-t_E / time2_D[:, None])
    slope_D = (rest_DE - rest_DE.mean(axis=1, keepdims=True)) @ (t_E - t_E.mean()) / _squares(t_E - t_E.mean())
    rises_D = (fall2_D > slope_D * time2_D) & (slope_D > 0)
    rises_D &= _p_of_f(square_D, square2_D, 1, num_epochs - 4) < ALPHA_RISE
    rises_D &= _p_of_f(total_D, square2_D, 3, num_epochs - 4) < ALPHA_FALL

    time_D, fall_D = np.where(rises_D, time2_D, time_D), np.where(rises_D, fall2_D, fall_D)
    rise_D = np.where(rises_D, slope_D, 0.0)
    shape_DE = fall_D[:, None] * np.exp(-t_E / time_D[:, None]) + rise_D[:, None] * t_E
    fit_DE = shape_DE + (y_DE - shape_DE).mean(axis=1, keepdims=True)
    return time_D, np.where(falls_D | rises_D, fall_D, np.nan), rise_D, fit_DE


def _best_time(y_DE: np.ndarray, basis_EK: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return per curve the time constant of least squares, its fall and sum of squares, beside an orthonormal basis."""
    num_curves, num_epochs = y_DE.shape
    times_G = np.geomspace(0.3, 5.0 * num_epochs, NUM_TIMES)
    rest_DE = _without(y_DE, basis_EK)
    decay_GE = _without(np.exp(-np.arange(num_epochs) / times_G[:, None]), basis_EK)
    gain_DG = _gain(rest_DE @ decay_GE.T, _squares(decay_GE))
    # Between two steps of the grid, one time constant after another, so that memory is that of the curves.
    ratio, best_D = times_G[1] / times_G[0], times_G[np.argmax(gain_DG, axis=1)]
    found_D3 = np.stack([best_D, np.zeros(num_curves), np.full(num_curves, -1.0)], axis=1)
    for factor in np.geomspace(1 / ratio, ratio, NUM_FINE):
        decay_DE = _without(np.exp(-np.arange(num_epochs) / (factor * best_D)[:, None]), basis_EK)
        product_D, norm_D = np.einsum("de,de->d", rest_DE, decay_DE), _squares(decay_DE)
        now_D3 = np.stack([factor * best_D, product_D / norm_D, _gain(product_D, norm_D)], axis=1)
        found_D3 = np.where(now_D3[:, 2:] > found_D3[:, 2:], now_D3, found_D3)
    time_D, fall_D, gain_D = found_D3.T
    return time_D, fall_D, np.maximum(_squares(rest_DE) - gain_D, 0.0)


def _without(y_DE: np.ndarray, basis_EK: np.ndarray) -> np.ndarray:
    """Return the residuals of each curve on an orthonormal basis."""
    return y_DE - (y_DE @ basis_EK) @ basis_EK.T


def _gain(product: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """Return by how much a decay lowers the sum of squares; 0 where the curve would rise."""
    return np.where(product > 0, product**2 / norm, 0.0)


def _time_of_share(time_D: np.ndarray, fall_D: np.ndarray, rise_D: np.ndarray) -> np.ndarray:
    """Return t at which fall * exp(-t / time) + rise * t has done SHARE of its way to its lowest value."""
    with np.errstate(divide="ignore", invalid="ignore"):
        lowest_D = np.where(rise_D > 0, time_D * np.log(fall_D / (rise_D * time_D)), np.inf)

    def height(t_D: np.ndarray) -> np.ndarray:
        return fall_D * np.exp(-t_D / time_D) + rise_D * np.where(np.isinf(t_D), 0.0, t_D)

    goal_D = fall_D - SHARE * (fall_D - height(lowest_D))
    low_D, high_D = np.zeros_like(time_D), np.minimum(lowest_D, -time_D * math.log(1 - SHARE))
    for _ in range(NUM_BISECTIONS):
        middle_D = (low_D + high_D) / 2
        above_D = height(middle_D) > goal_D
        low_D, high_D = np.where(above_D, middle_D, low_D), np.where(above_D, high_D, middle_D)
    return np.where(np.isnan(fall_D), np.nan, high_D)


def _p_of_f(square_D: np.ndarray, smaller_D: np.ndarray, added: int, freedom: int) -> np.ndarray:
    """Return p of the F test that `added` coefficients lower the sum of squares by chance alone."""
    with np.errstate(divide="ignore", invalid="ignore"):
        f_D = (square_D - smaller_D) / added / (smaller_D / freedom)
    return np.where(square_D > smaller_D, special.fdtrc(added, freedom, np.where(smaller_D > 0, f_D, np.inf)), 1.0)


def _squares(x: np.ndarray) -> np.ndarray:
    return (x * x).sum(axis=-1)
