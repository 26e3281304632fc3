"""cache: gives back what was put in, and trusts nothing that was changed, torn, or made from other files."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from vitsweep.data.cache import cache_paths, load_cache, save_cache
from vitsweep.data.images import KNOWN_FINGERPRINTS, Images, to_canonical_order


@pytest.fixture
def images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 4, 4), dtype=np.uint8)
    return to_canonical_order(Images(image_NCHW=pixels, label_N=np.arange(12) % 2, num_train=8, classes=["cat", "dog"]))


@pytest.fixture
def path(tmp_path: Path, images: Images) -> Path:
    """A sound cache in the current folder, which is tmp_path."""
    save_cache(tmp_path, "kind", "signature", images)
    return next(cache_paths(tmp_path, "kind"))


def rewrite(path: Path, images: Images, **metadata: str) -> None:
    """A cache with other content under the old metadata, as far as it is not given."""
    about = {
        "version": "1",
        "signature": "signature",
        "fingerprint": images.fingerprint,
        "num_train": str(images.num_train),
        "classes": json.dumps(images.classes),
    }
    save_file({"image_NCHW": images.image_NCHW, "label_N": images.label_N}, path, about | metadata)


def assert_same(found: Images | None, expected: Images) -> None:
    assert found is not None
    assert np.array_equal(found.image_NCHW, expected.image_NCHW) and np.array_equal(found.label_N, expected.label_N)
    assert (found.num_train, found.classes) == (expected.num_train, expected.classes)
    assert found.fingerprint == expected.fingerprint


def test_load_cache_gives_back_what_was_saved(tmp_path, path, images):
    assert_same(load_cache(tmp_path, "kind", "signature"), images)


def test_load_cache_finds_nothing_where_nothing_is(tmp_path, path):
    assert load_cache(tmp_path / "elsewhere", "kind", "signature") is None
    assert load_cache(tmp_path, "other-kind", "signature") is None


def test_save_cache_leaves_nothing_else_behind(tmp_path, path):
    assert [entry for entry in tmp_path.iterdir()] == [path]


def test_save_cache_falls_back_to_the_users_cache_directory(tmp_path, images):
    beside, elsewhere = cache_paths(tmp_path, "kind")
    beside.mkdir()  # a folder in its place cannot be written over, whoever runs this, the superuser too
    save_cache(tmp_path, "kind", "signature", images)
    assert elsewhere.is_file() and tmp_path / ".cache" in elsewhere.parents
    assert_same(load_cache(tmp_path, "kind", "signature"), images)


def test_save_cache_that_can_write_nowhere_only_says_so(tmp_path, images, caplog):
    for blocked in cache_paths(tmp_path, "kind"):
        blocked.mkdir(parents=True)
    save_cache(tmp_path, "kind", "signature", images)
    assert "no cache could be written" in caplog.text


def test_cache_paths_of_two_folders_differ(tmp_path):
    assert not set(cache_paths(tmp_path / "a", "kind")) & set(cache_paths(tmp_path / "b", "kind"))


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.999])
def test_load_cache_refuses_a_torn_file(tmp_path, path, kept, caplog):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if kept < 1 else kept])
    assert load_cache(tmp_path, "kind", "signature") is None
    assert f"cache {path} is not used and will be made anew" in caplog.text


def test_load_cache_refuses_a_file_of_another_format(tmp_path, path):
    path.write_text("these are no tensors, but it is long enough to be some" * 20)
    assert load_cache(tmp_path, "kind", "signature") is None


def test_load_cache_refuses_any_changed_byte_of_the_content(tmp_path, path):
    sound = path.read_bytes()
    start = 8 + int.from_bytes(sound[:8], "little")
    for place in range(start, len(sound), 7):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert load_cache(tmp_path, "kind", "signature") is None


def test_load_cache_refuses_one_made_from_other_files(tmp_path, path, caplog):
    assert load_cache(tmp_path, "kind", "another signature") is None
    assert "it was made from other files" in caplog.text


def test_load_cache_refuses_one_whose_files_are_gone(tmp_path, path, caplog):
    assert load_cache(tmp_path, "kind", None) is None
    assert "the files that it was made from are gone" in caplog.text


def test_load_cache_takes_a_known_data_set_without_its_files(tmp_path, path, images, monkeypatch):
    monkeypatch.setitem(KNOWN_FINGERPRINTS, images.fingerprint, "a known one")
    assert_same(load_cache(tmp_path, "kind", None), images)


def test_load_cache_refuses_other_images_that_claim_to_be_a_known_data_set(tmp_path, path, images, monkeypatch):
    monkeypatch.setitem(KNOWN_FINGERPRINTS, "claimed", "a known one")
    rewrite(path, images, fingerprint="claimed")
    assert load_cache(tmp_path, "kind", None) is None


@pytest.mark.parametrize(
    "metadata", [{"version": "0"}, {"num_train": "7"}, {"num_train": "many"}, {"classes": '["cat", "wolf"]'}]
)
def test_load_cache_refuses_wrong_metadata(tmp_path, path, images, metadata):
    rewrite(path, images, **metadata)
    assert load_cache(tmp_path, "kind", "signature") is None


def test_load_cache_refuses_tensors_of_another_kind(tmp_path, path, images):
    rewrite(path, dataclasses.replace(images, image_NCHW=images.image_NCHW.astype(np.float32)))
    assert load_cache(tmp_path, "kind", "signature") is None


def test_load_cache_puts_a_disordered_one_into_order(tmp_path, path, images):
    order = [3, 1, 0, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    mixed = dataclasses.replace(images, image_NCHW=images.image_NCHW[order], label_N=images.label_N[order])
    rewrite(path, mixed)
    assert not np.array_equal(load_file(path)["image_NCHW"], images.image_NCHW)
    assert_same(load_cache(tmp_path, "kind", "signature"), images)


def test_load_cache_removes_what_killed_processes_left(tmp_path, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead, alive = process.pid, os.getppid()
    left = tmp_path / f".vitsweep-cifar10-32x32x3.safetensors.{dead}-0a1b2c3d"
    download = tmp_path / f".download-{dead}-abcd_123"
    written = tmp_path / f".vitsweep-cifar10-32x32x3.safetensors.{alive}-0a1b2c3d"
    own = tmp_path / ".notes.safetensors.mine"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    extracted = tmp_path / f"tmp/.vitsweep-cifar10-{dead}-abcd_123"
    extracted.mkdir(parents=True)
    for path in (left, written, own):
        path.write_bytes(b"half")
    download.mkdir()
    (download / "cifar-10-python.tar.gz").write_bytes(b"half")
    assert load_cache(tmp_path, "cifar10-32x32x3", None) is None
    assert sorted(tmp_path.iterdir()) == sorted([written, own, tmp_path / "tmp"])
    assert not extracted.exists()
