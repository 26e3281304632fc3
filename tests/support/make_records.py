"""Synthetic sweep directories in the layout that cells leave on disk: judging is tested without training.

Accuracies are given, not drawn, wherever a test checks numbers by eye; epochs and predictions are made to
agree with them. Used by the tests and by the benchmark of the report.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from vitsweep.files import finite, write_json
from vitsweep.study.plan import DECLARED, Cell, CellId, Plan, claims_hash, plan_hash
from vitsweep.study.record import Record, write_record

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def hash_of(value: Any) -> str:
    """SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def make_config(arm: str) -> dict[str, Any]:
    """A resolved configuration in which only the arm's levels differ from the baseline's."""
    model: dict[str, Any] = {"patch_size": 4, "num_hidden_layers": 8, "dropout": "everywhere"}
    model |= {k: int(v) if v.isdigit() else v for k, v in _levels(arm).items()}
    data = {"name": "cifar10", "root": "/somewhere/data", "val": "split", "train_limit": None}
    return {"model": model, "data": data, "recipe": {"epochs": 10, "lr": 0.001, "batch_size": 128}, "seed": 0}


def make_record(arm: str, seed: int, accuracy: float | None, **changes: Any) -> Record:
    """A finished cell whose final test accuracy (a fraction of 1) is `accuracy`."""
    config, role = make_config(arm), {"baseline": "baseline", "placebo": "placebo"}.get(arm, "arm")
    best = None if accuracy is None else accuracy + (20 + 5 * (seed % 3 - 1)) / 10_000
    record = Record(
        status="done",
        study="study",
        role=role,
        arm=arm,
        levels=_levels(arm),
        seed=seed,
        overrides=[f"model.{k}={v}" for k, v in _levels(arm).items()],
        config=config,
        config_hash=hash_of([config["model"], config["recipe"], arm == "placebo"]),
        data_fingerprint="f" * 64,
        data_name="CIFAR-10",
        classes=CLASSES,
        normalisation={"mean": [0.49, 0.48, 0.45], "std": [0.25, 0.24, 0.26]},
        num_images={"train": 45000, "val": 5000, "test": 10000},
        code={"version": "0.1.0", "commit": "1a2b3c4d", "dirty": False},
        versions={"python": "3.11.9", "platform": "linux", "torch": "2.14.1", "numpy": "2.4.6"},
        device="cpu",
        precision="fp32",
        threads=2,
        params=4_249_354,
        flops_per_image=555_000_000,
        metrics={"final": _metrics(accuracy), "best": {"epoch": 8} | _metrics(best)},
        epoch=10,
        started="2026-11-01T10:00:00+00:00",
        finished="2026-11-01T10:30:00+00:00",
        attempts=1,
        time_seconds=1800.0,
        images_per_second=2500.0,
        peak_gib=1.5,
    )
    return dataclasses.replace(record, **changes)


def make_cell(sweep: Path, record: Record, *, epochs: int = 10, images: int = 0) -> Path:
    """Write one cell's directory; `images` test predictions if there are to be any."""
    directory = sweep / cell_id(record)
    directory.mkdir(parents=True, exist_ok=True)
    accuracy = (record.metrics.get("final") or {}).get("test/accuracy") or 0.5
    rows = make_rows(epochs, accuracy, record.seed)
    record = _with_epochs(record, rows)
    write_record(directory, record)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(finite(row)) + "\n" for row in rows))
    if images:
        np.savez_compressed(directory / "predictions.npz", **make_predictions(record, images))
    return directory


