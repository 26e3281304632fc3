"""Dunnett's test: probabilities by quadrature, critical values, single-step and step-down p values.

Kinds: reference (scipy's multivariate t and its unpaired Dunnett test, Dunnett's published tables), properties.
"""

import numpy as np
import pytest
from scipy import stats

from vitsweep.significance.dunnett import (
    HALF,
    critical_value,
    loadings,
    step_down,
    step_down_rejects,
    tail_probability,
)

B = np.array([0.3, 0.6, 0.8, 0.5])


@pytest.mark.parametrize("bound, freedom", [(2.0, 3.0), (2.7, 14.0)])
def test_probability_of_unequal_loadings_is_that_of_scipys_multivariate_t(bound, freedom):
    shape = np.outer(B, B) + np.diag(1 - B**2)
    known = stats.multivariate_t(np.zeros(4), shape, freedom)
    inside = known.cdf(np.full(4, bound), lower_limit=np.full(4, -bound), maxpts=200_000, random_state=0)
    assert tail_probability(bound, B, freedom) == pytest.approx(1 - inside, abs=2e-5)


def test_probability_with_a_known_spread_is_that_of_the_normal_distribution():
    assert tail_probability(1.96, np.array([0.5]), np.inf) == pytest.approx(2 * stats.norm.sf(1.96), abs=1e-12)


@pytest.mark.parametrize("freedom", [1, 2, 7, 200])
def test_one_arm_is_students_t(freedom):
    found = tail_probability([0.0, 0.5, 2.0, 6.0], np.array([HALF]), freedom)
    assert found == pytest.approx(2 * stats.t.sf([0.0, 0.5, 2.0, 6.0], freedom), abs=1e-9)


@pytest.mark.parametrize(
    "freedom, arms, bound", [(5, 2, 3.03), (10, 3, 2.76), (10, 6, 3.07), (20, 6, 2.80), (60, 9, 2.77)]
)
def test_critical_values_are_those_of_dunnetts_table(freedom, arms, bound):
    """C. W. Dunnett (1964), New tables for multiple comparisons with a control, Biometrics 20: two-sided, 5 %."""
    assert critical_value(np.full(arms, HALF), freedom) == pytest.approx(bound, abs=0.005)


def test_p_values_of_unpaired_samples_are_scipys():
    rng = np.random.default_rng(0)
    control, *arms = (rng.normal(size=n) + shift for n, shift in ((8, 0), (5, 1), (6, 0), (10, 0.5)))
    known = stats.dunnett(*arms, control=control, random_state=np.random.default_rng(1))
    n_A = np.array([5, 6, 10])
    found = tail_probability(np.abs(known.statistic), np.sqrt(n_A / (n_A + 8)), 8 + n_A.sum() - 4)
    assert found == pytest.approx(known.pvalue, abs=3e-4)


def test_loadings_of_unpaired_samples_are_those_of_their_numbers():
    n_A = np.array([5.0, 6.0, 10.0])
    assert loadings(np.diag(1 / n_A) + 1 / 8) == pytest.approx(np.sqrt(n_A / (n_A + 8)), abs=1e-6)


def test_step_down_is_each_step_a_single_step_among_the_arms_left():
    t_A = np.array([1.0, -4.0, 2.5])
    steps = [
        tail_probability(np.abs(t_A[kept]), np.full(len(kept), HALF), 8)[place]
        for kept, place in (([0, 1, 2], 1), ([0, 2], 1))
    ]
    found = step_down(t_A, np.full(3, HALF), 8)
    assert found[[1, 2]] == pytest.approx(steps) and found[0] == pytest.approx(2 * stats.t.sf(1.0, 8))


def test_step_down_is_never_above_the_single_step_nor_below_the_unadjusted_p():
    t_A = np.array([3.1, 0.2, -2.9, 2.2])
    stepped, single = step_down(t_A, B, 6), tail_probability(np.abs(t_A), B, 6)
    assert (stepped <= single + 1e-12).all() and (stepped >= 2 * stats.t.sf(np.abs(t_A), 6) - 1e-9).all()


def test_arm_without_a_result_counts_and_stays_nan():
    found = step_down(np.array([3.0, np.nan]), np.full(2, HALF), 10)
    assert found[0] == pytest.approx(float(tail_probability(3.0, np.full(2, HALF), 10))) and np.isnan(found[1])


def test_decisions_by_critical_values_are_those_of_the_p_values():
    t_DA = 3 * np.random.default_rng(0).normal(size=(40, 4))
    by_p = np.array([step_down(t_A, np.full(4, HALF), 12) < 0.05 for t_A in t_DA])
    assert (step_down_rejects(t_DA, 12) == by_p).all() and 20 < by_p.sum() < 140
