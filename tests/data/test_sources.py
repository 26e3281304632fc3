"""sources: takes the first that is there, downloads what is not, and says the ways out in one sentence."""

import hashlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from tests.support.make_images import (
    accept_batches,
    make_batches,
    make_config,
    make_pixels,
    write_archive,
    write_batches,
    write_folders,
)
from vitsweep.data.cache import cache_paths, user_cache_dir
from vitsweep.data.images import KNOWN_FINGERPRINTS, Images
from vitsweep.data.sources import read_images
from vitsweep.errors import DataError

NAME = "cifar10-32x32x3"
WAYS_OUT = (
    "put cifar-10-python.tar.gz, cifar-10-batches-py/ or {train,test}/<class>/*.png there, or use images of your own "
    "with data=image_folder data.root=DIR, or data=shapes, which is built in"
)


@pytest.fixture(autouse=True)
def info_log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def read(root: Path | None, name: str = "cifar10", image_size: int = 32, **data: object) -> Images:
    data = {"download": False} | data
    return read_images(make_config(root, name=name, image_size=image_size, **data).data, image_size, 3)


def refused(root: Path | None, **data: object) -> str:
    with pytest.raises(DataError) as caught:
        read(root, **data)
    return str(caught.value)


def first_pixels(images: Images) -> set[bytes]:
    return {image.tobytes() for image in images.image_NCHW}


def test_read_images_prefers_the_archive_to_batches_and_batches_to_folders(tmp_path, info_log, monkeypatch):
    def write_official(write: Callable, seed: int) -> None:
        files = make_batches(make_pixels(seed=seed))
        accept_batches(monkeypatch, files)
        write(tmp_path, files)

    sources = {
        f"the archive {tmp_path}/cifar-10-python.tar.gz": lambda: write_official(write_archive, 1),
        f"the batches in {tmp_path}/cifar-10-batches-py": lambda: write_official(write_batches, 2),
        f"the class folders in {tmp_path}": lambda: write_folders(tmp_path, make_pixels(seed=3)),
    }
    fingerprints = set()
    for what in reversed(sources):
        sources[what]()
        fingerprints.add(read(tmp_path).fingerprint)
        assert [m for m in info_log.messages if m.startswith("reading ")][
            -1
        ] == f"reading {what}, once: a cache is kept"
    assert len(fingerprints) == 3


def test_read_images_reads_once_and_then_from_the_cache(tmp_path, info_log):
    write_folders(tmp_path, make_pixels())
    first = read(tmp_path)
    assert "reading the class folders" in info_log.text and f"cached 60 images in {tmp_path}" in info_log.text
    info_log.clear()
    second = read(tmp_path)
    assert info_log.text == ""
    assert first.fingerprint == second.fingerprint and np.array_equal(first.image_NCHW, second.image_NCHW)


def test_read_images_reads_again_when_a_file_was_changed(tmp_path):
    write_folders(tmp_path, make_pixels())
    before = read(tmp_path)
    Image.new("RGB", (32, 32), (1, 2, 3)).save(tmp_path / "train/cat/00000.png")
    after = read(tmp_path)
    assert len(first_pixels(after) - first_pixels(before)) == 1
    assert read(tmp_path).fingerprint == after.fingerprint != before.fingerprint


def test_read_images_replaces_a_broken_cache(tmp_path, info_log):
    write_folders(tmp_path, make_pixels())
    before, path = read(tmp_path), next(cache_paths(tmp_path, NAME))
    path.write_bytes(path.read_bytes()[:-1])
    assert read(tmp_path).fingerprint == before.fingerprint
    info_log.clear()
    read(tmp_path)
    assert info_log.text == ""  # sound again


