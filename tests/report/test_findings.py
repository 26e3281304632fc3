"""The sentences of a report: three to ten, true to the numbers, and never 'no effect' for what is not significant.

Kinds: properties (count, wording), what each kind of result makes the report say.
"""

import re

import numpy as np
import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.report.findings import findings, most_important, placebo_sentences
from vitsweep.analysis.report.study_figures import forest
from vitsweep.analysis.report.study_tables import image_table
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import make_cell, make_record, make_sweep

BASE = [0.800, 0.805, 0.799, 0.803, 0.802]
HURTS = [0.750, 0.751, 0.749, 0.755, 0.752]
HELPS = [0.850, 0.851, 0.849, 0.855, 0.852]
SAME = [0.801, 0.8045, 0.7995, 0.803, 0.8015]
NOISY = [0.79, 0.82, 0.77, 0.80, 0.83]


def said(tmp_path, arms, **options) -> str:
    return " ".join(findings(judge(load(make_sweep(tmp_path, arms, epochs=2, **options)))))


def test_findings_name_size_interval_and_p_of_what_was_decided(tmp_path):
    text = said(tmp_path, {"baseline": BASE, "patch_size=8": HURTS, "patch_size=2": HELPS})
    assert (
        "Worse than the baseline: patch_size=8 by \u22125.04 points [\u22125.31, \u22124.77] (Holm p < 0.001)." in text
    )
    assert "Better than the baseline: patch_size=2 by +4.96 points" in text


def test_findings_say_what_equivalence_was_tested(tmp_path):
    text = said(tmp_path, {"baseline": BASE, "num_hidden_layers=4": SAME})
    assert "Equivalent to it within 0.5 points (two one-sided tests, 5 %): num_hidden_layers=4." in text


def test_findings_say_what_it_would_take_to_decide(tmp_path):
    text = said(tmp_path, {"baseline": BASE, "dropout=none": NOISY})
    assert re.search(
        r"The data do not decide about dropout=none \(.*about [\d,> ]+ \[[\d,> ]+\] seeds in all would decide\)", text
    )
    assert "to decide, run that many in a fresh study." in text
    assert "neither a difference nor its absence is shown" in text


def test_findings_of_one_seed_claim_no_certainty(tmp_path):
    text = said(tmp_path, {"baseline": BASE[:1], "patch_size=8": HURTS[:1]})
    assert "With one shared seed there is a difference but no measure of how sure it is: patch_size=8" in text
    assert "Worse" not in text


def test_findings_of_an_arm_without_a_pair(tmp_path):
    make_sweep(tmp_path, {"baseline": BASE}, epochs=2, plan=None)
    make_cell(tmp_path, make_record("patch_size=8", 9, 0.7), epochs=2)
    text = " ".join(findings(judge(load(tmp_path))))
    assert "No finished run shares a seed with the baseline, so nothing can be said about patch_size=8." in text


def test_findings_count_what_did_not_finish(tmp_path):
    make_sweep(tmp_path, {"baseline": BASE, "patch_size=8": HURTS}, epochs=2, plan=None)
    make_cell(tmp_path, make_record("patch_size=8", 0, None, status="diverged", metrics={}), epochs=2)
    assert "9 of 10 runs finished (1 diverged); see Health." in " ".join(findings(judge(load(tmp_path))))


def test_findings_count_the_claims(tmp_path):
    claims = [{"claim": "x", "arm": "patch_size=8", "direction": "lower"}, {"claim": "y", "testable": False}]
    text = said(tmp_path, {"baseline": BASE, "patch_size=8": HURTS}, plan={"claims": claims})
    assert "Claims as stated before the runs, 2 in all: 1 supported, 1 that cannot be tested here." in text


def test_findings_do_not_count_a_changed_claim_as_stated_before(tmp_path):
    old, new = {"claim": "x", "arm": "patch_size=8", "direction": "lower"}, {"claim": "y", "arm": "patch_size=8"}
    plan = {"claims": [old, new], "claims_hash": "new", "claims_before": {"": [old]}}
    text = said(tmp_path, {"baseline": BASE, "patch_size=8": HURTS}, plan=plan)
    assert (
        "Claims as stated before the runs, 1 in all: 1 supported; 1 more was changed after the first run started"
        in text
    )


