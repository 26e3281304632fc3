"""counts."""

from vitsweep.config.schema import DataConfig

CIFAR10_TRAIN_IMAGES, CIFAR10_TEST_IMAGES = 50_000, 10_000


def batch_and_steps(num_train: int, batch_size: int) -> tuple[int, int]:
    """Images in one step and steps in one epoch.

    A batch is always full, so that every step has one shape; the images left over wait for another epoch's order.
    """
    batch = min(batch_size, num_train)
    return batch, num_train // batch


def split_sizes(data: DataConfig) -> tuple[int, int, int] | None:
    """Images of train, val and test as stratified_split makes them; None for a folder, which is not looked at."""
    if data.name == "image_folder":
        return None
    shapes = data.name == "shapes"
    everything, test = (data.shapes_train, data.shapes_test) if shapes else (CIFAR10_TRAIN_IMAGES, CIFAR10_TEST_IMAGES)
    val = round(data.val_fraction * everything) if data.val == "split" else 0
    train = everything - val
    if data.train_limit is not None and data.train_limit < train:
        # Validation shrinks in proportion, but not below one image for each of the ten classes.
        val = min(val, max(round(val * data.train_limit / train), 10))
        train = data.train_limit
    return train, test if data.val == "test" else val, test
