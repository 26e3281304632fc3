"""Expected time of a plan's cells on this machine: from its finished cells, else from a few timed training steps.

Each time is a span. By finished cells it covers what they differed by. By timed steps it is the estimate times factors
that were chosen (TIMED_LOW, TIMED_HIGH, SCALED), not fitted to measured cells: it is no interval of a known coverage.
Other programs that run at the same time are not foreseen, nor are packs, which are trained only where they are faster.
"""

import heapq
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from vitsweep.errors import UserError
from vitsweep.run.progress_table import duration
from vitsweep.run.slots import Slot, gpu_names, num_cores
from vitsweep.run.timing.measure import measure_shapes
from vitsweep.study.estimate import ArmCost, arm_costs, done_records
from vitsweep.study.plan import Plan
from vitsweep.study.provenance.environment import host
from vitsweep.study.record import TRIAL, Record
from vitsweep.study.status import CellStatus
from vitsweep.train.trial.result import ProbeResult, shape_key

log = logging.getLogger(__name__)

PLAN_SECONDS, START_SECONDS = 15.0, 4.0
"""Time of the steps that are timed for a plan, and before cells are trained."""
START_OF_CELL = 1.0
"""Seconds in which a worker starts, reads the images and writes its files."""
SINGLE = "single"
"""Study of a run without a sweep."""
START_OF_SWEEP = 5.0
"""Seconds in which the workers' server imports torch."""
REPORT_SECONDS, REPORT_SECONDS_OF_CELL = 12.0, 2.5
"""Time of the report: in all, and for each cell beside; 22 s were measured with 4 cells and 83 s with 24."""
TIMED_LOW, TIMED_HIGH = 0.7, 1.6
"""Ends of the span of an estimate from timed steps, as multiples of it: chosen."""
SCALED = 1.5
"""Further factor, both ways, of an arm whose time follows from another's by floating-point operations: chosen."""
LEAST_SPREAD = 0.1
"""Smallest deviation of a cell's time from that of the same arm's finished cells."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Time in seconds: smallest, most likely and largest."""

    low: float
    likely: float
    high: float

    def scaled(self, low: float, likely: float, high: float) -> "Span":
        """Return the span with each of its ends and its middle times a factor."""
        return Span(low=self.low * low, likely=self.likely * likely, high=self.high * high)


@dataclass(frozen=True, kw_only=True)
class TimeEstimate:
    """Expected time of cells on this machine."""

    arms: dict[str, Span]
    """Arm -> time of one cell from its start."""
    total: Span
    """Time of the cells that are left, as many at a time as there are slots."""
    source: str
    """Sentence part: what the times are computed from."""
    num_jobs: int = 1
    threads: int = 1

    @property
    def hours(self) -> dict[str, float]:
        """Return arm -> likely hours of one cell."""
        return {arm: span.likely / 3600 for arm, span in self.arms.items()}


def estimate_time(
    plan: Plan,
    todo: Sequence[CellStatus],
    slots: Sequence[Slot],
    directory: Path | None,
    seconds: float,
    probed: dict[str, ProbeResult] | None = None,
) -> TimeEstimate | None:
    """Estimate the time of the cells that are left; None if it cannot be estimated.

    Args:
        plan: the study's.
        todo: cells that are left, in the order of training; an interrupted one is continued.
        slots: of the cells that run at a time.
        directory: the sweep's, whose finished cells of this machine are used; None: there are none.
        seconds: time that steps may be timed for; 0: none are.
        probed: arm -> result of a probe that was made before, if any.
    """
    costs = {cost.arm: cost for cost in arm_costs(plan)}
    wanted = list(dict.fromkeys(now.cell.arm for now in todo)) or list(costs)
    threads = num_threads(slots)
    configs = {cell.arm: cell.config for cell in reversed(plan.cells)}
    hashes = {cell.arm: cell.config_hash for cell in plan.cells}
    records = [record for record in done_records(directory) if is_alike(record, threads)] if directory else []
    fits = {arm: result for arm, result in (probed or {}).items() if not result.error}
    arms, source = {}, ""
    if not fits:
        arms, source = spans_of_records(records, costs, hashes), f"from {count(len(records), 'finished cell')} here"
    if not set(wanted) <= arms.keys():
        if not fits and seconds:
            fits = probe_arms({arm: configs[arm] for arm in wanted}, costs, slots, seconds)
        arms, source = spans_of_probe(fits, costs), describe_probe(fits, configs, wanted)
    if not set(wanted) <= arms.keys():
        return None
    spans = [arms[now.cell.arm].scaled(*[share_left(now)] * 3) for now in todo]
    ends = {name: makespan([getattr(span, name) for span in spans], len(slots)) for name in ("low", "likely", "high")}
    ends = {name: seconds + START_OF_SWEEP * (plan.study != SINGLE) for name, seconds in ends.items()}
    return TimeEstimate(arms=arms, total=Span(**ends), source=source, num_jobs=len(slots), threads=threads)


