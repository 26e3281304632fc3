"""CIFAR-10 as it is published: cifar-10-python.tar.gz, or the folder of pickled batches that it holds.

A pickle can run any code it names, so only numpy's arrays are let through. Format: Krizhevsky's page of the data set;
every batch is a dictionary with `data` (N x 3072 uint8, red plane first) and `labels` (N numbers).
"""

import codecs
import pickle
import socket
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from vitsweep.data.images import Images, Source, hash_facts
from vitsweep.errors import DataError

ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
META = "batches.meta"
TIMEOUT_SECONDS = 20
DAMAGE = (OSError, EOFError, KeyError, ValueError, TypeError, tarfile.TarError, zlib.error, pickle.UnpicklingError)


def find_cifar10(root: Path) -> Source | None:
    """The archive or the extracted batches under `root` (or `root` being that folder itself), else None."""
    archive = root / ARCHIVE
    if archive.is_file():  # before the batches: its checksums notice a download or an extraction that broke off
        return _make_source(f"the archive {archive}", [archive], lambda: _read_archive(archive))
    for folder in (root / FOLDER, root):
        if (folder / TRAIN_BATCHES[0]).is_file():
            files = [path for path in sorted(folder.iterdir()) if path.is_file()]
            return _make_source(f"the batches in {folder}", files, lambda folder=folder: _read_folder(folder))
    return None


def download_archive(folder: Path) -> Path:
    """Fetch the archive into `folder` through torchvision, which shows a bar and checks it.

    It appears there whole or not at all: a run that is killed leaves no half archive to stumble over.

    Raises:
        OSError: no network, or `folder` cannot be written.
        RuntimeError: what came is not the archive.
    """
    from torchvision.datasets import CIFAR10  # late: a second to import, and mostly not needed
    from torchvision.datasets.utils import download_url

    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)  # where a firewall swallows everything, torchvision waits for minutes
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as beside:
            download_url(CIFAR10.url, beside, ARCHIVE, CIFAR10.tgz_md5)
            return (Path(beside) / ARCHIVE).rename(folder / ARCHIVE)
    finally:
        socket.setdefaulttimeout(timeout)
        with suppress(OSError):  # not empty: the archive has come, or somebody else's files
            for place in made:
                place.rmdir()


class ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and plain values, and refuses whatever else a pickle asks for."""

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle calls `module.name`."""
        # The two functions themselves, as numpy 2 has moved their home: arrays of protocols up to 4, and of 5.
        makers = {"_reconstruct": np.zeros(0).__reduce__()[0], "_frombuffer": np.zeros(0).__reduce_ex__(5)[0]}
        if name in makers and module.startswith(("numpy.core.", "numpy._core.")):
            return makers[name]
        known = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): _make_dtype,
            ("_codecs", "encode"): codecs.encode,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known[module, name]


def _make_dtype(code: str, align: int = 0, copy: int = 0) -> np.dtype:
    # The published pickles are of Python 2 and pass numbers, which numpy 2.4 warns about.
    return np.dtype(code, align=bool(align), copy=bool(copy))


def _make_source(what: str, files: list[Path], read: Callable[[], Images]) -> Source:
    def read_or_refuse() -> Images:
        try:
            return read()
        except DAMAGE as fault:
            raise DataError(
                f"{what}  cannot be read ({type(fault).__name__}: {fault}); delete it and put a whole one there, "
                "or let it be downloaded"
            ) from fault

    about = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return Source(description=what, signature=hash_facts(about), read=read_or_refuse)


def _read_archive(archive: Path) -> Images:
    with tarfile.open(archive, "r:gz") as tar:
        # One pass in the archive's order: going back in a gzip stream means unpacking it from the start.
        entries = {
            Path(member.name).name: _unpickle(tar.extractfile(member))
            for member in tar
            if member.isfile() and Path(member.name).name in (*TRAIN_BATCHES, TEST_BATCH, META)
        }
    return _assemble(entries)


def _read_folder(folder: Path) -> Images:
    entries = {}
    for name in (*TRAIN_BATCHES, TEST_BATCH, META):
        with open(folder / name, "rb") as file:
            entries[name] = _unpickle(file)
    return _assemble(entries)


def _unpickle(file: IO[bytes]) -> dict[str, Any]:
    return ArrayUnpickler(file, encoding="latin1").load()


def _assemble(entries: dict[str, dict[str, Any]]) -> Images:
    batches = [entries[name] for name in (*TRAIN_BATCHES, TEST_BATCH)]
    image_NCHW = np.concatenate([batch["data"].reshape(-1, 3, 32, 32) for batch in batches])
    label_N = np.concatenate([np.asarray(batch["labels"], dtype=np.int64) for batch in batches])
    classes = [str(name) for name in entries[META]["label_names"]]
    if image_NCHW.dtype != np.uint8 or len(image_NCHW) != len(label_N):
        raise ValueError(f"{len(image_NCHW)} images of {image_NCHW.dtype} with {len(label_N)} labels")
    if not set(label_N.tolist()) <= set(range(len(classes))):
        raise ValueError(f"labels outside 0 .. {len(classes) - 1}")
    num_train = sum(len(batch["labels"]) for batch in batches[:-1])
    return Images(image_NCHW=image_NCHW, label_N=label_N, num_train=num_train, classes=classes)