def test_findings_of_claims_that_were_all_changed(tmp_path):
    plan = {"claims": [{"claim": "x", "arm": "patch_size=8"}], "claims_hash": "new"}
    text = said(tmp_path, {"baseline": BASE, "patch_size=8": HURTS}, plan=plan)
    assert "No claim stands as it did before the runs: 1 was changed after the first run started and counts as" in text
    assert "(Holm p < 0.001, exploratory)" in text


def test_findings_say_that_claims_were_taken_away(tmp_path):
    text = said(tmp_path, {"baseline": BASE, "patch_size=8": HURTS}, plan={"claims_hash": "other"})
    assert "The claims or the ROPE were changed after the first run started." in text


def test_findings_name_seeds_that_diverged_beside_the_verdict(tmp_path):
    make_sweep(tmp_path, {"baseline": BASE, "patch_size=8": HURTS}, epochs=2, plan=None)
    for seed in (0, 1):
        make_cell(tmp_path, make_record("patch_size=8", seed, None, status="diverged", metrics={}), epochs=2)
    text = " ".join(findings(judge(load(tmp_path))))
    assert "on 3 of 5 seeds: 2 runs of patch_size=8 diverged and are left out)" in text


def test_findings_begin_with_what_is_still_to_come(tmp_path):
    make_sweep(tmp_path, {"baseline": BASE, "patch_size=8": HURTS}, epochs=2, plan=None)
    make_cell(tmp_path, make_record("patch_size=8", 0, None, status="interrupted", metrics={}), epochs=2)
    first = findings(judge(load(tmp_path)))[0]
    assert first.startswith("Interim: 9 of 10 runs finished (1 interrupted; see Health), so verdicts are provisional")


def test_least_important_sentences_are_cut_first():
    sentences = [(1, "One. Two."), (5, "Placebo."), (2, "Power."), *[(1, f"Arm {i}.") for i in range(7)]]
    assert most_important(sentences) == ["One. Two.", "Power.", *[f"Arm {i}." for i in range(7)]]


def test_findings_state_what_the_study_could_have_found(tmp_path):
    text = said(tmp_path, {"baseline": BASE, "patch_size=8": HURTS})
    assert re.search(
        r"With 5 seeds this study finds with 80 % power a difference of 0\.\d\d points \[0\.\d\d, \d\.\d\d\] for 1 arm",
        text,
    )


def test_findings_warn_when_new_images_could_turn_the_sign(tmp_path):
    arms = {"baseline": BASE, "patch_size=8": [a - 0.006 for a in BASE[:-1]] + [0.7955]}
    text = said(tmp_path, arms, images=1000)
    assert "On other test images the sign could differ for patch_size=8: that interval contains zero." in text


@pytest.mark.parametrize(
    "arms",
    [
        {},
        {"baseline": BASE},
        {"baseline": [None]},
        {"baseline": BASE[:1], "a": HURTS[:1]},
        {"baseline": BASE, "a": HURTS, "b": HELPS, "c": SAME, "d": NOISY, "placebo": SAME, "e": [None]},
    ],
)
def test_findings_are_three_to_ten_sentences_and_never_say_no_effect(tmp_path, arms):
    sentences = findings(judge(load(make_sweep(tmp_path, arms, epochs=2))))
    # A full stop before a space ends a sentence; none of the arms' names has one.
    counted = len(re.findall(r"\.(?= |$)", " ".join(sentences)))
    assert 3 <= counted <= 10, sentences
    assert "no effect" not in " ".join(sentences).lower()


def test_placebo_is_reported_with_the_familys_error(tmp_path):
    arms = {"baseline": BASE, "placebo": SAME, "a": HURTS, "b": NOISY}
    text = " ".join(placebo_sentences(judge(load(make_sweep(tmp_path, arms, epochs=2)))))
    assert "The placebo (the baseline with other random streams) got an effect of" in text
    assert "With 2 arms tested at 5 % each and nothing to find" in text and "would be 10 %" in text


