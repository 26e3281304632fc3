"""Where the images of `data=cifar10` and `data=image_folder` come from, the first that is there.

CIFAR-10: the cache, the official archive or its batches, class folders, a download. Images of one's own: the cache,
class folders. What had to be read is cached for the next cell.
"""

import http.client
import logging
import os
import time
from pathlib import Path

from vitsweep.config.schema import DataConfig
from vitsweep.data.cache import load_cache, save_cache, user_cache_dir
from vitsweep.data.cifar10 import ARCHIVE, FOLDER, download_archive, find_cifar10
from vitsweep.data.folders import find_folders
from vitsweep.data.images import Images, Source, to_canonical_order
from vitsweep.errors import DataError

log = logging.getLogger(__name__)


def read_images(config: DataConfig, image_size: int, num_channels: int) -> Images:
    """All images of `data.root` in canonical order, from the cache if it is sound, else from their files.

    Args:
        config: name is cifar10 or image_folder; root is set.
        image_size: height and width that the model wants, pixels.
        num_channels: colour channels that the model wants, 3 or 1.

    Raises:
        DataError: there are none, or they are damaged or of a wrong kind.
    """
    root = _root_of(config)
    name = f"{config.name}-{image_size}x{image_size}x{num_channels}"
    source = find_source(config.name, root, image_size, num_channels)
    images = load_cache(root, name, source.signature if source else None)
    if images is not None:
        return images
    if source is None:
        source = _get_cifar10(config, root)
    began = time.monotonic()
    log.info("reading %s, once: a cache is kept", source.description)
    images = to_canonical_order(source.read())
    log.info("read %d images in %.0f s", len(images.label_N), time.monotonic() - began)
    save_cache(root, name, source.signature, images)
    return images


def find_source(name: str, root: Path, image_size: int, num_channels: int) -> Source | None:
    """The files to read under `root`, or None; of your own images, which cannot be downloaded, there must be some.

    Raises:
        DataError: class folders that are incomplete, or none for data=image_folder.
    """
    if name == "cifar10":
        # Last, what was downloaded when `root` could not be written.
        folders = {"image_size": image_size, "num_channels": num_channels, "resize": False}
        return find_cifar10(root) or find_folders(root, **folders) or find_cifar10(user_cache_dir())
    source = find_folders(root, image_size=image_size, num_channels=num_channels, resize=True)
    if source is None:
        raise DataError(
            f"data.root={root}  has no images; put them into {root}/train/<class>/ and {root}/test/<class>/, "
            "or use data=shapes, which is built in"
        )
    return source


def _root_of(config: DataConfig) -> Path:
    if not config.root:
        raise DataError(f"data.root=null  must name the folder of the images for data={config.name}")
    return Path(config.root)


def _get_cifar10(config: DataConfig, root: Path) -> Source:
    if not config.download:
        raise DataError(_ways_out(root, "data.download=false forbids to fetch it"))
    folder = root if _can_write(root) else user_cache_dir()
    log.info("downloading CIFAR-10 into %s", folder)
    try:
        archive = download_archive(folder)
    except (OSError, RuntimeError, http.client.HTTPException) as fault:
        raise DataError(_ways_out(root, f"the download failed ({fault})")) from fault
    return find_cifar10(archive.parent)


def _ways_out(root: Path, reason: str) -> str:
    return (
        f"data.root={root}  has no CIFAR-10, and {reason}; put {ARCHIVE}, {FOLDER}/ or {{train,test}}/<class>/*.png "
        "there, or use images of your own with data=image_folder data.root=DIR, or data=shapes, which is built in"
    )


def _can_write(folder: Path) -> bool:
    """Whether files can be put there, the folder being made if need be."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
