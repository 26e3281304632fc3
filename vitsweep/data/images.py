"""A whole data set as numpy arrays, put into its canonical order and fingerprinted by its content.

The canonical order (split, class, SHA-256 of the pixels) does not depend on file names, archives or machines, so
"image 7 of the training set" means the same picture wherever the images came from. The fingerprint is the hash of
that order's hashes.
"""

# Shape letters: N images, C colour channels, H W pixels, 4 = top, left, bottom, right.

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
    """How many of the N, from the start, are training images; the others are test images."""
    classes: list[str]
    """Class names, sorted."""
    box_N4: np.ndarray | None = None
    """int64 place of what tells the class, in pixels, bottom and right exclusive; None where nobody knows it."""
    fingerprint: str = ""
    """64 hexadecimal digits; empty until `canonical` has computed it."""


@dataclass(kw_only=True)
class Source:
    """Files that were found and can be read, but have not been yet."""

    description: str
    """For messages, e.g. `the archive /data/cifar-10-python.tar.gz`."""
    signature: str
    """Hash of names, sizes and times of change of the files; another one means that a cache is out of date."""
    read: Callable[[], Images]
    """Reads all of them; raises DataError."""


def to_canonical_order(images: Images) -> Images:
    """The same images in canonical order, with their fingerprint.

    Equal pixels of one class and split keep their order: nothing but their box could tell them apart.
    """
    digest_N4 = hash_pixels(images.image_NCHW)
    is_test_N = np.arange(len(images.label_N)) >= images.num_train
    keys = (*digest_N4.T[::-1], images.label_N, is_test_N)  # np.lexsort: the last key counts first
    order_N = np.lexsort(keys)
    fingerprint = hash_content(images, images.label_N[order_N], digest_N4[order_N])
    if np.array_equal(order_N, np.arange(len(order_N))):  # from the cache: spare a copy of everything
        return dataclasses.replace(images, fingerprint=fingerprint)
    return dataclasses.replace(
        images,
        image_NCHW=images.image_NCHW[order_N],
        label_N=images.label_N[order_N],
        box_N4=None if images.box_N4 is None else images.box_N4[order_N],
        fingerprint=fingerprint,
    )


def hash_facts(facts: list) -> str:
    """The signature of a source, from facts about its files that JSON can hold."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def hash_pixels(image_NCHW: np.ndarray) -> np.ndarray:
    """SHA-256 of each image's pixels as four big-endian uint64, shape (N, 4): sorted like the digests they are."""
    rows = np.ascontiguousarray(image_NCHW).reshape(len(image_NCHW), -1)
    return np.frombuffer(b"".join(hashlib.sha256(row).digest() for row in rows), dtype=">u8").reshape(-1, 4)


def hash_content(images: Images, label_N: np.ndarray, digest_N4: np.ndarray) -> str:
    """The fingerprint, from labels and digests in canonical order."""
    header = {
        "version": FINGERPRINT_VERSION,
        "shape": images.image_NCHW.shape[1:],
        "classes": images.classes,
        "num_train": images.num_train,
    }
    content = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    content.update(label_N.astype("<i8").tobytes())
    content.update(digest_N4.tobytes())
    return content.hexdigest()