@pytest.mark.parametrize("name", ["placebo", "noise"])
def test_placebo_that_is_significant_is_an_alarm_and_not_called_chance(tmp_path, name):
    make_sweep(tmp_path, {"baseline": BASE, "placebo": SAME, "a": HURTS}, epochs=2, plan=None)
    for seed, accuracy in enumerate(HURTS):
        make_cell(tmp_path, make_record(name, seed, accuracy, role="placebo"), epochs=2)
    judgement = judge(load(tmp_path))
    for text in (" ".join(findings(judgement)), " ".join(placebo_sentences(judgement))):
        alarm = text.partition("Alarm: a placebo, which is the baseline with other random streams, differs")[2]
        assert f"significantly from it: {name} by \u22125.04 points [\u22125.31, \u22124.77], p < 0.001" in alarm
        assert f"{name} (the baseline with other random streams) got an effect" not in text
    assert findings(judgement)[0].startswith("Alarm: ")


def test_findings_on_other_images_need_the_predictions_of_every_pair(tmp_path):
    arms = {"baseline": BASE, "patch_size=8": [a - 0.006 for a in BASE[:-1]] + [0.7955]}
    sweep = make_sweep(tmp_path, arms, epochs=2, images=1000)
    next(sweep.glob("patch_size=8-*/seed=1/predictions.npz")).unlink()
    judgement = judge(load(sweep))
    assert judgement.images["pairs"].tolist() == [4]
    assert "On other test images" not in " ".join(findings(judgement))
    assert "image_low" not in forest(judgement).table
    assert "of fewer seeds than the comparison: patch_size=8 4 of 5." in image_table(judgement).notes[-1]


def test_study_without_placebo_says_nothing_of_it(tmp_path):
    assert placebo_sentences(judge(load(make_sweep(tmp_path, {"baseline": BASE}, epochs=2)))) == []


def pooled_study(tmp_path, spread=0.002, seeds=6, **plan):
    """A study under the pooled error: one arm is better, and the baseline's runs spread as given."""
    value_SA = 0.8 + np.random.default_rng(5).normal(size=(seeds, 4)) * [spread, 0.002, 0.002, 0.002] + [0, 0.02, 0, 0]
    arms = dict(zip(("baseline", "a", "b", "c"), value_SA.T.tolist(), strict=True))
    return judge(load(make_sweep(tmp_path, arms, epochs=1, plan={"error": "pooled"} | plan)))


def test_few_seeds_make_pooled_verdicts_doubtful_and_the_paired_p_stands_beside_them(tmp_path):
    found = " ".join(findings(pooled_study(tmp_path, seeds=3)))
    assert re.search(r"Better than the baseline: a by [^;]*\(Dunnett p [^;]*, pooling doubtful, paired Holm p ", found)
    assert "Pooling is doubtful, as 3 seeds cannot show whether arms spread alike: read the paired p beside a." in found


def test_refuted_pooling_is_said_with_the_spreads_and_the_paired_error_decides(tmp_path):
    judgement = pooled_study(tmp_path, spread=0.05)
    found = " ".join(findings(judgement))
    assert "Pooling was not defensible for a, b, c, so the paired error decides there: spread over that of" in found
    assert "Dunnett" not in found and judgement.power.error == "paired"


def test_paired_studies_say_nothing_about_pooling(tmp_path):
    judgement = pooled_study(tmp_path, error="paired")
    assert "ooling" not in " ".join(findings(judgement)) and "pooling" not in judgement.effects


def test_detectable_effect_is_stated_with_the_interval_of_the_spread(tmp_path):
    judgement = pooled_study(tmp_path)
    power = judgement.power
    low, high = power.ends(power.effect)
    assert f"a difference of {power.effect:.2f} points [{low:.2f}, {high:.2f}] among 3 arms" in " ".join(
        findings(judgement)
    )
