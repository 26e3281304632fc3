"""Official CIFAR-10: reads files as Python 2 wrote them, runs no foreign code, refuses damaged files."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.support.make_images import (
    CLASSES,
    accept_batches,
    make_batches,
    make_pixels,
    write_archive,
    write_batches,
    write_folders,
)
from vitsweep.data.cifar10 import find_cifar10
from vitsweep.data.folders import find_folders
from vitsweep.data.images import to_canonical_order
from vitsweep.errors import DataError

NOT_PUBLISHED = "ValueError: a file is missing or not as published (MD5)"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return make_batches(make_pixels(6, 3))


@pytest.fixture(autouse=True)
def accepted(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    accept_batches(monkeypatch, files)


@pytest.mark.parametrize("write", [write_archive, write_batches])
def test_find_cifar10_reads_all_images_and_labels(tmp_path, files, write):
    write(tmp_path, files)
    found, expected = find_cifar10(tmp_path).read(), make_pixels(6, 3)
    assert (found.num_train, found.classes, len(found.label_N)) == (60, CLASSES, 90)
    assert (found.image_NCHW.dtype, found.label_N.dtype) == (np.uint8, np.int64)
    for split, is_train in (("train", True), ("test", False)):
        for label, name in enumerate(CLASSES):
            selected = (found.label_N == label) & ((np.arange(90) < 60) == is_train)
            pixels = {image.tobytes() for image in found.image_NCHW[selected].transpose(0, 2, 3, 1)}
            assert pixels == {image.tobytes() for image in expected[split][name]}


def test_find_cifar10_takes_the_folder_of_batches_itself_as_root(tmp_path, files):
    folder = write_batches(tmp_path, files)
    assert len(find_cifar10(folder).read().label_N) == 90


def test_find_cifar10_gives_the_images_that_class_folders_give(tmp_path, files):
    write_archive(tmp_path / "archive", files)
    write_folders(tmp_path / "folders", make_pixels(6, 3))
    folders = find_folders(tmp_path / "folders", image_size=32, num_channels=3, resize=False)
    first, second = to_canonical_order(find_cifar10(tmp_path / "archive").read()), to_canonical_order(folders.read())
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.image_NCHW, second.image_NCHW) and np.array_equal(first.label_N, second.label_N)


def test_find_cifar10_finds_nothing_in_other_folders(tmp_path):
    assert find_cifar10(tmp_path) is None and find_cifar10(tmp_path / "missing") is None


class Trap:
    """Pickles as a call of os.mkdir("sprung")."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        find_cifar10(root).read()
    return str(caught.value)


def test_find_cifar10_runs_no_code_of_a_pickle(tmp_path, files):
    write_batches(tmp_path, files | {"test_batch": pickle.dumps({"data": Trap()})})
    assert NOT_PUBLISHED in refused(tmp_path)
    assert not Path("sprung").exists()


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_find_cifar10_refuses_a_torn_archive(tmp_path, files, kept):
    path = write_archive(tmp_path, files)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    text = refused(tmp_path)
    assert text.startswith(f"the archive {path}  cannot be read (")
    assert text.endswith("; delete it and put a whole one there, or let it be downloaded")


def test_find_cifar10_refuses_when_a_batch_is_missing(tmp_path, files):
    (write_batches(tmp_path, files) / "data_batch_4").unlink()
    assert NOT_PUBLISHED in refused(tmp_path)


@pytest.mark.parametrize("name", ["data_batch_4", "test_batch", "batches.meta"])
@pytest.mark.parametrize("write", [write_archive, write_batches])
def test_find_cifar10_refuses_a_changed_file(tmp_path, files, write, name):
    write(tmp_path, files | {name: files[name] + b"."})
    assert NOT_PUBLISHED in refused(tmp_path)
