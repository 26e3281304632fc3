"""One optimizer step of a cell: its ingredients (Setup), its position (Step), and train_step.

Every step draws its batch, augmentation and dropout from streams named after the seed, the epoch and the step,
independent of earlier draws, whether a cell is trained alone or in a pack (pack.py).
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitsweep.config.model_schema import ModelConfig
from vitsweep.config.schema import Config, RecipeConfig
from vitsweep.data.augment import augment_images, erase_and_mix, normalize
from vitsweep.data.counts import batch_and_steps
from vitsweep.data.load import Data, load_data
from vitsweep.errors import NonFiniteLoss
from vitsweep.model.build import Network, make_model
from vitsweep.model.cost import MAX_EVALUATION_BATCH, evaluation_batch, flops_per_image
from vitsweep.seeding import derive_seed, make_generator, seed_everything
from vitsweep.study.provenance.environment import record_environment
from vitsweep.study.record import Record, code_identity, library_versions
from vitsweep.train.average import Averages, average_step, make_averages
from vitsweep.train.device import (
    compile_network,
    device_name,
    keep_freed_memory,
    machine_facts,
    pick_device,
    pick_kernels,
    pick_precision,
)
from vitsweep.train.optim import Schedule, make_optimizer


@dataclass(kw_only=True)
class Setup:
    """Ingredients of training, made from a configuration; equal whenever a cell resumes."""

    device: torch.device
    precision: str
    data: Data
    model: nn.Module
    network: Callable[[Tensor], Tensor]
    """The model or its compiled form, which shares its weights."""
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    batch_size: int
    steps_per_epoch: int
    averages: Averages = field(default_factory=dict)
    """Averages of the weights that the recipe asks for."""

    @property
    def evaluation_batch(self) -> int:
        """Number of images to score at a time, within the memory of a training step.

        On the CPU tensors of the same sizes as in training, since the C library reuses freed blocks of those.
        """
        if self.device.type == "cpu":
            return min(MAX_EVALUATION_BATCH, self.batch_size)
        return evaluation_batch(self.model_config, self.batch_size)

    @property
    def model_config(self) -> ModelConfig:
        """Settings of the network; the linear layer of a trial step has none."""
        assert isinstance(self.model, Network)
        return self.model.config


@dataclass(kw_only=True)
class Step:
    """The next optimizer step of a cell; epochs are counted from 1, steps of an epoch from 0."""

    setup: Setup
    config: Config
    index_B: Tensor
    """Indices of the training images, on the device."""
    epoch: int
    step: int

    @property
    def is_last(self) -> bool:
        """True for the last step of an epoch."""
        return self.step + 1 == self.setup.steps_per_epoch


Training = Generator[Step, tuple[Tensor, float], None]
"""Training of a cell: yields steps, is sent the result of train_step and its seconds."""


def prepare(config: Config, load: Callable[[Config], Data] = load_data) -> Setup:
    """Set up the device and return data, model with its seed's weights, optimizer and schedule."""
    device = pick_device(config.device)
    keep_freed_memory()
    pick_kernels(device, deterministic=config.deterministic)
    data = load(config).to(device)
    model = make_model(config).to(device)
    optimizer = make_optimizer(model, config.recipe)
    batch_size, steps_per_epoch = batch_and_steps(len(data.train), config.recipe.batch_size)
    return Setup(
        device=device,
        precision=pick_precision(config.precision, device),
        data=data,
        model=model,
        network=compile_network(model, device) if should_compile(config, device) else model,
        optimizer=optimizer,
        schedule=Schedule(optimizer, config.recipe, steps_per_epoch),
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        averages=make_averages(model, config.recipe),
    )


def describe_setup(record: Record, setup: Setup, directory: Path) -> None:
    """Fill in data, code, versions, environment, device and sizes of the record of the cell in `directory`."""
    data = setup.data
    record.data_fingerprint, record.data_name, record.classes = data.fingerprint, data.name, data.classes
    record.normalisation = {"mean": data.mean, "std": data.std}
    record.num_images = {"train": len(data.train), "val": len(data.val), "test": len(data.test)}
    record.code, record.versions = code_identity(), library_versions()
    record.environment = record_environment(directory, machine_facts(setup.device))
    record.device, record.precision = device_name(setup.device), setup.precision
    record.threads = torch.get_num_threads()
    record.params = sum(p.numel() for p in setup.model.parameters() if p.requires_grad)
    record.flops_per_image = flops_per_image(setup.model_config)


def should_compile(config: Config, device: torch.device) -> bool:
    """Return True if the model is to be compiled; `auto` compiles on cuda, for runs long enough to profit."""
    if config.compile != "auto":
        return config.compile == "on"
    return device.type == "cuda" and config.recipe.epochs >= 5


