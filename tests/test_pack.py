"""A pack of cells is what its cells are alone: weights, rows, randomness, schedule, divergence, stop and resumption.

Kinds: agrees with the same cell trained alone, obeys a property, survives.
"""

from pathlib import Path

import pytest
import safetensors.torch

from vitsweep.config import Config, DataConfig, ModelConfig, RecipeConfig, TrackerConfig, checked, config_hash, to_dict
from vitsweep.pack import run_pack
from vitsweep.record import Record, read_rows
from vitsweep.train import run_cell

TINY = {"patch_size": 16, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
CURVE = ("epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr")


def make_config(seed: int = 0, dropout: float = 0.2, model: dict | None = None, **recipe: object) -> Config:
    """A cell of four steps an epoch."""
    config = Config(
        model=ModelConfig(**TINY | {"hidden_dropout_prob": dropout} | (model or {})),
        data=DataConfig(name="shapes", root=None, shapes_train=200, shapes_test=50),
        recipe=RecipeConfig(**{"epochs": 2, "batch_size": 45} | recipe),
        tracker=TrackerConfig(name="none"),
        seed=seed,
        device="cpu",
        precision="fp32",
    )
    return checked(config)


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
    "other learning rates": [{"lr": 1e-3}, {"lr": 3e-3}],
    "other weight decays": [{"weight_decay": 0.01}, {"weight_decay": 0.5}],
    "other dropout rates": [{"dropout": 0.1}, {"dropout": 0.5}, {"dropout": 0.0}],
    "other dropout places": [{}, {"model": {"mlp_hidden_dropout_prob": 0.0}}, {"model": {"head_dropout_prob": 0.6}}],
    "other augmentation": [{"crop_padding": 0}, {"horizontal_flip": False}],
    "other loss and clipping": [{"label_smoothing": 0.1}, {"clip_norm": 0.1}, {}],
    "other optimizers": [{"optimizer": "sgd", "lr": 0.1}, {}],
    "other schedules": [{"schedule": "cosine", "warmup_epochs": 1.0}, {"schedule": "plateau"}],
}


@pytest.mark.parametrize("study", STUDIES)
def test_cell_of_a_pack_equals_the_same_cell_alone(tmp_path, study):
    """20 steps (five epochs of four), dropout on unless the study says otherwise."""
    configs = [make_config(**{"epochs": 5} | arm) for arm in STUDIES[study]]
    alone, together = trained_alone(tmp_path / "alone", configs), trained_together(tmp_path / "together", configs)
    for number in range(len(configs)):
        assert distance(alone / str(number), together / str(number)) < 1e-4
        for one, other in zip(curve(alone / str(number)), curve(together / str(number)), strict=True):
            assert one == pytest.approx(other, abs=1e-4)
