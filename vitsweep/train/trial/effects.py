"""Effects of a configuration against a baseline, measured on random images: no data set, no training, CPU, fp32.

Networks are compared as functions with perturbed weights, which depend on their names and shapes alone: so nothing
that starts at zero hides an effect.
"""

# Shape letters: B batch, C colour channels, H W pixels, K classes, P all parameters of a model.

import dataclasses
import json
from functools import cached_property

import torch
from torch import Tensor, nn

from vitsweep.config.convert import config_hash, hashed_settings
from vitsweep.config.schema import Config, RecipeConfig
from vitsweep.data.augment import normalize
from vitsweep.data.counts import batch_and_steps
from vitsweep.model.build import make_model
from vitsweep.seeding import make_generator
from vitsweep.train.trial.steps import NOISE, learning_rates, linear_steps, random_images, split_digest, two_steps

EFFECTS = {
    "data": "which images train, validate and test",
    "length": "epochs, steps and images in a step",
    "schedule": "the learning rates of all steps",
    "augmentation": "the probabilities of erasing and mixing, and the epochs that are mixed",
    "images": "the first batch after augmentation",
    "weights": "names and shapes of the weights",
    "initialization": "the first values of the weights in parts that have other shapes",
    "initialization elsewhere": "the first values of the weights in all other parts",
    "evaluation": "the logits in eval mode, with the same weights",
    "training": "the logits in training mode, with the same weights and random numbers",
    "step": "the first optimizer steps, with the same weights and learning rate",
    "average": "the moving average of the weights",
}
TOLERANCE = 1e-4  # relative; two spellings of one function differ by rounding


