"""Choice of the images in a gallery: the rule's words, its reproducibility, and what it refuses.

Kinds: is deterministic, obeys a property, refuses with the right words.
"""

import numpy as np
import pytest
from vitsweep.analysis.attention.images import choose_images, read_predictions, spread_over_classes

from vitsweep.errors import UserError

CLASSES = ["ant", "bee", "cat"]
LABELS = np.repeat([0, 1, 2], 10)


def write_predictions(folder, class_N, order=None):
    order = np.arange(len(class_N)) if order is None else order
    folder.mkdir()
    np.savez(folder / "predictions.npz", id=order, best_class=np.asarray(class_N)[order], final_class=np.zeros(30))
    return folder


def test_spread_takes_each_class_once_before_any_twice():
    for count in (2, 3, 7):
        labels = LABELS[spread_over_classes(LABELS, count).index_N]
        times = np.bincount(labels, minlength=3)
        assert times.sum() == count
        assert times.max() - times.min() <= 1


def test_spread_never_repeats_an_image_and_takes_all_when_asked_for_more():
    index_N = spread_over_classes(np.array([0, 0, 1]), 9).index_N
    assert len(set(index_N.tolist())) == len(index_N) <= 3


def test_spread_is_the_same_every_time_and_sorted_by_class():
    first, second = spread_over_classes(LABELS).index_N, spread_over_classes(LABELS).index_N
    assert first.tolist() == second.tolist()
    assert LABELS[first].tolist() == sorted(LABELS[first].tolist())


@pytest.mark.parametrize(
    ("spec", "count", "words"),
    [
        ("7", 7, "7 test images drawn once for all (seed 0)"),
        ("ids=3,17", 2, "Test images 3, 17, as asked for."),
        ("class=bee:4", 4, "4 test images of class bee, drawn once for all (seed 0)."),
        ("class=bee", 7, "7 test images of class bee"),
    ],
)
def test_choose_follows_the_spec_and_states_its_rule(spec, count, words):
    chosen = choose_images(spec, LABELS, CLASSES)
    assert len(chosen.index_N) == count
    assert chosen.rule.startswith(words)


def test_choose_class_shows_that_class_only():
    assert set(LABELS[choose_images("class=cat", LABELS, CLASSES).index_N]) == {2}


def test_choose_disagree_ranks_by_how_much_the_models_differ(tmp_path):
    # Image 4: three models, three answers; images 5 and 6: two against one; elsewhere all agree.
    votes = np.zeros((3, 30), dtype=int)
    votes[:, 4], votes[0, 5], votes[1, 6] = [0, 1, 2], 1, 1
    cells = [write_predictions(tmp_path / str(n), votes[n]) for n in range(3)]
    chosen = choose_images("disagree:3", LABELS, CLASSES, cells)
    assert chosen.index_N[0] == 4
    assert set(chosen.index_N[1:].tolist()) == {5, 6}
    assert "3 models differ most" in chosen.rule


def test_choose_wrong_shows_what_the_first_model_misses(tmp_path):
    missed = LABELS.copy()
    missed[[2, 12]] = 2
    chosen = choose_images("wrong:5", LABELS, CLASSES, [write_predictions(tmp_path / "a", missed)])
    assert chosen.index_N.tolist() == [2, 12]
    assert chosen.rule.startswith("2 of the 2 test images that the first model gets wrong")


def test_predictions_are_put_into_test_set_order(tmp_path):
    order = np.random.default_rng(0).permutation(30)
    folder = write_predictions(tmp_path / "a", np.arange(30), order)
    assert read_predictions(folder, 30).tolist() == list(range(30))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("many", "--images many  is not understood; allowed: a number"),
        ("", "is not understood"),
        ("class=dog", "--images class=dog  is unknown; allowed: ant, bee, cat"),
        ("ids=30", "must name test images from 0 to 29"),
    ],
)
def test_choose_refuses(spec, words):
    with pytest.raises(UserError, match=words):
        choose_images(spec, LABELS, CLASSES)


def test_choose_refuses_predictions_that_are_missing_or_foreign(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        choose_images("disagree", LABELS, CLASSES, [tmp_path])
    with pytest.raises(UserError, match="about other images"):
        choose_images("disagree", LABELS[:20], CLASSES, [write_predictions(tmp_path / "a", LABELS)])
