"""The probe times real steps once a shape, and says what does not fit. On the CPU, with the smallest of models."""

from functools import cache

import pytest
import torch

from vitsweep.commands import plan as price
from vitsweep.config.composer import Composer
from vitsweep.config.convert import to_dict
from vitsweep.model.vit import ViT
from vitsweep.run.timing.estimate import START_OF_CELL, cell_seconds, epoch_seconds
from vitsweep.study.estimate import arm_costs
from vitsweep.study.plan_builder import build_plan
from vitsweep.train.step import train_step
from vitsweep.train.trial import probe
from vitsweep.train.trial.probe import NUM_STEPS, WARMUP_STEPS, ProbeResult, probe_plan, shape_key


@cache
def composer() -> Composer:
    return Composer(price.make_loader(None), "config")


def plan(tiny, *overrides: str):
    return build_plan([*tiny, "recipe.batch_size=8", "device=cpu", *overrides], composer())


def test_probe_times_each_shape_once_by_real_steps(tiny, monkeypatch):
    steps = []

    def counting(setup, config, index_B, epoch, step):
        steps.append((config.model.patch_size, len(index_B)))
        return train_step(setup, config, index_B, epoch, step)

    monkeypatch.setattr(probe, "train_step", counting)
    found = probe_plan(plan(tiny, "model.patch_size=16,8", "recipe.lr=1e-3,2e-3"))
    assert sorted(steps) == sorted([(16, 8), (8, 8)] * (NUM_STEPS + WARMUP_STEPS))
    assert NUM_STEPS == 20 and len(found) == 4 and found["baseline"] is found["lr=0.002"]


def test_probe_gives_plausible_numbers(tiny):
    (found,) = probe_plan(plan(tiny, "seed=0")).values()
    assert found.device == "cpu" and not found.error
    assert 0 < found.eval_seconds < found.step_seconds < 1
    assert 2**26 < found.peak_bytes < 2**34  # python with torch takes over 64 MiB


def test_probe_leaves_chance_alone(tiny):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    probe_plan(plan(tiny, "seed=0"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_probe_says_what_does_not_fit(tiny, monkeypatch):
    def too_large(self, image_BCHW):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(ViT, "forward", too_large)
    (found,) = probe_plan(plan(tiny, "seed=0")).values()
    assert found.error.startswith("CUDA out of memory")


def test_probe_raises_other_errors(tiny, monkeypatch):
    def broken(self, image_BCHW):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(ViT, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        probe_plan(plan(tiny, "seed=0"))


def test_shapes_are_distinguished_by_what_takes_time(tiny):
    cells = plan(tiny, "model.bias=true,false", "recipe.lr=1e-3,2e-3", "recipe.batch_size=8,9", "seed=0,1").cells
    assert len({shape_key(cell.config) for cell in cells}) == 4


def test_time_of_a_cell_is_steps_and_scoring(tiny):
    made = plan(tiny, "seed=0")
    (found,) = arm_costs(made)
    probed = ProbeResult(device="cpu", step_seconds=2.0, eval_seconds=0.5)
    train_images, val_images, test_images = 180, 20, 50
    assert found.images == (train_images, val_images, test_images) and found.steps == 22
    assert epoch_seconds(found, probed) == 22 * 2.0 + val_images * 0.5
    assert cell_seconds(found, probed) == START_OF_CELL + 2 * (22 * 2.0 + 10.0) + 2 * 250 * 0.5


def test_plan_with_a_probe_prints_times_and_what_does_not_fit(tiny, capsys, monkeypatch):
    slow = ProbeResult(device="cpu", step_seconds=2.0, eval_seconds=0.5, peak_bytes=3 * 2**30)
    failed = ProbeResult(device="cpu", error="out of memory")
    monkeypatch.setattr(probe, "probe_plan", lambda plan: {"baseline": slow, "bias=false": failed})
    price.main([*tiny, "recipe.batch_size=8", "model.bias=true,false", "seed=0,1", "sweep.probe=true"])
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "2,000.0",
        "54.0",
        "3,072",
        "too much",
        "warning: bias=false does not fit on this cpu: out of memory",
    ):
        assert words in text


def test_probe_of_a_plan_needs_no_other_field(tiny):
    cell = plan(tiny, "seed=0").cells[0]
    assert set(cell.config) == set(to_dict(probe.from_dict(cell.config)))
