"""Tests of equivalence and non-inferiority: against statsmodels, scipy and simulation.

Kinds: reference (statsmodels' TOST, scipy's t tests), agreement (chance against simulated studies), properties.
"""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.weightstats import DescrStatsW

from vitsweep.significance.equivalence import (
    EITHER,
    chance_to_show,
    claim_p,
    p_above,
    p_beyond,
    p_within,
    rope_to_show,
    seeds_to_show,
)

DIFFERENCES = np.array([0.31, -0.12, 0.05, 0.22, 0.18])
NUMBERS = (DIFFERENCES.mean(), DIFFERENCES.std(ddof=1) / math.sqrt(5), 4, 5)


def test_p_within_is_that_of_statsmodels_tost():
    assert p_within(*NUMBERS, 0.5) == pytest.approx(DescrStatsW(DIFFERENCES).ttost_mean(-0.5, 0.5)[0])


def test_p_above_a_bound_is_that_of_scipys_one_sided_test():
    known = scipy_stats.ttest_1samp(DIFFERENCES, -0.2, alternative="greater").pvalue
    assert p_above(*NUMBERS, -0.2) == pytest.approx(known)


def test_p_beyond_is_twice_the_one_sided_p_of_the_nearer_bound():
    known = scipy_stats.ttest_1samp(DIFFERENCES, 0.02, alternative="greater").pvalue
    assert p_beyond(*NUMBERS, 0.02) == pytest.approx(2 * known)


def test_without_spread_only_the_number_of_seeds_speaks():
    assert p_within(0.1, math.nan, 4, 5, 0.5) == p_above(0.7, math.nan, 4, 5, 0.5) == 2**-4
    assert p_above(0.3, math.nan, 4, 5, 0.5) == 1.0


def test_effect_of_one_comparison_has_scipys_p():
    known = scipy_stats.ttest_1samp(DIFFERENCES, 0).pvalue
    numbers = [[x] for x in NUMBERS]
    assert [float(p) for p in claim_p("effect", 1, 0.5, *numbers)] == pytest.approx([known, 1.0])
    assert [float(p) for p in claim_p("effect", -1, 0.5, *numbers)] == pytest.approx([1.0, known])


def test_all_comparisons_must_hold_and_one_contradicts():
    value, error = np.array([0.0, 2.0]), np.array([0.1, 0.1])
    holds, fails = claim_p("equivalent", 1, 0.5, value, error, [9, 9], [10, 10])
    assert holds == pytest.approx(p_within(2.0, 0.1, 9, 10, 0.5)) and fails == 2 * p_beyond(2.0, 0.1, 9, 10, 0.5)
    either, none = claim_p("effect", EITHER, 0.5, value, error, [9, 9], [10, 10])
    assert either == pytest.approx(4 * p_above(2.0, 0.1, 9, 10)) and none == 1.0


@pytest.mark.parametrize("kind", ["equivalent", "not_worse"])
@pytest.mark.parametrize(("n", "rope"), [(3, 1.0), (8, 0.5)])
def test_chance_to_show_is_that_of_simulated_studies(kind, n, rope):
    draw_DS = np.random.default_rng(3).normal(0, 0.6, (40_000, n))
    value, error = draw_DS.mean(axis=1), draw_DS.std(axis=1, ddof=1) / math.sqrt(n)
    numbers = [np.broadcast_to(x, value.shape)[:, None] for x in (value, error, n - 1, n)]
    shown = (claim_p(kind, 1, rope, *numbers)[0] < 0.02).mean()
    assert chance_to_show(kind, 0.6 / math.sqrt(n), n - 1, rope, 0.02) == pytest.approx(shown, abs=0.008)


@pytest.mark.parametrize("kind", ["equivalent", "not_worse"])
def test_proposed_rope_and_seeds_reach_the_power(kind):
    def spread(n):
        return 0.8 / math.sqrt(n), n - 1

    assert chance_to_show(kind, *spread(5), rope_to_show(kind, *spread(5))) == pytest.approx(0.8)
    seeds = seeds_to_show(kind, spread, 0.5)
    assert chance_to_show(kind, *spread(seeds), 0.5) >= 0.8 > chance_to_show(kind, *spread(seeds - 1), 0.5)