class Trial:
    """Measurements of one configuration, each made at its first use."""

    def __init__(self, config: Config):
        self.config = config

    @cached_property
    def split(self) -> tuple[dict[str, str], int]:
        """Digests of the splits, and the number of training images; see split_digest."""
        return split_digest(self.config)

    @cached_property
    def length(self) -> tuple[int, int, int]:
        """Epochs, steps of an epoch, and images of a step."""
        batch_size, steps = batch_and_steps(self.split[1], self.config.recipe.batch_size)
        return self.config.recipe.epochs, steps, batch_size

    @cached_property
    def linear(self) -> tuple[Tensor, Tensor]:
        """First augmented batch, and a linear layer's weights after two steps."""
        return linear_steps(self.config)

    @cached_property
    @torch.no_grad()
    def network(self) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Initial state; logits (B, K) of two images with perturbed weights, in eval and in training mode."""
        model, channels = make_model(self.config), self.config.model.num_channels
        initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        perturb(model)
        image_BCHW = normalize(random_images(self.config, 2), [0.5] * channels, [0.25] * channels)
        evaluation = model.eval()(image_BCHW)
        torch.manual_seed(0)  # the dropout stream
        return initial, evaluation, model.train()(image_BCHW)

    @cached_property
    def stepped(self) -> Tensor:
        """Weights (P,) of the network two steps after the perturbed ones."""
        model = perturb(make_model(self.config))
        label_B = self.network[1].argmin(-1)  # the least likely: a right answer leaves no gradient at the larger scale
        return two_steps(self.config, model, random_images(self.config, 2), label_B)


class Baseline:
    """The configuration that arms are compared with.

    Raises:
        DataError: the images cannot be divided as it asks.
    """

    def __init__(self, config: Config):
        self.trial = Trial(config)
        self.trial.length  # noqa: B018 - raises DataError
        self.effects: dict[str, dict[str, str]] = {}
        self.network_effects: dict[str, dict[str, str]] = {}

    def effects_of(self, config: Config) -> dict[str, str]:
        """Return the names of EFFECTS that a configuration has -> how it differs. Its seed is the baseline's.

        Raises:
            DataError: the images cannot be divided as it asks.
        """
        config = dataclasses.replace(config, seed=self.trial.config.seed)
        key = config_hash(config)
        if key not in self.effects:
            self.effects[key] = self.compare(Trial(config))
        return self.effects[key]

    def compare(self, arm: Trial) -> dict[str, str]:
        """Return the effects of an arm, in the order of EFFECTS."""
        base, networks = self.trial, [json.dumps(hashed_settings(t.config)["model"]) for t in (self.trial, arm)]
        found = compare_course(base, arm)
        if networks[0] != networks[1]:
            if networks[1] not in self.network_effects:
                self.network_effects[networks[1]] = compare_networks(base, arm)
            found |= self.network_effects[networks[1]]
        if arm.config.recipe != base.config.recipe and image_shape(arm.config) == image_shape(base.config):
            if not torch.equal(arm.linear[0], base.linear[0]):
                found["images"] = "other pixels"
            if not torch.equal(arm.linear[1], base.linear[1]):
                found["step"] = "other weights after it"
        if not found and not torch.equal(arm.stepped, base.stepped):
            found["step"] = "other weights after it"
        return {name: found[name] for name in EFFECTS if name in found}


def compare_course(base: Trial, arm: Trial) -> dict[str, str]:
    """Return the differences in data, length, learning rates and probabilities of augmentation."""
    found = {}
    prints = base.config.data.fingerprint, arm.config.data.fingerprint
    if prints[0] != prints[1] and image_shape(base.config) == image_shape(arm.config):
        found["data"] = "other images: all"
    elif splits := [name for name, digest in arm.split[0].items() if digest != base.split[0][name]]:
        found["data"] = f"other images: {', '.join(splits)}"
    if arm.length != base.length:
        found["length"] = "{} epochs of {} steps of {} images".format(*arm.length)
    if arm.config.recipe != base.config.recipe or arm.length != base.length:
        rates = zip(*(learning_rates(t.config.recipe, t.length[1]) for t in (base, arm)), strict=False)
        if (step := next((i for i, (one, other) in enumerate(rates) if one != other), None)) is not None:
            found["schedule"] = f"other learning rates from step {step} on"
    if random_augmentation(arm.config.recipe) != random_augmentation(base.config.recipe):
        found["augmentation"] = "other probabilities or epochs"
    averages = [(t.config.recipe.ema_decay, t.config.recipe.average_last) for t in (base, arm)]
    if averages[0] != averages[1]:
        found["average"] = "decay {}, last {} epochs".format(*averages[1])
    return found


def random_augmentation(recipe: RecipeConfig) -> tuple[float, ...]:
    """Return the probabilities whose effect a first batch need not show, as far as they are read."""
    last = min(recipe.mixup_off_epoch or recipe.epochs, recipe.epochs)
    has_both = recipe.mixup_alpha > 0 and recipe.cutmix_alpha > 0
    mixing = (recipe.mixup_prob, last / recipe.epochs, recipe.mixup_switch_prob if has_both else 0.0)
    return recipe.random_erasing_prob, *(mixing if recipe.is_mixing else ())


def compare_networks(base: Trial, arm: Trial) -> dict[str, str]:
    """Return the differences of the networks: weights, their first values, logits."""
    found = compare_initial(base.network[0], arm.network[0])
    if image_shape(base.config) != image_shape(arm.config):
        found["images"] = "another size"
    if not is_close(arm.network[1], base.network[1]):
        found["evaluation"] = found["training"] = "other logits"
    elif not is_close(arm.network[2], base.network[2]):
        found["training"] = "other logits"
    return found


def compare_initial(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, str]:
    """Return the differences of two untrained networks, in the shapes of their weights and in the values."""
    found = {}
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in (ours, theirs)]
    differing = sorted(name for name in shapes[0] | shapes[1] if shapes[0].get(name) != shapes[1].get(name))
    if differing:
        found["weights"] = f"{len(differing)} differ in name or shape: {differing[0]} ..."
    # A part's first values may depend on its own size (a convolution's bias on its inputs), not on that of others.
    parts = {name.rpartition(".")[0] for name in differing}
    shared = [name for name in ours if name in theirs and ours[name].numel() == theirs[name].numel()]
    other = [name for name in shared if not torch.equal(ours[name].flatten(), theirs[name].flatten())]
    for effect, is_here in (("initialization", True), ("initialization elsewhere", False)):
        if names := [name for name in other if (name.rpartition(".")[0] in parts) == is_here]:
            found[effect] = f"{len(names)} start with other values: {names[0]} ..."
    return found


def image_shape(config: Config) -> tuple[int, int]:
    """Return the size and the channels of the images that a model takes."""
    return config.model.image_size, config.model.num_channels


@torch.no_grad()
def perturb(model: nn.Module) -> nn.Module:
    """Set every weight to random values that depend on its name and size alone, and return the model."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.numel(), generator=make_generator(0, "noise", name)).view_as(parameter)
        if parameter.dim() > 1:
            parameter.copy_(noise / (parameter.numel() / len(parameter)) ** 0.5)  # logits of moderate size
        else:
            parameter.copy_(NOISE * noise + float(name.endswith("weight")))  # scales of norms around 1, biases around 0
    return model


def is_close(one_BK: Tensor, other_BK: Tensor) -> bool:
    """Return True if two sets of logits are equal up to rounding."""
    return one_BK.shape == other_BK.shape and bool(
        (one_BK - other_BK).abs().max() <= TOLERANCE * other_BK.abs().max().clamp_min(1e-6)
    )