def num_threads(slots: Sequence[Slot]) -> int:
    """Return the CPU threads of a cell in these slots."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return slots[0].threads or (int(given) if given.isdigit() else num_cores())


def is_alike(record: Record, threads: int) -> bool:
    """Return whether a cell was trained on a machine like this one, with as many threads and on the same device."""
    now, then = host(), record.environment
    is_same = (then.get("cpu"), then.get("cores")) == (now["cpu"], now["cores"]) and record.threads == threads
    on_gpu = record.config.get("device") != "cpu" and gpu_names()
    return is_same and record.role != TRIAL and (record.device in gpu_names() if on_gpu else record.device == "cpu")


def spans_of_records(records: Sequence[Record], costs: dict[str, ArmCost], hashes: dict[str, str]) -> dict[str, Span]:
    """Return arm -> time of a cell, by the arm's finished cells, else by its floating-point operations.

    Args:
        hashes: arm -> config_hash of its cells.
    """
    if not records:
        return {}
    times = {arm: [r.time_seconds for r in records if r.config_hash == hashes[arm]] for arm in costs}
    ratios = [seconds / fmean(own) for own in times.values() for seconds in own]
    low, high = min([1 - LEAST_SPREAD, *ratios]), max([1 + LEAST_SPREAD, *ratios])
    rates = {arm: fmean(own) / flops for arm, own in times.items() if own and (flops := costs[arm].training_flops)}
    found = {}
    for arm, own in times.items():
        if own:
            found[arm] = Span(low=low, likely=1.0, high=high).scaled(*[fmean(own)] * 3)
        elif rates and (flops := costs[arm].training_flops):
            ends = min(rates.values()) / SCALED * low, median(rates.values()), max(rates.values()) * SCALED * high
            found[arm] = Span(low=ends[0], likely=ends[1], high=ends[2]).scaled(*[flops] * 3)
    return found


def probe_arms(
    configs: dict[str, dict[str, Any]], costs: dict[str, ArmCost], slots: Sequence[Slot], seconds: float
) -> dict[str, ProbeResult]:
    """Time steps of these arms, each shape once and the costliest first, for about `seconds`; return arm -> result.

    An error is logged: an estimate must not stop a sweep.
    """
    ordered = sorted(configs, key=lambda arm: -(costs[arm].training_flops or 0) * costs[arm].cells)
    shapes = {arm: shape_key(configs[arm]) for arm in ordered}
    asked = {shape: sized(configs[arm], costs[arm]) for arm, shape in reversed(shapes.items())}
    asked = dict(reversed(asked.items()))
    try:
        found = measure_shapes(asked, seconds, slots[0])
    except (OSError, ValueError, RuntimeError) as error:  # UserError, too
        log.debug("no steps were timed", exc_info=True)
        if not isinstance(error, UserError):
            log.info("no time is estimated: %s", str(error).partition("\n")[0])
        return {}
    return {arm: found[shape] for arm, shape in shapes.items() if shape in found and not found[shape].error}


def sized(config: dict[str, Any], cost: ArmCost) -> dict[str, Any]:
    """Return a configuration with the batch that its steps really have: never more than there are images."""
    return config | {"recipe": config["recipe"] | {"batch_size": cost.batch_size}}


def spans_of_probe(probed: dict[str, ProbeResult], costs: dict[str, ArmCost]) -> dict[str, Span]:
    """Return arm -> time of a cell by timed steps, of other arms by their floating-point operations."""
    found, rates = {}, []
    for arm, result in probed.items():
        if (seconds := cell_seconds(costs[arm], result)) is not None:
            found[arm] = Span(low=TIMED_LOW, likely=1.0, high=TIMED_HIGH).scaled(*[seconds] * 3)
            rates.append(seconds / (costs[arm].training_flops or 1))
    for arm, cost in costs.items():
        if arm not in found and rates and cost.training_flops:
            ends = min(rates) * TIMED_LOW / SCALED, median(rates), max(rates) * TIMED_HIGH * SCALED
            found[arm] = Span(low=ends[0], likely=ends[1], high=ends[2]).scaled(*[cost.training_flops] * 3)
    return found


def epoch_seconds(cost: ArmCost, probed: ProbeResult) -> float | None:
    """Return the time of one epoch's steps and its scoring of the validation images; None if not known."""
    if cost.images is None or cost.steps is None:
        return None
    return cost.steps * probed.step_seconds + cost.images[1] * probed.eval_seconds


