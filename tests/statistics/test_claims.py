"""Claims: named arms are found, verdicts follow the data, the family is the claims, later changes are shown.

Kinds: properties (verdict words, Holm over claims), refusals (a claim that cannot be read is said to be so).
"""

import json
import math
import re

import numpy as np
import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.statistics.claims import find_arm, judge_claims, judge_epochs
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import make_cell, make_record, make_sweep

ARMS = {
    "baseline": [0.800, 0.805, 0.799, 0.803, 0.802],
    "patch_size=8": [0.750, 0.751, 0.749, 0.755, 0.752],
    "num_hidden_layers=4": [0.801, 0.8045, 0.7995, 0.803, 0.8015],
    "num_hidden_layers=2": [0.70, 0.71, 0.69, 0.70, 0.705],
    "dropout=none": [0.79, 0.82, 0.77, 0.80, 0.83],
}
PATCH = {"claim": "patch 4 beats patch 8", "arm": "baseline", "than": "patch_size=8"}


def judged(tmp_path, *claims, arms=ARMS, **options):
    sweep = make_sweep(tmp_path, arms, plan={"claims": list(claims)} | options.pop("plan", {}), **options)
    return judge_claims(select(load(sweep)))


def verdicts(table) -> list[str]:
    return table["verdict"].tolist()


def test_claim_is_supported_by_a_significant_difference_its_way(tmp_path):
    assert verdicts(judged(tmp_path, PATCH)[0]) == ["supported"]


def test_claim_is_contradicted_by_a_significant_difference_the_other_way(tmp_path):
    claim = {"claim": "patch 8 is better", "arm": "patch_size=8"}
    assert verdicts(judged(tmp_path, claim)[0]) == ["contradicted"]


def test_claim_about_arms_that_hardly_differ_is_not_supported(tmp_path):
    claim = {"claim": "4 layers are worse", "arm": "num_hidden_layers=4", "direction": "lower"}
    assert verdicts(judged(tmp_path, claim)[0]) == ["not supported"]


def test_claim_is_undecided_when_the_spread_is_large(tmp_path):
    claim = {"claim": "dropout helps", "arm": "baseline", "than": "dropout=none"}
    assert verdicts(judged(tmp_path, claim)[0]) == ["undecided"]


def test_claim_with_a_wider_rope_of_its_own_is_not_supported(tmp_path):
    claim = {"claim": "dropout helps", "arm": "baseline", "than": "dropout=none", "rope": 5.0}
    assert verdicts(judged(tmp_path, claim)[0]) == ["not supported"]


def test_claim_of_several_comparisons_needs_all_of_them(tmp_path):
    both = {"claim": "8 layers beat fewer", "arm": "num_hidden_layers=8"}
    clear = both | {"than": ["num_hidden_layers=2", "patch_size=8"]}
    mixed = both | {"than": ["num_hidden_layers=2", "num_hidden_layers=4"]}
    assert verdicts(judged(tmp_path, clear, mixed)[0]) == ["supported", "undecided"]


def test_claim_of_several_comparisons_is_contradicted_by_one(tmp_path):
    claim = {"claim": "fewer layers are better", "arm": ["num_hidden_layers=2", "num_hidden_layers=4"]}
    assert verdicts(judged(tmp_path, claim)[0]) == ["contradicted"]


def test_claim_that_restates_another_counts_once(tmp_path):
    mirrored = {"claim": "patch 8 is worse", "arm": "patch_size=8", "direction": "lower"}
    other = {"claim": "dropout helps", "arm": "baseline", "than": "dropout=none"}
    table, _ = judged(tmp_path, PATCH, other, mirrored, PATCH | {"claim": "the same", "kind": "better"})
    once = 2 * table.loc[0, "p"]
    assert table["p_holm"].tolist() == pytest.approx([once, table.loc[1, "p"], once, once])
    assert table.loc[2, "evidence"].endswith(" It restates claim 1, so both count once.")


CLOSE, FAR, UNSURE = "num_hidden_layers=4", "patch_size=8", "dropout=none"


@pytest.mark.parametrize(
    ("kind", "arm", "word"),
    [
        ("equivalent", CLOSE, "supported"),
        ("equivalent", FAR, "contradicted"),
        ("equivalent", UNSURE, "undecided"),
        ("not_worse", CLOSE, "supported"),
        ("not_worse", FAR, "contradicted"),
        ("not_worse", UNSURE, "undecided"),
        ("better", FAR, "contradicted"),
    ],
)
def test_claim_of_equality_is_judged_against_the_rope(tmp_path, kind, arm, word):
    assert verdicts(judged(tmp_path, {"claim": "x", "kind": kind, "arm": arm})[0]) == [word]


