"""Saturation epochs of curves whose answer is known, and that noise and length do not move the fitted one.

Kinds: reference (closed form, scipy's curve_fit), properties (units, length, spikes), edges (no fall, too short, NaN).
"""

import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from vitsweep.significance.saturation import FITTED, LOWEST, MIN_EPOCHS, fitted_epochs, saturation_epochs


def falling(epochs, time=12.0, noise=0.0, draws=1, seed=0):
    """Return curves that fall from 1 to 0 exponentially; they saturate at epoch 1 + ln(20) time."""
    rng = np.random.default_rng(seed)
    return np.exp(-np.arange(epochs) / time) + noise * rng.standard_normal((draws, epochs))


@pytest.mark.parametrize(
    ("loss", "epoch"),
    [
        ([2.0, 1.0, 1.0, 1.0], 2),
        ([2.0, 1.5, 1.0, 1.2], 3),
        ([2.0, 1.009, 1.0], 2),  # within 1 % of the way from 2 to 1
        ([2.0, 1.02, 1.0], 3),  # not within it
        ([2.0, 1.5, 1.8, 1.0], 4),
    ],
)
def test_lowest_follows_its_rule(loss, epoch):
    assert saturation_epochs([loss], LOWEST).tolist() == [epoch]


@pytest.mark.parametrize("rule", [FITTED, LOWEST])
@pytest.mark.parametrize("loss", [[], [2.0], [1.0, 1.5, 2.0, 2.5, 3.0, 3.5], [2.0, math.nan, 1.0, 1.0, 1.0, 1.0]])
def test_curve_without_a_fall_has_no_saturation_epoch(loss, rule):
    assert np.isnan(saturation_epochs([loss], rule)).all()


def test_shortest_fitted_curve():
    found = saturation_epochs([falling(n, time=0.5)[0] for n in (MIN_EPOCHS - 1, MIN_EPOCHS)])
    assert np.isnan(found).tolist() == [True, False]


@pytest.mark.parametrize("time", [2.0, 12.0, 80.0])
def test_fitted_epoch_of_an_exponential_is_three_time_constants(time):
    assert fitted_epochs(falling(100, time))[0] == pytest.approx(1 + math.log(20) * time, rel=0.01)


def test_overfitting_ends_the_fall():
    t = np.linspace(0, 100, 1_000_001)
    loss = np.exp(-t / 12) + 0.004 * t
    expected = 1 + t[np.argmax(loss <= loss[0] - 0.95 * (loss[0] - loss.min()))]
    assert fitted_epochs(loss[None, :: 1_000_000 // 100])[0] == pytest.approx(expected, rel=0.01)


def test_fit_agrees_with_scipy():
    loss = falling(100, noise=0.05)[0]
    (_, _, time), _ = curve_fit(lambda t, a, b, time: a + b * np.exp(-t / time), np.arange(100), loss, (0, 1, 10))
    # Modified residuals differ from least squares in the few that lie beyond three standard deviations.
    assert fitted_epochs(loss[None])[0] == pytest.approx(1 + math.log(20) * time, rel=0.03)


def test_units_do_not_matter():
    loss = falling(60, noise=0.1, draws=20)
    assert fitted_epochs(7 + 3 * loss) == pytest.approx(fitted_epochs(loss), rel=1e-6)


@pytest.mark.parametrize(("noise", "spread"), [(0.01, 1.0), (0.1, 5.0), (0.17, 9.0)])
@pytest.mark.parametrize("epochs", [100, 400])
def test_noise_and_length_do_not_move_the_fitted_epoch(noise, spread, epochs):
    found = fitted_epochs(falling(epochs, noise=noise, draws=100))
    assert found.mean() == pytest.approx(1 + math.log(20) * 12, abs=2.0) and found.std() < spread


def test_a_spike_does_not_move_the_fitted_epoch():
    loss = falling(100, noise=0.05)
    spiked = loss.copy()
    spiked[0, [50, 70]] += 5
    assert fitted_epochs(spiked)[0] == pytest.approx(fitted_epochs(loss)[0], abs=3)


def test_pure_noise_rarely_has_a_saturation_epoch():
    noise = np.random.default_rng(0).standard_normal((500, 50))
    assert (~np.isnan(fitted_epochs(noise))).mean() < 0.06


def test_curves_of_several_lengths_are_fitted_as_if_alone():
    curves = [falling(n, noise=0.1, seed=n)[0] for n in (50, 60, 50)]
    assert saturation_epochs(curves) == pytest.approx(np.concatenate([fitted_epochs(c[None]) for c in curves]))
