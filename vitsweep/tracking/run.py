"""A record as a W&B run: id, names, config, summary and tables, without private paths. Does not import wandb.

A run's id is a hash of the cell's identity, so sending it twice gives one run. Absolute paths are the only private
values in a record (it has no host or user name); unless tracker.share_host=true they become `<path>`.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from vitsweep.added_fields import neutral_values, without_neutral
from vitsweep.config.model_schema import ModelConfig
from vitsweep.config.schema import DataConfig, RecipeConfig
from vitsweep.files import finite
from vitsweep.study.plan import Plan
from vitsweep.study.record import PREDICTIONS_NAME, Record
from vitsweep.tracking.privacy import without_paths

LONGEST_TAG, LONGEST_NAME = 64, 128  # of the server; wandb itself refuses longer tags only
EXIT_CODES = {"done": 0, "interrupted": 143}
OTHER_EXIT_CODE = 1

RECORD_KEY, PLAN_KEY = "record", "study_plan"
FLAT_KEYS = ("arm", "seed", "study", "role", "config_hash")
DESCRIPTION = (
    ("levels", "overrides", "plan_hash", "claims_hash", "data_fingerprint", "data_name", "classes")
    + ("normalisation", "num_images", "code", "versions", "device", "precision", "threads", "pack")
    + ("params", "flops_per_image", "started", "attempts", "sweep_id", "environment", "continued_from")
)
OUTCOME = ("status", "epoch", "finished", "params", "flops_per_image", "images_per_second", "time_seconds", "peak_gib")


def run_id(record: Record) -> str:
    """Return 16 hexadecimal digits that hash study, role, arm, configuration, seed and, if it has one, the sweep's id.

    The arm is included because a placebo has the configuration of the baseline.
    """
    parts = [record.study, record.role, record.arm, record.config_hash, str(record.seed)]
    identity = "\n".join([*parts, record.sweep_id] if record.sweep_id else parts)
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def run_arguments(record: Record, share_host: bool, plan: Plan | None = None) -> dict[str, Any]:
    """Return the keyword arguments of wandb.init that identify the run: id, name, group, job_type, tags, config."""
    names = {"name": f"{record.arm} seed={record.seed}", "group": record.study, "job_type": record.arm}
    tags = [f"{factor}={level}" for factor, level in record.levels.items()]
    if not share_host:
        names, tags = without_paths(names), without_paths(tags)
    return {
        "id": run_id(record),
        **{key: name[:LONGEST_NAME] for key, name in names.items()},
        "tags": list(dict.fromkeys(tag[:LONGEST_TAG] for tag in tags)),
        "config": run_config(record, share_host, plan),
    }


def run_config(record: Record, share_host: bool, plan: Plan | None = None) -> dict[str, Any]:
    """Return the nested configuration, flat keys for W&B's filters and groups, and two keys for the report.

    These are `record` (data, versions, device, ...) and `study_plan` (the plan, with only the seeds of its cells).
    """
    flat_keys = {name: getattr(record, name) for name in FLAT_KEYS}
    used = without_neutral(Record, {name: getattr(record, name) for name in DESCRIPTION})
    config = finite({**record.config, **flat_keys, RECORD_KEY: used})
    if plan is not None:
        config |= with_varied_keys(record.config, plan)
        seeds_of = {arm["arm"]: [cell.seed for cell in plan.cells if cell.arm == arm["arm"]] for arm in plan.arms}
        values = without_neutral(Plan, vars(plan))
        config[PLAN_KEY] = finite({k: v for k, v in values.items() if k != "cells"} | {"seeds_of": seeds_of})
    return config if share_host else without_paths(config)


def with_varied_keys(config: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Return model, data and recipe with the neutral values of added fields that an arm of the plan changes.

    A record leaves them out; W&B can group and filter by a key only where every run has it.
    """
    changed = {key for arm in plan.arms for key in arm.get("changes", {})}
    filled = {}
    for group, kind in (("model", ModelConfig), ("data", DataConfig), ("recipe", RecipeConfig)):
        varied = {name: value for name, value in neutral_values(kind).items() if f"{group}.{name}" in changed}
        if group in config and varied:
            filled[group] = {**varied, **config[group]}
    return filled


def run_summary(record: Record, share_host: bool) -> dict[str, Any]:
    """Return the outcome, and final/... and best/... (or ema/...) of every metric, as a flat dictionary, if known."""
    values = {name: getattr(record, name) for name in OUTCOME}
    for which, metrics in record.metrics.items():
        values |= {f"{which}/{name}": value for name, value in metrics.items()}
    if record.error:
        values["error"] = f"{record.error['type']}: {record.error['message']}"
    known = {name: value for name, value in finite(values).items() if value is not None}
    return known if share_host else without_paths(known)


def run_outcome(record: Record, share_host: bool) -> dict[str, Any]:
    """Return run_summary with numbers such as time_seconds as `cell/time_seconds`: epochs have values of that name."""
    values = run_summary(record, share_host).items()
    return {name if "/" in name or isinstance(value, str) else f"cell/{name}": value for name, value in values}


def history_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return an epoch's row without NaN, infinities and null, which W&B's JSON cannot hold."""
    return {name: value for name, value in finite(row).items() if value is not None}


def exit_code(record: Record) -> int:
    """Return 0 for done (W&B: finished), 143 (SIGTERM) for interrupted, else 1 (both: failed).

    W&B shows a run as crashed when its process vanished; the summary's `status` has the rest.
    """
    return EXIT_CODES.get(record.status, OTHER_EXIT_CODE)


def prediction_tables(directory: Path, classes: list[str]) -> dict[str, tuple[list[str], list[list[Any]]]]:
    """Return the best model's confusion counts and test predictions, as name -> (columns, rows of scalars).

    Args:
        directory: a cell's; without predictions.npz there are no tables.
        classes: class names by index.
    """
    path = directory / PREDICTIONS_NAME
    if not path.exists():
        return {}
    with np.load(path) as saved:
        found = {name: saved[name] for name in ("id", "label", "best_class", "best_probability")}
    count_KK = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(count_KK, (found["label"], found["best_class"]), 1)
    counts = [
        [classes[true], classes[predicted], int(count_KK[true, predicted])]
        for true in range(len(classes))
        for predicted in range(len(classes))
    ]
    predictions = [
        [int(image), classes[true], classes[predicted], round(float(probability), 4), bool(true == predicted)]
        for image, true, predicted, probability in zip(*found.values(), strict=True)
    ]
    return {
        "test/confusion": (["true", "predicted", "images"], counts),
        "test/predictions": (["image", "true", "predicted", "probability", "right"], predictions),
    }
