"""Sources of data=cifar10 and data=image_folder; the first that exists is read and cached.

data=cifar10: cache, official archive, its batches, class folders, download. data=image_folder: cache, class folders.
"""

import http.client
import logging
import os
import time
from pathlib import Path

from vitsweep.config.schema import DataConfig
from vitsweep.data.cache import cache_paths, load_cache, save_cache, user_cache_dir
from vitsweep.data.cifar10 import ARCHIVE, FOLDER, download_archive, find_cifar10
from vitsweep.data.folders import find_folders
from vitsweep.data.images import Images, Source, to_canonical_order
from vitsweep.errors import DataError

log = logging.getLogger(__name__)


def read_images(config: DataConfig, image_size: int, num_channels: int) -> Images:
    """Read all images of `data.root` in canonical order, from a valid cache or from their files.

    Args:
        config: name is cifar10 or image_folder; root is set.
        image_size: height and width of the model's input, pixels.
        num_channels: color channels of the model's input, 3 or 1.

    Raises:
        DataError: images are missing, damaged or of another size.
    """
    root = _get_root(config)
    name = cache_name(config, image_size, num_channels)
    source = find_source(config.name, root, image_size, num_channels, config.val)
    images = load_cache(root, name, source.signature if source else None)
    if images is not None:
        return images
    if source is None:
        source = _download_cifar10(config, root)
    start = time.monotonic()
    log.info("reading %s, once: a cache is kept", source.description)
    images = to_canonical_order(source.read())
    log.info("read %d images in %.0f s", len(images.label_N), time.monotonic() - start)
    save_cache(root, name, source.signature, images)
    return images


def are_missing(config: DataConfig, image_size: int, num_channels: int) -> bool:
    """Return whether neither the files of CIFAR-10 nor a cache of them are here; False for any other data set."""
    if config.name != "cifar10" or not config.root:
        return False
    root, name = Path(config.root), cache_name(config, image_size, num_channels)
    if any(path.is_file() for path in cache_paths(root, name)):
        return False
    try:
        return find_source(config.name, root, image_size, num_channels, config.val) is None
    except DataError:
        return False


def fetch_images(config: DataConfig, image_size: int, num_channels: int) -> None:
    """Download and cache CIFAR-10 if it is missing.

    Raises:
        DataError: it is missing, and the download failed or is forbidden.
    """
    if are_missing(config, image_size, num_channels):
        read_images(config, image_size, num_channels)


def cache_name(config: DataConfig, image_size: int, num_channels: int) -> str:
    """Return the name of the cache of a data set's images at one size."""
    return f"{config.name}-{image_size}x{image_size}x{num_channels}{'-val' if config.val == 'folder' else ''}"


def find_source(name: str, root: Path, image_size: int, num_channels: int, val: str = "split") -> Source | None:
    """Return the files to read under `root`, or None if CIFAR-10 must be downloaded.

    Args:
        val: `data.val`.

    Raises:
        DataError: class folders are incomplete, or missing for data=image_folder.
    """
    if name == "cifar10":
        # The user cache has the download if `root` was not writable.
        return (
            find_cifar10(root)
            or find_folders(root, image_size=image_size, num_channels=num_channels, resize=False, val=val)
            or find_cifar10(user_cache_dir())
        )
    source = find_folders(root, image_size=image_size, num_channels=num_channels, resize=True, val=val)
    if source is None:
        raise DataError(
            f"data.root={root}  has no images; put them into {root}/train/<class>/ and {root}/test/<class>/, "
            "or use data=shapes, which is built in"
        )
    return source


def _get_root(config: DataConfig) -> Path:
    if not config.root:
        raise DataError(f"data.root=null  must name the folder of the images for data={config.name}")
    return Path(config.root)


def _download_cifar10(config: DataConfig, root: Path) -> Source:
    if not config.download:
        raise DataError(_missing_message(root, "data.download=false forbids to fetch it"))
    folder = root if _is_writable(root) else user_cache_dir()
    log.info("downloading CIFAR-10 into %s", folder)
    try:
        archive = download_archive(folder)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise DataError(_missing_message(root, f"the download failed ({error})")) from error
    source = find_cifar10(archive.parent)
    assert source is not None, f"{archive} has just been downloaded"
    return source


def _missing_message(root: Path, reason: str) -> str:
    return (
        f"data.root={root}  has no CIFAR-10, and {reason}; put {ARCHIVE}, {FOLDER}/ or {{train,test}}/<class>/*.png "
        "there, or use images of your own with data=image_folder data.root=DIR, or data=shapes, which is built in"
    )


def _is_writable(folder: Path) -> bool:
    """Return True if `folder` is writable or can be created."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
