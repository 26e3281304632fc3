"""Effects of the arms: what their family is, how either kind of p is adjusted over it, and what the study could see.

Kinds: properties (a bigger family never decides more; one error for arms and claims), reference (Holm over the family
by hand, scipy's t tests, Dunnett's test by vitsweep.significance).
"""

import json

import numpy as np
import pytest
from scipy import stats as known
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.statistics import paired as stats
from vitsweep.analysis.statistics.effects import arm_effects, metric_text, seed_values
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import make_cell, make_record, make_sweep
from vitsweep.significance.dunnett import HALF, step_down
from vitsweep.significance.estimates import against_baseline, estimate_contrasts
from vitsweep.significance.pooling import spread_ratios
from vitsweep.significance.power import detectable_effect, shared_freedom, spread_interval

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


def test_power_is_that_of_the_usual_number_of_pairs(tmp_path):
    arms = {"baseline": BASE, "a": NOISY, "b": CLOSE, "c": FEWER[:3], "d": FEWER[:1]}
    power = judged(tmp_path, arms).power
    assert (power.seeds, power.fewest_seeds, power.most_seeds, power.arms) == (5, 3, 5, 4)
    assert power.effect == pytest.approx(detectable_effect(5, power.sd, 4))


@pytest.mark.parametrize("error", ["paired", "pooled"])
def test_interval_of_the_detectable_effect_covers_the_true_one(error):
    value_DSA = np.random.default_rng(0).normal(size=(2000, 5, 5))
    found = estimate_contrasts(value_DSA, against_baseline(5), error)
    sd_D = np.sqrt(np.square(found.error).mean(axis=1) * 5)
    low, high = spread_interval(1.0, shared_freedom(np.full(4, 4.0)) if error == "paired" else 16.0)
    inside_D = (low * sd_D <= np.sqrt(2)) & (np.sqrt(2) <= high * sd_D)
    assert inside_D.mean() == pytest.approx(0.95, abs=0.015)


def test_simultaneous_intervals_are_wider_and_exclude_zero_where_a_single_step_finds_an_effect(tmp_path):
    arms = {"baseline": BASE, "a": FEWER, "b": [0.81, 0.80, 0.79, 0.81, 0.81], "c": CLOSE}
    for error in ("paired", "pooled"):
        found = under(tmp_path, error, arms).effects.set_index("arm").loc[["a", "b", "c"]]
        assert (found["joint_high"] > found["ci_high"]).all() and (found["joint_low"] < found["ci_low"]).all()
        excludes = (found["joint_low"] > 0) | (found["joint_high"] < 0)
        assert not (excludes & (found["p_holm"] >= 0.05)).any()


def test_doubts_and_the_paired_p_stand_beside_a_pooled_verdict(tmp_path):
    value_SA = 0.8 + np.random.default_rng(8).normal(size=(5, 5)) * [0.002, 0.002, 0.002, 0.002, 0.0045]
    arms = dict(zip(("baseline", "a", "b", "c", "d"), value_SA.T.tolist(), strict=True))
    found = under(tmp_path, "pooled", arms).effects.set_index("arm")
    known = spread_ratios(100 * value_SA)
    assert found["spread_ratio"].to_numpy() == pytest.approx(known.ratio)
    assert found["pooling"].tolist()[1:] == ["pooled", "pooled", "pooled", "doubtful"] and known.ratio[4] > 2
    paired = judged(tmp_path / "again", arms).effects.set_index("arm")
    assert found.loc["d", "p_holm_paired"] == pytest.approx(paired.loc["d", "p_holm"])


def test_power_of_a_study_with_claims_is_stated_for_both_families(tmp_path):
    claims = [{"claim": "a is better", "arm": "a"}, {"claim": "a CNN is better", "testable": False}]
    power = judged(tmp_path, {"baseline": BASE, "a": NOISY, "b": FEWER}, plan={"claims": claims}).power
    assert (power.claims, power.arms) == (1, 2)
    assert power.claims_effect == pytest.approx(detectable_effect(5, power.sd, 1))
    assert power.effect == pytest.approx(detectable_effect(5, power.sd, 2))


def under(tmp_path, error, arms, **plan):
    return judged(tmp_path / error, arms, plan={"error": error} | plan)


def test_pooled_effects_are_judged_by_step_down_dunnett(tmp_path):
    arms = {"baseline": BASE, "a": FEWER, "b": [0.81, 0.80, 0.79, 0.81, 0.81], "c": CLOSE}
    found = under(tmp_path, "pooled", arms).effects.set_index("arm")
    estimates = estimate_contrasts(100 * np.column_stack(list(arms.values())), against_baseline(4), "pooled")
    rows = found.loc[["a", "b", "c"]]
    assert rows["p"].to_numpy() == pytest.approx(estimates.p())
    assert rows["p_holm"].to_numpy() == pytest.approx(step_down(estimates.t, np.full(3, HALF), 12))
    assert rows["p_equivalent"].to_numpy() == pytest.approx(estimates.p_within(0.5))
    assert rows["ci_low"].to_numpy() == pytest.approx(estimates.interval()[0])


