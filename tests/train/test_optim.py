"""Schedule: obeys properties (reductions last, the recorded rate is that of the last step), also after resuming."""

import pytest
import torch
from torch import nn

from vitsweep.config.schema import RecipeConfig
from vitsweep.train.optim import Schedule

STEPS = 4  # per epoch


def make_schedule(**recipe) -> Schedule:
    wanted = RecipeConfig(**{"lr": 1.0, "epochs": 3} | recipe)
    return Schedule(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=wanted.lr), wanted, STEPS)


def take_step(schedule: Schedule) -> float:
    """Take one step and return the rate it used."""
    used = schedule.optimizer.param_groups[0]["lr"]
    schedule.optimizer.step()
    schedule.after_step()
    return used


def test_plateau_reduction_during_warmup_lasts():
    schedule = make_schedule(schedule="plateau", plateau_factor=0.1, plateau_patience=0, warmup_epochs=2.0)
    first = [take_step(schedule) for _ in range(STEPS)]
    schedule.after_epoch(1.0)
    schedule.after_epoch(1.0)  # no better than before: reduced
    second = [take_step(schedule) for _ in range(STEPS + 2)]
    assert first == pytest.approx([0.125, 0.25, 0.375, 0.5])
    assert second == pytest.approx([0.0625, 0.075, 0.0875, 0.1, 0.1, 0.1])


def test_plateau_reduction_during_warmup_survives_resuming():
    recipe = {"schedule": "plateau", "plateau_factor": 0.1, "plateau_patience": 0, "warmup_epochs": 2.0}
    schedule, again = make_schedule(**recipe), make_schedule(**recipe)
    for _ in range(STEPS):
        take_step(schedule)
    schedule.after_epoch(1.0)
    schedule.after_epoch(1.0)
    again.optimizer.load_state_dict(schedule.optimizer.state_dict())
    again.load_state_dict(schedule.state_dict())
    assert again.lr == schedule.lr == 0.5
    assert [take_step(again) for _ in range(STEPS)] == [take_step(schedule) for _ in range(STEPS)]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau"])
def test_lr_is_that_of_the_last_step(schedule):
    found = make_schedule(schedule=schedule, warmup_epochs=1.5)
    assert found.lr == 1.0
    for _ in range(3 * STEPS):
        assert take_step(found) == found.lr
