"""shapes: deterministic for ever, fair (no histogram reveals the class, the figure does), the place is true."""

import numpy as np
import pytest

from vitsweep.data.images import Images, to_canonical_order
from vitsweep.data.shapes import CLASSES, COLORS, FORMS, MARGIN, SIDE, SIZES, form_mask, make_shapes


@pytest.fixture(scope="module")
def images() -> Images:
    return make_shapes(2000, 1000, 0)


def test_make_shapes_gives_the_same_images_as_ever():
    assert (
        to_canonical_order(make_shapes(40, 20, 0)).fingerprint
        == "40429770afda149edfeff4d45d0c94fa36a31066f9e5b18f672ca84053db0101"
    )


def test_make_shapes_begins_with_the_images_of_a_smaller_set(images):
    small = make_shapes(30, 20, 0)
    assert np.array_equal(small.image_NCHW[:30], images.image_NCHW[:30])
    assert np.array_equal(small.image_NCHW[30:], images.image_NCHW[2000:2020])


def test_make_shapes_of_other_seed_and_split_differ(images):
    other = make_shapes(100, 100, 1)
    pixels = [*images.image_NCHW[:100], *images.image_NCHW[2000:2100], *other.image_NCHW]
    assert len({image.tobytes() for image in pixels}) == 400


def test_make_shapes_is_balanced(images):
    assert images.image_NCHW.shape == (3000, 3, SIDE, SIDE) and images.image_NCHW.dtype == np.uint8
    assert np.bincount(images.label_N[:2000]).tolist() == [200] * 10
    assert images.classes == sorted(CLASSES)


def test_make_shapes_keeps_the_box_off_the_border(images):
    top, left, bottom, right = images.box_N4.T
    assert min(top.min(), left.min()) == MARGIN and max(bottom.max(), right.max()) == SIDE - MARGIN
    assert np.array_equal(bottom - top, right - left) and set(bottom - top) == set(SIZES)


def test_make_shapes_places_boxes_whatever_the_class(images):
    centre_N2 = (images.box_N4[:, :2] + images.box_N4[:, 2:]) / 2
    means = np.array([centre_N2[images.label_N == k].mean(axis=0) for k in range(10)])
    assert abs(means - 16).max() < 1.2  # standard error of a mean 0.26


def test_make_shapes_draws_the_figure_of_the_class_into_the_box(images):
    for image, label, (top, left, bottom, right) in zip(images.image_NCHW, images.label_N, images.box_N4, strict=True):
        mask = form_mask(FORMS[label % 2], bottom - top)
        inside = image[:, top:bottom, left:right]
        assert len(np.unique(inside[:, mask], axis=1).T) == 1  # one color, and no other pixel has it
        color = inside[:, mask][:, 0]
        assert not (inside[:, ~mask] == color[:, None]).all(axis=0).any()
        assert abs(color - np.array(list(COLORS.values()))[label // 2]).max() <= 20


def test_make_shapes_gives_every_color_equally_many_pixels(images):
    for image, (top, _, bottom, _) in zip(images.image_NCHW[:300], images.box_N4[:300], strict=True):
        area = max(form_mask(form, bottom - top).sum() for form in FORMS)
        seen, count = np.unique(image.reshape(3, -1), axis=1, return_counts=True)
        for color in COLORS.values():
            close = (abs(seen - np.array(color)[:, None]) <= 20).all(axis=0)  # no background is so bright
            assert count[close].tolist() == [area]


def test_make_shapes_hides_the_class_from_histograms(images):
    accuracy = probe(histograms(images.image_NCHW), images.label_N)
    assert accuracy < 0.14  # chance 0.1, standard deviation 0.0095


def test_make_shapes_shows_the_class_to_the_same_probe_in_the_box(images):
    inside = np.array(
        [
            image[:, t:b, le:r].mean(axis=(1, 2))
            for image, (t, le, b, r) in zip(images.image_NCHW, images.box_N4, strict=True)
        ]
    )
    assert probe(inside, images.label_N) > 0.3


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", FORMS)
def test_form_mask_is_its_own_mirror_image_and_fills_its_box(form, size):
    mask = form_mask(form, size)
    assert np.array_equal(mask, mask[:, ::-1]) and np.array_equal(mask, mask[::-1])
    assert mask[0].any() and mask[:, 0].any() and 0.2 < mask.mean() < 0.8


def test_form_mask_looks_as_it_is_called():
    cross, ring = (
        ["..###..", "..###..", "#######", "#######", "#######", "..###..", "..###.."],
        [
            "..###..",
            ".#####.",
            "##...##",
            "##...##",
            "##...##",
            ".#####.",
            "..###..",
        ],
    )
    for form, drawn in (("cross", cross), ("ring", ring)):
        assert ["".join(".#"[bit] for bit in row) for row in form_mask(form, 7).astype(int)] == drawn


def histograms(image_NCHW: np.ndarray) -> np.ndarray:
    """Mean, deviation and a 16-bin histogram of each channel."""
    flat = image_NCHW.reshape(len(image_NCHW), 3, -1)
    bins = np.stack([(flat // 16 == k).mean(axis=2) for k in range(16)], axis=2)
    return np.concatenate([flat.mean(axis=2), flat.std(axis=2), bins.reshape(len(flat), -1)], axis=1)


def probe(features: np.ndarray, label_N: np.ndarray) -> float:
    """Test accuracy of ridge regression on the classes, fitted to the 2,000 training images."""
    features = (features - features[:2000].mean(axis=0)) / (features[:2000].std(axis=0) + 1e-9)
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    train = features[:2000]
    weights = np.linalg.solve(train.T @ train + np.eye(train.shape[1]), train.T @ np.eye(10)[label_N[:2000]])
    return float(((features[2000:] @ weights).argmax(axis=1) == label_N[2000:]).mean())
