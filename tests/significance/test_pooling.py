"""Ratios of the arms' spreads, and the paired error where pooling is refuted.

Kinds: reference (an F test of orthogonal contrasts by hand, coverage by simulation), properties.
"""

import numpy as np
import pytest
from scipy import stats

from vitsweep.significance.estimates import against_baseline, estimate_contrasts
from vitsweep.significance.pooling import declared_contrasts, own_error, spread_ratios

RNG = np.random.default_rng(0)
Y = RNG.normal(size=(5, 4)) + 3 * RNG.normal(size=(5, 1))
WIDE = Y * [40, 1, 1, 1]


def test_ratio_of_complete_studies_is_the_f_test_of_orthogonal_contrasts():
    """Helmert's contrasts of the arms are independent: one is arm 0 against the mean of the rest."""
    contrasts = np.array([[-3, 1, 1, 1], [0, -2, 1, 1], [0, 0, -1, 1]]) / np.sqrt([[12], [6], [2]])
    variance = (Y @ contrasts.T).var(axis=0, ddof=1)
    F = variance[0] / variance[1:].mean()
    found = spread_ratios(Y)
    assert found.p[0] == pytest.approx(stats.f.sf(F, 4, 8))
    assert found.ratio[0] == pytest.approx(np.sqrt(F * 4 / 3 - 1 / 3))
    assert found.high[0] == pytest.approx(np.sqrt(F / stats.f.ppf(0.025, 4, 8) * 4 / 3 - 1 / 3))


@pytest.mark.parametrize("lost", [0, 2])
def test_interval_of_the_ratio_covers_it_in_95_of_100_studies(lost):
    value_DSA = RNG.normal(size=(4000, 5, 4)) * [2, 1, 1, 1] + 3 * RNG.normal(size=(4000, 5, 1))
    value_DSA[:, :lost, 1] = np.nan
    found = spread_ratios(value_DSA)
    assert ((found.low[:, 0] < 2) & (found.high[:, 0] > 2)).mean() == pytest.approx(0.95, abs=0.015)


def test_ratio_follows_neither_the_unit_nor_what_seeds_and_arms_add():
    changed = 10 * (Y + np.arange(4.0) + np.arange(5.0)[:, None] ** 2)
    assert spread_ratios(changed).ratio == pytest.approx(spread_ratios(Y).ratio)


def test_two_arms_have_no_ratio_and_no_doubt():
    found = spread_ratios(Y[:, :2])
    assert np.isnan(found.ratio).all() and not found.is_doubtful().any()


def test_baseline_is_doubted_before_an_arm_is():
    found = spread_ratios(Y)
    found.ratio, found.p = np.array([1.5, 1.5, 2.5, 1.0]), np.full(4, 0.2)
    assert found.is_doubtful().tolist() == [True, False, True, False]
    assert found.is_doubtful(baseline=3).tolist() == [False, False, True, False]


def test_paired_error_decides_the_contrasts_of_an_arm_for_which_pooling_is_refuted():
    weights = np.vstack([against_baseline(4), [0, -1, 0, 1]])
    assert own_error(spread_ratios(WIDE), weights).tolist() == [True, True, True, False]
    found = declared_contrasts(WIDE, weights, "pooled")
    paired, pooled = (estimate_contrasts(WIDE, weights, error) for error in ("paired", "pooled"))
    assert found.p() == pytest.approx([*paired.p()[:3], pooled.p()[3]])
    assert found.freedom == pytest.approx([4, 4, 4, 12])


@pytest.mark.parametrize("error", ["paired", "welch"])
def test_other_errors_are_left_as_they_are(error):
    found, known = (f(WIDE, against_baseline(4), error) for f in (declared_contrasts, estimate_contrasts))
    assert found.p() == pytest.approx(known.p())