def test_welch_effects_are_scipys_unpaired_t_tests_after_holm(tmp_path):
    found = under(tmp_path, "welch", {"baseline": BASE, "a": FEWER, "b": NOISY[:4]}).effects.set_index("arm")
    p_A = [known.ttest_ind(arm, BASE, equal_var=False).pvalue for arm in (FEWER, NOISY[:4])]
    assert found.loc[["a", "b"], "p"].to_numpy() == pytest.approx(p_A)
    assert found.loc[["a", "b"], "p_holm"].to_numpy() == pytest.approx(stats.holm(p_A))


def test_claims_of_a_pooled_study_use_the_pooled_error_after_holm(tmp_path):
    claims = [{"claim": "x", "arm": "a"}, {"claim": "y", "arm": "a", "than": "b"}]
    arms = {"baseline": BASE, "a": FEWER, "b": CLOSE}
    found = under(tmp_path, "pooled", arms, claims=claims).claims
    weights = [[-1, 1, 0], [0, 1, -1]]
    p_C = estimate_contrasts(100 * np.column_stack(list(arms.values())), weights, "pooled").p()
    assert found["p_holm"].to_numpy() == pytest.approx(stats.holm(p_C))


def test_paired_error_decides_all_arms_where_the_baseline_spreads_beyond_doubt(tmp_path):
    wide = [0.9, 0.5, 0.7, 0.3, 0.8]
    arms = {"baseline": wide} | {name: [x + k / 1000 for x in BASE] for k, name in enumerate("abc")}
    arms["b"] = CLOSE
    found = [under(tmp_path, error, arms).effects.set_index("arm") for error in ("pooled", "paired")]
    names = ["a", "b", "c"]
    assert found[0].loc[names, "p_holm"].to_numpy() == pytest.approx(found[1].loc[names, "p_holm"].to_numpy())


def test_arm_outside_the_plan_changes_no_planned_arms_pooled_p(tmp_path):
    arms = {"baseline": BASE, "a": FEWER, "b": CLOSE}
    alone = under(tmp_path / "alone", "pooled", arms).effects.set_index("arm")
    beside = make_sweep(tmp_path / "beside", arms, epochs=1, plan={"error": "pooled"})
    for seed, accuracy in enumerate(NOISY):
        make_cell(beside, make_record("c", seed, accuracy))
    found = judge(load(beside)).effects.set_index("arm")
    assert found.loc[["a", "b"], "p_holm"].to_numpy() == pytest.approx(alone.loc[["a", "b"], "p_holm"].to_numpy())
    assert found.loc["c", "family"] == "exploratory" and found.loc["c", "p_holm"] >= found.loc["c", "p"] > 0


def test_planned_arm_without_runs_counts_in_dunnetts_family(tmp_path):
    arms = {"baseline": BASE, "a": FEWER, "b": CLOSE}
    sweep = make_sweep(tmp_path / "more", arms | {"c": [None]}, epochs=1, plan={"error": "pooled"})
    found = judge(load(sweep)).effects.set_index("arm")
    alone = under(tmp_path, "pooled", arms).effects.set_index("arm")
    assert found.loc["a", "p"] == pytest.approx(alone.loc["a", "p"])
    assert found.loc["a", "p_holm"] > alone.loc["a", "p_holm"]


def test_number_of_seeds_that_would_decide_has_an_interval_and_needs_five(tmp_path):
    found = effects(tmp_path, {"baseline": BASE, "a": NOISY, "b": NOISY[:4]})
    low, likely, high = found.loc["a", ["seeds_low", "seeds_needed", "seeds_high"]]
    assert low < likely < high and np.isnan(found.loc["b", "seeds_needed"])


def test_a_metric_of_averaged_weights_is_judged_from_its_own_row(tmp_path):
    sweep = make_sweep(tmp_path, {"baseline": [0.80, 0.81], "a": [0.82, 0.81]})
    for path in sweep.glob("*/seed=*/record.json"):
        record = json.loads(path.read_text())
        final = record["metrics"]["final"]
        record["metrics"]["average"] = final | {"test/accuracy": final["test/accuracy"] + 0.05}
        path.write_text(json.dumps(record))
    selection = select(load(sweep))
    shift = seed_values(selection, "average/test/accuracy") - seed_values(selection, "test/accuracy")
    assert np.allclose(shift, 5.0)
    assert seed_values(selection, "ema/test/accuracy").isna().all(axis=None)


def test_name_of_a_metric_of_averaged_weights():
    assert metric_text("average/val/accuracy") == "validation accuracy of the weights' average over the last epochs"
