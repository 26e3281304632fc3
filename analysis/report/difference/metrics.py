"""Metrics of two sides: means of each, and the paired difference B - A over shared seeds with its 95 % t interval.

numpy and scipy only, so that a comparison of two cells starts at once. Accuracies and their differences are in percent
and percent points. The intervals are those of one comparison each, not adjusted for their number.
"""

import math
from typing import Any

import numpy as np

from vitsweep.study.comparison.differences import Pair
from vitsweep.study.comparison.sides import SideCell
from vitsweep.study.record import METRIC_NAMES, METRIC_ROWS, read_rows

from ...statistics.paired import compare_paired
from .metric_row import COSTS, MetricRow

ROW_NAMES = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr")
"""Metrics of metrics.jsonl that cells are compared by at one epoch."""
DEFAULT_METRIC = "final/test/accuracy"


def metric_rows(pairs: list[Pair], metric: str = "") -> list[MetricRow]:
    """Return the metrics of each pair: every one if there is one pair, else `metric` (DEFAULT_METRIC)."""
    if metric:
        names = [metric]
    elif len(pairs) > 1:
        names = [DEFAULT_METRIC]
    else:
        names = [f"{row}/{name}" for row in METRIC_ROWS for name in METRIC_NAMES] + list(COSTS)
    rows = [
        compare(pair, name, done_values(pair.a, name), done_values(pair.b, name)) for pair in pairs for name in names
    ]
    rows = [row for row in rows if row.n_a or row.n_b]
    if len(pairs) == 1 and not metric and not any(row.n_a and row.n_b and row.metric not in COSTS for row in rows):
        rows += epoch_rows(pairs[0])
    return rows


def compare(pair: Pair, name: str, a: dict[int, float], b: dict[int, float]) -> MetricRow:
    """Compare one metric, given as seed -> value."""
    scale = 100.0 if name.endswith("accuracy") else 1.0
    shared = sorted(a.keys() & b.keys())
    mean_a, mean_b = (scale * float(np.mean(list(own.values()))) if own else math.nan for own in (a, b))
    paired = compare_paired(scale * np.array([b[seed] - a[seed] for seed in shared]), math.nan)
    return MetricRow(
        arm=pair.name,
        metric=name,
        a=known(mean_a),
        b=known(mean_b),
        n_a=len(a),
        n_b=len(b),
        shared=len(shared),
        difference=known(paired.delta if shared else mean_b - mean_a),
        ci_low=known(paired.ci_low),
        ci_high=known(paired.ci_high),
        p=known(paired.p),
    )


def known(value: float) -> float | None:
    """Return a number, None for NaN."""
    return None if math.isnan(value) else value


def done_values(cells: list[SideCell], name: str) -> dict[int, float]:
    """Return seed -> a metric or cost of the finished cells that have it."""
    found = {}
    for cell in cells:
        record = cell.record
        row, _, metric = name.partition("/")
        value = getattr(record, name) if name in COSTS else (record.metrics.get(row) or {}).get(metric)
        if record.status == "done" and isinstance(value, int | float):
            found[record.seed] = float(value)
    return found


def epoch_rows(pair: Pair) -> list[MetricRow]:
    """Compare cells that have not all finished at the last epoch that all of both sides have; [] without one."""
    curves = [{cell.record.seed: curve(cell) for cell in cells} for cells in (pair.a, pair.b)]
    curves = [{seed: rows for seed, rows in side.items() if rows} for side in curves]
    shared = curves[0].keys() & curves[1].keys() or curves[0].keys() | curves[1].keys()
    curves = [{seed: rows for seed, rows in side.items() if seed in shared} for side in curves]
    if not all(curves):
        return []
    epoch = min(max(rows) for side in curves for rows in side.values())
    found = []
    for name in ROW_NAMES:
        values = [{seed: rows.get(epoch, {}).get(name) for seed, rows in side.items()} for side in curves]
        a, b = ({seed: float(value) for seed, value in side.items() if value is not None} for side in values)
        found.append(compare(pair, f"epoch {epoch}/{name}", a, b))
    return found


def curve(cell: SideCell) -> dict[int, dict[str, Any]]:
    """Return epoch -> row of a cell."""
    return {row["epoch"]: row for row in read_rows(cell.directory) if "epoch" in row}
