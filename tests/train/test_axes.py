"""Axes of the model in training: any two options that are allowed train together, resume bit by bit, load, roll out.

Kinds: agrees with itself after a stop, a load, a compiler or a pack; obeys a property; refuses.
"""

import dataclasses
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from vitsweep.analysis.attention.maps import VARIANTS, attention_maps

from tests.support.model_options import AXES, OPTIONS, allowed_pairs, changes_of, covering_set, small_config
from vitsweep.config.convert import config_hash, to_dict, validate
from vitsweep.config.schema import Config, DataConfig, RecipeConfig, TrackerConfig
from vitsweep.data.load import load_data
from vitsweep.model.vit import ViT
from vitsweep.run.packs import unpacked_reason
from vitsweep.study.record import Record, read_record, read_rows
from vitsweep.train import fit
from vitsweep.train.checkpoint import load_model
from vitsweep.train.step import train_step
from vitsweep.train.stop import Interrupted
from vitsweep.train.train_pack import PackedStep
from vitsweep.train.trial.steps import trial_step

PLAIN = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
ROWS = covering_set()
DROPS = ("drop_path", "patch_drop", "drop_key")
QUICK = [
    {"patchify": "spt", "attention": "lsa", "pos_embed": "relative", "registers": "r4", "drop_key": "p10"},
    {"pos_embed": "learned_rope2d", "norm_layer": "rmsnorm", "qk_norm": "with", "patch_drop": "p25", "mlp": "swiglu"},
]


def name_of(row: dict[str, str]) -> str:
    """The options of a row that are no defaults."""
    return "+".join(option for axis, option in row.items() if option != next(iter(AXES[axis])))


def make_config(changes: dict, **settings) -> Config:
    """A cell of two epochs of ten steps."""
    config = Config(
        model=small_config(**changes),
        data=DataConfig(name="shapes", root=None, shapes_train=200, shapes_test=50),
        recipe=RecipeConfig(epochs=2, batch_size=18, lr=3e-3, schedule="constant", crop_padding=0),
        tracker=TrackerConfig(name="none"),
        device="cpu",
        precision="fp32",
        checkpoint_seconds=0.0,
    )
    return validate(dataclasses.replace(config, **settings))


def train(folder: Path, config: Config) -> dict[str, torch.Tensor]:
    """Train a cell, or go on with it; return its last weights."""
    folder.mkdir(exist_ok=True)
    earlier = folder / "record.json"
    record = read_record(folder) if earlier.exists() else None
    record = record or Record(seed=config.seed, config=to_dict(config), config_hash=config_hash(config))
    fit.run_cell(config, record, folder)
    assert record.status == "done"
    return safetensors.torch.load_file(folder / "last.safetensors")


def train_with_a_stop(folder: Path, config: Config) -> dict[str, torch.Tensor]:
    """Stop after the first epoch's state was saved, then go on."""
    write_row = fit.append_row

    def stop(directory: Path, row: dict) -> None:
        write_row(directory, row)
        if row["epoch"] == 2:
            raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "append_row", stop)
        with pytest.raises(Interrupted):
            train(folder, config)
    return train(folder, config)


def check_row(folder: Path, changes: dict) -> None:
    """Train 20 steps, with and without a stop; load, roll out, take bf16 and traced passes."""
    config = make_config(changes)
    whole, broken = train(folder / "whole", config), train_with_a_stop(folder / "broken", config)
    assert whole.keys() == broken.keys() and all(torch.equal(whole[name], broken[name]) for name in whole)
    first, second = (row["train/loss"] for row in read_rows(folder / "whole"))
    assert second < first
    model, image_NCHW = load_model(folder / "whole", "last"), load_data(config).test.image_NCHW[:4]
    maps = attention_maps(model, image_NCHW, PLAIN)
    assert maps.mass_NT.sum(1) == pytest.approx(np.ones(4), abs=1e-4)
    assert np.isfinite(maps.mass_NT).all() and maps.patches.shape == (4, 16)
    image_BCHW = image_NCHW.float() / 255
    with torch.no_grad():
        plain = model.eval()(image_BCHW)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(image_BCHW).float()
        traced = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)(image_BCHW)
    torch._dynamo.reset()
    torch.testing.assert_close(traced, plain, rtol=1e-4, atol=1e-4)
    assert (half - plain).abs().max() < 0.1 * plain.abs().max() + 0.1


