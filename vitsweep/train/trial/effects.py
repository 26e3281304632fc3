"""What a configuration does, measured against a baseline's on made-up images: no data set, no training, CPU, fp32.

Nothing that starts at zero hides anything: before two networks are compared as functions, their weights are made equal
and moved by a little noise.
"""

# Shape letters: B batch, C colour channels, H W pixels, K classes, P all parameters of a model.

import dataclasses
import json
from functools import cached_property
from itertools import zip_longest

import torch
from torch import Tensor, nn

from vitsweep.config.convert import config_hash, hashed_settings
from vitsweep.config.schema import Config
from vitsweep.data.counts import batch_and_steps
from vitsweep.model.build import make_model
from vitsweep.seeding import make_generator
from vitsweep.train.trial.steps import (
    NOISE,
    Scaled,
    learning_rates,
    linear_steps,
    normalize_images,
    random_images,
    split_digest,
    two_steps,
)

EFFECTS = {
    "data": "which images train, validate and test",
    "length": "epochs, steps and images in a step",
    "schedule": "the learning rates of all steps",
    "images": "the first batch after augmentation",
    "weights": "names and shapes of the weights",
    "initialisation": "the first values of the weights in parts that have other shapes",
    "initialisation elsewhere": "the first values of the weights in all other parts",
    "evaluation": "the logits in eval mode, with the same weights",
    "training": "the logits in training mode, with the same weights and the same chance",
    "step": "the first optimizer steps, with the same weights and learning rate",
}
TOLERANCE = 1e-4  # relative; two spellings of one function differ by rounding


class Baseline:
    """What the baseline does, kept to be compared with many arms.

    Args:
        config: the baseline's.
    """

    def __init__(self, config: Config):
        self.config = config
        self.division = split_digest(config)
        self.batch_size, self.steps = batch_and_steps(self.division["train"][1], config.recipe.batch_size)
        self.known: dict[str, dict[str, str]] = {}
        self.models: dict[str, dict[str, str]] = {}

    @cached_property
    def initial(self) -> dict[str, Tensor]:
        """The model's state before training."""
        return copies(make_model(self.config))

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The state that all models are compared with."""
        return copies(perturbed(make_model(self.config)))

    @cached_property
    def logits_twice(self) -> tuple[Tensor, Tensor]:
        """What the model answers with these weights, in eval mode and in training mode."""
        model = make_model(self.config)
        model.load_state_dict(self.weights)
        image_BCHW = normalize_images(random_images(self.config, 2))
        return logits(model, image_BCHW, False), logits(model, image_BCHW, True)

    @cached_property
    def first_images(self) -> Tensor:
        """The first batch after augmentation."""
        return linear_steps(self.config)[0]

    @cached_property
    def stand_in_weights(self) -> Tensor:
        """The stand-in's weights after two steps."""
        return linear_steps(self.config)[1]

    @cached_property
    def stepped_weights(self) -> Tensor:
        """The model's weights after two steps."""
        return self.model_steps(self.config)

    def effects_of(self, config: Config) -> dict[str, str]:
        """What this configuration does differently: names of EFFECTS -> how. The seed is the baseline's.

        Raises:
            DataError: the images cannot be divided as it asks.
        """
        config = dataclasses.replace(config, seed=self.config.seed)
        key = config_hash(config)
        if key not in self.known:
            self.known[key] = self.measured(config)
        return self.known[key]

    def measured(self, config: Config) -> dict[str, str]:
        """effects_of, which knows what was measured before."""
        found = self.effects_on_course(config) | self.effects_on_model(config)
        if config.recipe != self.config.recipe and same_image_shape(config, self.config):
            image_BCHW, weights_P = linear_steps(config)
            if not torch.equal(image_BCHW, self.first_images):
                found["images"] = "other pixels"
            if not torch.equal(weights_P, self.stand_in_weights):
                found["step"] = "other weights after it"
        if not found and not torch.equal(self.model_steps(config), self.stepped_weights):
            found["step"] = "other weights after it"
        return {name: found[name] for name in EFFECTS if name in found}

    def effects_on_course(self, config: Config) -> dict[str, str]:
        """What differs in data, length and learning rates."""
        found = {}
        divided = split_digest(config)
        batch_size, steps = batch_and_steps(divided["train"][1], config.recipe.batch_size)
        others = [name for name, (digest, _) in divided.items() if digest != self.division[name][0]]
        if others:
            found["data"] = f"other images: {', '.join(others)}"
        course = (config.recipe.epochs, steps, batch_size)
        if course != (self.config.recipe.epochs, self.steps, self.batch_size):
            found["length"] = "{} epochs of {} steps of {} images".format(*course)
        if config.recipe != self.config.recipe or steps != self.steps:
            mine, theirs = learning_rates(config.recipe, steps), learning_rates(self.config.recipe, self.steps)
            place = next((i for i, (a, b) in enumerate(zip_longest(mine, theirs)) if None not in (a, b) and a != b), -1)
            if place >= 0:
                found["schedule"] = f"other learning rates from step {place} on"
        return found

    def effects_on_model(self, config: Config) -> dict[str, str]:
        """What differs in the network: its weights, their first values, its logits."""
        key = json.dumps(hashed_settings(config)["model"], sort_keys=True)
        if key == json.dumps(hashed_settings(self.config)["model"], sort_keys=True):
            return {}
        if key not in self.models:
            self.models[key] = self.compare_model(config)
        return self.models[key]

    def compare_model(self, config: Config) -> dict[str, str]:
        """effects_on_model, measured."""
        model = make_model(config)
        found = differences_at_start(self.initial, copies(model))
        self.share_weights(model)
        image_BCHW = normalize_images(random_images(config, 2))
        if not same_image_shape(config, self.config):
            found["images"] = "another size"
        if not close(logits(model, image_BCHW, False), self.logits_twice[0]):
            found["evaluation"] = found["training"] = "other logits"
        elif not close(logits(model, image_BCHW, True), self.logits_twice[1]):
            found["training"] = "other logits"
        return found

    def share_weights(self, model: nn.Module) -> None:
        """Give a model the baseline's weights, as far as it has the same; all others are moved by noise."""
        state = copies(perturbed(model))
        for name, tensor in state.items():
            if name in self.weights and tensor.numel() == self.weights[name].numel():
                state[name] = self.weights[name].reshape(tensor.shape)
        model.load_state_dict(state)

    def model_steps(self, config: Config) -> Tensor:
        """All weights of the configuration's own model after two steps from the shared ones."""
        model = make_model(config)
        self.share_weights(model)
        images = random_images(config, 2)
        # The least likely classes: a right answer would leave no gradient at the larger scale.
        return two_steps(config, model, Scaled(model), images, self.logits_twice[0].argmin(-1))


