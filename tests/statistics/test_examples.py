"""Test images: which flip, what another draw of them would do, and whether records agree with their predictions.

Kinds: reference (McNemar by statsmodels, variance parts by a two-way ANOVA), properties, determinism, refusals.
"""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as formulas
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar as known_mcnemar
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.statistics import examples
from vitsweep.analysis.statistics import paired as stats

from tests.support.make_records import make_cell, make_record, make_sweep
from vitsweep.study.record import write_record

ARMS = {"baseline": [0.80, 0.81, 0.80], "patch_size=8": [0.75, 0.76, 0.75]}


@pytest.fixture
def difference():
    """(4 seeds, 60 images) of -1, 0, 1 with a seed, an image and a residual part."""
    rng = np.random.default_rng(3)
    score = rng.normal(0, 0.3, (4, 1)) + rng.normal(0, 0.5, (1, 60)) + rng.normal(0, 0.6, (4, 60))
    return np.clip(np.round(score), -1, 1).astype(np.int8)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return make_sweep(tmp_path_factory.mktemp("sweep"), ARMS, epochs=1, images=200)


@pytest.mark.parametrize(("gained", "lost"), [(3, 12), (0, 5), (7, 7), (1, 0)])
def test_mcnemar_agrees_with_statsmodels(gained, lost):
    difference = np.array([1] * gained + [-1] * lost + [0] * 20)
    known = known_mcnemar([[10, lost], [gained, 10]], exact=True).pvalue
    assert examples.mcnemar(difference) == pytest.approx(known, rel=1e-9)


def bootstrap_interval(difference_SN, rng, **options):
    return examples.bootstrap_intervals([difference_SN], rng, **options)[0]


def test_mcnemar_without_any_flip_is_one():
    assert examples.mcnemar(np.zeros(10)) == 1.0


def test_variance_parts_agree_with_a_two_way_anova(difference):
    S, N = difference.shape
    rows = pd.DataFrame([(s, i, float(difference[s, i])) for s in range(S) for i in range(N)], columns=["s", "i", "y"])
    table = anova_lm(formulas.ols("y ~ C(s) + C(i)", rows).fit())
    square = table["sum_sq"] / table["df"] / (S * N)
    found = examples.variance_parts(difference)
    assert found == pytest.approx((square["C(s)"], square["C(i)"], square["Residual"]), rel=1e-9)


def test_bootstrap_has_the_variance_of_the_two_way_layout(difference):
    seed, image, rest = examples.variance_parts(difference)
    mean, low, high = bootstrap_interval(difference, np.random.default_rng(0), draws=20_000)
    known = examples.two_way_interval(difference.mean(), seed + image - rest, seed, image, *difference.shape)
    assert mean == pytest.approx(difference.mean())
    assert (low, high) == pytest.approx(known[1:], abs=0.05 * (known[2] - known[1]))


def test_interval_for_new_images_is_wider_than_for_new_seeds_alone(difference):
    seed, _, _ = examples.variance_parts(difference)
    _, low, high = bootstrap_interval(difference, np.random.default_rng(0))
    assert high - low > 2 * 1.96 * math.sqrt(seed)


def test_interval_for_new_images_is_never_narrower_than_for_new_seeds(difference):
    two = difference[:2]
    mean, low, high = bootstrap_interval(two, np.random.default_rng(0))
    _, seed_low, seed_high = stats.mean_interval(two.mean(axis=1))
    assert low <= seed_low + 1e-12 and seed_high - 1e-12 <= high


def test_single_run_has_an_interval_over_images_alone():
    difference = np.array([[1] * 5 + [-1] * 10 + [0] * 85], np.int8)
    _, low, high = bootstrap_interval(difference, np.random.default_rng(0), draws=20_000)
    half = 1.984 * difference.std(ddof=1) / 10
    assert (low, high) == pytest.approx((-0.05 - half, -0.05 + half), abs=0.003)


def test_intervals_are_the_same_in_every_run(difference):
    one, other = (bootstrap_interval(difference, np.random.default_rng(0)) for _ in range(2))
    assert one == other


def test_runs_that_never_differ_have_no_interval():
    _, low, high = bootstrap_interval(np.zeros((3, 20), np.int8), np.random.default_rng(0))
    assert math.isnan(low) and math.isnan(high)


def test_majority_counts_more_than_half_of_the_seeds():
    difference = np.array([[1, 1, -1, 0], [1, -1, -1, 0], [0, 0, -1, 1]])
    gained, lost = examples.majority_flips(difference)
    assert gained.tolist() == [True, False, False, False] and lost.tolist() == [False, False, True, False]


def test_effects_of_images_and_classes_agree_with_the_accuracies(sweep):
    selection = select(load(sweep))
    found = examples.read_examples(selection)
    images, classes = examples.image_effects(found, selection), examples.class_effects(found, selection)
    assert images["delta"].tolist() == pytest.approx([-5.0])
    assert classes["delta"].mean() == pytest.approx(-5.0) and len(classes) == 10


def test_predictions_in_another_order_are_brought_into_order(sweep, tmp_path):
    source = next(sweep.glob("baseline-*/seed=0"))
    arrays = dict(np.load(source / "predictions.npz"))
    order = np.random.default_rng(0).permutation(200)
    np.savez(tmp_path / "predictions.npz", **{name: values[order] for name, values in arrays.items()})
    known, found = examples.read_correct(source), examples.read_correct(tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(known, found, strict=True))


def test_record_that_disagrees_with_its_predictions_is_named(tmp_path):
    record = make_record("baseline", 0, 0.8)
    cell = make_cell(tmp_path, record, epochs=1, images=200)
    record.metrics["final"]["test/accuracy"] = 0.81
    write_record(cell, record)
    found = examples.read_examples(select(load(tmp_path)))
    assert "states a test accuracy of 81.0000 %, its predictions have 80.0000 %" in found.problems[0]


def test_predictions_about_other_images_are_left_out_and_named(tmp_path):
    make_sweep(tmp_path, ARMS, epochs=1, images=200, plan=None)
    make_cell(tmp_path, make_record("dropout=none", 0, 0.8), epochs=1, images=100)
    found = examples.read_examples(select(load(tmp_path)))
    assert "are about other test images and left out" in found.problems[0]
    assert not any("dropout" in cell for cell in found.correct)


def test_predictions_of_an_arm_with_its_own_images_are_left_out_whatever_their_numbers(tmp_path):
    make_sweep(tmp_path, ARMS, epochs=1, images=200, plan=None)
    record = make_record("root=cars", 0, 0.8, data_fingerprint="e" * 64)
    record.config["data"]["fingerprint"] = "e" * 64
    make_cell(tmp_path, record, epochs=1, images=200)
    found = examples.read_examples(select(load(tmp_path)))
    assert "root=cars" in found.problems[0] and "are about other test images and left out" in found.problems[0]


def test_unreadable_predictions_are_left_out_and_named(tmp_path):
    cell = make_cell(tmp_path, make_record("baseline", 0, 0.8), epochs=1, images=100)
    make_cell(tmp_path, make_record("baseline", 1, 0.8), epochs=1, images=100)
    (cell / "predictions.npz").write_bytes(b"nothing")
    found = examples.read_examples(select(load(tmp_path)))
    assert "are not readable" in found.problems[0] and len(found.correct) == 1


def test_sweep_without_predictions_has_no_examples(tmp_path):
    make_cell(tmp_path, dataclasses.replace(make_record("baseline", 0, 0.8)), epochs=1)
    assert examples.read_examples(select(load(tmp_path))) is None
