"""Random images and trial training steps, in place of a data set and a training run.

The step is step.train_step itself. Where the network does not matter (augmentation, loss, clipping, optimizer) a
linear layer on 128 images is trained instead.
"""

# Shape letters: B batch, C colour channels, H W pixels, N images, P all parameters of a model.

import hashlib
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vitsweep.config.schema import Config, RecipeConfig
from vitsweep.data.folders import count_images
from vitsweep.data.load import Data, ImageSet, stratified_split
from vitsweep.errors import DataError
from vitsweep.model.build import make_model
from vitsweep.seeding import make_generator
from vitsweep.train.device import compile_network, pick_kernels, pick_precision
from vitsweep.train.optim import Schedule, lr_multiplier, make_optimizer
from vitsweep.train.step import Setup, Step, should_compile, train_step, training_batch

NUM_IMAGES = 128  # for augmentation: two images might both keep their side by chance
CLASS_SIZE = 5000  # training images of each class of CIFAR-10, and the assumption for a folder that is not there
STEP_LR = 0.1  # large, so that rounding does not swallow a small weight decay
SCALES = (1.0, 1e4)  # of the logits in two consecutive steps: clipping acts on one of them whatever its norm
NOISE = 0.02  # standard deviation of a linear layer's weights


def random_images(config: Config, count: int) -> Tensor:
    """Return random pixels (N, C, H, W), uint8, of the model's image size; the same at every call."""
    size, generator = config.model.image_size, make_generator(0, "made-up images")
    return torch.randint(256, (count, config.model.num_channels, size, size), generator=generator, dtype=torch.uint8)


def trial_setup(
    config: Config,
    model: nn.Module,
    network: Callable[[Tensor], Tensor],
    image_NCHW: Tensor,
    label_N: Tensor,
    precision: str = "fp32",
) -> Setup:
    """Return what step.prepare returns, with these images as the data set, all of them in one batch.

    Args:
        model: on its device already.
        network: called for the logits, e.g. the compiled model.
    """
    device, channels = image_NCHW.device, image_NCHW.shape[1]
    images = ImageSet(image_NCHW=image_NCHW, label_N=label_N, id_N=torch.arange(len(label_N), device=device))
    data = Data(
        train=images,
        val=images,
        test=images,
        classes=[str(k) for k in range(config.model.num_classes)],
        fingerprint="",
        name="",
        mean=[0.5] * channels,
        std=[0.25] * channels,
    )
    optimizer = make_optimizer(model, config.recipe)
    return Setup(
        device=device,
        precision=precision,
        data=data,
        model=model,
        network=network,
        optimizer=optimizer,
        schedule=Schedule(optimizer, config.recipe, 1),
        batch_size=len(images),
        steps_per_epoch=1,
    )


def trial_step(config: Config, device: torch.device) -> Step:
    """Return a step of the configuration's own model, batch size and optimizer on random images."""
    pick_kernels(device, deterministic=config.deterministic)
    model = make_model(config).to(device).train()
    images = random_images(config, config.recipe.batch_size).to(device)
    labels = torch.arange(len(images), device=device) % config.model.num_classes
    network = compile_network(model, device) if should_compile(config, device) else model
    setup = trial_setup(config, model, network, images, labels, pick_precision(config.precision, device))
    return Step(setup=setup, config=config, index_B=setup.data.train.id_N, epoch=1, step=0)


def two_steps(config: Config, model: nn.Module, image_NCHW: Tensor, label_N: Tensor) -> Tensor:
    """Train two steps, the second with far larger gradients, and return all weights of the model (P,)."""
    setup = trial_setup(config, model, model, image_NCHW, label_N)
    model.train()
    for step, scale in enumerate(SCALES):
        setup.network = partial(scaled_logits, model, scale)
        for group in setup.optimizer.param_groups:
            group["lr"] = STEP_LR
        train_step(setup, config, setup.data.train.id_N, 1, step)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def scaled_logits(model: nn.Module, scale: float, image_BCHW: Tensor) -> Tensor:
    """Return the model's logits (B, K) times `scale`."""
    return scale * model(image_BCHW)


def linear_steps(config: Config) -> tuple[Tensor, Tensor]:
    """Return the first augmented batch (B, C, H, W), and a linear layer's weights (P,) after two training steps."""
    images, generator = random_images(config, NUM_IMAGES), make_generator(0, "stand-in")
    model = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), config.model.num_classes))
    for parameter in model.parameters():
        parameter.data.normal_(std=NOISE, generator=generator)
    label_N = torch.randint(config.model.num_classes, (NUM_IMAGES,), generator=generator)
    setup = trial_setup(config, model, model, images, label_N)
    image_BCHW, _ = training_batch(setup, config, setup.data.train.id_N, 1, 0)
    return image_BCHW, two_steps(config, model, images, label_N)


def learning_rates(recipe: RecipeConfig, steps: int) -> Iterator[float]:
    """Yield the learning rate of every step, for a validation loss that never improves: then plateau acts most.

    Args:
        steps: per epoch.
    """
    if recipe.schedule != "plateau":  # avoids LambdaLR's bookkeeping, which takes half a second
        yield from (recipe.lr * lr_multiplier(recipe, step, steps) for step in range(recipe.epochs * steps))
        return
    schedule = Schedule(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=recipe.lr), recipe, steps)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")  # nothing is optimized here
        for _ in range(recipe.epochs):
            for _ in range(steps):
                yield schedule.next_lr
                schedule.after_step()
            schedule.after_epoch(1.0)


@lru_cache(maxsize=4)
def class_counts(fingerprint: str, root: Path, val: str) -> dict[str, int] | None:
    """Return count_images of a folder, once for all arms on the images of this fingerprint."""
    return count_images(root, val)


def split_digest(config: Config) -> tuple[dict[str, str], int]:
    """Return a digest of the images of train, val and test, and the number of training images.

    No image is read; those of a folder are counted.

    Raises:
        DataError: the images cannot be divided as the configuration asks.
    """
    data, classes = config.data, [str(k) for k in range(config.model.num_classes)]
    source, num_images = data.name, CLASS_SIZE * len(classes)
    if data.name == "shapes":  # drawn from these
        source, num_images = f"shapes {data.shapes_train} {data.shapes_test} {data.split_seed}", data.shapes_train
    label_N = np.sort(np.arange(num_images) % len(classes))
    counts = None
    if data.name == "image_folder" and data.root:
        count = partial(class_counts, data.fingerprint) if data.fingerprint else count_images
        counts = count(Path(data.root), data.val)
    if counts is not None:
        classes, label_N = list(counts), np.repeat(np.arange(len(counts)), list(counts.values()))
    try:
        train_N, val_N = stratified_split(label_N, classes, data)
    except DataError:
        if data.name != "image_folder" or counts is not None:
            raise
        return dict.fromkeys(("train", "val", "test"), repr(data)), num_images  # its size is not known
    digests = {name: digest(source, chosen_N) for name, chosen_N in (("train", train_N), ("val", val_N))}
    digests["test"] = f"{source} test" + ("" if data.test_limit is None else f" {data.test_limit} {data.split_seed}")
    if data.val == "folder":
        digests["val"] = f"{source} val"
    return digests | ({"val": digests["test"]} if data.val == "test" else {}), len(train_N)


def digest(source: str, position_N: np.ndarray) -> str:
    """Return a hash of the images at some positions of a data set."""
    return hashlib.sha256(source.encode() + position_N.tobytes()).hexdigest()