def cell_seconds(cost: ArmCost, probed: ProbeResult) -> float | None:
    """Return the time of one cell: its epochs, and scoring all images with the last and the best weights."""
    epoch = epoch_seconds(cost, probed)
    if epoch is None or cost.images is None:
        return None
    return START_OF_CELL + cost.epochs * epoch + 2 * sum(cost.images) * probed.eval_seconds


def share_left(now: CellStatus) -> float:
    """Return the part of a cell's training that is left."""
    if now.status != "interrupted" or now.record is None:
        return 1.0
    return max(0.0, 1 - now.record.epoch / now.cell.config["recipe"]["epochs"])


def makespan(seconds: Sequence[float], num_slots: int) -> float:
    """Return the time until all cells have ended, each started in the first slot that is free."""
    busy = [0.0] * max(1, num_slots)
    for one in seconds:
        heapq.heapreplace(busy, busy[0] + one)
    return max(busy)


def describe_probe(probed: dict[str, ProbeResult], configs: dict[str, dict[str, Any]], wanted: Sequence[str]) -> str:
    """Describe what was timed: `from 8 timed training steps of 2 of 3 kinds of cell`."""
    timed = {shape_key(configs[arm]): result for arm, result in probed.items()}
    kinds = {shape_key(configs[arm]) for arm in wanted}
    kind = "" if len(kinds) == 1 else f" of {len(timed)} of {len(kinds)} kinds of cell"
    rest = ", the others by their floating-point operations" if timed.keys() < kinds else ""
    return f"from {count(sum(r.num_steps for r in timed.values()), 'timed training step')}{kind}{rest}"


def count(number: int, noun: str) -> str:
    """Return `1 cell`, `2 cells`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def describe_span(span: Span) -> str:
    """Format a span as `about 25 min (15 to 40 min)`."""
    low, likely, high = (duration(value) for value in (span.low, span.likely, span.high))
    if low == high:
        return f"about {likely}"
    return f"about {likely} ({low.removesuffix(high.partition(' ')[2]).strip()} to {high})"


def describe_time(estimate: TimeEstimate) -> str:
    """Format an estimate as `about 25 min (15 to 40 min) on this machine, 2 cells at a time, from 8 timed steps`."""
    jobs = f", {estimate.num_jobs} cells at a time with {count(estimate.threads, 'thread')} each"
    return f"{describe_span(estimate.total)} on this machine{jobs if estimate.num_jobs > 1 else ''}, {estimate.source}"


def describe_report(num_cells: int) -> str:
    """Return `about 15 s for the report`."""
    return f"about {duration(REPORT_SECONDS + REPORT_SECONDS_OF_CELL * num_cells)} for the report"
