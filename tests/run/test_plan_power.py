"""Power of a plan: smallest effects, their interval, equivalence, warnings, and the spread that they rest on.

Agrees with references: simulated studies for the smallest effect, numpy for the spread of earlier records.
"""

import math
from dataclasses import replace
from functools import cache
from statistics import stdev

import numpy as np
import pytest

from tests.support.make_records import make_record, make_sweep
from vitsweep.config.composer import Composer
from vitsweep.config.hydra import make_loader
from vitsweep.run.plan_text.power import describe_power, describe_powers
from vitsweep.significance.declared import Comparison
from vitsweep.significance.power import spread_interval
from vitsweep.study.plan_builder import build_plan
from vitsweep.study.questions.study_power import (
    PUBLISHED_RUNS,
    PUBLISHED_SPREAD,
    Power,
    measured_spread,
    power_warnings,
    study_power,
)


@cache
def plan():
    return build_plan(["model.patch_size=4,8", "seed=0,1"], Composer(make_loader(None), "config"))


def sight(seeds: int, arms: int, spread: float = 1.0) -> Power:
    return Power(num_seeds=seeds, num_compared=arms, spread=spread, source="")


@pytest.mark.parametrize("seeds, arms", [(5, 1), (8, 6)])
def test_smallest_effect_is_found_in_four_of_five_simulated_studies(seeds, arms):
    """Paired t tests by scipy; for several arms the first step of Holm, the others being without effect."""
    from scipy import stats

    found = sight(seeds, arms)
    draws_SN = np.random.default_rng(0).normal(found.effect, 1.0, (seeds, 4000))
    assert np.mean(stats.ttest_1samp(draws_SN, 0.0).pvalue <= 0.05 / arms) == pytest.approx(0.8, abs=0.02)


def test_smallest_effect_grows_with_arms_and_spread_and_shrinks_with_seeds():
    assert sight(5, 1).effect < sight(5, 6).effect < sight(5, 6, 2.0).effect
    assert sight(10, 6).effect < sight(5, 6).effect and math.isinf(sight(1, 1).effect)


def test_power_of_the_claims_is_stated_beside_that_of_the_arms():
    one = Power(num_seeds=5, num_compared=12, spread=0.5, source="", num_claims=3)
    assert one.effect_of_claims == sight(5, 3, 0.5).effect < one.effect == sight(5, 12, 0.5).effect
    sizes = f"{one.effect_of_claims:.2f} points after Holm over 3 claims, {one.effect:.2f} points after Holm over 12"
    assert sizes in describe_power(one)


def test_power_is_stated_under_the_paired_and_the_pooled_error():
    for error, other in (("paired", "pooled"), ("pooled", "paired"), ("welch", "pooled")):
        one = Power(num_seeds=5, num_compared=6, spread=0.5, source="", num_claims=2, error=error)
        asked = Comparison(error=other, arms=6)
        arms, claims = (replace(asked, family=family).detectable_effect(5, 0.5) for family in (None, 2))
        assumes = " (if all arms spread alike)" if other == "pooled" else ""
        method = "Dunnett" if other == "pooled" else "Holm"
        begin = f"power under error={other}{assumes}: {claims:.2f} points after Holm over 2 claims"
        assert describe_powers(one)[1] == f"{begin}, {arms:.2f} points after {method} over 6 arms"


def test_power_of_one_arm_or_one_seed_is_the_same_under_either_error():
    assert len(describe_powers(sight(5, 1))) == len(describe_powers(sight(1, 4))) == 1


def test_interval_of_the_smallest_effect_is_that_of_the_spread():
    one = Power(num_seeds=5, num_compared=6, spread=0.5, source="", freedom=8)
    assert one.ends(one.effect) == pytest.approx([one.effect * end / 0.5 for end in spread_interval(0.5, 8)])
    assert f"{one.effect:.2f} points [{one.ends(one.effect)[0]:.2f}, " in describe_power(one)


