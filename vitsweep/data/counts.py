"""Sizes of the three sets and of an epoch, computed from the configuration without reading images."""

from pathlib import Path

from vitsweep.config.schema import DataConfig

CIFAR10_TRAIN_IMAGES, CIFAR10_TEST_IMAGES = 50_000, 10_000


def batch_and_steps(num_train: int, batch_size: int) -> tuple[int, int]:
    """Return the images per step and the steps per epoch.

    Only full batches are used, so every step has the same shape; each epoch's order leaves out other images.
    """
    batch = min(batch_size, num_train)
    return batch, num_train // batch


def split_sizes(data: DataConfig) -> tuple[int, int, int] | None:
    """Return the numbers of train, val and test images after load.stratified_split; None for data=image_folder."""
    if data.name == "image_folder":
        return None
    shapes = data.name == "shapes"
    sizes = (data.shapes_train, data.shapes_test) if shapes else (CIFAR10_TRAIN_IMAGES, CIFAR10_TEST_IMAGES)
    return limited_sizes(data, *sizes)


def folder_sizes(data: DataConfig) -> tuple[int, int, int] | None:
    """Return the same for class folders, whose files are counted; None if they are missing or cannot be used."""
    from vitsweep.data.folders import ImageList  # late: numpy, Pillow

    root = Path(data.root or ".")
    if not (root / "train").is_dir():
        return None
    listed = ImageList(root, data.val)
    if listed.errors:
        return None
    counts = {split: sum(map(len, classes.values())) for split, classes in listed.files.items()}
    return limited_sizes(data, counts["train"], counts["test"], counts.get("val", 0), len(listed.files["train"]))


def limited_sizes(
    data: DataConfig, num_all: int, test: int, own_val: int = 0, classes: int = 10
) -> tuple[int, int, int]:
    """Return the numbers of train, val and test images of a data set, by the settings of the division.

    Args:
        num_all: original training images.
        test: original test images.
        own_val: images of val/.
        classes: number of classes.
    """
    val = round(data.val_fraction * num_all) if data.val == "split" else 0
    train = num_all - val
    if data.train_limit is not None and data.train_limit < train:
        # Validation shrinks in proportion, but not below one image for each class.
        val = min(val, max(round(val * data.train_limit / train), classes))
        train = data.train_limit
    if data.test_limit is not None:
        test = min(test, data.test_limit)
    return train, {"test": test, "folder": own_val}.get(data.val, val), test
