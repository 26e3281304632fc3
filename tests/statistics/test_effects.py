"""Effects of the arms: what their family is, how either kind of p is adjusted over it, and what the study could see.

Kinds: properties (a bigger family never decides more), reference (Holm over the family by hand).
"""

import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.statistics import paired as stats
from vitsweep.analysis.statistics.effects import arm_effects
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import make_sweep
from vitsweep.significance.power import detectable_effect

BASE = [0.800, 0.805, 0.799, 0.803, 0.802]
CLOSE = [0.805, 0.801, 0.802, 0.800, 0.8035]
NOISY = [0.79, 0.82, 0.77, 0.80, 0.83]


FEWER = [0.79, 0.80, 0.78, 0.80, 0.79]


def judged(tmp_path, arms, **options):
    return judge(load(make_sweep(tmp_path, arms, epochs=1, **options)))


def effects(tmp_path, arms, **options):
    return arm_effects(select(load(make_sweep(tmp_path, arms, epochs=1, **options)))).set_index("arm")


def test_equivalence_is_adjusted_over_the_arms(tmp_path):
    alone = effects(tmp_path / "alone", {"baseline": BASE, "a": CLOSE})
    beside = effects(tmp_path / "beside", {"baseline": BASE, "a": CLOSE, "b": NOISY})
    assert beside.loc["a", "p_equivalent_holm"] == pytest.approx(2 * alone.loc["a", "p_equivalent"])
    assert (alone.loc["a", "verdict"], beside.loc["a", "verdict"]) == ("equivalent", "undecided")


def test_claims_family_takes_the_place_of_the_arms(tmp_path):
    selection = select(load(make_sweep(tmp_path, {"baseline": BASE, "a": CLOSE, "b": NOISY}, epochs=1)))
    found = arm_effects(selection, claimed={"a": stats.AdjustedP(p=0.9, p_equivalent=0.04)}).set_index("arm")
    assert found.loc["a", ["p_holm", "verdict", "family"]].tolist() == [0.9, "equivalent", "claims"]
    assert found.loc["b", "family"] == "exploratory"


def test_power_is_that_of_the_arm_with_the_fewest_pairs(tmp_path):
    power = judged(tmp_path, {"baseline": BASE, "a": NOISY, "b": FEWER[:3], "c": FEWER[:1]}).power
    assert (power.seeds, power.most_seeds, power.arms) == (3, 5, 3)
    assert power.effect == pytest.approx(detectable_effect(3, power.sd, 3))


def test_power_of_a_study_with_claims_is_stated_for_both_families(tmp_path):
    claims = [{"claim": "a is better", "arm": "a"}, {"claim": "a CNN is better", "testable": False}]
    power = judged(tmp_path, {"baseline": BASE, "a": NOISY, "b": FEWER}, plan={"claims": claims}).power
    assert (power.claims, power.arms) == (1, 2)
    assert power.claims_effect == pytest.approx(detectable_effect(5, power.sd, 1))
    assert power.effect == pytest.approx(detectable_effect(5, power.sd, 2))
