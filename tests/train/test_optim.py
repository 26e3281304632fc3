"""Every optimizer and schedule that the configuration allows is made; any other name ends in an error."""

import dataclasses

import pytest
import torch
from torch import nn

from vitsweep.config.recipe.rules import OPTIMIZERS, SCHEDULES
from vitsweep.config.schema import RecipeConfig
from vitsweep.errors import ConfigError
from vitsweep.train.optim import lr_multiplier, make_optimizer

CLASSES = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_allowed_optimizer_is_made(name):
    assert isinstance(make_optimizer(nn.Linear(2, 2), RecipeConfig(optimizer=name)), CLASSES[name])


def test_unknown_optimizer_is_refused():
    with pytest.raises(ConfigError, match="recipe.optimizer=lion  is unknown; allowed: adamw, sgd"):
        make_optimizer(nn.Linear(2, 2), RecipeConfig(optimizer="lion"))


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_allowed_schedule_starts_at_the_peak(name):
    assert lr_multiplier(RecipeConfig(schedule=name), 0, 10) == 1.0


def test_unknown_schedule_is_refused():
    with pytest.raises(ConfigError, match="recipe.schedule=step  is unknown; allowed: constant, cosine, plateau"):
        lr_multiplier(dataclasses.replace(RecipeConfig(), schedule="step"), 0, 10)