def make_sweep(sweep: Path, accuracies: dict[str, list[float | None]], **options: Any) -> Path:
    """A whole sweep directory: arm -> final test accuracy of seeds 0, 1, 2, ...

    Args:
        options: `plan` (keys of plan.json to set; None for no plan), `epochs`, `images`.
    """
    plan = options.pop("plan", {})
    known = plan or {}
    stated = claims_hash(*declared(known))
    # A hash of its own in `plan` means that the claims, or their absence, are newer than these cells.
    if "claims_hash" in known:
        stated = "" if stated else "e" * 64
    records = [
        make_record(arm, seed, accuracy, claims_hash=stated)
        for arm, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    for record in records:
        make_cell(sweep, record, **options)
    if plan is not None:
        write_json(sweep / "plan.json", with_hashes(make_plan(records) | plan))
    return sweep


def make_plan(records: list[Record]) -> dict[str, Any]:
    """The plan.json that these cells came from."""
    arms = {r.arm: {k: getattr(r, k) for k in ("arm", "role", "levels", "overrides", "config_hash")} for r in records}
    factors: dict[str, list[str]] = {}
    for record in records:
        for factor, level in record.levels.items():
            factors.setdefault(factor, [])
            factors[factor] += [level] if level not in factors[factor] else []
    keys = ("arm", "role", "levels", "seed", "overrides", "config", "config_hash")
    return {
        "schema": 1,
        "study": "study",
        "design": "ofat",
        "plan_hash": "p" * 64,
        "claims_hash": "",
        "claims": [],
        "rope": 0.5,
        "published": {},
        "factors": factors,
        "baseline": "baseline",
        "arms": list(arms.values()),
        "seeds": sorted({r.seed for r in records}),
        "cells": [{"id": cell_id(r)} | {k: getattr(r, k) for k in keys} for r in records],
    }


def declared(plan: dict[str, Any]) -> tuple:
    """Return the plan's claims and what is hashed with them."""
    values = {"claims": [], "rope": 0.5, "error": "paired", "interactions": [], "looks": [], "spending": ""} | plan
    return tuple(values[name] for name in ("claims", *DECLARED))


def with_hashes(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with the hashes of its content."""
    plan = plan | {"claims_hash": claims_hash(*declared(plan))}
    return plan | {"plan_hash": plan_hash(Plan(**plan | {"cells": [Cell(**cell) for cell in plan["cells"]]}))}


def cell_id(record: Record) -> str:
    """Return the cell's directory inside the sweep directory."""
    return str(CellId.of(record.arm.replace("/", "-"), record.config_hash, record.seed))


def make_rows(epochs: int, accuracy: float, seed: int) -> list[dict[str, Any]]:
    """Learning curves that rise to `accuracy` and whose validation loss turns at two thirds of the epochs."""
    rng = np.random.default_rng(seed)
    turn = max(1, round(epochs * (0.6 + 0.05 * (seed % 4))))
    rows = []
    for epoch in range(1, epochs + 1):
        rise = 1 - np.exp(-4 * epoch / epochs)
        noise = rng.normal(0, 0.003)
        over = max(0, epoch - turn) / epochs
        rows.append(
            {
                "epoch": epoch,
                "train/loss": 2.3 - 1.9 * rise,
                "train/accuracy": 0.1 + (accuracy + 0.08 - 0.1) * rise,
                "val/loss": 2.3 - 1.5 * rise + 0.5 * over + noise,
                "val/accuracy": 0.1 + (accuracy - 0.1) * rise + noise,
                "lr": 0.001,
                "time_seconds": 12.0,
                "images_per_second": 2500.0,
            }
        )
    return rows


def make_predictions(record: Record, images: int) -> dict[str, np.ndarray]:
    """Predictions of `images` test images, exactly as accurate as the record says (rounded to whole images).

    Which images are hard is the same in every cell; which of the doubtful ones it gets right is its own.
    """
    label_N = np.arange(images) % len(CLASSES)
    hardness_N = np.random.default_rng(7).random(images)
    own = np.random.default_rng([int(record.config_hash[:8], 16), record.seed])
    score_N = hardness_N + own.normal(0, 0.15, images)
    found: dict[str, np.ndarray] = {"id": np.arange(images), "label": label_N}
    for when in ("final", "best"):
        right = round(images * record.metrics[when]["test/accuracy"])
        correct_N = np.argsort(np.argsort(score_N, kind="stable"), kind="stable") < right
        found[f"{when}_class"] = np.where(correct_N, label_N, (label_N + 1) % len(CLASSES))
        found[f"{when}_probability"] = np.where(correct_N, 0.9, 0.4).astype(np.float32)
    return found


def _with_epochs(record: Record, rows: list[dict[str, Any]]) -> Record:
    """The finished record with what its epochs say: their number, the last one, the one of the lowest loss."""
    if record.status != "done" or not rows or not record.metrics:
        return record
    best = min(rows, key=lambda row: row["val/loss"])
    final = record.metrics["final"] | {name: rows[-1][name] for name in ("val/loss", "val/accuracy")}
    return dataclasses.replace(
        record,
        epoch=len(rows),
        metrics={"final": final, "best": record.metrics["best"] | {"epoch": best["epoch"]}},
    )


def _metrics(accuracy: float | None) -> dict[str, float | None]:
    if accuracy is None:
        return {f"{part}/{name}": None for part in ("train", "val", "test") for name in ("loss", "accuracy")}
    loss = 2.3 * (1 - accuracy)
    return {
        "train/loss": loss * 0.7,
        "train/accuracy": min(accuracy + 0.08, 1.0),
        "val/loss": loss,
        "val/accuracy": accuracy + 0.001,
        "test/loss": loss,
        "test/accuracy": accuracy,
    }


def _levels(arm: str) -> dict[str, str]:
    """`patch_size=8+lr=0.002` -> its levels; baseline, placebo and odd names have none."""
    return dict(part.split("=", 1) for part in arm.split("+")) if "=" in arm else {}
