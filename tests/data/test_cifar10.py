"""official: agrees with torchvision on files as Python 2 wrote them, runs no foreign code, refuses damaged files."""

import hashlib
import io
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from tests.support.make_images import CLASSES, make_batches, make_pixels, write_archive, write_batches, write_folders
from vitsweep.data.cifar10 import ArrayUnpickler, find_cifar10
from vitsweep.data.folders import find_folders
from vitsweep.data.images import Images, to_canonical_order
from vitsweep.errors import DataError


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return make_batches(make_pixels(6, 3))


def read_with_torchvision(root: Path, files: dict[str, bytes]) -> Images:
    """The batches read by torchvision, told the checksums of these small ones."""

    def listed(*names: str) -> list[list[str]]:
        return [[name, hashlib.md5(files[name]).hexdigest()] for name in names]

    class Small(CIFAR10):
        train_list = listed(*(f"data_batch_{number}" for number in range(1, 6)))
        test_list = listed("test_batch")
        meta = CIFAR10.meta | {"md5": hashlib.md5(files["batches.meta"]).hexdigest()}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's reading of such old pickles warns in new numpy
        train, test = Small(root, train=True), Small(root, train=False)
    return Images(
        image_NCHW=np.concatenate([train.data, test.data]).transpose(0, 3, 1, 2),
        label_N=np.array(train.targets + test.targets),
        num_train=len(train),
        classes=train.classes,
    )


@pytest.mark.parametrize("write", [write_archive, write_batches])
def test_find_official_agrees_with_torchvision(tmp_path, files, write):
    write(tmp_path / "here", files)
    write_batches(tmp_path / "reference", files)
    found, expected = find_cifar10(tmp_path / "here").read(), read_with_torchvision(tmp_path / "reference", files)
    assert np.array_equal(found.image_NCHW, expected.image_NCHW)
    assert np.array_equal(found.label_N, expected.label_N)
    assert (found.num_train, found.classes) == (60, CLASSES) == (expected.num_train, expected.classes)


def test_find_official_takes_the_folder_of_batches_itself_as_root(tmp_path, files):
    folder = write_batches(tmp_path, files)
    assert len(find_cifar10(folder).read().label_N) == 90


def test_find_official_gives_the_images_that_class_folders_give(tmp_path, files):
    write_archive(tmp_path / "archive", files)
    write_folders(tmp_path / "folders", make_pixels(6, 3))
    folders = find_folders(tmp_path / "folders", image_size=32, num_channels=3, resize=False)
    first, second = to_canonical_order(find_cifar10(tmp_path / "archive").read()), to_canonical_order(folders.read())
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.image_NCHW, second.image_NCHW) and np.array_equal(first.label_N, second.label_N)


def test_find_official_finds_nothing_in_other_folders(tmp_path):
    assert find_cifar10(tmp_path) is None and find_cifar10(tmp_path / "missing") is None


@pytest.mark.parametrize("protocol", [2, 5])
def test_unpickler_reads_arrays_that_numpy_pickles_today(protocol):
    value = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2]}
    found = ArrayUnpickler(io.BytesIO(pickle.dumps(value, protocol)), encoding="latin1").load()
    assert np.array_equal(found["data"], value["data"]) and found["labels"] == [1, 2]


class Trap:
    """Pickles as a call of os.mkdir("sprung")."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        find_cifar10(root).read()
    return str(caught.value)


def test_find_official_runs_no_code_of_a_pickle(tmp_path, files):
    write_batches(tmp_path, files | {"test_batch": pickle.dumps({"data": Trap()})})
    assert "UnpicklingError: it asks for posix.mkdir" in refused(tmp_path)
    assert not Path("sprung").exists()


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_find_official_refuses_a_torn_archive(tmp_path, files, kept):
    path = write_archive(tmp_path, files)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    text = refused(tmp_path)
    assert text.startswith(f"the archive {path}  cannot be read (")
    assert text.endswith("; delete it and put a whole one there, or let it be downloaded")


def test_find_official_refuses_when_a_batch_is_missing(tmp_path, files):
    (write_batches(tmp_path, files) / "data_batch_4").unlink()
    assert "data_batch_4" in refused(tmp_path)


def test_find_official_refuses_a_label_without_a_class(tmp_path, files):
    bad = pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [10]})
    write_batches(tmp_path, files | {"test_batch": bad})
    assert "ValueError: labels outside 0 .. 9" in refused(tmp_path)


def test_find_official_refuses_more_labels_than_images(tmp_path, files):
    bad = pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [1, 2]})
    write_batches(tmp_path, files | {"test_batch": bad})
    assert "91 images of uint8 with 92 labels" not in refused(tmp_path)
    assert "61 images of uint8 with 62 labels" in refused(tmp_path)
