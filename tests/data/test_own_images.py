"""Settings that a configuration leaves to its images. Kinds: obeys properties, refuses with the right words."""

from pathlib import Path

import pytest

from tests.support.make_images import make_pixels, write_folders
from vitsweep.config.convert import config_hash, to_dict
from vitsweep.config.schema import Config, DataConfig, ModelConfig
from vitsweep.data.counts import folder_sizes
from vitsweep.data.load import load_data
from vitsweep.errors import ConfigError
from vitsweep.study.identity import FingerprintFiller

SOFT = {"train_limit": 2000, "soft_train_limit": 2000}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folders(tmp_path / "images", make_pixels(20, 4, ["ant", "bee", "cat"]))


def filled(root: Path, num_classes: int = 0, **data: object) -> Config:
    """A configuration of own images, as it is planned."""
    config = Config(
        data=DataConfig(name="image_folder", root=str(root), **data), model=ModelConfig(num_classes=num_classes)
    )
    return FingerprintFiller()(config)


def test_number_of_classes_is_that_of_the_folders(root):
    assert filled(root).model.num_classes == 3


def test_number_that_was_given_is_the_same_cell(root):
    assert config_hash(filled(root)) == config_hash(filled(root, num_classes=3))


def test_another_number_is_refused_before_training(root):
    with pytest.raises(ConfigError, match=r"num_classes=4  does not fit .* has 3 classes \(ant, bee, cat\); leave"):
        filled(root, num_classes=4)


def test_soft_limit_gives_way_to_fewer_images(root):
    assert filled(root, **SOFT).data.train_limit is None
    assert len(load_data(filled(root, **SOFT)).train) == 54  # of 60, a tenth held out


@pytest.mark.parametrize(("limit", "wanted"), [(30, 30), (54, 54), (55, None)])
def test_soft_limit_holds_where_there_are_enough(root, limit, wanted):
    assert filled(root, train_limit=limit, soft_train_limit=limit).data.train_limit == wanted


def test_limit_of_the_user_stays_one(root):
    assert filled(root, train_limit=3000, soft_train_limit=2000).data.train_limit == 3000


def test_soft_limit_leaves_no_trace_in_a_cell():
    soft, plain = (Config(data=DataConfig(name="shapes", **limit)) for limit in (SOFT, {"train_limit": 2000}))
    assert config_hash(soft) == config_hash(plain)
    assert to_dict(FingerprintFiller()(soft)) == to_dict(plain)


@pytest.mark.parametrize("data", [{}, {"train_limit": 30}, {"val": "test"}, {"test_limit": 6}])
def test_sizes_of_a_folder_are_those_of_its_division(root, data):
    config = filled(root, **data)
    found = load_data(config)
    assert folder_sizes(config.data) == (len(found.train), len(found.val), len(found.test))
