"""Models that guess, and test sets too small for the differences that matter, get a sentence in Findings and Health.

Kinds: properties (said where it holds, not said elsewhere).
"""

import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.report.findings import findings
from vitsweep.analysis.report.health import health_items
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import make_cell, make_record, make_sweep

GUESS, TRAINED = [0.1, 0.103, 0.098], [0.2, 0.21, 0.19]


def said(sweep) -> list[str]:
    """The sentences of Findings, after it is checked that Health has those about implausible data too."""
    judgement = judge(load(sweep))
    found = findings(judgement)
    health = [line for item in health_items(judgement) if item.kind == "bullets" for line in item.lines]
    assert [line for line in found if "chance level" in line or "test images" in line] == [
        line for line in health if "chance level" in line or "test images" in line
    ]
    return found


def test_arm_that_guesses_is_named(tmp_path):
    sweep = make_sweep(tmp_path, {"baseline": TRAINED, "lr=0.1": GUESS}, epochs=1)
    assert "Test accuracy at chance level (about 10 %): lr=0.1." in said(sweep)


def test_baseline_that_guesses_makes_effects_doubtful(tmp_path):
    sweep = make_sweep(tmp_path, {"baseline": GUESS, "lr=0.1": TRAINED}, epochs=1)
    assert "Test accuracy at chance level (about 10 %): baseline; effects against it say little." in said(sweep)


@pytest.mark.parametrize(("accuracy", "named"), [(0.106, True), (0.107, False)])
def test_chance_ends_two_binomial_errors_above_one_class(tmp_path, accuracy, named):
    # 10,000 test images of 10 classes: 0.1 + 2 * sqrt(0.1 * 0.9 / 10000) = 0.106.
    sweep = make_sweep(tmp_path, {"baseline": [accuracy]}, epochs=1)
    assert any("chance level" in line for line in said(sweep)) == named


@pytest.mark.parametrize(("images", "named"), [(199, True), (200, False)])
def test_test_set_in_which_one_image_exceeds_the_rope_is_named(tmp_path, images, named):
    for seed in range(2):
        record = make_record("baseline", seed, 0.8, num_images={"train": 100, "val": 5000, "test": images})
        make_cell(tmp_path, record, epochs=1)
    words = f"There are only {images} test images: one of them is 0.503 points, more than the 0.5 that matter here."
    assert (words in said(tmp_path)) == named


def test_runs_that_collapsed_are_named_by_seed(tmp_path):
    sweep = make_sweep(tmp_path, {"baseline": TRAINED, "lr=0.1": [0.8, 0.1, 0.8, 0.104]}, epochs=1)
    assert "Collapsed to chance level (about 10 %) while other runs learned: lr=0.1 (seeds 1, 3)." in said(sweep)


def test_runs_that_learned_little_of_few_images_are_not_called_collapsed(tmp_path):
    for seed, accuracy in enumerate((0.2, 0.3, 0.3)):
        record = make_record("baseline", seed, accuracy, num_images={"train": 100, "val": 50, "test": 30})
        make_cell(tmp_path, record, epochs=1)
    assert not any("Collapsed" in line for line in said(tmp_path))
