"""Spread of runs split into seeds and test images, and ratios of spreads with their intervals.

Kinds: reference (simulation with known parts, scipy's distributions), properties (scale, order).
"""

import numpy as np
import pytest
from scipy import stats as known

from vitsweep.significance.spread import ratio_of_independent, ratio_of_paired, split_spread, variance_bounds


def runs(rng, seed_sd, runs=8, images=2000, draws=1):
    """Return right answers of runs whose true accuracy is 0.6 +- seed_sd over easy and hard images."""
    shift = seed_sd * rng.standard_normal((draws, runs, 1))
    chance = rng.choice([0.4, 0.8], size=(draws, 1, images))
    return rng.random((draws, runs, images)) < chance + shift


@pytest.mark.parametrize("seed_sd", [0.0, 0.01])
def test_parts_are_those_of_a_simulation(seed_sd):
    found = [split_spread(right) for right in runs(np.random.default_rng(0), seed_sd, draws=200)]
    expected = np.sqrt((0.4 * 0.6 + 0.8 * 0.2) / 2 / 2000)
    assert np.mean([one.images for one in found]) == pytest.approx(expected, rel=0.01)
    excess = np.mean([one.total[0] ** 2 - one.images**2 for one in found])
    assert excess == pytest.approx(seed_sd**2, abs=2e-5)
    held = np.mean([one.seeds[1] <= seed_sd <= one.seeds[2] for one in found])
    assert held == pytest.approx(0.97 if seed_sd == 0 else 0.95, abs=0.04)


def test_bounds_of_a_variance_are_those_of_scipy():
    assert variance_bounds(7) == pytest.approx((7 / known.chi2.ppf(0.975, 7), 7 / known.chi2.ppf(0.025, 7)))


def test_interval_of_paired_ratios_holds_in_95_of_100():
    rng = np.random.default_rng(1)
    pairs = rng.multivariate_normal([0, 0], [[1.0, 0.56], [0.56, 0.49]], size=(2000, 8))
    held = [low <= 1 / 0.49 <= high for _, low, high in (ratio_of_paired(*pair.T) for pair in pairs)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_interval_of_independent_ratios_is_that_of_the_f_distribution():
    one, other = np.array([1.0, 2.0, 4.0, 3.0]), np.array([0.0, 5.0, 1.0])
    ratio, low, high = ratio_of_independent(one, other)
    assert ratio == pytest.approx(one.var(ddof=1) / other.var(ddof=1))
    assert (ratio / high, ratio / low) == pytest.approx(tuple(known.f.ppf([0.025, 0.975], 3, 2)))


def test_ratio_needs_runs_that_differ():
    assert np.isnan(ratio_of_paired(np.ones(5), np.arange(5.0))).all()
    assert np.isnan(ratio_of_independent(np.ones(1), np.arange(5.0))).all()