def test_read_images_does_not_take_the_cache_of_other_images(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        write_folders(tmp_path / name, make_pixels(seed=seed))
    a, b = read(tmp_path / "a"), read(tmp_path / "b")
    next(cache_paths(tmp_path / "a", NAME)).replace(next(cache_paths(tmp_path / "b", NAME)))
    assert read(tmp_path / "b").fingerprint == b.fingerprint != a.fingerprint


def test_read_images_keeps_a_cache_for_each_image_size(tmp_path):
    write_folders(tmp_path, make_pixels())
    shapes = [read(tmp_path, name="image_folder", image_size=size).image_NCHW.shape for size in (16, 24, 16)]
    assert shapes == [(60, 3, 16, 16), (60, 3, 24, 24), (60, 3, 16, 16)]
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_read_images_of_the_right_size_are_the_same_as_image_folder(tmp_path):
    write_folders(tmp_path, make_pixels())
    assert read(tmp_path, name="image_folder").fingerprint == read(tmp_path).fingerprint


def test_read_images_are_the_same_whatever_the_files_are_called(tmp_path):
    write_folders(tmp_path / "a", make_pixels())
    reversed_pixels = {s: {n: v[::-1] for n, v in classes.items()} for s, classes in make_pixels().items()}
    write_folders(tmp_path / "b", reversed_pixels, prefix="other-")
    a, b = read(tmp_path / "a"), read(tmp_path / "b")
    assert a.fingerprint == b.fingerprint and np.array_equal(a.image_NCHW, b.image_NCHW)


def test_read_images_takes_the_cache_of_the_true_data_set_alone(tmp_path, monkeypatch):
    write_folders(tmp_path / "a", make_pixels())
    known = read(tmp_path / "a").fingerprint
    (tmp_path / "b").mkdir()
    next(cache_paths(tmp_path / "a", NAME)).rename(next(cache_paths(tmp_path / "b", NAME)))
    assert "has no CIFAR-10" in refused(tmp_path / "b")
    monkeypatch.setitem(KNOWN_FINGERPRINTS, known, "small CIFAR-10")
    assert read(tmp_path / "b").fingerprint == known


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A web server on this machine in the place of the data set's own, with a small archive."""
    files = make_batches(make_pixels())
    accept_batches(monkeypatch, files)
    archive = write_archive(tmp_path / "served", files)
    handler = partial(QuietHandler, directory=str(archive.parent))
    with QuietServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
        monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
        yield archive
        server.shutdown()


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Torchvision asks once for the address alone and hangs up, which needs no traceback."""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_read_images_downloads_what_is_not_there(tmp_path, served, capfd):
    root = tmp_path / "new" / "cifar10"
    downloaded = read(root, download=True)
    assert downloaded.fingerprint == read(write_folders(tmp_path / "other", make_pixels())).fingerprint
    assert sorted(path.name for path in root.iterdir()) == [served.name, f"vitsweep-{NAME}.safetensors"]
    assert "100%" in capfd.readouterr().err  # torchvision's bar


def test_read_images_does_not_download_twice(tmp_path, served, info_log):
    first = read(tmp_path / "new", download=True)
    served.unlink()
    next(cache_paths(tmp_path / "new", NAME)).unlink()
    assert read(tmp_path / "new", download=True).fingerprint == first.fingerprint


def test_read_images_downloads_elsewhere_when_the_folder_cannot_be_made(tmp_path, served):
    (tmp_path / "file").write_text("not a folder")
    images = read(tmp_path / "file" / "cifar10", download=True)
    assert len(images.label_N) == 60
    assert (user_cache_dir() / served.name).is_file() and tmp_path / ".cache" in user_cache_dir().parents


def test_read_images_reads_that_download_again_in_the_next_cell(tmp_path, served, info_log):
    (tmp_path / "file").write_text("not a folder")
    first = read(tmp_path / "file" / "cifar10", download=True)
    served.unlink()
    info_log.clear()
    assert read(tmp_path / "file" / "cifar10", download=True).fingerprint == first.fingerprint
    assert info_log.text == ""


def test_read_images_refuses_a_wrong_download_and_keeps_nothing_of_it(tmp_path, served, monkeypatch):
    monkeypatch.setattr(CIFAR10, "tgz_md5", "0" * 32)
    text = refused(tmp_path / "new", download=True)
    assert "the download failed (File not found or corrupted.)" in text
    assert not (tmp_path / "new").exists()


def test_read_images_without_network_names_the_ways_out(tmp_path, served, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/no-server-here")
    text = refused(tmp_path / "new", download=True)
    assert text.startswith(f"data.root={tmp_path}/new  has no CIFAR-10, and the download failed (")
    assert text.endswith(WAYS_OUT) and "\n" not in text


def test_read_images_does_not_wait_for_a_network_that_swallows_everything(tmp_path, monkeypatch):
    monkeypatch.setattr("vitsweep.data.cifar10.TIMEOUT_SECONDS", 0.2)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/archive")
        assert "the download failed (timed out); put cifar-10" in refused(tmp_path / "new", download=True)
    assert socket.getdefaulttimeout() is None


def test_read_images_forbidden_to_download_names_the_ways_out(tmp_path):
    expected = f"data.root={tmp_path}  has no CIFAR-10, and data.download=false forbids to fetch it; {WAYS_OUT}"
    assert refused(tmp_path) == expected


def test_read_images_of_ones_own_that_are_not_there(tmp_path):
    assert refused(tmp_path, name="image_folder") == (
        f"data.root={tmp_path}  has no images; put them into {tmp_path}/train/<class>/ and {tmp_path}/test/<class>/, "
        "or use data=shapes, which is built in"
    )


def test_read_images_without_a_root(tmp_path):
    config = make_config(tmp_path).data
    config.root = None
    with pytest.raises(DataError, match="data.root=null  must name the folder of the images for data=cifar10"):
        read_images(config, 32, 3)


def test_read_images_refuses_another_size_in_cifar10(tmp_path):
    write_folders(tmp_path, make_pixels(size=28))
    assert "is 28x28 pixels, CIFAR-10 has 32x32; use data=image_folder, which resizes" in refused(tmp_path)
