"""Cells with real checkpoints of untrained tiny ViTs on the built-in shapes: galleries are tested without
training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitsweep.config.convert import config_hash, from_dict, to_dict
from vitsweep.config.schema import Config
from vitsweep.data.load import Data, load_data
from vitsweep.model.build import make_model
from vitsweep.study.record import Record, read_record, write_record
from vitsweep.train.checkpoint import save_model

TINY = {
    "patch_size": 8,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "hidden_dropout_prob": 0.0,
}
TINY_RESNET = {"hidden_size": 32, "num_hidden_layers": 4}
SHAPES = {"name": "shapes", "shapes_train": 100, "shapes_test": 40}


def make_config(seed: int = 0, **model: Any) -> Config:
    """A tiny network on a handful of shapes: a ViT, or with name="resnet" the other one."""
    sizes = TINY_RESNET if model.get("name") == "resnet" else TINY
    return from_dict({"model": sizes | model, "data": SHAPES, "seed": seed})


def make_cell(
    directory: Path, arm: str, seed: int, *, data: Data | None = None, status: str = "done", **model: Any
) -> Path:
    """Write record, rows, predictions and both checkpoints; attention is sharpened so that maps are not all grey."""
    config = make_config(seed, **model)
    data = data or load_data(config)
    directory.mkdir(parents=True)
    network = make_model(config)
    with torch.no_grad():
        for block in getattr(network, "blocks", []):
            block.attention.qkv.weight.mul_(20)
    for which in ("best", "last"):
        save_model(directory / f"{which}.safetensors", network.state_dict(), config)
    record = Record(
        status=status,
        role="baseline" if arm == "baseline" else "arm",
        arm=arm,
        seed=seed,
        config=to_dict(config),
        config_hash=config_hash(config),
        data_fingerprint=data.fingerprint,
        classes=data.classes,
        normalisation={"mean": data.mean, "std": data.std},
        metrics={"final": {"test/accuracy": 0.5}, "best": {"epoch": 2, "test/accuracy": 0.5}},
        epoch=3,
    )
    write_record(directory, record)
    write_rows(directory)
    guess_N = np.random.default_rng(seed).integers(0, 10, len(data.test))
    numbers = {"id": np.arange(len(guess_N)), "label": data.test.label_N.numpy()}
    np.savez(directory / "predictions.npz", **numbers, best_class=guess_N, final_class=guess_N)
    return directory


def write_rows(directory: Path, losses: tuple[float, ...] = (2.0, 1.5, 1.6)) -> None:
    """Rows of metrics.jsonl with these validation losses."""
    rows = [
        {"epoch": epoch, "train/loss": loss + 0.1, "train/accuracy": 0.2 * epoch, "val/loss": loss}
        | {"val/accuracy": 0.19 * epoch, "lr": 1e-3, "time_seconds": 1.0, "images_per_second": 100.0}
        for epoch, loss in enumerate(losses, start=1)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_sweep(folder: Path, arms: dict[str, dict[str, Any]], seeds: int = 2) -> Path:
    """Arm -> its model fields; `seeds` cells an arm, all on the same data."""
    data = load_data(make_config())
    for arm, model in arms.items():
        for seed in range(seeds):
            make_cell(folder / arm / f"seed={seed}", arm, seed, data=data, **model)
    return folder


def change_record(directory: Path, **changes: Any) -> None:
    """Rewrite some fields of a cell's record."""
    write_record(directory, Record(**(vars(read_record(directory)) | changes)))
