"""data: the three sets are whole, stratified, exact, nested and repeatable; statistics agree with numpy; refusals.

Runs on the real CIFAR-10 too, where VITSWEEP_DATA names it or its mosaics lie beside the checkout.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.make_images import (
    CLASSES,
    MOSAICS,
    REAL_ROOT,
    Pixels,
    accept_batches,
    cifar10_pixels,
    make_batches,
    make_config,
    make_pixels,
    write_archive,
    write_folders,
)
from vitsweep.config.convert import validate
from vitsweep.config.schema import Config, DataConfig, ModelConfig
from vitsweep.data.load import Data, channel_statistics, limited_test, load_data, shares, stratified_split
from vitsweep.errors import DataError

LABEL_N = np.repeat(np.arange(10), 5000)  # as CIFAR-10 has them


def division(**data: object) -> tuple[np.ndarray, np.ndarray]:
    return stratified_split(LABEL_N, CLASSES, DataConfig(**data))


@pytest.fixture(scope="module")
def shapes() -> Data:
    return load_data(make_config(None, name="shapes", shapes_train=200, shapes_test=50))


@pytest.mark.parametrize(
    ("counts", "total", "expected"),
    [
        ([50, 50], 10, [5, 5]),
        ([5, 3, 2], 4, [2, 1, 1]),  # 2.0, 1.2, 0.8
        ([1, 1, 1], 2, [1, 1, 0]),  # equal remainders: the first ones
        ([7, 0, 3], 10, [7, 0, 3]),
        ([997, 2, 1], 100, [100, 0, 0]),  # 99.7, 0.2, 0.1
    ],
)
def test_shares_are_largest_remainders(counts, total, expected):
    assert shares(np.array(counts), total).tolist() == expected


def test_shares_always_add_up():
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts = rng.integers(0, 50, 7) + 1
        total = int(rng.integers(0, counts.sum() + 1))
        found = shares(counts, total)
        assert (
            found.sum() == total and (found <= counts).all() and (abs(found - counts * total / counts.sum()) < 1).all()
        )


def test_divide_holds_out_5000_of_50000_the_same_of_every_class():
    train, val = division()
    assert np.bincount(LABEL_N[val]).tolist() == [500] * 10 and np.bincount(LABEL_N[train]).tolist() == [4500] * 10


def test_divide_uses_every_image_once():
    train, val = division()
    assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(50_000))
    assert (np.diff(train) > 0).all() and (np.diff(val) > 0).all()


def test_divide_gives_the_same_sets_as_ever():
    # Accuracies on record belong to this validation set.
    train, val = division()
    assert val[:6].tolist() == [0, 15, 36, 48, 62, 75]
    assert train[:6].tolist() == [1, 2, 3, 4, 5, 6]


def test_divide_repeats_itself_and_depends_on_the_seed():
    first, again, other = division(), division(), division(split_seed=1)
    assert np.array_equal(first[1], again[1]) and not np.array_equal(first[1], other[1])


def test_divide_with_the_test_set_for_validation_trains_on_everything():
    train, val = division(val="test")
    assert len(train) == 50_000 and len(val) == 0


def test_divide_limits_training_images_exactly_and_validation_in_proportion():
    train, val = division(train_limit=4503)
    assert sorted(np.bincount(LABEL_N[train]).tolist()) == [450] * 7 + [451] * 3
    assert np.bincount(LABEL_N[val]).tolist() == [50] * 10


def test_divide_takes_a_part_of_what_a_larger_limit_takes():
    small, large, everything = (division(train_limit=limit) for limit in (500, 5000, None))
    for few, more in zip(small + large, large + everything, strict=True):
        assert set(few.tolist()) < set(more.tolist())


def test_divide_limited_to_all_is_the_same_as_not_limited():
    for limited, free in zip(division(train_limit=45_000), division(), strict=True):
        assert np.array_equal(limited, free)


def test_divide_keeps_a_validation_image_of_every_class_in_the_smallest_run():
    train, val = division(train_limit=10)
    assert LABEL_N[train].tolist() == list(range(10)) and LABEL_N[val].tolist() == list(range(10))


def test_divide_refuses_a_limit_above_what_there_is():
    with pytest.raises(DataError) as caught:
        division(train_limit=45_001)
    assert str(caught.value) == (
        "data.train_limit=45001  is more than there are: 45000 training images (beside 5000 for validation); "
        "use at most that, or null for all"
    )


def test_divide_refuses_a_limit_that_leaves_a_class_without_images():
    with pytest.raises(DataError, match=r"data.train_limit=9  leaves no image to train on of truck \(5000 in all\)"):
        division(train_limit=9)


def limited(limit):
    return limited_test(np.arange(10_000) % 10, CLASSES, DataConfig(test_limit=limit))


def test_test_limit_keeps_the_shares_of_the_classes_exactly():
    assert sorted(np.bincount(limited(2003) % 10).tolist()) == [200] * 7 + [201] * 3


def test_test_limit_takes_a_part_of_what_a_larger_limit_takes():
    assert set(limited(100).tolist()) < set(limited(2000).tolist()) < set(limited(None).tolist())


def test_test_limit_of_all_is_no_limit():
    assert np.array_equal(limited(10_000), limited(None))


def test_test_limit_refuses_more_than_there_are():
    with pytest.raises(DataError, match="data.test_limit=10001  is more than the 10000 test images; use null for all"):
        limited(10_001)


def test_test_limit_refuses_to_lose_a_class():
    with pytest.raises(DataError, match="data.test_limit=9  leaves no image to test with of"):
        limited(9)


def test_load_data_limits_test_images_and_no_others(shapes):
    small = load_data(make_config(None, name="shapes", shapes_train=200, shapes_test=50, test_limit=20))
    assert len(small.test) == 20 and torch.equal(small.train.id_N, shapes.train.id_N)
    assert torch.equal(small.test.image_NCHW, shapes.test.image_NCHW[small.test.id_N])
    assert small.fingerprint == shapes.fingerprint


@pytest.mark.parametrize(
    ("counts", "fraction", "text"),
    [
        ([100, 2], 0.1, r"data.val_fraction=0.1  leaves no image to validate with of dog \(2 in all\); every class"),
        ([100, 1], 0.9, r"data.val_fraction=0.9  leaves no image to train on of dog \(1 in all\); every class"),
    ],
)
def test_divide_refuses_too_few_images_of_a_class(counts, fraction, text):
    with pytest.raises(DataError, match=text):
        stratified_split(np.repeat([0, 1], counts), ["cat", "dog"], DataConfig(val_fraction=fraction))


def test_channel_statistics_agree_with_numpy():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 3, 5, 7), dtype=np.uint8)
    mean, std = channel_statistics(pixels)
    np.testing.assert_allclose(mean, (pixels / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (pixels / 255).std(axis=(0, 2, 3)), rtol=1e-9)


def test_channel_statistics_of_a_channel_that_never_changes_can_be_divided_by():
    pixels = np.full((2, 3, 4, 4), 51, dtype=np.uint8)
    pixels[0, 0] = 0
    mean, std = channel_statistics(pixels)
    assert mean == pytest.approx([0.1, 0.2, 0.2]) and std == pytest.approx([0.1, 1, 1])


def test_load_data_normalises_by_all_training_images_before_the_split(shapes):
    pixels = torch.cat([shapes.train.image_NCHW, shapes.val.image_NCHW]).double() / 255
    assert shapes.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist())
    assert shapes.std == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0).tolist())


def test_load_data_counts_ids_through_the_original_images(shapes):
    ids = torch.cat([shapes.train.id_N, shapes.val.id_N]).sort().values
    assert torch.equal(ids, torch.arange(200)) and torch.equal(shapes.test.id_N, torch.arange(50))


def test_load_data_keeps_images_labels_and_boxes_together(shapes):
    everything = load_data(make_config(None, name="shapes", shapes_train=200, shapes_test=50, val="test")).train
    for part in (shapes.train, shapes.val):
        for name in ("image_NCHW", "label_N", "box_N4"):
            assert torch.equal(getattr(part, name), getattr(everything, name)[part.id_N])


def test_load_data_gives_the_types_that_training_expects(shapes):
    for part in (shapes.train, shapes.val, shapes.test):
        assert (part.image_NCHW.dtype, part.label_N.dtype, part.id_N.dtype) == (torch.uint8, torch.int64, torch.int64)
        assert part.image_NCHW.shape == (len(part), 3, 32, 32) and part.box_N4.shape == (len(part), 4)
    assert (len(shapes.train), len(shapes.val), len(shapes.test)) == (180, 20, 50)


def test_load_data_repeats_itself(shapes):
    again = load_data(make_config(None, name="shapes", shapes_train=200, shapes_test=50))
    assert again.fingerprint == shapes.fingerprint
    assert torch.equal(again.train.image_NCHW, shapes.train.image_NCHW)


def test_load_data_does_not_depend_on_the_seed_of_the_cell(shapes):
    config = make_config(None, name="shapes", shapes_train=200, shapes_test=50)
    config.seed = 7
    assert torch.equal(load_data(config).val.id_N, shapes.val.id_N)


def test_load_data_fingerprints_before_the_split(shapes):
    config = make_config(None, name="shapes", shapes_train=200, shapes_test=50, train_limit=20, val_fraction=0.2)
    assert load_data(config).fingerprint == shapes.fingerprint


def test_load_data_validates_on_the_test_set_when_configured():
    data = load_data(make_config(None, name="shapes", shapes_train=200, shapes_test=50, val="test"))
    assert data.val is data.test and len(data.train) == 200
    moved = data.to("cpu")
    assert moved.val is moved.test


def test_load_data_of_images_of_ones_own(tmp_path):
    write_folders(tmp_path, make_pixels(10, 3, ["cat", "dog", "fox"], size=40))
    data = load_data(make_config(tmp_path, name="image_folder", num_classes=3, image_size=24))
    assert data.classes == ["cat", "dog", "fox"] and data.train.image_NCHW.shape == (27, 3, 24, 24)
    assert (data.name, data.train.box_N4) == ("", None) and data.to("cpu").test.box_N4 is None


def test_load_data_refuses_another_number_of_classes(tmp_path):
    write_folders(tmp_path, make_pixels(10, 3, ["cat", "dog", "fox"]))
    with pytest.raises(DataError) as caught:
        load_data(make_config(tmp_path, name="image_folder"))
    assert str(caught.value) == (
        f"model.num_classes=10  does not fit data.root={tmp_path}, which has 3 classes (cat, dog, fox); "
        "leave model.num_classes out, or set model.num_classes=3"
    )


def test_load_data_refuses_cifar10_with_other_classes(tmp_path):
    write_folders(tmp_path, make_pixels(2, 1, ["cat", "dog"]))
    with pytest.raises(DataError, match="for images of your own use data=image_folder$"):
        load_data(make_config(tmp_path))


needs_mosaics = pytest.mark.skipif(
    REAL_ROOT is not None or not (MOSAICS / "train-truck.webp").is_file(),
    reason="VITSWEEP_DATA is tested instead" if REAL_ROOT else f"no CIFAR-10 mosaics in {MOSAICS}",
)


@pytest.fixture(scope="module")
def real() -> Pixels:
    return cifar10_pixels()


def assert_is_cifar10(data: Data) -> None:
    assert (data.name, data.classes) == ("CIFAR-10", CLASSES)
    assert (len(data.train), len(data.val), len(data.test)) == (45_000, 5_000, 10_000)
    assert data.val.label_N.bincount().tolist() == [500] * 10
    assert [round(value, 5) for value in data.mean] == [0.49140, 0.48216, 0.44653]
    assert [round(value, 5) for value in data.std] == [0.24703, 0.24349, 0.26159]


@needs_mosaics
def test_load_data_knows_cifar10_in_the_official_archive(tmp_path, real, monkeypatch):
    files = make_batches(real)
    accept_batches(monkeypatch, files)
    write_archive(tmp_path, files)
    assert_is_cifar10(load_data(make_config(tmp_path, download=False)))
    assert_is_cifar10(load_data(make_config(tmp_path, download=False)))  # from the cache


@needs_mosaics
def test_load_data_reads_a_part_of_cifar10_from_class_folders(tmp_path, real):
    counts = {"train": 30, "test": 10}
    write_folders(tmp_path, {split: {c: real[split][c][:n] for c in CLASSES} for split, n in counts.items()})
    data = load_data(make_config(tmp_path, download=False))
    assert (len(data.train), len(data.val), len(data.test), data.name) == (270, 30, 100, "")
    assert data.classes == CLASSES and 0.4 < data.mean[0] < 0.6


@pytest.mark.skipif(REAL_ROOT is None, reason="VITSWEEP_DATA names no CIFAR-10")
def test_load_data_knows_the_cifar10_in_vitsweep_data(tmp_path):
    for entry in Path(REAL_ROOT).absolute().iterdir():  # links, so that the cache is not written there
        if entry.suffix != ".safetensors":
            (tmp_path / entry.name).symlink_to(entry)
    assert_is_cifar10(load_data(make_config(tmp_path, download=False)))


def test_load_data_validates_on_the_images_of_val(tmp_path):
    pixels = make_pixels(4, 3, ["cat", "dog"], size=8)
    write_folders(tmp_path, pixels | {"val": make_pixels(2, 0, ["cat", "dog"], size=8, seed=1)["train"]})
    config = validate(
        Config(
            data=DataConfig(name="image_folder", root=str(tmp_path), val="folder"),
            model=ModelConfig(num_classes=2, image_size=8),
        )
    )
    first, cached = load_data(config), load_data(config)
    for data in (first, cached):
        assert (len(data.train), len(data.val), len(data.test)) == (8, 4, 6)
        assert data.val.label_N.tolist() == [0, 0, 1, 1] and data.val.id_N.tolist() == [0, 1, 2, 3]
        assert data.test.id_N.tolist() == list(range(6))
    assert torch.equal(first.val.image_NCHW, cached.val.image_NCHW) and first.fingerprint == cached.fingerprint
