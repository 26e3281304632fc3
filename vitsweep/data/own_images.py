"""Settings that a configuration leaves to its images: the number of classes, and whether a soft limit applies.

Files are counted by their names; none is opened.
"""

from collections.abc import Sequence
from pathlib import Path

from vitsweep.config.schema import Config, DataConfig
from vitsweep.data.cifar10 import find_cifar10
from vitsweep.data.counts import CIFAR10_TRAIN_IMAGES
from vitsweep.data.folders import count_images

NUM_CLASSES = 10  # of CIFAR-10 and of shapes


def training_counts(data: DataConfig) -> dict[str, int] | None:
    """Return class -> number of the original training images; None if the images are missing.

    Raises:
        DataError: a folder's images cannot be listed.
    """
    if data.name == "shapes":
        return {str(k): len(range(k, data.shapes_train, NUM_CLASSES)) for k in range(NUM_CLASSES)}
    root = Path(data.root or ".")
    if data.name == "cifar10" and (find_cifar10(root) or not (root / "train").is_dir()):
        return {str(k): CIFAR10_TRAIN_IMAGES // NUM_CLASSES for k in range(NUM_CLASSES)}
    return count_images(root, data.val)


def adapt_to_images(config: Config, classes: Sequence[str], num_images: int) -> None:
    """Fill in the number of classes where it is 0, and lift a soft limit that the images do not reach.

    Args:
        classes: names of the classes.
        num_images: original training images, validation included.
    """
    data, model = config.data, config.model
    if model.num_classes == 0:
        model.num_classes = len(classes)
    num_train = num_images - (round(data.val_fraction * num_images) if data.val == "split" else 0)
    if data.soft_train_limit is not None and data.train_limit == data.soft_train_limit and num_train < data.train_limit:
        data.train_limit = None
    data.soft_train_limit = None


def class_error(config: Config, classes: Sequence[str]) -> str:
    """Return the message about a number of classes that is not that of the images; empty if it is."""
    if len(classes) == config.model.num_classes:
        return ""
    named = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
    remedy = f"leave model.num_classes out, or set model.num_classes={len(classes)}"
    if config.data.name == "cifar10":
        remedy = "for images of your own use data=image_folder"
    return (
        f"model.num_classes={config.model.num_classes}  does not fit data.root={config.data.root}, "
        f"which has {len(classes)} classes ({named}); {remedy}"
    )
