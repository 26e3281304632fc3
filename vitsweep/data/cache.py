"""Cache of all images of a data set in one safetensors file, loaded in under a second.

Verified on every load: its signature must match the source files and its pixels the stored fingerprint; otherwise it is
logged and rebuilt.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vitsweep.data.images import KNOWN_FINGERPRINTS, Images, to_canonical_order
from vitsweep.files import write_atomically

log = logging.getLogger(__name__)

CACHE_VERSION = "1"


def cache_paths(root: Path, name: str) -> Iterator[Path]:
    """Yield the possible paths of a folder's cache: beside the images, then in the user's cache directory."""
    yield root / f"vitsweep-{name}.safetensors"
    folder = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    yield user_cache_dir() / f"{name}-{folder}.safetensors"


def user_cache_dir() -> Path:
    """Return the directory for files that cannot be written beside the images."""
    return Path(platformdirs.user_cache_dir("vitsweep"))


def load_cache(root: Path, name: str, signature: str | None) -> Images | None:
    """Return the cached images, or None without a valid cache.

    Args:
        root: folder of the images.
        name: name of the cache, e.g. `cifar10-32x32x3`.
        signature: signature of the source files; None if they no longer exist: then only a data set in
            KNOWN_FINGERPRINTS is accepted.
    """
    remove_abandoned(Path(tempfile.gettempdir()))
    for path in cache_paths(root, name):
        remove_abandoned(path.parent)
        if not path.is_file():
            continue
        try:
            return _read(path, signature)
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            log.warning("cache %s is not used and will be made anew: %s", path, error)
    return None


def remove_abandoned(folder: Path) -> None:
    """Remove the partial caches, downloads and extracted archives of killed processes from a folder.

    A process of another machine may seem dead: it then loses its partial cache and uses the next of cache_paths.
    """
    for path in (
        *folder.glob(".*.safetensors.*-????????"),
        *folder.glob(".download-*-*"),
        *folder.glob(".vitsweep-cifar10-*-*"),
    ):
        number = re.search(r"(\d+)-\w{8}$", path.name)
        if number is None or is_alive(int(number[1])):
            continue
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def is_alive(pid: int) -> bool:
    """Return True if another process of this machine has this id; this one is not writing while it reads."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return True


def save_cache(root: Path, name: str, signature: str, images: Images) -> None:
    """Write images in canonical order to the first writable cache path; log a warning if there is none."""
    content = save(
        {"image_NCHW": images.image_NCHW, "label_N": images.label_N},
        {
            "version": CACHE_VERSION,
            "signature": signature,
            "fingerprint": images.fingerprint,
            "num_train": str(images.num_train),
            "num_val": str(images.num_val),
            "classes": json.dumps(images.classes),
        },
    )
    for path in cache_paths(root, name):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        except OSError as error:
            log.info("no cache at %s: %s", path, error)
            continue
        log.info("cached %d images in %s", len(images.label_N), path)
        return
    log.warning("no cache could be written, so the next cell reads all images again")


def _read(path: Path, signature: str | None) -> Images:
    """Read and verify a cache.

    Raises:
        ValueError: the cache is not valid.
    """
    # Torch tensors are memory-mapped, not copied: 184 MB less memory for CIFAR-10.
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("version") != CACHE_VERSION:
            raise ValueError(f"its version is {metadata.get('version')}, not {CACHE_VERSION}")
        if signature not in (None, metadata["signature"]):
            raise ValueError("it was made from other files")
        if signature is None and metadata["fingerprint"] not in KNOWN_FINGERPRINTS:
            raise ValueError("the files that it was made from are gone")
        images = Images(
            image_NCHW=file.get_tensor("image_NCHW").numpy(),
            label_N=file.get_tensor("label_N").numpy(),
            num_train=int(metadata["num_train"]),
            num_val=int(metadata.get("num_val", 0)),
            classes=json.loads(metadata["classes"]),
        )
    if images.image_NCHW.dtype != np.uint8 or images.image_NCHW.ndim != 4 or images.label_N.dtype != np.int64:
        raise ValueError("its tensors are of another kind")
    images = to_canonical_order(images)
    if images.fingerprint != metadata["fingerprint"]:
        raise ValueError("its pixels or labels have been changed")
    return images
