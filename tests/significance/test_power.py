"""Minimum detectable effect and seeds needed: against statsmodels, against simulation, and against each other.

Kinds: reference (statsmodels where its solver is exact, simulated t tests), properties (inverse of each other,
monotone), refusals.
"""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.power import TTestPower

from tests.support.make_records import make_record
from vitsweep.significance.power import (
    detectable_effect,
    equivalence_power,
    paired_power,
    seeds_for_equivalence,
    seeds_needed,
    spread_interval,
)
from vitsweep.study.questions.study_power import measured_spread


@pytest.mark.parametrize(("n", "arms"), [(3, 1), (5, 1), (5, 6), (8, 6), (10, 12), (20, 3)])
def test_detectable_effect_agrees_with_statsmodels(n, arms):
    known = TTestPower().solve_power(nobs=n, alpha=0.05 / arms, power=0.8)
    assert detectable_effect(n, 1.0, arms) == pytest.approx(known, rel=1e-5)


@pytest.mark.parametrize(("n", "arms"), [(3, 6), (3, 12), (5, 12)])
def test_detectable_effect_is_found_in_four_of_five_simulated_studies(n, arms):
    # At three seeds and a small alpha statsmodels' own solver is off (6.85 where 8.02 is right), hence simulation.
    effect = detectable_effect(n, 0.4, arms)
    sample = np.random.default_rng(1).normal(effect, 0.4, (40_000, n))
    t = sample.mean(axis=1) / sample.std(axis=1, ddof=1) * math.sqrt(n)
    found = (np.abs(t) > scipy_stats.t.ppf(1 - 0.025 / arms, n - 1)).mean()
    assert found == pytest.approx(0.8, abs=0.01)


def test_detectable_effect_scales_with_the_spread():
    assert detectable_effect(5, 0.6, 3) == pytest.approx(2 * detectable_effect(5, 0.3, 3))


def test_detectable_effect_grows_with_arms_and_shrinks_with_seeds():
    by_arms = [detectable_effect(5, 1.0, arms) for arms in (1, 2, 6, 12)]
    by_seeds = [detectable_effect(n, 1.0, 6) for n in (3, 5, 8, 20)]
    assert by_arms == sorted(by_arms) and by_seeds == sorted(by_seeds, reverse=True)


def test_one_seed_detects_nothing():
    assert detectable_effect(1, 0.3, 1) == math.inf
    assert paired_power(5.0, 0.3, 1) == 0.0


@pytest.mark.parametrize("n", [3, 5, 12])
def test_seeds_needed_is_the_inverse_of_detectable_effect(n):
    effect = detectable_effect(n, 0.3, 6)
    assert seeds_needed(effect * 1.001, 0.3, 6) == n
    assert seeds_needed(effect * 0.999, 0.3, 6) == n + 1


@pytest.mark.parametrize("arms", [1, 6, 60, 1000])
@pytest.mark.parametrize("n", [2, 3, 5, 30, 287, 3000])
def test_seeds_needed_is_the_inverse_up_to_a_thousand_arms(n, arms):
    effect = detectable_effect(n, 1.0, arms)
    assert seeds_needed(effect * 1.0001, 1.0, arms) == n


def test_seeds_needed_where_the_lower_tail_of_nctdtr_is_not_a_number_agrees_with_integration():
    def integrated(n: int) -> float:
        bound, shift = scipy_stats.t.isf(0.025 / 60, n - 1), 0.25 * math.sqrt(n)
        s = np.linspace(0.5, 1.6, 100_001)
        tails = scipy_stats.norm.sf(bound * s - shift) + scipy_stats.norm.cdf(-bound * s - shift)
        return float(np.trapezoid(tails * scipy_stats.chi2.pdf(s**2 * (n - 1), n - 1) * 2 * s * (n - 1), s))

    n = int(seeds_needed(0.25, 1.0, 60))
    assert integrated(n) >= 0.8 > integrated(n - 1)


def test_finished_record_without_a_metric_is_left_out_of_the_spread():
    cells = {"baseline": [0.80, 0.81, None], "patch_size=8": [0.75, 0.77, 0.76]}
    records = [make_record(arm, seed, a) for arm, values in cells.items() for seed, a in enumerate(values)]
    records[0].metrics["best"] = None
    spread, source, _ = measured_spread(records)
    assert spread == pytest.approx(math.sqrt(0.5)) and source.startswith("of 2 paired differences")


def test_seeds_needed_for_nothing_is_infinite():
    assert seeds_needed(0.0, 0.3, 1) == math.inf


@pytest.mark.parametrize(("effect", "n"), [(0.0, 5), (0.1, 8), (0.3, 12)])
def test_equivalence_power_agrees_with_simulation(effect, n):
    sample = np.random.default_rng(2).normal(effect, 0.4, (40_000, n))
    error = sample.std(axis=1, ddof=1) / math.sqrt(n)
    rejected = np.abs(sample.mean(axis=1)) + scipy_stats.t.ppf(0.95, n - 1) * error < 0.5
    assert equivalence_power(effect, 0.4, n, 0.5) == pytest.approx(rejected.mean(), abs=0.01)


def test_seeds_for_equivalence_reach_the_promised_power():
    n = seeds_for_equivalence(0.1, 0.4, 0.5)
    assert equivalence_power(0.1, 0.4, n, 0.5) >= 0.8 > equivalence_power(0.1, 0.4, n - 1, 0.5)


def test_equivalence_of_an_effect_outside_the_rope_is_never_shown():
    assert seeds_for_equivalence(0.6, 0.4, 0.5) == math.inf


@pytest.mark.parametrize("freedom", [2, 5, 30])
def test_spread_interval_covers_the_true_spread_in_95_of_100_samples(freedom):
    sample = np.random.default_rng(freedom).normal(0, 0.7, (20_000, freedom + 1))
    low, high = spread_interval(1.0, freedom)  # both ends scale with the spread
    spread = sample.std(axis=1, ddof=1)
    assert ((low * spread < 0.7) & (0.7 < high * spread)).mean() == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sd": -1.0}, "sd=-1.0  must be a finite number"),
        ({"sd": math.nan}, "sd=nan  must be a finite number"),
        ({"arms": 0}, "arms=0  must be at least 1"),
        ({"alpha": 0.0}, "must lie in"),
    ],
)
def test_impossible_arguments_are_refused_by_name(options, words):
    with pytest.raises(ValueError, match=words):
        detectable_effect(**{"n": 5, "sd": 0.3, "arms": 3} | options)
