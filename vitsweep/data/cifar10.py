"""Official CIFAR-10: cifar-10-python.tar.gz or its folder of pickled batches, downloaded and read by torchvision."""

import os
import socket
import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from vitsweep.data.images import Images, Source, hash_facts
from vitsweep.errors import DataError

ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
TIMEOUT_SECONDS = 20
DAMAGE = (OSError, EOFError, ValueError, tarfile.TarError, zlib.error)


def find_cifar10(root: Path) -> Source | None:
    """Return the archive under `root`, else the extracted batches under `root` or in it, else None."""
    archive = root / ARCHIVE
    if archive.is_file():  # before the batches: an interrupted extraction leaves some of them
        return _make_source(f"the archive {archive}", [archive], partial(_read_archive, archive))
    for folder in (root / FOLDER, root):
        if (folder / "data_batch_1").is_file():
            files = [path for path in sorted(folder.iterdir()) if path.is_file()]
            return _make_source(f"the batches in {folder}", files, partial(_read_batches, folder))
    return None


def download_archive(folder: Path) -> Path:
    """Download the archive into `folder` through torchvision, which shows a progress bar and checks MD5.

    The file appears complete or not at all, so a killed run leaves no partial archive.

    Raises:
        OSError: no network, or `folder` cannot be written.
        RuntimeError: the downloaded file is not the archive.
    """
    from torchvision.datasets import CIFAR10  # late: takes a second to import
    from torchvision.datasets.utils import download_url

    created = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)  # torchvision waits for minutes behind a firewall that drops packets
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".download-{os.getpid()}-") as partial:
            download_url(CIFAR10.url, partial, ARCHIVE, CIFAR10.tgz_md5)
            return (Path(partial) / ARCHIVE).rename(folder / ARCHIVE)
    finally:
        socket.setdefaulttimeout(timeout)
        with suppress(OSError):  # not empty: it holds the archive or other files
            for place in created:
                place.rmdir()


def _make_source(description: str, files: list[Path], read: Callable[[], Images]) -> Source:
    def read_or_refuse() -> Images:
        try:
            return read()
        except DAMAGE as error:
            raise DataError(
                f"{description}  cannot be read ({type(error).__name__}: {error}); delete it and put a whole one "
                "there, or let it be downloaded"
            ) from error

    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return Source(description=description, signature=hash_facts(facts), read=read_or_refuse)


def _read_archive(archive: Path) -> Images:
    with tempfile.TemporaryDirectory(prefix=f".vitsweep-cifar10-{os.getpid()}-") as folder:
        batches = Path(folder) / FOLDER
        batches.mkdir()
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:  # not extractall, whose safe filter Python 3.11.3 lacks
                path, content = PurePosixPath(member.name), tar.extractfile(member)
                if content is not None and path.parent == PurePosixPath(FOLDER):
                    (batches / path.name).write_bytes(content.read())
        return _read_batches(batches)


def _read_batches(folder: Path) -> Images:
    """Read the extracted batches through torchvision, which unpickles a file only if its MD5 checksum is right.

    Raises:
        ValueError: a file is missing or differs from the published one.
    """
    from torchvision.datasets import CIFAR10  # late: takes a second to import

    class Batches(CIFAR10):
        base_folder = folder.name

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy 2.4 warns about pickles of Python 2
        try:
            train, test = (Batches(folder.absolute().parent, train=is_train) for is_train in (True, False))
        except RuntimeError as error:
            raise ValueError("a file is missing or not as published (MD5)") from error
    return Images(
        image_NCHW=np.concatenate([train.data, test.data]).transpose(0, 3, 1, 2),
        label_N=np.array(train.targets + test.targets, dtype=np.int64),
        num_train=len(train),
        classes=train.classes,
    )