def test_clearly_better_arm_is_not_worse_and_not_equivalent(tmp_path):
    claims = [{"claim": kind, "kind": kind, "arm": "baseline", "than": FAR} for kind in ("not_worse", "equivalent")]
    assert verdicts(judged(tmp_path, *claims)[0]) == ["supported", "contradicted"]


def test_claim_of_a_difference_in_either_direction_is_supported_by_a_loss(tmp_path):
    assert verdicts(judged(tmp_path, {"claim": "x", "arm": FAR, "direction": "either"})[0]) == ["supported"]


GRID = {
    "baseline": [0.800, 0.805, 0.799, 0.803],
    "depth=4": [0.781, 0.786, 0.779, 0.782],
    "width=32": [0.770, 0.774, 0.771, 0.772],
    "depth=4+width=32": [0.730, 0.736, 0.729, 0.733],
}


def test_claim_about_a_main_effect_averages_over_the_other_factor(tmp_path):
    claim = {"claim": "4 layers are worse", "main_effect": "depth=4", "direction": "lower"}
    table, decided = judged(tmp_path, claim, arms=GRID, plan={"design": "grid"})
    effect_S = [
        np.mean([GRID["depth=4"][s] - GRID["baseline"][s], GRID["depth=4+width=32"][s] - GRID["width=32"][s]])
        for s in range(4)
    ]
    assert verdicts(table) == ["supported"] and list(decided) == [(("depth", "4"),)]
    stated = re.match(r"main effect of depth=4: \u2212([\d.]+) \[", table.loc[0, "evidence"])
    assert float(stated[1]) == pytest.approx(-100 * np.mean(effect_S), abs=0.0051)


def test_claim_about_an_interaction_may_have_either_sign(tmp_path):
    claim = {"claim": "they interact", "interaction": ["depth", "width=32"]}
    table, decided = judged(tmp_path, claim, arms=GRID, plan={"design": "grid"})
    assert verdicts(table) == ["supported"] and list(decided) == [(("depth", "4"), ("width", "32"))]
    assert table.loc[0, "evidence"].startswith("interaction depth=4 x width=32: \u22122.")


def test_holm_is_over_the_testable_claims(tmp_path):
    rest = [{"claim": arm, "arm": arm} for arm in ("dropout=none", "num_hidden_layers=4", "num_hidden_layers=2")]
    untestable = {"claim": "a CNN does better", "testable": False, "why": "no arm is a CNN"}
    table, _ = judged(tmp_path, PATCH, *rest, untestable)
    assert table.loc[0, "p_holm"] == pytest.approx(4 * table.loc[0, "p"])
    assert math.isnan(table.loc[4, "p_holm"])


def test_claim_that_no_data_can_judge_counts_in_the_family(tmp_path):
    table, _ = judged(tmp_path, PATCH, {"claim": "x", "arm": "lr=9"})
    assert verdicts(table) == ["supported", "missing"]
    assert table.loc[0, "p_holm"] == pytest.approx(2 * table.loc[0, "p"])


def test_untestable_claim_gives_its_reason(tmp_path):
    table, _ = judged(tmp_path, {"claim": "a CNN does better", "testable": False, "why": "no arm is a CNN"})
    assert table.loc[0, ["verdict", "evidence"]].tolist() == ["not testable", "Not testable: no arm is a CNN."]


def test_claim_with_one_seed_is_single(tmp_path):
    arms = {arm: values[:1] for arm, values in ARMS.items()}
    assert verdicts(judged(tmp_path, PATCH, arms=arms)[0]) == ["single"]


def test_claim_settles_the_p_of_its_arm(tmp_path):
    table, arms = judged(tmp_path, PATCH, {"claim": "x", "arm": "num_hidden_layers=2", "than": "patch_size=8"})
    assert list(arms) == ["patch_size=8"] and arms["patch_size=8"].p == table.loc[0, "p_holm"]


