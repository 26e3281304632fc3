"""Optimizer and learning-rate schedule, from a recipe."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from vitsweep.config.checks import one_of
from vitsweep.config.recipe.rules import FALLING, OPTIMIZERS, SCHEDULES
from vitsweep.config.schema import RecipeConfig
from vitsweep.errors import ConfigError
from vitsweep.train.optimizers import (
    SCHEDULE_FREE,
    Lion,
    MuonWithAdamW,
    betas,
    decay_groups,
    eager,
    is_hidden_matrix,
    make_schedule_free,
)


def make_optimizer(model: nn.Module, recipe: RecipeConfig) -> torch.optim.Optimizer:
    """Return the recipe's optimizer, ready for training, with weight decay on the weights of recipe.decay_groups.

    Raises:
        ConfigError: the recipe names another optimizer, or one whose library is not installed.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups, name = decay_groups(trained, recipe), recipe.optimizer
    if name == "adamw":
        return eager(torch.optim.AdamW)(groups, lr=recipe.lr, betas=betas(recipe, (0.9, 0.999)), fused=True)
    if name == "sgd":
        nesterov = recipe.momentum > 0
        return eager(torch.optim.SGD)(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=True)
    if name == "lion":
        return eager(Lion)(groups, recipe.lr, betas(recipe, (0.9, 0.99)))
    if name == SCHEDULE_FREE:
        return make_schedule_free(groups, recipe)
    if name == "muon":
        hidden = {name: p for name, p in trained.items() if is_hidden_matrix(name, p)}
        others = {name: p for name, p in trained.items() if name not in hidden}
        return eager(MuonWithAdamW)(decay_groups(hidden, recipe), decay_groups(others, recipe), recipe)
    raise ConfigError(one_of(OPTIMIZERS, "recipe", recipe, "optimizer"))


def lr_multiplier(recipe: RecipeConfig, step: int, steps_per_epoch: int) -> float:
    """Return the factor of `recipe.lr` at a step, counted from 0; plateau's own factor comes on top.

    Raises:
        ConfigError: the recipe names another schedule than SCHEDULES.
    """
    if recipe.schedule not in SCHEDULES:
        raise ConfigError(one_of(SCHEDULES, "recipe", recipe, "schedule"))
    warmup_steps = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        start = recipe.warmup_lr / recipe.lr
        return start + (1 - start) * ((step + 1) / warmup_steps)
    if recipe.schedule not in FALLING:
        return 1.0
    end = recipe.epochs * steps_per_epoch - round(recipe.cooldown_epochs * steps_per_epoch)
    first = end - round(recipe.decay_epochs * steps_per_epoch) if recipe.decay_epochs else warmup_steps
    share = min(1.0, max(0, step - first) / max(1, end - first))
    falling = 0.5 * (1 + math.cos(math.pi * share)) if recipe.schedule == "cosine" else 1 - share
    floor = recipe.min_lr / recipe.lr
    return floor + (1 - floor) * falling


class Schedule:
    """Learning-rate schedule: call `after_step` after each step, `after_epoch` with the validation loss."""

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: RecipeConfig, steps_per_epoch: int):
        self.optimizer = optimizer
        self.warmup_steps = round(recipe.warmup_epochs * steps_per_epoch)
        self.by_step = LambdaLR(optimizer, lambda step: lr_multiplier(recipe, step, steps_per_epoch))
        self.moves_every_step = recipe.schedule in FALLING
        self.lr = float(recipe.lr)
        """Learning rate of the last step; before the first, the recipe's."""
        self.by_epoch = None
        if recipe.schedule == "plateau":
            self.by_epoch = ReduceLROnPlateau(
                optimizer, factor=recipe.plateau_factor, patience=recipe.plateau_patience, min_lr=recipe.min_lr
            )

    @property
    def next_lr(self) -> float:
        """Learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        """Advance by one step; under plateau the rate changes by step only during warm-up."""
        self.lr = self.next_lr
        if self.moves_every_step or self.by_step.last_epoch < self.warmup_steps:
            self.by_step.step()

    def after_epoch(self, val_loss: float) -> None:
        """Pass the epoch's validation loss to plateau, whose reduction also scales the rest of a warm-up."""
        if self.by_epoch is None:
            return
        before = self.next_lr
        self.by_epoch.step(val_loss)
        self.by_step.base_lrs = [lr * self.next_lr / before for lr in self.by_step.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the state that resuming needs (tensors and plain values)."""
        # The lambda holds the recipe, which a resumed run has anyway.
        by_step = {k: v for k, v in self.by_step.state_dict().items() if k != "lr_lambdas"}
        by_epoch = self.by_epoch.state_dict() if self.by_epoch else None
        return {"by_step": by_step, "by_epoch": by_epoch, "lr": self.lr}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.lr = state.get("lr", self.lr)  # absent in states of earlier versions
        self.by_step.load_state_dict(state["by_step"] | {"lr_lambdas": [None]})
        if self.by_epoch is not None:
            self.by_epoch.load_state_dict(state["by_epoch"])
