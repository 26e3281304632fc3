"""Sizes of the three sets and of an epoch, computed from the configuration without loading images."""

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
    num_all, test = (data.shapes_train, data.shapes_test) if shapes else (CIFAR10_TRAIN_IMAGES, CIFAR10_TEST_IMAGES)
    val = round(data.val_fraction * num_all) if data.val == "split" else 0
    train = num_all - val
    if data.train_limit is not None and data.train_limit < train:
        # Validation shrinks in proportion, but not below one image for each of the ten classes.
        val = min(val, max(round(val * data.train_limit / train), 10))
        train = data.train_limit
    if data.test_limit is not None:
        test = min(test, data.test_limit)
    return train, test if data.val == "test" else val, test
