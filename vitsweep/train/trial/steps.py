"""What stands in for a data set and a training run where an arm is only to be compared: made-up images, two steps.

The step is step.train_step itself. Where the network does not matter (augmentation, loss, clipping, optimizer) a
linear layer on 128 images stands in for it.
"""

# Shape letters: B batch, C colour channels, H W pixels, N images, P all parameters of a model.

import hashlib
import warnings
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from vitsweep.config.schema import Config, RecipeConfig
from vitsweep.data.augment import normalize
from vitsweep.data.load import Data, ImageSet, stratified_split
from vitsweep.data.shapes import make_shapes
from vitsweep.errors import DataError
from vitsweep.model.build import make_model
from vitsweep.seeding import make_generator
from vitsweep.train.device import compile_network, pick_kernels, pick_precision
from vitsweep.train.optim import Schedule, lr_multiplier, make_optimizer
from vitsweep.train.step import Setup, Step, should_compile, train_step

NUM_IMAGES = 128  # for augmentation: of two images, both might have kept their side by chance
CLASS_SIZE = 5000  # training images of each class of CIFAR-10, and what is assumed of a folder that is not looked at
STEP_LR = 0.1  # of the compared steps: large, so that rounding does not swallow a small weight decay
SCALES = (1.0, 1e4)  # of the logits in two consecutive steps: clipping acts on one of them whatever its norm
NOISE = 0.02  # standard deviation of weights that stand in for learned ones


class Scaled(nn.Module):
    """A network whose logits are multiplied, so that the gradients are; it remembers the images that it was shown."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.scale = network, 1.0
        self.seen: list[Tensor] = []

    def forward(self, image_BCHW: Tensor) -> Tensor:
        self.seen.append(image_BCHW)
        return self.network(image_BCHW) * self.scale


def linear_steps(config: Config) -> tuple[Tensor, Tensor]:
    """The first augmented batch, and a linear model's weights after two real training steps."""
    images = random_images(config, NUM_IMAGES)
    generator = make_generator(0, "stand-in")
    model = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), config.model.num_classes))
    for parameter in model.parameters():
        parameter.data.normal_(std=NOISE, generator=generator)
    label_N = torch.randint(config.model.num_classes, (NUM_IMAGES,), generator=generator)
    network = Scaled(model)
    weights_P = two_steps(config, model, network, images, label_N)
    return network.seen[0], weights_P


def two_steps(config: Config, model: nn.Module, network: Scaled, image_NCHW: Tensor, label_N: Tensor) -> Tensor:
    """All weights of a model after two training steps, the second with far larger gradients."""
    setup = trial_setup(config, model, network, image_NCHW, label_N)
    model.train()
    for step, scale in enumerate(SCALES):
        network.scale = scale
        for group in setup.optimizer.param_groups:
            group["lr"] = STEP_LR
        train_step(setup, config, setup.data.train.id_N, 1, step)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def trial_setup(
    config: Config,
    model: nn.Module,
    network: nn.Module,
    image_NCHW: Tensor,
    label_N: Tensor,
    precision: str = "fp32",
) -> Setup:
    """What step.prepare makes, with these images in place of a data set, all of them in one batch.

    Args:
        model: on its device already.
        network: what answers, e.g. the model compiled.
    """
    device = image_NCHW.device
    images = ImageSet(image_NCHW=image_NCHW, label_N=label_N, id_N=torch.arange(len(label_N), device=device))
    channels = image_NCHW.shape[1]
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
    """Make a step of the configuration's own model, batch and optimizer on random images."""
    pick_kernels(device, deterministic=config.deterministic)
    model = make_model(config).to(device).train()
    images = random_images(config, config.recipe.batch_size).to(device)
    labels = torch.arange(len(images), device=device) % config.model.num_classes
    network = compile_network(model, device) if should_compile(config, device) else model
    setup = trial_setup(config, model, network, images, labels, pick_precision(config.precision, device))
    return Step(setup=setup, config=config, index_B=setup.data.train.id_N, epoch=1, step=0)


def learning_rates(recipe: RecipeConfig, steps: int) -> Iterator[float]:
    """The learning rate of every step, as if the validation loss never got better: then plateau acts most."""
    if recipe.schedule != "plateau":  # spares LambdaLR's bookkeeping, which takes half a second
        yield from (recipe.lr * lr_multiplier(recipe, step, steps) for step in range(recipe.epochs * steps))
        return
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    schedule = Schedule(optimizer, recipe, steps)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")  # nothing is optimized here
        for _ in range(recipe.epochs):
            for _ in range(steps):
                yield schedule.lr
                schedule.after_step()
            schedule.after_epoch(1.0)


def split_digest(config: Config) -> dict[str, tuple[str, int]]:
    """What the images of train, val and test are, as a digest, and how many.

    Of cifar10 and of a folder the images are not looked at; a folder is taken to be as large as CIFAR-10.

    Raises:
        DataError: the images cannot be divided as the configuration asks.
    """
    data, classes = config.data, [str(k) for k in range(config.model.num_classes)]
    num_train = data.shapes_train if data.name == "shapes" else CLASS_SIZE * len(classes)
    label_N = np.sort(np.arange(num_train) % len(classes))
    pixels = (data.name, f"{data.name} test")
    if data.name == "shapes":
        pixels = shapes_digests(data.shapes_train, data.shapes_test, data.split_seed)
    try:
        train_N, val_N = stratified_split(label_N, classes, data)
    except DataError:
        if data.name != "image_folder":
            raise
        own = hashlib.sha256(repr(data).encode()).hexdigest()  # perhaps possible there: every setting is another
        return {name: (own, num_train) for name in ("train", "val", "test")}
    test = (pixels[1], 0)
    found = {name: (digest(pixels[0], chosen), len(chosen)) for name, chosen in (("train", train_N), ("val", val_N))}
    return found | {"test": test} | ({"val": test} if data.val == "test" else {})


def digest(pixels: str, position_N: np.ndarray) -> str:
    """Stands for the images at some positions of a data set."""
    return hashlib.sha256(pixels.encode() + position_N.tobytes()).hexdigest()


@cache
def shapes_digests(num_train: int, num_test: int, seed: int) -> tuple[str, str]:
    """Hashes of all training and of all test pixels of data=shapes."""
    image_NCHW = make_shapes(num_train, num_test, seed).image_NCHW
    parts = (image_NCHW[:num_train], image_NCHW[num_train:])
    train, test = (hashlib.sha256(np.ascontiguousarray(part)).hexdigest() for part in parts)
    return train, test


def random_images(config: Config, count: int) -> Tensor:
    """Random pixels (N, C, H, W), uint8, of the size that the model wants; the same at every call."""
    size, generator = config.model.image_size, make_generator(0, "made-up images")
    return torch.randint(256, (count, config.model.num_channels, size, size), generator=generator, dtype=torch.uint8)


def normalize_images(image_BCHW: Tensor) -> Tensor:
    """Images as a network sees them."""
    channels = image_BCHW.shape[1]
    return normalize(image_BCHW, [0.5] * channels, [0.25] * channels)
