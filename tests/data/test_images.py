"""images: the fingerprint and the order depend on the content and on nothing else."""

import dataclasses

import numpy as np
import pytest

from vitsweep.data.images import Images, hash_pixels, to_canonical_order


@pytest.fixture
def images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 4, 4), dtype=np.uint8)
    return Images(image_NCHW=pixels, label_N=np.arange(12) % 2, num_train=8, classes=["cat", "dog"])


def shuffled(images: Images, seed: int) -> Images:
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(images.num_train), images.num_train + rng.permutation(4)])
    return dataclasses.replace(images, image_NCHW=images.image_NCHW[order], label_N=images.label_N[order])


def test_canonical_order_does_not_depend_on_the_order_before(images):
    first, second = to_canonical_order(images), to_canonical_order(shuffled(images, 1))
    assert np.array_equal(first.image_NCHW, second.image_NCHW) and np.array_equal(first.label_N, second.label_N)
    assert first.fingerprint == second.fingerprint


def test_canonical_sorts_by_split_then_class_then_hash(images):
    found = to_canonical_order(images)
    assert found.label_N.tolist() == [0] * 4 + [1] * 4 + [0] * 2 + [1] * 2
    digests = [bytes(row.tobytes()) for row in hash_pixels(found.image_NCHW)]
    for part in (slice(0, 4), slice(4, 8), slice(8, 10), slice(10, 12)):
        assert digests[part] == sorted(digests[part])


def test_canonical_keeps_training_and_test_images_apart(images):
    found = to_canonical_order(images)
    before = {image.tobytes() for image in images.image_NCHW[:8]}
    assert {image.tobytes() for image in found.image_NCHW[: found.num_train]} == before


def test_canonical_carries_the_boxes_along(images):
    corner_N = images.image_NCHW[:, 0, 0, 0].astype(np.int64)
    found = to_canonical_order(dataclasses.replace(images, box_N4=np.stack([corner_N] * 4, axis=1)))
    assert np.array_equal(found.box_N4[:, 0], found.image_NCHW[:, 0, 0, 0])


def test_canonical_gives_the_same_fingerprint_as_ever():
    # Records on disk hold fingerprints: this value may change only together with FINGERPRINT_VERSION.
    small = Images(
        image_NCHW=np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1),
        label_N=np.array([0, 0]),
        num_train=1,
        classes=["one"],
    )
    assert to_canonical_order(small).fingerprint == "f914a3b84a5f64f5a81143a0852febc78367776ce21702730908fd27a6e2421b"


@pytest.mark.parametrize("what", ["pixel", "label", "class name", "split"])
def test_fingerprint_changes_with(images, what):
    other = dataclasses.replace(images, image_NCHW=images.image_NCHW.copy(), label_N=images.label_N.copy())
    if what == "pixel":
        other.image_NCHW[5, 1, 2, 3] ^= 1
    elif what == "label":
        other.label_N[5] = 0
    elif what == "class name":
        other.classes = ["cat", "wolf"]
    else:
        other.num_train = 9
    assert to_canonical_order(other).fingerprint != to_canonical_order(images).fingerprint