@pytest.mark.parametrize("row", QUICK, ids=name_of)
def test_options_of_several_axes_train_together(row, tmp_path):
    check_row(tmp_path, changes_of(row))


@pytest.mark.slow  # minutes: two cells and a trace for each row
@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_any_two_options_train_together(row, tmp_path):
    check_row(tmp_path, changes_of(row))


def test_covering_set_has_every_pair_that_is_allowed_in_rows_that_are():
    covered = {pair for row in ROWS for pair in combinations(sorted(row.items()), 2)}
    assert covered == allowed_pairs()
    assert not [row for row in ROWS if small_config(**changes_of(row)).errors()]


COMPILED = {"base": {}} | {name: OPTIONS[name] for name in OPTIONS if not name.startswith(("init", "final_norm"))}


@pytest.mark.hour  # a compiler run of up to a minute for each option
@pytest.mark.parametrize("option", COMPILED)
def test_option_compiles_in_training_mode(option):
    torch._dynamo.reset()
    changes = COMPILED[option] | {"hidden_dropout_prob": 0.0}
    model = ViT(small_config(**changes)).train(not any(option.startswith(drop) for drop in DROPS))
    compiled = torch.compile(model, dynamic=False)
    image_BCHW = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(compiled(image_BCHW), model(image_BCHW), rtol=1e-3, atol=1e-4)
    compiled(image_BCHW).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


PACKED = ["drop_path=constant", "drop_key=p10", "pos_embed=relative", "pos_embed=rope2d", "attention=lsa", "pool=map"]


def distance_in_a_pack(configs: list[Config]) -> float:
    """The largest difference of weights after a step in a pack and the same step alone."""
    together, alone = ([trial_step(config, torch.device("cpu")) for config in configs] for _ in range(2))
    results = PackedStep(len(configs), may_shrink=False).run_steps(together)
    for step in alone:
        train_step(step.setup, step.config, step.index_B, step.epoch, step.step)
    assert all(isinstance(result, torch.Tensor) for result in results)
    ours, theirs = ([p for step in steps for p in step.setup.model.parameters()] for steps in (together, alone))
    return max((one - other).abs().max().item() for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    "option", [*PACKED, *(pytest.param(o, marks=pytest.mark.slow) for o in OPTIONS if o not in PACKED)]
)
def test_option_trains_in_a_pack_as_alone_or_says_why_not(option):
    configs = [make_config(OPTIONS[option], seed=seed) for seed in (0, 1)]
    if unpacked_reason(to_dict(configs[0]), "2"):
        with pytest.raises((ValueError, RuntimeError)):
            distance_in_a_pack(configs)
    else:
        assert distance_in_a_pack(configs) < 1e-3  # of a step of up to 3e-3


def test_cells_with_other_drop_rates_are_one_pack():
    changes = [{}, {"drop_path_rate": 0.3}, {"drop_key_rate": 0.2, "drop_path_rate": 0.1}]
    assert distance_in_a_pack([make_config(change) for change in changes]) < 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pool", ["avg", "map"])
def test_every_kind_of_map_reads_a_pool_without_class_token(variant, pool):
    model = ViT(small_config(global_pool=pool, num_register_tokens=1, layerscale_value=0.1))
    found = attention_maps(model, torch.zeros(2, 3, 32, 32, dtype=torch.uint8), PLAIN, variant=variant)
    assert found.mass_NT.shape == (2, 17) and np.isfinite(found.mass_NT).all()
