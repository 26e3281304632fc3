"""Time limit and memory of a study's jobs: from its finished cells, of other arms by their price.

The launcher's timeout_min and mem_gb are the most that a job may have. They hold until the study's first cell has ended
on the cluster: the price of an arm does not say how fast the nodes are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitsweep.run.timing.estimate import makespan, spans_of_records
from vitsweep.study.estimate import ArmCost, arm_costs, done_records
from vitsweep.study.plan import Plan
from vitsweep.study.record import TRIAL, Record

GIB = 2**30
TIME_MARGIN, MEMORY_MARGIN = 1.2, 1.25
"""Limits as multiples of the largest expected use: chosen, so that a limit stays below twice the use of a long cell."""
START_SECONDS = 60.0
"""Time for the start of a job: Python from a shared disk, images, the first files."""
JOB_GIB = 0.75
"""Memory of a job beside its cells: two processes, one of which imports torch."""
LEAST_MB = 128
"""Step of the memory of small jobs."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Expected use of one cell of an arm."""

    seconds: float
    """Largest expected time."""
    gib: float | None
    """Largest expected memory of the machine; None: not known, as of cells on a GPU."""
    is_measured: bool
    """Whether a cell of the arm itself has ended."""
    newer: dict[str, Any] = field(default_factory=dict)
    """Fields that a newer version has written."""


def arm_folder(cell_id: str) -> str:
    """Return the folder of a cell's arm, which names the arm and its configuration."""
    return cell_id.rpartition("/")[0]


def arm_needs(directory: Path, plan: Plan) -> dict[str, Need]:
    """Return folder of an arm -> expected use of a cell, from the study's finished cells; {} before the first."""
    records = [record for record in done_records(directory) if record.role != TRIAL and record.time_seconds]
    if not records:
        return {}
    costs, hashes = {cost.arm: cost for cost in arm_costs(plan)}, {cell.arm: cell.config_hash for cell in plan.cells}
    devices = {record.device for record in records}
    by_device = [spans_of_records([r for r in records if r.device == one], costs, hashes) for one in devices]
    seconds = {arm: max(spans[arm].high for spans in by_device if arm in spans) for arm in costs}
    memory = memory_by_arm(records, costs, hashes)
    measured = {record.config_hash for record in records}
    return {
        arm_folder(cell.id): Need(
            seconds=seconds[cell.arm], gib=memory.get(cell.arm), is_measured=cell.config_hash in measured
        )
        for cell in plan.cells
        if cell.arm in seconds
    }


def memory_by_arm(records: Sequence[Record], costs: dict[str, ArmCost], hashes: dict[str, str]) -> dict[str, float]:
    """Return arm -> memory of a cell's process in GiB: the largest measured, else by the price; {} on a GPU."""
    if any(record.device != "cpu" for record in records):
        return {}
    arms = {hashes[arm]: arm for arm in costs}
    found: dict[str, float] = {}
    for record in records:
        if record.peak_gib and (arm := arms.get(record.config_hash)):
            found[arm] = max(record.peak_gib, found.get(arm, 0.0))
    beside = max((gib - costs[arm].memory_bytes / GIB for arm, gib in found.items()), default=None)
    if beside is None:
        return {}
    return {arm: found.get(arm, max(0.0, beside) + cost.memory_bytes / GIB) for arm, cost in costs.items()}


def job_size(
    needs: Sequence[Need | None], at_a_time: int, most: tuple[int, int | None], warning_seconds: float = 0.0
) -> list[int]:
    """Return time limit in minutes and memory in MB of a job; [] for the launcher's own.

    Args:
        needs: of its cells; None for one that is not known.
        at_a_time: number of cells that run at the same time.
        most: the launcher's time limit in minutes and memory in MB; None: it does not ask for memory.
        warning_seconds: time before the limit at which a job is stopped; no change of a queued job changes it.
    """
    known = [need for need in needs if need is not None]
    if len(known) < len(needs):
        return []
    seconds = START_SECONDS + warning_seconds + TIME_MARGIN * makespan([need.seconds for need in known], at_a_time)
    minutes, megabytes = min(most[0], stepped(seconds / 60)), most[1]
    if megabytes is not None and all(need.gib is not None for need in known):
        largest = sorted((need.gib or 0.0 for need in known), reverse=True)[:at_a_time]
        gib = JOB_GIB + MEMORY_MARGIN * sum(largest)
        megabytes = min(megabytes, LEAST_MB * stepped(1024 * gib / LEAST_MB))
    return [] if (minutes, megabytes) == most else [minutes, megabytes or 0]


def stepped(value: float) -> int:
    """Round up to a whole number, above 16 by at most an eighth more, so that few sizes differ."""
    whole = max(1, -int(-value // 1))
    step = 1 << max(0, whole.bit_length() - 4)
    return -(-whole // step) * step