def train_step(setup: Setup, config: Config, index_B: Tensor, epoch: int, step: int) -> Tensor:
    """Take one optimizer step on the training images `index_B`.

    Returns:
        Summed loss and number of correct predictions, (2,), on the device.

    Raises:
        NonFiniteLoss: the loss is not finite; the weights are unchanged (on cuda the step is skipped and fit raises at
            the end of the epoch).
    """
    # A stream of this step alone, so that resuming in the middle of an epoch changes nothing.
    seed_everything(derive_seed(config.seed, "dropout", epoch, step), setup.device)
    image_BCHW, target = training_batch(setup, config, index_B, epoch, step)
    setup.optimizer.zero_grad(set_to_none=True)
    loss, logit_BK = forward_backward(setup, config.recipe, image_BCHW, target)
    update_weights(setup, config, loss, epoch, step)
    return batch_totals(loss, logit_BK, target)


def forward_backward(setup: Setup, recipe: RecipeConfig, image_BCHW: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Run both passes on a batch, or on its parts one after the other; return mean loss and logits (B, K)."""
    losses, logits = [], []
    parts = recipe.gradient_accumulation_steps
    for images, targets in zip(image_BCHW.chunk(parts), target.chunk(parts), strict=True):
        with torch.autocast(setup.device.type, torch.bfloat16, enabled=setup.precision == "bf16"):
            logit_BK = setup.network(images).float()
        loss = training_loss(logit_BK, targets, recipe)
        if parts > 1:
            loss, logit_BK = loss * (len(targets) / len(target)), logit_BK.detach()
        loss.backward()
        losses.append(loss)
        logits.append(logit_BK)
    return (losses[0], logits[0]) if parts == 1 else (torch.stack(losses).detach().sum(), torch.cat(logits))


def training_batch(setup: Setup, config: Config, index_B: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
    """Return augmented, normalized images (B, C, H, W) of a step and their targets.

    Targets are labels (B,), or probabilities (B, K) if the batch is mixed.
    """
    recipe, data = config.recipe, setup.data
    stream = partial(make_generator, config.seed, "augment", epoch, step)
    image_BCHW = augment_images(data.train.image_NCHW[index_B], recipe, stream, data.mean)
    image_BCHW = normalize(image_BCHW, data.mean, data.std)
    return erase_and_mix(image_BCHW, data.train.label_N[index_B], recipe, len(data.classes), epoch, stream)


def training_loss(logit_BK: Tensor, target: Tensor, recipe: RecipeConfig) -> Tensor:
    """Return the recipe's mean loss of logits.

    Args:
        target: labels (B,) or probabilities (B, K); the latter not for multi_margin.
    """
    if recipe.loss == "multi_margin":
        return F.multi_margin_loss(logit_BK, target)
    if recipe.loss == "cross_entropy":
        return F.cross_entropy(logit_BK, target, label_smoothing=recipe.label_smoothing)
    # As timm's BinaryCrossEntropy: mean over images and classes, smoothed like cross-entropy's targets.
    num_classes = logit_BK.shape[1]
    target_BK = F.one_hot(target, num_classes).to(logit_BK.dtype) if target.dim() == 1 else target
    target_BK = target_BK * (1 - recipe.label_smoothing) + recipe.label_smoothing / num_classes
    return F.binary_cross_entropy_with_logits(logit_BK, target_BK)


def update_weights(setup: Setup, config: Config, loss: Tensor, epoch: int, step: int) -> None:
    """Clip the gradients, take the optimizer step, advance the learning rate and the average.

    Raises:
        NonFiniteLoss: see train_step.
    """
    if config.recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(setup.model.parameters(), config.recipe.clip_norm)
    guard_step(setup, loss, epoch, step)
    setup.optimizer.step()
    setup.schedule.after_step()
    average_step(setup.averages, setup.model)


def batch_totals(loss: Tensor, logit_BK: Tensor, target: Tensor) -> Tensor:
    """Return summed loss and number of correct predictions of a batch, (2,), on the device.

    In a mixed batch the class with the larger share counts as correct.
    """
    label_B = target if target.dim() == 1 else target.argmax(-1)
    return torch.stack([loss.detach() * len(label_B), (logit_BK.argmax(-1) == label_B).sum()])


def guard_step(setup: Setup, loss: Tensor, epoch: int, step: int) -> None:
    """Prevent the optimizer step if the loss is not finite.

    On cuda reading the loss would make the host wait at every step; there `found_inf`, the flag of gradient scaling,
    makes a fused optimizer skip all steps from the first such loss on. Others go on, with weights that are not scored.

    Raises:
        NonFiniteLoss: see train_step.
    """
    if setup.device.type == "cuda":
        is_bad = (~torch.isfinite(loss.detach())).float()
        earlier = getattr(setup.optimizer, "found_inf", None)
        flag = is_bad if earlier is None else torch.maximum(earlier, is_bad)
        setup.optimizer.found_inf = flag  # type: ignore[attr-defined]  # as torch.amp.GradScaler sets it
    elif not math.isfinite(loss.item()):
        raise NonFiniteLoss(f"the training loss became {loss.item()} in epoch {epoch}, step {step}")


def epoch_order(setup: Setup, seed: int, epoch: int) -> Tensor:
    """Return the epoch's permutation of the training images, on the device."""
    order_N = torch.randperm(len(setup.data.train), generator=make_generator(seed, "order", epoch))
    return order_N.to(setup.device)