def differences_at_start(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, str]:
    """How two models differ when nothing is trained yet: in the shapes of their weights, and in the values."""
    found = {}
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in (ours, theirs)]
    differing = sorted(name for name in shapes[0] | shapes[1] if shapes[0].get(name) != shapes[1].get(name))
    if differing:
        found["weights"] = f"{len(differing)} differ in name or shape: {differing[0]} ..."
    # What a part's first values are may depend on its size (a convolution's bias on its inputs), not on that of others.
    parts = {name.rpartition(".")[0] for name in differing}
    shared = [name for name in ours if name in theirs and ours[name].numel() == theirs[name].numel()]
    other = [name for name in shared if not torch.equal(ours[name].flatten(), theirs[name].flatten())]
    for effect, is_here in (("initialisation", True), ("initialisation elsewhere", False)):
        names = [name for name in other if (name.rpartition(".")[0] in parts) == is_here]
        if names:
            found[effect] = f"{len(names)} start with other values: {names[0]} ..."
    return found


def same_image_shape(one: Config, other: Config) -> bool:
    """Whether both models take the same images."""
    return (one.model.image_size, one.model.num_channels) == (other.model.image_size, other.model.num_channels)


def copies(model: nn.Module) -> dict[str, Tensor]:
    """A copy of everything in a model's state."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@torch.no_grad()
def perturbed(model: nn.Module) -> nn.Module:
    """The model, every weight moved by a little noise of its own stream."""
    for name, parameter in model.named_parameters():
        parameter += NOISE * torch.randn(parameter.shape, generator=make_generator(0, "noise", name))
    return model


@torch.no_grad()
def logits(model: nn.Module, image_BCHW: Tensor, training: bool) -> Tensor:
    """What the model answers, drawing dropout from one fixed stream."""
    torch.manual_seed(0)
    return model.train(training)(image_BCHW)


def close(one_BK: Tensor, other_BK: Tensor) -> bool:
    """Whether two sets of logits are one function's, up to rounding."""
    return one_BK.shape == other_BK.shape and bool(
        (one_BK - other_BK).abs().max() <= TOLERANCE * other_BK.abs().max().clamp_min(1e-6)
    )
