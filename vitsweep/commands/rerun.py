"""Training of a finished cell again in a scratch folder, and the comparison of its metrics with the recorded ones."""

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import special

from vitsweep.config.convert import from_dict, to_dict
from vitsweep.errors import RecordError
from vitsweep.files import finite
from vitsweep.significance.holm import ALPHA
from vitsweep.study.comparison.differences import compare_sides
from vitsweep.study.comparison.sides import Side, SideCell, read_side
from vitsweep.study.record import Record

EXACT, WITHIN, OUTSIDE, UNKNOWN = "exact", "within", "outside", "unknown"
FACTS = ("code", "libraries", "data", "machine")


@dataclass(kw_only=True)
class Check:
    """One metric, recorded and trained again."""

    name: str
    recorded: float | None
    again: float | None
    bound: float | None
    """Largest difference that the spread of the arm's seeds explains; None if the spread is not known."""

    @property
    def is_equal(self) -> bool:
        """Return whether both are the same number."""
        return self.recorded == self.again

    @property
    def is_within(self) -> bool:
        """Return whether the difference is within the bound."""
        if self.is_equal:
            return True
        known = self.bound is not None and self.recorded is not None and self.again is not None
        return known and abs(self.again - self.recorded) <= self.bound  # type: ignore[operator]


def train_again(record: Record, folder: Path, root: str | None = None) -> Record:
    """Train the cell of a finished record in a folder, with its threads and precision; return the new record.

    Args:
        root: folder of the images, if it is another one now.

    Raises:
        RecordError: the cell has not finished.
        UserError: images or device are not available.
    """
    import torch

    from vitsweep.train.fit import run_cell

    if record.status != "done":
        raise RecordError(f"{record.arm}, seed {record.seed}  is {record.status}; only finished cells can be checked")
    config = from_dict(record.config)
    config.tracker.name, config.checkpoint_every_epochs, config.pack = "none", 0, "off"
    config.data.root = str(Path(root).absolute()) if root else config.data.root
    config.precision = record.precision or config.precision
    config.device = "cpu" if record.device == "cpu" else config.device
    again = Record(role=record.role, arm=record.arm, seed=record.seed, levels=record.levels, study=record.study)
    again.config, again.config_hash = to_dict(config), record.config_hash
    before = torch.get_num_threads()
    torch.set_num_threads(record.threads or before)
    try:
        return run_cell(config, again, folder)
    finally:
        torch.set_num_threads(before)


def check_metrics(record: Record, again: Record, seeds: list[Record]) -> list[Check]:
    """Compare every metric of the last and the best epoch and of averages.

    Were the second training another replicate of the arm, the difference of the two would have sqrt(2) times the
    spread of its seeds: the bound is the t quantile of that, at 5 % over all metrics (Bonferroni).

    Args:
        seeds: finished records of the same arm, this one among them.
    """
    names = [(row, name) for row, metrics in record.metrics.items() for name in metrics]
    found = []
    for row, name in names:
        values = [value for own in seeds if (value := (own.metrics.get(row) or {}).get(name)) is not None]
        bound = None
        if len(values) > 1 and name != "epoch":
            quantile = float(special.stdtrit(len(values) - 1, 1 - ALPHA / 2 / len(names)))
            bound = quantile * math.sqrt(2) * statistics.stdev(values)
        value = finite((again.metrics.get(row) or {}).get(name))
        found.append(Check(name=f"{row}/{name}", recorded=record.metrics[row][name], again=value, bound=bound))
    return found


def verdict(checks: list[Check]) -> str:
    """Return EXACT, WITHIN, OUTSIDE, or UNKNOWN where metrics differ and the spread of the arm is not known."""
    if all(check.is_equal for check in checks):
        return EXACT
    judged = [check for check in checks if not check.name.endswith("/epoch")]  # the best epoch is no measurement
    if all(check.is_within for check in judged):
        return WITHIN
    return UNKNOWN if all(check.bound is None for check in judged) else OUTSIDE


def arm_records(cell: Path, record: Record) -> list[Record]:
    """Return the finished records of the cell's arm in its sweep; of a single run its own."""
    if not cell.name.startswith("seed="):
        return [record]
    try:
        side = read_side(str(cell.parent))
    except RecordError:
        return [record]
    return [c.record for c in side.cells if c.record.status == "done" and c.record.config_hash == record.config_hash]


def changed_facts(cell: Path, record: Record, folder: Path, again: Record) -> list[tuple[str, Any, Any]]:
    """Return (what, then, now) of code, libraries, data and machine that differ between the two trainings."""
    sides = [
        Side(name=name, cells=[SideCell(directory=place, record=own)])
        for name, place, own in (("then", cell, record), ("now", folder, again))
    ]
    return [(f"{row.section}: {row.key}", row.a, row.b) for row in compare_sides(*sides) if row.section in FACTS]
