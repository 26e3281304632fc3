"""Fingerprint before planning: that of the images, from the cache while the files are the same, empty where settings
determine the images."""

import os

import pytest

from tests.support.make_images import make_batches, make_pixels, write_archive, write_folders
from vitsweep.config.schema import Config, DataConfig, ModelConfig
from vitsweep.data import fingerprint
from vitsweep.data.fingerprint import image_fingerprint
from vitsweep.data.load import load_data
from vitsweep.errors import DataError


def folder_config(root, **model) -> Config:
    settings = {"image_size": 32, "num_classes": 10} | model
    return Config(data=DataConfig(name="image_folder", root=str(root)), model=ModelConfig(**settings))


def test_it_is_the_fingerprint_that_the_cell_will_find(tmp_path):
    config = folder_config(write_folders(tmp_path / "images", make_pixels(train=10)))
    assert image_fingerprint(config) == load_data(config).fingerprint


def test_second_look_reads_no_image(tmp_path, monkeypatch):
    config = folder_config(write_folders(tmp_path / "images", make_pixels()))
    first = image_fingerprint(config)
    monkeypatch.setattr(fingerprint, "read_images", lambda *_: pytest.fail("read again"))
    assert image_fingerprint(config) == first


def test_image_in_another_class_changes_it(tmp_path):
    root = write_folders(tmp_path / "images", make_pixels())
    before = image_fingerprint(folder_config(root))
    os.rename(root / "train" / "cat" / "00000.png", root / "train" / "dog" / "moved.png")
    assert image_fingerprint(folder_config(root)) != before


def test_other_names_and_times_do_not_change_it(tmp_path):
    root = write_folders(tmp_path / "images", make_pixels())
    copy = write_folders(tmp_path / "copy", make_pixels(), prefix="x")
    assert image_fingerprint(folder_config(root)) == image_fingerprint(folder_config(copy))


def test_shapes_have_none():
    assert image_fingerprint(Config(data=DataConfig(name="shapes", root=None))) == ""


def test_published_cifar10_has_none_without_being_read(tmp_path):
    write_archive(tmp_path, make_batches(make_pixels()))
    assert image_fingerprint(Config(data=DataConfig(root=str(tmp_path)))) == ""


def test_cifar10_that_is_still_to_be_downloaded_has_none(tmp_path):
    assert image_fingerprint(Config(data=DataConfig(root=str(tmp_path)))) == ""


def test_class_folders_in_place_of_cifar10_have_one(tmp_path):
    write_folders(tmp_path / "images", make_pixels())
    assert len(image_fingerprint(Config(data=DataConfig(root=str(tmp_path / "images"))))) == 64


def test_missing_images_are_refused(tmp_path):
    with pytest.raises(DataError, match="has no images"):
        image_fingerprint(folder_config(tmp_path))


def test_cell_refuses_other_images_than_planned(tmp_path):
    config = folder_config(write_folders(tmp_path / "images", make_pixels()))
    config.data.fingerprint = "a" * 64
    with pytest.raises(DataError, match=r"has other images \(fingerprint [0-9a-f]{8}\) than the cell was planned with"):
        load_data(config)