def test_chance_of_equivalence_falls_with_the_family_and_the_spread():
    chances = [
        sight(8, 1, 0.3).chance_of_equivalence,
        sight(8, 6, 0.3).chance_of_equivalence,
        sight(8, 6, 0.6).chance_of_equivalence,
    ]
    assert 1 > chances[0] > chances[1] > chances[2] > 0
    assert Power(num_seeds=8, num_compared=6, spread=0.3, source="", num_claims=1).chance_of_equivalence == chances[0]


def test_claims_that_cannot_be_tested_are_in_no_family():
    claims = [{"claim": "x", "arm": "patch_size=8"}, {"claim": "y", "testable": False}]
    assert study_power(replace(plan(), claims=claims), None).num_claims == 1


def test_assumed_spread_is_that_of_the_published_runs():
    assert pytest.approx(stdev(PUBLISHED_RUNS) * math.sqrt(2)) == PUBLISHED_SPREAD
    assert round(PUBLISHED_SPREAD, 1) == 0.9


def test_spread_is_measured_on_the_paired_differences_of_earlier_records(tmp_path):
    accuracies = {"baseline": [0.70, 0.72, 0.71], "patch_size=8": [0.71, 0.71, 0.72], "lr=0.002": [0.60, 0.63, 0.61]}
    sweep = make_sweep(tmp_path / "sweep", accuracies)
    found = study_power(plan(), sweep)
    differences = [[1.0, -1.0, 1.0], [-10.0, -9.0, -10.0]]
    assert found.spread == pytest.approx(math.sqrt(sum(np.var(d, ddof=1) for d in differences) / 2))
    assert found.source == "of 6 paired differences in this directory"


def test_spread_of_the_baseline_alone_counts_twice():
    records = [make_record("baseline", seed, accuracy) for seed, accuracy in enumerate((0.70, 0.72, 0.71))]
    spread, source, freedom = measured_spread(records)
    assert spread == pytest.approx(math.sqrt(2) * 1.0) and source.startswith("of 3 cells, as if") and freedom == 2


def test_spread_of_one_cell_an_arm_is_not_measured():
    assert measured_spread([make_record("baseline", 0, 0.7), make_record("lr=0.002", 0, 0.6)]) is None


def test_spread_leaves_out_what_failed_or_is_damaged(tmp_path):
    sweep = make_sweep(tmp_path, {"baseline": [0.7, 0.72], "lr=0.002": [0.7, 0.74]})
    for path in sweep.glob("lr*/seed=1/record.json"):
        path.write_text("{")
    assert study_power(plan(), sweep).source.startswith("of 2 cells")


@pytest.mark.parametrize(
    "seeds, arms, wanted",
    [
        (1, 1, ["1 seed is few: intervals", "test of 1 seed cannot reach p = 0.05, its smallest is 1"]),
        (2, 1, ["2 seeds are few", "cannot reach p = 0.05, its smallest is 0.5; use seeds=6"]),
        (4, 3, ["4 seeds are few", "after Holm over 3 arms, its smallest is 0.38; use seeds=7"]),
        (5, 1, ["cannot reach p = 0.05, its smallest is 0.062; use seeds=6"]),
        (6, 1, []),
        (7, 6, ["after Holm over 6 arms, its smallest is 0.094; use seeds=8"]),
        (8, 6, []),
    ],
)
def test_warnings_name_what_so_few_seeds_cannot_do(seeds, arms, wanted):
    found = power_warnings(sight(seeds, arms))
    assert len(found) == len(wanted) and all(words in sentence for words, sentence in zip(wanted, found, strict=True))


def test_seeds_named_for_the_exact_test_are_the_fewest():
    for arms in range(1, 40):
        needed = sight(5, arms).seeds_for_exact_test
        assert sight(needed, arms).smallest_p <= 0.05 < sight(needed - 1, arms).smallest_p


def test_power_of_one_seed_is_said_to_be_none():
    text = "power: no difference is found, however large: one seed shows no spread to compare it with"
    assert describe_power(sight(1, 2)) == text


def test_power_beyond_the_scale_of_an_accuracy_is_said_to_be_so():
    assert describe_power(sight(2, 6, spread=60)).startswith(
        "power: the smallest difference found with 80 % probability is more than 100 points after Holm over 6 arms; "
    )
