"""Data sets as numpy arrays in canonical order, and their fingerprints.

The canonical order (split, class, SHA-256 of the pixels) does not depend on file names, archives or machines, so image
7 of the training set is the same picture for every source. The fingerprint is the hash of the ordered hashes.
"""

# Shape letters: N images, C color channels, H W pixels, 4 = top, left, bottom, right.

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FINGERPRINT_VERSION = 1
KNOWN_FINGERPRINTS = {"9c157b0896263aa4f842208d90346af54d9f43f3cf850fb2b586d84af48d36b4": "CIFAR-10"}


@dataclass(kw_only=True)
class Images:
    """All images of a data set, training images first."""

    image_NCHW: np.ndarray
    """uint8 pixels."""
    label_N: np.ndarray
    """int64 index into `classes`."""
    num_train: int
    """Number of training images, which come first; the others are test images."""
    classes: list[str]
    """Class names, sorted."""
    num_val: int = 0
    """Number of validation images after those: of a folder val/ (data.val=folder); 0: they are held out of training."""
    box_N4: np.ndarray | None = None
    """int64 box of the figure that defines the class, in pixels, bottom and right exclusive; None if unknown."""
    fingerprint: str = ""
    """64 hexadecimal digits; empty before `to_canonical_order`."""


@dataclass(kw_only=True)
class Source:
    """Image files that were found and are read on demand."""

    description: str
    """Text for messages, e.g. `the archive /data/cifar-10-python.tar.gz`."""
    signature: str
    """Hash of the names, sizes and modification times of the files; a cache with another one is out of date."""
    read: Callable[[], Images]
    """Function that reads all files; raises DataError."""


def to_canonical_order(images: Images) -> Images:
    """Return the images in canonical order, with their fingerprint; equal images keep their order."""
    digest_N4 = hash_pixels(images.image_NCHW)
    split_N = np.searchsorted(
        [images.num_train, images.num_train + images.num_val], np.arange(len(images.label_N)), "right"
    )
    keys = (*digest_N4.T[::-1], images.label_N, split_N)  # np.lexsort: the last key counts first
    order_N = np.lexsort(keys)
    fingerprint = hash_content(images, images.label_N[order_N], digest_N4[order_N])
    if np.array_equal(order_N, np.arange(len(order_N))):  # images from the cache are not copied
        return dataclasses.replace(images, fingerprint=fingerprint)
    return dataclasses.replace(
        images,
        image_NCHW=images.image_NCHW[order_N],
        label_N=images.label_N[order_N],
        box_N4=None if images.box_N4 is None else images.box_N4[order_N],
        fingerprint=fingerprint,
    )


def hash_facts(facts: list) -> str:
    """Return the signature of a source: the SHA-256 of JSON-serializable facts about its files."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def hash_pixels(image_NCHW: np.ndarray) -> np.ndarray:
    """Return the SHA-256 of each image's pixels as four big-endian uint64, shape (N, 4), which sort like digests."""
    rows = np.ascontiguousarray(image_NCHW).reshape(len(image_NCHW), -1)
    return np.frombuffer(b"".join(hashlib.sha256(row.data).digest() for row in rows), dtype=">u8").reshape(-1, 4)


def hash_content(images: Images, label_N: np.ndarray, digest_N4: np.ndarray) -> str:
    """Return the fingerprint, from labels and digests in canonical order."""
    header = {
        "version": FINGERPRINT_VERSION,
        "shape": images.image_NCHW.shape[1:],
        "classes": images.classes,
        "num_train": images.num_train,
    }
    if images.num_val:  # otherwise absent, as in earlier versions
        header["num_val"] = images.num_val
    content = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    content.update(label_N.astype("<i8").tobytes())
    content.update(digest_N4.tobytes())
    return content.hexdigest()
