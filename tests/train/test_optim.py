"""Every optimizer and schedule that the configuration allows is made; any other name ends in an error."""

import dataclasses
import subprocess
import sys

import pytest
import torch
from schedulefree import AdamWScheduleFree
from torch import nn

from vitsweep.config.recipe.rules import OPTIMIZERS, SCHEDULES
from vitsweep.config.schema import RecipeConfig
from vitsweep.errors import ConfigError
from vitsweep.train.optim import lr_multiplier, make_optimizer
from vitsweep.train.optimizers import Lion, MuonWithAdamW, eager

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


def trained(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> list[torch.Tensor]:
    """Weight and state after two steps on gradients that depend on the weight."""
    for _ in range(2):
        optimizer.zero_grad()
        weight.sin().sum().backward()
        optimizer.step()
    return [weight.detach(), *(value for state in optimizer.state.values() for value in state.values())]


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_steps_of_an_eager_optimizer_are_those_of_torchs_own(kind):
    results = []
    for optimizer_class in (kind, eager(kind)):
        weight = nn.Parameter(torch.arange(6.0).view(2, 3))
        results.append(trained(optimizer_class([weight], lr=0.1, weight_decay=0.1, fused=True), weight))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*results, strict=True))


def test_eager_optimizer_calls_hooks_of_a_step():
    weight, calls = nn.Parameter(torch.ones(2)), []
    optimizer = eager(torch.optim.SGD)([weight], lr=0.1)
    optimizer.register_step_post_hook(lambda *_: calls.append("step"))
    trained(optimizer, weight)
    assert calls == ["step", "step"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_first_step_imports_neither_compiler_nor_sympy_nor_torchvision(name):
    """Each takes a second or more, which every single run and every sweep would wait for."""
    schedule = "constant" if name == "schedule_free_adamw" else "plateau"
    code = f"""if True:
        import sys
        from vitsweep.config.convert import from_dict
        from vitsweep.data.load import load_data
        import vitsweep.train.fit
        from vitsweep.train.step import epoch_order, prepare, train_step
        config = from_dict({{
            "data": {{"name": "shapes", "shapes_train": 200, "shapes_test": 50}}, "device": "cpu",
            "recipe": {{"optimizer": "{name}", "schedule": "{schedule}", "batch_size": 45}},
            "model": {{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 16}},
        }})
        setup = prepare(config, load_data)
        train_step(setup, config, epoch_order(setup, 0, 1)[: setup.batch_size], 1, 0)
        setup.optimizer.load_state_dict(setup.optimizer.state_dict())
        print(*sorted({{"torch._dynamo", "sympy", "triton", "torchvision", "scipy", "pandas"}} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
