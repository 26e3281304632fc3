"""Images of a cell: read or generated, checked against the model, split into train, val and test.

All images are uint8 on the CPU until `Data.to` moves them to the device: CIFAR-10 takes 184 MB, and indexing is faster
than a loader with workers. The split is stratified with exact totals and depends on `data.split_seed` alone, so all
cells of a study share it, and a smaller `data.train_limit` or `data.test_limit` selects a subset of a larger one.
"""

# Shape letters: N images, C color channels, H W pixels, K classes, 4 = top, left, bottom, right.

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from vitsweep.config.schema import Config, DataConfig
from vitsweep.data.images import KNOWN_FINGERPRINTS, Images, to_canonical_order
from vitsweep.data.own_images import class_error
from vitsweep.data.shapes import make_shapes
from vitsweep.data.sources import read_images
from vitsweep.errors import DataError
from vitsweep.seeding import permute


@dataclass(kw_only=True)
class ImageSet:
    """Images of train, val or test."""

    image_NCHW: torch.Tensor
    """uint8 pixels."""
    label_N: torch.Tensor
    """int64 index into `Data.classes`."""
    id_N: torch.Tensor
    """int64 position in the canonical order of the original training, validation or test images."""
    box_N4: torch.Tensor | None = None
    """int64 box of the figure that defines the class, pixels, bottom and right exclusive; None unless data=shapes."""

    def __len__(self) -> int:
        return len(self.label_N)

    def to(self, device: torch.device | str) -> "ImageSet":
        """Return the same images on another device."""
        box_N4 = None if self.box_N4 is None else self.box_N4.to(device)
        return ImageSet(
            image_NCHW=self.image_NCHW.to(device),
            label_N=self.label_N.to(device),
            id_N=self.id_N.to(device),
            box_N4=box_N4,
        )


@dataclass(kw_only=True)
class Data:
    """Train, val and test images of a cell, and facts about the data set."""

    train: ImageSet
    val: ImageSet
    """Held out of the training images; with data.val=folder those of val/, with data.val=test the test set itself."""
    test: ImageSet
    classes: list[str]
    """Class names by index."""
    fingerprint: str
    """Order-independent hash of all images, labels and class names before the split; 64 hexadecimal digits."""
    name: str
    """Name of the data set with this fingerprint, e.g. `CIFAR-10`; empty if unknown."""
    mean: list[float]
    """Mean per channel over all original training images, of pixels scaled to 0..1."""
    std: list[float]
    """Standard deviation likewise; 1 for a constant channel, to allow division."""

    def to(self, device: torch.device | str) -> "Data":
        """Return the same data on another device; val and test stay one object if they are one."""
        test = self.test.to(device)
        val = test if self.val is self.test else self.val.to(device)
        return dataclasses.replace(self, train=self.train.to(device), val=val, test=test)


def load_data(config: Config) -> Data:
    """Load the images of `config` on the CPU.

    Raises:
        DataError: images are missing, damaged, too few, or do not fit the model.
    """
    data = config.data
    if data.name == "shapes":
        images = to_canonical_order(make_shapes(data.shapes_train, data.shapes_test, data.split_seed))
    else:
        images = read_images(data, config.model.image_size, config.model.num_channels)
    _check_fingerprint(images, data)
    _check_classes(images, config)
    train_N, val_N = stratified_split(images.label_N[: images.num_train], images.classes, data)
    mean, std = channel_statistics(images.image_NCHW[: images.num_train])
    first_test = images.num_train + images.num_val
    test_N = first_test + limited_test(images.label_N[first_test:], images.classes, data)
    test = _take(images, test_N, first_test)
    if data.val == "folder":
        val = _take(images, np.arange(images.num_train, first_test), images.num_train)
    else:
        val = test if data.val == "test" else _take(images, val_N)
    return Data(
        train=_take(images, train_N),
        val=val,
        test=test,
        classes=images.classes,
        fingerprint=images.fingerprint,
        name=KNOWN_FINGERPRINTS.get(images.fingerprint, ""),
        mean=mean,
        std=std,
    )


def stratified_split(label_N: np.ndarray, classes: list[str], config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """Split the original training images into training and validation images, stratified by class.

    Args:
        label_N: class of each original training image, in canonical order.
        classes: names by index, for messages.
        config: provides `val`, `val_fraction`, `split_seed` and `train_limit`.

    Returns:
        Sorted positions of the training and of the validation images (none unless data.val=split).

    Raises:
        DataError: a class has no image in one of them, or train_limit exceeds the number of training images.
    """
    all_K = np.bincount(label_N, minlength=len(classes))
    val_K = np.zeros_like(all_K)
    if config.val == "split":
        val_K = shares(all_K, round(config.val_fraction * len(label_N)))
        _check_nonempty(val_K, all_K, classes, f"data.val_fraction={config.val_fraction}", "to validate with")
    train_K = all_K - val_K
    _check_nonempty(train_K, all_K, classes, f"data.val_fraction={config.val_fraction}", "to train on")
    kept_train_K, kept_val_K = train_K, val_K
    if config.train_limit is not None:
        kept_train_K, kept_val_K = _limit(train_K, val_K, config.train_limit)
        _check_nonempty(kept_train_K, all_K, classes, f"data.train_limit={config.train_limit}", "to train on")
    train, val = [], []
    for k in range(len(classes)):
        order = np.flatnonzero(label_N == k)[permute(all_K[k], config.split_seed, "split", k)]
        val.append(order[: kept_val_K[k]])
        train.append(order[val_K[k] : val_K[k] + kept_train_K[k]])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(val))


