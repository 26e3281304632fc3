"""Recompute what plan and records state twice, and list the contradictions: hashes, paths, last and best epoch.

Every line ends in a report's Health and in the differences of `verify`.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vitsweep.config.convert import config_hash, from_dict
from vitsweep.errors import ConfigError, RecordError
from vitsweep.study.plan import DECLARED, CellId, claims_hash, plan_hash, read_plan
from vitsweep.study.record import METRIC_NAMES
from vitsweep.study.status import NOT_NEEDED

TOLERANCE = 1e-6
NOT_STARTED = ("planned", "unreadable", "left out", NOT_NEEDED)
"""Statuses of rows that come from the plan, since the cell has no record that can be read or compared."""
LAST_ROW = ("val/loss", "val/accuracy")
"""Metrics that a record's `final` repeats from the last row of metrics.jsonl."""


def plan_contradictions(directory: Path) -> list[str]:
    """Return hashes that a sweep directory's plan.json states and that are not those of its content."""
    try:
        plan = read_plan(directory)
        if plan is None:
            return []
        lines = []
        if claims_hash(plan.claims, *(getattr(plan, name) for name in DECLARED)) != plan.claims_hash:
            stated = "claims, ROPE, error and looks"
            lines.append(f"plan.json: claims_hash is not that of its {stated}; they were changed by hand.")
        if plan_hash(plan) != plan.plan_hash:
            lines.append("plan.json: plan_hash is not that of its content; it was changed by hand.")
    except (RecordError, KeyError, TypeError, AttributeError):
        return ["plan.json: its hashes cannot be recomputed, since fields are missing or of another kind."]
    return lines + [f"plan.json: {line}" for c in plan.cells for line in _wrong_hash(c.id, c.config, c.config_hash)]


def cell_contradictions(cells: pd.DataFrame, history: pd.DataFrame) -> list[str]:
    """Return what the records state that is impossible, or not what their path or their epochs say.

    Args:
        cells: as StudyRecords.cells.
        history: as StudyRecords.history.
    """
    history = history.sort_values("epoch", kind="stable")
    columns = {name: history[name].to_numpy() for name in ("epoch", *LAST_ROW)}
    places, none = history.groupby("cell", sort=False).indices, np.array([], int)
    started = cells[~cells["status"].isin(NOT_STARTED)]
    lines: list[str] = []
    for cell in started.to_dict("records"):
        lines += [*_wrong_path(cell), *_wrong_hash(cell["cell"], cell["record"].config, cell["config_hash"])]
        lines += _impossible_accuracies(cell)
        if cell["status"] == "done":
            place = places.get(cell["cell"], none)
            lines += _wrong_epochs(cell, {name: values[place] for name, values in columns.items()})
    return lines


def _wrong_hash(cell: str, config: dict[str, Any], stated: str) -> list[str]:
    try:
        found = config_hash(from_dict(config))
    except (ConfigError, TypeError, AttributeError):
        return []  # of another version, which has other settings to hash
    return [] if found == stated else [f"{cell}: config_hash is not that of its configuration."]


def _wrong_path(cell: dict[str, Any]) -> list[str]:
    """Compare a directory named as a sweep names cells with its record."""
    folder, name = Path(cell["directory"]).parts[-2:] if len(Path(cell["directory"]).parts) > 1 else ("", "")
    if not name.startswith("seed="):
        return []
    own = CellId.of(cell["arm"].replace("/", "-"), cell["config_hash"], cell["seed"])
    if f"{folder}/{name}" == str(own):
        return []
    return [f"{cell['cell']}: its record is of {cell['arm']}, seed {cell['seed']}, whose directory is {own}."]


def _impossible_accuracies(cell: dict[str, Any]) -> list[str]:
    names = [f"{when}/{name}" for when in ("final", "best") for name in METRIC_NAMES if name.endswith("accuracy")]
    return [
        f"{cell['cell']}: {name} {cell[name]:g} is no accuracy, which lies between 0 and 1."
        for name in names
        if not math.isnan(cell[name]) and not 0 <= cell[name] <= 1
    ]


def _wrong_epochs(cell: dict[str, Any], rows: dict[str, np.ndarray]) -> Iterator[str]:
    """Compare the number of epochs, the last row and the row of the lowest validation loss with the record.

    Args:
        rows: epoch and LAST_ROW -> values by rising epoch; arrays, since there may be thousands of cells.
    """
    epochs, losses = rows["epoch"], rows["val/loss"]
    if len(epochs) != cell["epoch"]:
        yield f"{cell['cell']} states {cell['epoch']} epochs, its metrics.jsonl has {len(epochs)}."
        return
    if not len(epochs):
        return
    for name in LAST_ROW:
        if not _is_close(cell[f"final/{name}"], rows[name][-1]):
            yield (
                f"{cell['cell']}: final {name} {cell[f'final/{name}']:.6g}, the last row of metrics.jsonl has "
                f"{rows[name][-1]:.6g}."
            )
    if not np.isnan(losses).all() and (best := epochs[np.nanargmin(losses)]) != cell["best/epoch"]:
        yield f"{cell['cell']}: best epoch {cell['best/epoch']:g}, the lowest validation loss is at epoch {best:g}."


def _is_close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or abs(one - other) <= TOLERANCE * max(1.0, abs(other))
