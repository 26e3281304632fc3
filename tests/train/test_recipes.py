"""Every option of the recipe learns and resumes bit by bit; optimizers, schedules, averages agree with references."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
import timm.optim
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

import vitsweep
from tests.support.recipe_options import RECIPES
from tests.train.test_fit import attempt, same, weights
from vitsweep.config.convert import from_dict, to_dict
from vitsweep.config.schema import Config, RecipeConfig
from vitsweep.data.load import load_data
from vitsweep.errors import ConfigError
from vitsweep.model.build import make_model
from vitsweep.study.record import epoch_checkpoints, read_rows
from vitsweep.train import optimizers
from vitsweep.train.optim import Schedule, lr_multiplier, make_optimizer
from vitsweep.train.step import prepare, train_step, training_batch, training_loss


def cell(**recipe: object) -> Config:
    """A cell of 90 shapes and three steps an epoch, which saves its state after every step."""
    model = {"patch_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    values = {
        "model": model | {"intermediate_size": 16, "hidden_dropout_prob": 0.1},
        "data": {"name": "shapes", "shapes_train": 100, "shapes_test": 30},
        "recipe": {"epochs": 3, "batch_size": 30} | recipe,
        "tracker": {"name": "none"},
        "checkpoint_seconds": 0.0,
        "device": "cpu",
        "precision": "fp32",
    }
    return from_dict(values)


@pytest.mark.parametrize("name", RECIPES)
def test_resumed_cell_equals_the_undisturbed_one(tmp_path, name):
    """Stopped in the second epoch, whose steps are repeated from the saved state."""
    config = cell(**RECIPES[name])
    whole = attempt(tmp_path / "whole", config)
    attempt(tmp_path / "broken", config, stop_at=2)
    assert attempt(tmp_path / "broken", config).metrics == whole.metrics
    rows = [row for row, asked in (("ema", config.recipe.ema_decay), ("average", config.recipe.average_last)) if asked]
    assert set(whole.metrics) == {"final", "best", *rows}
    for which in ("last", "best", *rows):
        assert same(weights(tmp_path / "whole", which), weights(tmp_path / "broken", which))
    lines = [[row["train/loss"] for row in read_rows(tmp_path / folder)] for folder in ("whole", "broken")]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("name", RECIPES)
def test_loss_falls_within_twenty_steps(name):
    """On one batch, repeated; the loss without augmentation is measured in the mode that is scored."""
    config = cell(**{"lr": 3e-3} | RECIPES[name] | {"epochs": 100, "mixup_off_epoch": 0})
    setup = prepare(config)
    index_B = torch.arange(30)
    before = score_of(setup, index_B)
    setup.model.train()
    for step in range(20):
        train_step(setup, config, index_B, 1, step)
    optimizers.set_training_mode(setup.optimizer, False)
    assert score_of(setup, index_B) < before - 0.01


def score_of(setup, index_B: torch.Tensor) -> float:
    """Cross-entropy of training images as they are."""
    from vitsweep.data.augment import normalize

    setup.model.eval()
    train = setup.data.train
    with torch.no_grad():
        logit_BK = setup.model(normalize(train.image_NCHW[index_B], setup.data.mean, setup.data.std))
    return nn.functional.cross_entropy(logit_BK, train.label_N[index_B]).item()


def test_average_is_the_recursion_over_all_steps(tmp_path):
    """Against the definition, from the weights that every step leaves."""
    config = cell(ema_decay=0.7)
    setup = prepare(config)
    expected: dict[str, torch.Tensor] = {}
    for step in range(6):
        train_step(setup, config, torch.arange(30), 1, step)
        now = {name: p.detach().clone() for name, p in setup.model.named_parameters()}
        expected = {n: 0.7 * expected[n] + 0.3 * p for n, p in now.items()} if expected else now
    found = dict(setup.averages["ema"].module.named_parameters())
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)


def test_average_of_the_last_epochs_is_their_mean(tmp_path):
    """Against the weights that are kept of each epoch."""
    config = cell(average_last=2)
    config.checkpoint_every_epochs = 1
    attempt(tmp_path / "cell", config)
    kept = [load_file(path) for path in epoch_checkpoints(tmp_path / "cell").values()][-2:]
    found = weights(tmp_path / "cell", "average")
    assert all(torch.allclose(found[name], (kept[0][name] + kept[1][name]) / 2, atol=1e-7) for name in found)


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"average_last": 4}, "recipe.average_last=4  must be 0, or a number of epochs from 2 to recipe.epochs=3"),
        ({"average_last": 1}, "recipe.average_last=1  must be 0, or a number of epochs from 2 to recipe.epochs=3"),
        (
            {"average_last": 2, "optimizer": "schedule_free_adamw", "schedule": "constant"},
            "recipe.average_last=2  must be 0 for recipe.optimizer=schedule_free_adamw, whose weights "
            "are averages already",
        ),
    ],
)
def test_average_of_the_last_epochs_that_cannot_be_is_refused(recipe, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        cell(**recipe)


def test_average_is_scored_predicted_and_loaded_as_a_row_of_its_own(tmp_path):
    config = cell(ema_decay=0.9)
    record = attempt(tmp_path / "cell", config)
    predictions = np.load(tmp_path / "cell" / "predictions.npz")
    accuracy = (predictions["ema_class"] == predictions["label"]).mean()
    assert accuracy == pytest.approx(record.metrics["ema"]["test/accuracy"])
    assert same(vitsweep.load_model(tmp_path / "cell", "ema").state_dict(), weights(tmp_path / "cell", "ema"))
    assert not same(weights(tmp_path / "cell", "ema"), weights(tmp_path / "cell"))


def test_average_changes_nothing_else(tmp_path):
    plain, averaged = attempt(tmp_path / "plain", cell()), attempt(tmp_path / "averaged", cell(ema_decay=0.9))
    assert same(weights(tmp_path / "plain"), weights(tmp_path / "averaged"))
    assert averaged.metrics["final"] == plain.metrics["final"]


def test_batch_in_parts_gives_the_same_weights_up_to_rounding(tmp_path):
    """Mixed, so that the partners come from the whole batch; without dropout, whose masks differ."""
    found = []
    for parts in (1, 3):
        config = cell(gradient_accumulation_steps=parts, mixup_alpha=0.8)
        config.model.hidden_dropout_prob = 0.0
        setup = prepare(config)
        for step in range(5):
            train_step(setup, config, torch.arange(30), 1, step)
        found.append(torch.cat([p.detach().flatten() for p in setup.model.parameters()]))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)


def test_lion_agrees_with_timm():
    found = []
    for kind in (optimizers.Lion, timm.optim.Lion):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        optimizer = kind(model.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            model(torch.linspace(-1, 1, 40).view(8, 5)).pow(2).sum().backward()
            optimizer.step()
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*found)


def test_decay_groups_timm_are_those_of_timm():
    """timm's rule on the starting model's parameters, with the names that its VisionTransformer spares."""
    model = make_model(Config())
    ours, others = optimizers.decay_groups(dict(model.named_parameters()), RecipeConfig(weight_decay=0.1))
    theirs = timm.optim.param_groups_weight_decay(model, 0.1, no_weight_decay_list=("class_token", "position_1TD"))
    by_decay = {group["weight_decay"]: {id(p) for p in group["params"]} for group in theirs}
    assert {id(p) for p in ours["params"]} == by_decay[0.1] and {id(p) for p in others["params"]} == by_decay[0.0]


@pytest.mark.parametrize("rule, share", [("all", 1.0), ("none", 0.0)])
def test_decay_groups_all_and_none(rule, share):
    model = make_model(Config())
    recipe = RecipeConfig(decay_groups=rule)
    decayed, _ = optimizers.decay_groups(dict(model.named_parameters()), recipe)
    assert len(decayed["params"]) == share * len(list(model.parameters()))


def test_muon_takes_the_matrices_of_the_blocks_alone():
    config = cell(optimizer="muon", schedule="cosine")
    model = make_model(config)
    optimizer = make_optimizer(model, config.recipe)
    names = {id(p): name for name, p in model.named_parameters()}
    taken = {names[id(p)] for group in optimizer.muon.param_groups for p in group["params"]}
    assert (
        taken
        == {f"blocks.0.{layer}.weight" for layer in ("attention.qkv", "attention.output", "mlp.hidden", "mlp.output")}
        or len(taken) == 4
    )
    rest = [p for group in optimizer.adamw.param_groups for p in group["params"]]
    assert len(rest) + 4 == len(names)


def test_muon_and_its_companion_share_the_schedule():
    config = cell(optimizer="muon", schedule="cosine")
    optimizer = make_optimizer(make_model(config), config.recipe)
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    inner = [*optimizer.muon.param_groups, *optimizer.adamw.param_groups]
    assert all(group["lr"] == 0.5 for group in inner)


def test_schedule_free_is_that_of_its_library():
    """Weights after an epoch in the mode that is scored, with the same gradients."""
    import schedulefree

    found = []
    for ours in (True, False):
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        recipe = RecipeConfig(optimizer="schedule_free_adamw", schedule="constant", lr=0.01, weight_decay=0.1)
        if ours:
            optimizer = make_optimizer(model, recipe)
        else:
            groups = [{"params": [model.weight], "weight_decay": 0.1}, {"params": [model.bias], "weight_decay": 0.0}]
            optimizer = schedulefree.AdamWScheduleFree(groups, lr=0.01)
            optimizer.train()
        for _ in range(10):
            optimizer.zero_grad()
            model(torch.linspace(-1, 1, 12).view(3, 4)).pow(2).sum().backward()
            optimizer.step()
        optimizers.set_training_mode(optimizer, False)
        found.append(model.weight.detach().clone())
    assert torch.equal(*found)


def test_missing_library_is_named_before_training(monkeypatch):
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs the library schedulefree, which is not installed; .*pip install"):
        make_optimizer(nn.Linear(2, 2), RecipeConfig(optimizer="schedule_free_adamw", schedule="constant"))


def rates(epochs: int, steps: int, **recipe: object) -> list[float]:
    config = RecipeConfig(epochs=epochs, lr=1.0, **recipe)
    return [lr_multiplier(config, step, steps) for step in range(epochs * steps)]


def torch_rates(schedule, count: int) -> list[float]:
    found = []
    for _ in range(count):
        found.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return found


def one_weight() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)


def test_cosine_to_a_least_rate_is_that_of_torch():
    expected = torch_rates(CosineAnnealingLR(one_weight(), T_max=20, eta_min=0.1), 20)
    assert rates(5, 4, schedule="cosine", min_lr=0.1) == pytest.approx(expected, abs=1e-7)


def test_linear_is_that_of_torch():
    expected = torch_rates(LinearLR(one_weight(), start_factor=1.0, end_factor=0.2, total_iters=20), 20)
    assert rates(5, 4, schedule="linear", min_lr=0.2) == pytest.approx(expected, abs=1e-7)


def test_warm_up_begins_above_its_first_rate_and_ends_at_the_peak():
    found = rates(5, 4, schedule="constant", warmup_epochs=2.0, warmup_lr=0.2)
    assert found[:8] == pytest.approx([0.2 + 0.1 * (step + 1) for step in range(8)]) and set(found[8:]) == {1.0}


def test_cooldown_is_trained_at_the_least_rate():
    found = rates(5, 4, schedule="cosine", min_lr=0.1, cooldown_epochs=2.0)
    assert found[12:] == pytest.approx([0.1] * 8) and found[:12] == rates(3, 4, schedule="cosine", min_lr=0.1)


def test_stable_part_and_decay_of_warmup_stable_decay():
    found = rates(5, 4, schedule="warmup_stable_decay", warmup_epochs=1.0, decay_epochs=2.0)
    assert set(found[3:13]) == {1.0} and found[12:] == pytest.approx([1 - step / 8 for step in range(8)])


def test_plateau_stops_at_the_least_rate():
    recipe = RecipeConfig(lr=1.0, plateau_patience=0, min_lr=0.05)
    schedule = Schedule(one_weight(), recipe, 1)
    for _ in range(6):
        schedule.optimizer.step()
        schedule.after_step()
        schedule.after_epoch(1.0)
    assert schedule.next_lr == pytest.approx(0.05)


@pytest.mark.parametrize("soft", [True, False])
def test_binary_cross_entropy_is_that_of_timm(soft):
    from timm.loss import BinaryCrossEntropy

    logit_BK = torch.linspace(-2, 2, 12).view(4, 3)
    target = torch.tensor([[0.3, 0.7, 0.0]] * 4) if soft else torch.tensor([0, 2, 1, 1])
    ours = training_loss(logit_BK, target, RecipeConfig(loss="binary_cross_entropy", label_smoothing=0.1))
    theirs = BinaryCrossEntropy(smoothing=0.1)(logit_BK, target)
    if soft:  # timm smooths no soft targets; its mixup does
        theirs = BinaryCrossEntropy(smoothing=0.1)(logit_BK, target * 0.9 + 0.1 / 3)
    torch.testing.assert_close(ours, theirs)


def test_hinge_loss_is_that_of_torch():
    logit_BK, label_B = torch.linspace(-2, 2, 12).view(4, 3), torch.tensor([0, 2, 1, 1])
    ours = training_loss(logit_BK, label_B, RecipeConfig(loss="multi_margin"))
    torch.testing.assert_close(ours, nn.MultiMarginLoss()(logit_BK, label_B))


def test_cross_entropy_of_mixed_targets_is_the_mean_of_both_labels():
    logit_BK = torch.linspace(-2, 2, 12).view(4, 3)
    recipe = RecipeConfig(label_smoothing=0.1)
    one, other = torch.tensor([0, 2, 1, 1]), torch.tensor([1, 0, 2, 1])
    soft = 0.3 * nn.functional.one_hot(one, 3).float() + 0.7 * nn.functional.one_hot(other, 3).float()
    parts = [training_loss(logit_BK, label, recipe) for label in (one, other)]
    torch.testing.assert_close(training_loss(logit_BK, soft, recipe), 0.3 * parts[0] + 0.7 * parts[1])


def test_mixing_ends_after_its_last_epoch():
    config = cell(cutmix_alpha=1.0, mixup_off_epoch=2)
    setup = prepare(config)
    kinds = [training_batch(setup, config, torch.arange(30), epoch, 0)[1].dim() for epoch in (1, 2, 3, 4)]
    assert kinds == [2, 2, 1, 1]


def test_policies_leave_the_crops_of_a_seed_as_they_are():
    """The crop of an arm with a policy is the crop of the arm without it: their streams are apart."""
    from vitsweep.data.augment import augment_images
    from vitsweep.seeding import make_generator

    def stream(*names, device="cpu"):
        return make_generator(0, "augment", 1, 0, *names, device=device)

    images = load_data(cell()).train.image_NCHW[:20]
    plain = RecipeConfig()
    none = dataclasses.replace(plain, auto_augment="timm_randaugment", randaugment_magnitude=0.0)
    found = [augment_images(images, recipe, stream, [0.5] * 3) for recipe in (plain, none)]
    is_same_B = (found[0] == found[1]).all(dim=(1, 2, 3))
    assert is_same_B.sum() > 5  # of 20; the others drew an operation without a magnitude


def test_values_at_their_neutral_change_no_file(tmp_path: Path):
    config = to_dict(cell())
    assert set(config["recipe"]) == {f.name for f in dataclasses.fields(RecipeConfig) if "neutral" not in f.metadata}
    assert math.isfinite(config["recipe"]["lr"])