def limited_test(label_N: np.ndarray, classes: list[str], config: DataConfig) -> np.ndarray:
    """Choose `test_limit` test images, stratified by class; a smaller limit chooses a subset of a larger one's.

    Args:
        label_N: class of each test image, in canonical order.
        classes: names by index, for messages.

    Returns:
        Their sorted positions; all without a limit.

    Raises:
        DataError: the limit exceeds the number of test images, or leaves none of a class.
    """
    limit = config.test_limit
    if limit is None:
        return np.arange(len(label_N))
    if limit > len(label_N):
        raise DataError(f"data.test_limit={limit}  is more than the {len(label_N)} test images; use null for all")
    all_K = np.bincount(label_N, minlength=len(classes))
    kept_K = shares(all_K, limit)
    _check_nonempty(kept_K, all_K, classes, f"data.test_limit={limit}", "to test with")
    chosen = [
        np.flatnonzero(label_N == k)[permute(all_K[k], config.split_seed, "test", k)[: kept_K[k]]]
        for k in range(len(classes))
    ]
    return np.sort(np.concatenate(chosen))


def shares(count_K: np.ndarray, total: int) -> np.ndarray:
    """Divide `total` in proportion to the counts, to whole numbers with exactly that sum (largest remainders)."""
    product_K = count_K * total  # integers throughout: no rounding, so no machine can differ
    share_K, remainder_K = np.divmod(product_K, count_K.sum())
    largest_first = np.argsort(-remainder_K, kind="stable")
    share_K[largest_first[: total - share_K.sum()]] += 1
    return share_K


def channel_statistics(image_NCHW: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel of pixels scaled to 0..1, from exact integer sums."""
    n, c, h, w = image_NCHW.shape
    sum_C, square_C = np.zeros(c, dtype=np.int64), np.zeros(c, dtype=np.int64)
    for start in range(0, n, 256):  # parts that fit the processor's cache
        part_NCHW = image_NCHW[start : start + 256].astype(np.uint32)
        sum_C += part_NCHW.sum(axis=(0, 2, 3), dtype=np.int64)
        square_C += (part_NCHW * part_NCHW).sum(axis=(0, 2, 3), dtype=np.int64)
    count = n * h * w
    mean_C = sum_C / count
    std_C = np.sqrt(square_C / count - mean_C**2) / 255
    std_C[square_C * count == sum_C**2] = 1.0
    return (mean_C / 255).tolist(), std_C.tolist()


def _limit(train_K: np.ndarray, val_K: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the limited class counts; validation shrinks in proportion, to at least one image per class."""
    if limit > train_K.sum():
        raise DataError(
            f"data.train_limit={limit}  is more than there are: {train_K.sum()} training images "
            f"(beside {val_K.sum()} for validation); use at most that, or null for all"
        )
    num_val = min(val_K.sum(), max(round(val_K.sum() * limit / train_K.sum()), len(val_K)))
    return shares(train_K, limit), shares(val_K, num_val) if num_val else val_K


def _check_nonempty(left_K: np.ndarray, all_K: np.ndarray, classes: list[str], setting: str, purpose: str) -> None:
    empty = [f"{name} ({count} in all)" for name, left, count in zip(classes, left_K, all_K, strict=True) if not left]
    if empty:
        raise DataError(
            f"{setting}  leaves no image {purpose} of {', '.join(empty)}; every class needs one: raise it or add images"
        )


def _check_fingerprint(images: Images, data: DataConfig) -> None:
    if data.fingerprint not in ("", images.fingerprint):
        place = f"data.root={data.root}" if data.root else f"data={data.name}"
        raise DataError(
            f"{place}  has other images (fingerprint {images.fingerprint[:8]}) than the cell was planned with "
            f"({data.fingerprint[:8]}); put those back, or plan a study of its own in another directory"
        )


def _check_classes(images: Images, config: Config) -> None:
    if error := class_error(config, images.classes):
        raise DataError(error)


def _take(images: Images, position_N: np.ndarray, first: int = 0) -> ImageSet:
    """Copy the images at these positions of the data set; their ids count from `first`."""
    return ImageSet(
        image_NCHW=torch.from_numpy(images.image_NCHW[position_N]),
        label_N=torch.from_numpy(images.label_N[position_N]),
        id_N=torch.from_numpy(position_N - first),
        box_N4=None if images.box_N4 is None else torch.from_numpy(images.box_N4[position_N]),
    )
