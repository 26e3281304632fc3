"""Training of a search's cells that ends at once, with an accuracy made from the learning rate; and a plan for it."""

import math
from pathlib import Path

from tests.support.made_plans import made_plan
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import Cell, Plan, new_record, plan_hash, write_plan
from vitsweep.study.record import METRIC_NAMES, TRIAL, append_row, write_record
from vitsweep.study.status import CellStatus, cell_statuses
from vitsweep.study.tuning.space import parse_search
from vitsweep.train.stop import Interrupted

TUNE = {"parameters": {"recipe.lr": [1e-4, 1e-2]}, "trials": 6}
PEAKS = {"baseline": 1e-3, "small": 3e-4, "large": 3e-3}
"""Arm -> the learning rate at which it does best."""
GAINS = {"baseline": 0.0, "small": 0.0, "large": 0.03}
"""Arm -> its gain there, a fraction of 1."""


def search_plan(directory: Path, tune: dict = TUNE, seeds: int = 2) -> Plan:
    """Freeze a plan of three arms with a search."""
    plan = made_plan(directory, list(PEAKS), list(range(seeds)))
    plan.tune = parse_search(tune).to_values()
    for cell in plan.cells:
        cell.config["data"]["root"] = "/data"  # absolute, as in a plan that was composed
    for row, cell in zip(plan.arms, plan.cells, strict=False):
        row |= {"config_hash": cell.config_hash, "changes": {}}
    plan.plan_hash = plan_hash(plan)
    write_plan(directory, plan)
    return plan


class FakeTraining:
    """Stand-in of run.sweep.SweepTraining: each cell is done at once, its accuracy falls with the distance to a peak.

    Args:
        num_cells: cells after which a signal stops it; None: never.
        ends: (arm, learning rate) -> status of such cells instead of done; refused: failed, for the user to correct.
    """

    def __init__(self, num_cells: int | None = None, ends: dict[tuple[str, float], str] | None = None):
        self.num_cells, self.ends = num_cells, ends or {}
        self.ran: list[str] = []

    def statuses(self, directory: Path, cells: list[Cell]) -> list[CellStatus]:
        return cell_statuses(directory, cells, LivenessCheck())

    def __call__(self, directory: Path, plan: Plan, before: list[CellStatus]) -> list[CellStatus]:
        for cell in [status.cell for status in before if status.is_wanted(retry=False)]:
            if len(self.ran) == self.num_cells:
                raise Interrupted
            self.ran.append(cell.id)
            record = new_record(plan, cell, None)
            lr = cell.config["recipe"]["lr"]
            place = 0 if cell.role == TRIAL else round(1e5 * lr)  # of the trials the peak alone decides
            noise = (7 * cell.seed + 3 * len(cell.arm) + place) % 5 / 1000
            accuracy = 0.5 + GAINS[cell.arm] - abs(math.log10(lr / PEAKS[cell.arm])) / 10 + noise
            names = METRIC_NAMES if cell.role != TRIAL else ("val/accuracy", "val/loss")
            record.metrics = {"final": dict.fromkeys(METRIC_NAMES) | {n: _value(n, accuracy) for n in names}}
            record.metrics["best"] = record.metrics["final"] | {"epoch": 1}
            record.status, record.time_seconds, record.threads = self.ends.get((cell.arm, lr), "done"), 36.0, 2
            if record.status in ("failed", "refused"):
                kind = {"failed": "ValueError", "refused": "DataError"}[record.status]
                record.status, record.error = "failed", {"type": kind, "message": "broken", "traceback": ""}
            (directory / cell.id).mkdir(parents=True, exist_ok=True)
            record.epoch = cell.config["recipe"]["epochs"]
            row = {"val/loss": 3 - accuracy, "val/accuracy": accuracy}
            for epoch in range(record.epoch):
                append_row(directory / cell.id, {"epoch": epoch + 1} | row)
            write_record(directory / cell.id, record)
        return self.statuses(directory, [status.cell for status in before])


def _value(name: str, accuracy: float) -> float:
    return accuracy if name.endswith("accuracy") else 3 - accuracy