def test_claims_of_equivalence_are_one_family(tmp_path):
    # By itself its TOST p is 0.03.
    close = [0.805, 0.801, 0.802, 0.800, 0.8035]
    claim = {"claim": "4 layers are worse", "arm": "num_hidden_layers=4", "direction": "lower"}
    other = {"claim": "dropout helps", "arm": "baseline", "than": "dropout=none"}
    arms = ARMS | {"num_hidden_layers=4": close}
    assert verdicts(judged(tmp_path / "one", claim, arms=arms)[0]) == ["not supported"]
    assert verdicts(judged(tmp_path / "two", claim, other, arms=arms)[0]) == ["undecided", "undecided"]


def test_claim_with_a_rope_of_its_own_leaves_the_arms_equivalence_alone(tmp_path):
    claim = {"claim": "x", "arm": "num_hidden_layers=4", "rope": 5.0}
    (settled,) = judged(tmp_path, claim)[1].values()
    assert math.isnan(settled.p_equivalent) and not math.isnan(settled.p)


def test_study_without_claims_has_no_claim_family(tmp_path):
    table, arms = judged(tmp_path)
    assert table.empty and arms is None


def test_evidence_states_size_interval_and_seeds(tmp_path):
    evidence = judged(tmp_path, PATCH)[0].loc[0, "evidence"]
    assert evidence == "baseline minus patch_size=8: +5.04 [+4.77, +5.31] points, 5 seeds."


@pytest.mark.parametrize(
    ("epoch", "within", "word"), [(7, 2, "supported"), (3, 1, "contradicted"), (8, 1, "undecided")]
)
def test_saturation_claim_is_judged_by_its_interval(tmp_path, epoch, within, word):
    claim = {"claim": "saturates", "kind": "saturation", "metric": "val/loss", "epoch": epoch, "within": within}
    table, _ = judged(tmp_path, claim)
    assert verdicts(table) == [word], table.loc[0, "evidence"]


@pytest.mark.parametrize(("epoch", "word"), [(10, "undecided"), (5, "contradicted"), (15, "undecided")])
def test_runs_that_still_improve_can_only_show_a_later_saturation(tmp_path, epoch, word):
    claim = {"claim": "saturates", "kind": "saturation", "epoch": epoch, "within": 1}
    sweep = make_sweep(tmp_path, {"baseline": [0.80] * 6}, epochs=1, plan={"claims": [claim]})
    for rows in sweep.glob("*/seed=*/metrics.jsonl"):
        rows.write_text("".join(json.dumps({"epoch": e, "val/loss": 2 - e / 10}) + "\n" for e in range(1, 11)))
    table, _ = judge_claims(select(load(sweep)))
    assert verdicts(table) == [word], table.loc[0, "evidence"]
    assert table.loc[0, "evidence"].endswith("6 of them were still improving at the end, so the true epoch is later.")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"rule": "fitted"}, "(rule fitted)"),
        ({}, "(rule lowest; the claim states none and is judged as it was planned)"),
    ],
)
def test_evidence_names_the_rule_of_a_saturation_claim(tmp_path, rule, words):
    claim = {"claim": "saturates", "kind": "saturation", "epoch": 7, "within": 2} | rule
    assert words in judged(tmp_path, claim, epochs=10)[0].loc[0, "evidence"]


def test_saturation_claim_without_epochs_is_missing(tmp_path):
    claim = {"claim": "saturates", "kind": "saturation", "epoch": 75, "within": 10}
    assert verdicts(judged(tmp_path, claim, epochs=0)[0]) == ["missing"]


@pytest.mark.parametrize(
    ("name", "arm"),
    [
        ("patch_size=8", "patch_size=8"),
        ("num_hidden_layers=8", "baseline"),
        ("patch_size=16", None),
        ("baseline", "baseline"),
    ],
)
def test_arm_is_found_by_slug_or_level(tmp_path, name, arm):
    assert find_arm(name, select(load(make_sweep(tmp_path, ARMS)))) == arm


def test_level_finds_the_arm_that_changes_nothing_else(tmp_path):
    arms = {"baseline": [0.8], "patch_size=8+num_hidden_layers=4": [0.7], "8x8": [0.75]}
    make_sweep(tmp_path, {arm: v for arm, v in arms.items() if arm != "8x8"}, plan=None)
    make_cell(tmp_path, make_record("8x8", 0, 0.75, levels={"patch_size": "8"}))
    assert find_arm("patch_size=8", select(load(tmp_path))) == "8x8"


