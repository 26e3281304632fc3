"""A pack of cells is what its cells are alone: weights, rows, randomness, schedule, divergence, stop and resumption.

Kinds: agrees with the same cell trained alone, obeys a property, survives.
"""

import dataclasses
import os
import signal
from pathlib import Path

import pytest
import safetensors.torch
import torch

import vitsweep.train.fit
from vitsweep.config.convert import config_hash, to_dict, validate
from vitsweep.config.schema import Config, DataConfig, ModelConfig, RecipeConfig, TrackerConfig
from vitsweep.model import cpu_ops
from vitsweep.study.record import Record, read_record, read_rows
from vitsweep.train import pack_dropout, train_pack
from vitsweep.train.fit import run_cell
from vitsweep.train.step import Step, prepare
from vitsweep.train.stop import Interrupted
from vitsweep.train.train_pack import PackedStep, run_pack
from vitsweep.train.trial.steps import trial_step

TINY = {"patch_size": 16, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
CURVE = ("epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr")


def make_config(seed: int = 0, dropout: float = 0.2, model: dict | None = None, **recipe: object) -> Config:
    """A cell of ten steps an epoch."""
    config = Config(
        model=ModelConfig(**TINY | {"hidden_dropout_prob": dropout} | (model or {})),
        data=DataConfig(name="shapes", root=None, shapes_train=200, shapes_test=50),
        recipe=RecipeConfig(**{"epochs": 2, "batch_size": 18} | recipe),
        tracker=TrackerConfig(name="none"),
        seed=seed,
        device="cpu",
        precision="fp32",
    )
    return validate(config)


def make_cells(folder: Path, configs: list[Config]) -> list[tuple[Config, Record, Path]]:
    """Each configuration with a new record and a directory of its own."""
    cells = []
    for number, config in enumerate(configs):
        (folder / str(number)).mkdir(parents=True, exist_ok=True)
        record = Record(seed=config.seed, config=to_dict(config), config_hash=config_hash(config))
        cells.append((config, record, folder / str(number)))
    return cells


def trained_alone(folder: Path, configs: list[Config]) -> Path:
    for cell in make_cells(folder, configs):
        run_cell(*cell)
    return folder


def trained_together(folder: Path, configs: list[Config]) -> Path:
    run_pack(make_cells(folder, configs))
    return folder


def distance(one: Path, other: Path, which: str = "last") -> float:
    """The largest difference of two cells' weights."""
    ours, theirs = (safetensors.torch.load_file(folder / f"{which}.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


def curve(folder: Path) -> list[list[float]]:
    return [[row[key] for key in CURVE] for row in read_rows(folder)]


STUDIES = {
    "other seeds": [{"seed": 0}, {"seed": 1}, {"seed": 2}],
    "other learning rates and weight decays": [{"lr": 1e-3}, {"lr": 3e-3}, {"weight_decay": 0.5}],
    "other dropout rates": [{"dropout": 0.1}, {"dropout": 0.5}, {"dropout": 0.0}],
    "other dropout places": [{}, {"model": {"mlp_hidden_dropout_prob": 0.0}}, {"model": {"head_dropout_prob": 0.6}}],
    "no dropout": [{"dropout": 0.0}, {"dropout": 0.0, "seed": 1}],
    "other augmentation, loss and clipping": [{"crop_padding": 0}, {"label_smoothing": 0.1}, {"clip_norm": 0.1}],
    "other policies and mixing": [
        {"auto_augment": "randaugment"},
        {"mixup_alpha": 0.8, "loss": "binary_cross_entropy"},
    ],
    "other optimizers and schedules": [{"optimizer": "sgd", "lr": 0.1}, {"schedule": "cosine", "warmup_epochs": 1.0}],
}


@pytest.mark.parametrize("study", STUDIES)
def test_cell_of_a_pack_equals_the_same_cell_alone(tmp_path, study):
    """After 20 steps in fp32; with dropout too, whose masks come from the cell's own stream."""
    configs = [make_config(**arm) for arm in STUDIES[study]]
    alone, together = trained_alone(tmp_path / "alone", configs), trained_together(tmp_path / "together", configs)
    for number in range(len(configs)):
        assert distance(alone / str(number), together / str(number)) < 1e-4
        for one, other in zip(curve(alone / str(number)), curve(together / str(number)), strict=True):
            assert one == pytest.approx(other, abs=1e-4)


def test_cell_of_a_bf16_pack_trains_as_alone(tmp_path):
    """Also where the CPU has no bf16 kernels; rounding differs between the two, by one of 20 images at most."""
    configs = [dataclasses.replace(make_config(seed=seed), precision="bf16") for seed in (0, 1)]
    alone, together = trained_alone(tmp_path / "alone", configs), trained_together(tmp_path / "together", configs)
    for number in range(len(configs)):
        for one, other in zip(curve(alone / str(number)), curve(together / str(number)), strict=True):
            assert one == pytest.approx(other, abs=0.051)
    assert read_record(alone / "0").precision == "bf16"


def test_cells_of_a_pack_that_differ_in_their_seed_become_different_models(tmp_path):
    folder = trained_together(tmp_path, [make_config(seed=0), make_config(seed=1)])
    assert distance(folder / "0", folder / "1") > 1e-2


def test_plateau_acts_on_the_cell_whose_loss_stands_still_alone(tmp_path):
    eager = {"schedule": "plateau", "plateau_patience": 0, "epochs": 4}
    folder = trained_together(tmp_path, [make_config(lr=1e-6, **eager), make_config(**eager)])
    rates = [[row["lr"] for row in read_rows(folder / name)] for name in ("0", "1")]
    assert rates[0][-1] < rates[0][0] and rates[1][0] == 1e-3
    assert rates[1] == [row["lr"] for row in read_rows(trained_alone(tmp_path / "alone", [make_config(**eager)]) / "0")]


def test_cell_that_diverges_is_frozen_and_its_neighbours_go_on(tmp_path):
    configs = [make_config(seed=1), make_config(lr=1e30, optimizer="sgd"), make_config(seed=2)]
    alone, together = trained_alone(tmp_path / "alone", configs), trained_together(tmp_path / "together", configs)
    records = [read_record(together / name) for name in ("0", "1", "2")]
    assert [record.status for record in records] == ["done", "diverged", "done"]
    assert records[1].error["message"] == read_record(alone / "1").error["message"]
    assert distance(alone / "0", together / "0") < 1e-4 and distance(alone / "2", together / "2") < 1e-4


def stopping(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Send this process a SIGTERM when a pack has taken so many steps."""
    real, taken = train_pack.PackedStep.run_steps, []

    def take(self, steps):
        taken.append(steps)
        if len(taken) == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, steps)

    monkeypatch.setattr(train_pack.PackedStep, "run_steps", take)


def test_pack_that_is_stopped_goes_on_in_every_cell(tmp_path, monkeypatch):
    configs = [make_config(seed=0), make_config(seed=1, lr=2e-3)]
    whole = trained_together(tmp_path / "whole", configs)
    with monkeypatch.context() as patch:
        stopping(patch, after=13)
        with pytest.raises(Interrupted):
            trained_together(tmp_path / "broken", configs)
    for name in ("0", "1"):
        assert read_record(tmp_path / "broken" / name).status == "interrupted"
    broken = trained_together(tmp_path / "broken", configs)
    for name in ("0", "1"):
        assert distance(whole / name, broken / name) == 0 and curve(whole / name) == curve(broken / name)


def test_cells_at_different_steps_go_on_together(tmp_path, monkeypatch):
    """One cell comes from the second epoch of another pack, one from nothing."""
    configs = [make_config(seed=0), make_config(seed=1)]
    whole, mixed = trained_alone(tmp_path / "whole", configs), tmp_path / "mixed"
    with monkeypatch.context() as patch:
        stopping(patch, after=13)
        with pytest.raises(Interrupted):
            trained_together(mixed, configs[:1])
    trained_together(mixed, configs)
    for name in ("0", "1"):
        assert distance(whole / name, mixed / name) < 1e-4
        assert [row["epoch"] for row in read_rows(mixed / name)] == [1, 2]


def failing_above(monkeypatch: pytest.MonkeyPatch, size: int, error: Exception) -> list[int]:
    """Passes of more cells than `size` raise; returns the numbers of cells in the passes that were tried."""
    real, tried = train_pack.PackedStep.forward_backward, []

    def passes(self, steps):
        tried.append(len(steps))
        if len(steps) > size:
            raise error
        return real(self, steps)

    monkeypatch.setattr(train_pack.PackedStep, "forward_backward", passes)
    return tried


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_pack_that_does_not_fit_into_memory_is_halved(tmp_path, monkeypatch, caplog, error):
    configs = [make_config(seed=seed, epochs=1) for seed in range(4)]
    alone, tried = trained_alone(tmp_path / "alone", configs), failing_above(monkeypatch, 2, error)
    together = trained_together(tmp_path / "together", configs)
    assert tried[:3] == [4, 2, 2] and set(tried[1:]) == {2}
    assert "4 cells cannot be one program (out of memory); now 2 at a time" in caplog.text
    assert all(distance(alone / str(n), together / str(n)) < 1e-4 for n in range(4))


def test_pack_that_vmap_does_not_know_is_trained_apart(tmp_path, monkeypatch, caplog):
    failing_above(monkeypatch, 1, RuntimeError("no batching rule"))
    folder = trained_together(tmp_path, [make_config(seed=0), make_config(seed=1)])
    assert "2 cells cannot be one program (RuntimeError: no batching rule); now 1 at a time" in caplog.text
    assert [read_record(folder / name).status for name in ("0", "1")] == ["done", "done"]


def test_error_of_one_cell_is_its_own(tmp_path, monkeypatch):
    """Whatever its optimizer raises, the other cell ends well."""
    real = train_pack.update_weights

    def update(setup, config, *rest):
        if config.seed == 1:
            raise RuntimeError("the fan fell off")
        real(setup, config, *rest)

    monkeypatch.setattr(train_pack, "update_weights", update)
    folder = trained_together(tmp_path, [make_config(seed=0), make_config(seed=1)])
    records = [read_record(folder / name) for name in ("0", "1")]
    assert [record.status for record in records] == ["done", "failed"]
    assert records[1].error["message"] == "the fan fell off"


def test_record_says_with_whom_a_cell_was_trained(tmp_path):
    folder = trained_together(tmp_path, [make_config(seed=0), make_config(seed=1)])
    record = read_record(folder / "1")
    assert record.pack == {"cells": ["baseline seed=0", "baseline seed=1"], "place": 1}
    assert record.status == "done" and record.params > 0 and record.peak_gib > 0


def test_record_keeps_the_packs_that_a_cell_was_continued_from(tmp_path, monkeypatch):
    configs = [make_config(seed=0), make_config(seed=1)]
    with monkeypatch.context() as patch:
        stopping(patch, after=13)
        with pytest.raises(Interrupted):
            trained_together(tmp_path, configs)
    (config, record, folder), _ = make_cells(tmp_path, configs)
    record.pack = read_record(folder).pack
    assert run_cell(config, record, folder).pack == {
        "before": [{"cells": ["baseline seed=0", "baseline seed=1"], "place": 0}]
    }


def test_speed_of_a_cell_is_the_pace_of_its_pack(tmp_path, monkeypatch):
    """Every step is said to take two seconds: 18 images of each of three cells in two seconds."""
    clock = iter(range(0, 10**6, 2))
    monkeypatch.setattr(train_pack, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(clock))}))
    folder = trained_together(tmp_path, [make_config(seed=seed) for seed in range(3)])
    assert [read_record(folder / str(n)).images_per_second for n in range(3)] == [27.0, 27.0, 27.0]


def test_time_of_a_pack_is_shared_among_its_cells(tmp_path, monkeypatch):
    """Every look at the clock says two seconds more; the first cell's whole life is a third of what passes."""
    clock = iter(range(0, 10**6, 2))
    monkeypatch.setattr(vitsweep.train.fit.time, "monotonic", lambda: next(clock))
    folder = trained_together(tmp_path, [make_config(seed=seed, epochs=1) for seed in range(3)])
    assert 0 < read_record(folder / "0").time_seconds <= next(clock) / 3


def test_images_are_read_once_for_all_cells(tmp_path, monkeypatch):
    calls = []
    real = train_pack.load_data
    monkeypatch.setattr(train_pack, "load_data", lambda config: calls.append(config) or real(config))
    trained_together(tmp_path, [make_config(seed=seed, epochs=1) for seed in range(3)])
    assert len(calls) == 1


def test_what_is_dropped_is_made_once_for_a_set_of_cells(tmp_path, monkeypatch):
    calls, real = [], train_pack.make_pack_dropout
    monkeypatch.setattr(train_pack, "make_pack_dropout", lambda *given: calls.append(given) or real(*given))
    trained_together(tmp_path, [make_config(seed=0), make_config(seed=1, dropout=0.1)])
    assert len(calls) == 1


@pytest.mark.parametrize("rate", [1e-9, 1e-6, 0.3])
def test_scale_in_a_pack_is_that_of_the_cell_alone(rate):
    """As the cell's own operator scales what it keeps; rates below 1/131,072 are rounded up to one level."""
    place = pack_dropout.Place(name="dropout", shape=torch.Size([1000]), dtype=torch.float32)
    (scale_M1,) = pack_dropout.make_pack_dropout([place], ((rate,), (0.5,)), torch.device("cpu")).scale_M1
    assert scale_M1[0].item() == cpu_ops.dropout(torch.ones(1000), rate).max().item() > 1


def saved_bytes(count: int) -> int:
    """Return the bytes that the forward pass of `count` cells keeps for the backward pass."""
    steps = []
    for seed in range(count):
        config = make_config(seed)
        setup = prepare(config)
        setup.model.train()
        steps.append(Step(setup=setup, config=config, index_B=torch.arange(18), epoch=1, step=0))
    packed, storages = PackedStep(count), {}
    packed.run_steps(steps)  # finds the places of dropout
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: storages.__setitem__(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) or t, lambda t: t
    ):
        packed.forward_backward(steps)
    return sum(storages.values())


def test_memory_of_a_pack_is_linear_in_its_cells():
    two, four, eight = (saved_bytes(count) for count in (2, 4, 8))
    assert four - two == pytest.approx(2 * (two / 2), rel=0.02)
    assert eight - four == pytest.approx(4 * (two / 2), rel=0.02)


def two_steps(rates: tuple[float, float]) -> list[Step]:
    """Steps of two cells that differ in their seed and in their dropout rate."""
    model = {"patch_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    configs = [
        Config(model=ModelConfig(**model, hidden_dropout_prob=rate), device="cpu", precision="fp32", seed=seed)
        for seed, rate in enumerate(rates)
    ]
    return [trial_step(config, torch.device("cpu")) for config in configs]


def masks_written_in_one_go(steps: list[Step], rates: tuple[float, float]) -> torch.Tensor:
    """Return the mask that draw_fast_masks makes of a single place with 40,000 elements."""
    place = pack_dropout.Place(name="dropout", shape=torch.Size([200, 200]), dtype=torch.bfloat16)
    dropping = pack_dropout.make_pack_dropout([place], tuple((rate,) for rate in rates), torch.device("cpu"))
    (mask,) = pack_dropout.draw_fast_masks(dropping, steps)
    return mask


def test_masks_written_in_one_go_keep_what_each_cells_rate_says():
    mask = masks_written_in_one_go(two_steps((0.0, 0.25)), (0.0, 0.25))
    assert mask.dtype == torch.bfloat16 and set(mask.float().unique().tolist()) == {0.0, 1.0}
    kept = mask.float().mean((1, 2)).tolist()
    assert kept[0] == 1.0 and kept[1] == pytest.approx(0.75, abs=5 * (0.75 * 0.25 / 40_000) ** 0.5)


def test_masks_written_in_one_go_are_each_cells_own():
    steps = two_steps((0.5, 0.5))
    together = masks_written_in_one_go(steps, (0.5, 0.5))
    alone = masks_written_in_one_go(steps[1:], (0.5,))
    assert torch.equal(together[1], alone[0]) and not torch.equal(together[0], together[1])
