"""Power under the declared error.

Kinds: reference (simulated studies judged by the tests themselves, the paired functions of power.py), properties.
"""

import math

import numpy as np
import pytest

from vitsweep.significance.declared import Comparison
from vitsweep.significance.dunnett import step_down_rejects
from vitsweep.significance.estimates import against_baseline, estimate_contrasts
from vitsweep.significance.power import detectable_effect, paired_power, seeds_for_equivalence, seeds_needed


def test_paired_comparisons_are_those_of_the_paired_functions():
    asked = Comparison(arms=4)
    assert asked.power(1.0, 0.8, 5) == pytest.approx(paired_power(1.0, 0.8, 5, 4))
    assert asked.detectable_effect(5, 0.8) == pytest.approx(detectable_effect(5, 0.8, 4))
    assert asked.seeds_needed(0.7, 0.8) == seeds_needed(0.7, 0.8, 4)
    assert asked.seeds_for_equivalence(0.1, 0.4, 0.5) == seeds_for_equivalence(0.1, 0.4, 0.5, 0.05 / 4)


@pytest.mark.parametrize("n, known", [(3, 80), (5, 98)])
def test_pooled_power_is_that_of_simulated_studies(n, known):
    """6 arms, a tenth of a run's variance is the seed's, one arm off by 3 standard deviations of a run."""
    value_DSA = np.random.default_rng(0).normal(size=(4000, n, 7)) * math.sqrt(0.9)
    value_DSA[..., 1] += 3
    t_DA = estimate_contrasts(value_DSA, against_baseline(7), "pooled").t
    found = 100 * step_down_rejects(t_DA, 6.0 * (n - 1))[:, 0].mean()
    stated = 100 * Comparison(error="pooled", arms=6).power(3, math.sqrt(1.8), n)
    assert stated == pytest.approx(found, abs=2) and stated == pytest.approx(known, abs=1)


@pytest.mark.parametrize("error", ["paired", "pooled", "welch"])
@pytest.mark.parametrize("family", [None, 3])
def test_detectable_effect_is_found_with_the_stated_power(error, family):
    asked = Comparison(error=error, arms=5, family=family)
    assert asked.power(asked.detectable_effect(4, 0.7), 0.7, 4) == pytest.approx(0.8)


def test_pooled_error_never_needs_more_seeds_than_the_paired_one():
    needs = [Comparison(error=error, arms=6).seeds_to_decide(0.3, 0.6, 0.5) for error in ("pooled", "paired")]
    assert needs[0] < needs[1] < math.inf


def test_one_seed_finds_nothing():
    asked = Comparison(error="pooled", arms=6)
    assert asked.power(9.0, 0.1, 1) == 0 and math.isinf(asked.detectable_effect(1, 0.1))
    assert asked.equivalence_power(0.0, 0.1, 1, 0.5) == 0


def test_without_spread_any_difference_is_found():
    assert Comparison(error="pooled", arms=2).power(0.1, 0.0, 2) == 1.0