def test_unreadable_claim_is_shown_and_not_judged(tmp_path):
    table, _ = judged(tmp_path, {"claim": "x"})
    assert table.loc[0, ["verdict", "evidence"]].tolist() == [
        "not testable",
        "Not readable: arm=null  must name an arm, or a list of them (or main_effect, interaction).",
    ]


def test_arm_compared_with_itself_is_not_testable(tmp_path):
    assert verdicts(judged(tmp_path, {"claim": "x", "arm": "baseline"})[0]) == ["not testable"]


def test_claim_about_arms_that_hardly_differ_says_by_how_much_at_most(tmp_path):
    claim = {"claim": "4 layers are worse", "arm": "num_hidden_layers=4", "direction": "lower"}
    assert (
        judged(tmp_path, claim)[0].loc[0, "evidence"].endswith("No difference beyond 0.5 points (two one-sided tests).")
    )


def test_supported_claim_about_a_small_difference_says_that_it_is_small(tmp_path):
    arms = {"baseline": [0.800, 0.805, 0.799, 0.803], "patch_size=8": [0.7991, 0.804, 0.7981, 0.802]}
    table, _ = judged(tmp_path, PATCH, arms=arms)
    assert verdicts(table) == ["supported"]
    assert table.loc[0, "evidence"].endswith("That is less than the 0.5 points that matter.")


def test_evidence_of_several_comparisons_shows_the_p_of_each(tmp_path):
    claim = {"claim": "x", "arm": "num_hidden_layers=8", "than": ["num_hidden_layers=2", "num_hidden_layers=4"]}
    evidence = judged(tmp_path, claim)[0].loc[0, "evidence"]
    assert evidence.count("unadjusted p") == 2


def test_evidence_names_the_runs_that_diverged(tmp_path):
    sweep = make_sweep(tmp_path, ARMS, plan={"claims": [PATCH]})
    for seed in (2, 3, 4):
        make_cell(sweep, make_record("patch_size=8", seed, None, status="diverged", metrics={}))
    evidence = judge_claims(select(load(sweep)))[0].loc[0, "evidence"]
    assert evidence.endswith("points, 2 of 5 seeds (3 runs of patch_size=8 diverged and are left out).")


def test_claim_that_was_changed_later_changes_no_other_claims_p(tmp_path):
    stated = {"claim": "stated", "arm": "num_hidden_layers=2"}
    table, settled = judged(tmp_path, stated, PATCH, plan={"claims_hash": "new", "claims_before": {"": [stated]}})
    assert table["changed_after_start"].tolist() == [False, True]
    assert table.loc[0, "p_holm"] == table.loc[0, "p"]
    assert table.loc[1, "p_holm"] == pytest.approx(2 * table.loc[1, "p"])
    assert list(settled) == ["num_hidden_layers=2"]


def test_saturation_claim_at_its_bound_errs_in_five_of_a_hundred_studies():
    value_DS = np.random.default_rng(0).normal(80.0, 3.0, (4000, 6))
    wrong = np.mean([min(judge_epochs(value_S, 0, 70.0, 10.0)) < 0.05 for value_S in value_DS])
    assert wrong == pytest.approx(0.05, abs=0.01)


def test_power_among_claims_counts_those_that_were_stated_before_the_runs(tmp_path):
    stated = {"claim": "stated", "arm": "num_hidden_layers=2"}
    plan = {"claims": [stated, PATCH], "claims_hash": "new", "claims_before": {"": [stated]}}
    assert judge(load(make_sweep(tmp_path, ARMS, plan=plan))).power.claims == 1


def test_another_metric_than_that_of_the_claims_is_exploratory_and_has_no_power_among_claims(tmp_path):
    found = judge(load(make_sweep(tmp_path, ARMS, plan={"claims": [PATCH]})), "val/accuracy")
    assert found.power.claims == 0 and set(found.effects["family"].dropna()) == {"exploratory"}


def test_metric_of_a_claim_decides_the_arm_under_that_metric_only(tmp_path):
    loss = {"claim": "patch 8 has a higher loss", "arm": "patch_size=8", "metric": "test/loss", "direction": "higher"}
    loaded = load(make_sweep(tmp_path, ARMS, plan={"claims": [loss]}))
    families = {m: judge(loaded, m).effects.set_index("arm")["family"] for m in ("test/loss", "test/accuracy")}
    assert families["test/loss"]["patch_size=8"] == "claims"
    assert set(families["test/accuracy"].dropna()) == {"exploratory"}
