"""Every optimizer and schedule that the configuration allows is made; any other name ends in an error."""

import dataclasses

import pytest
import torch
from schedulefree import AdamWScheduleFree
from torch import nn

from vitsweep.config.recipe.rules import OPTIMIZERS, SCHEDULES
from vitsweep.config.schema import RecipeConfig
from vitsweep.errors import ConfigError
from vitsweep.train.optim import lr_multiplier, make_optimizer
from vitsweep.train.optimizers import Lion, MuonWithAdamW

CLASSES = {
    "adamw": torch.optim.AdamW,
    "lion": Lion,
    "muon": MuonWithAdamW,
    "schedule_free_adamw": AdamWScheduleFree,
    "sgd": torch.optim.SGD,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_allowed_optimizer_is_made(name):
    assert isinstance(make_optimizer(nn.Linear(2, 2), RecipeConfig(optimizer=name)), CLASSES[name])


def test_unknown_optimizer_is_refused():
    with pytest.raises(
        ConfigError, match="recipe.optimizer=adam  is unknown; allowed: adamw, lion, .*; did you mean adamw"
    ):
        make_optimizer(nn.Linear(2, 2), RecipeConfig(optimizer="adam"))


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_allowed_schedule_starts_at_the_peak(name):
    assert lr_multiplier(RecipeConfig(schedule=name), 0, 10) == 1.0


def test_unknown_schedule_is_refused():
    with pytest.raises(ConfigError, match="recipe.schedule=step  is unknown; allowed: constant, cosine, linear"):
        lr_multiplier(dataclasses.replace(RecipeConfig(), schedule="step"), 0, 10)
