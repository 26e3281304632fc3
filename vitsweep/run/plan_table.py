"""Table of a plan: arms, what is done and what is left, the time on this machine, disk, memory, power, warnings.

Printed by `python -m vitsweep plan` and by sweep.dry_run=true. A process without torch stays without it: steps are
timed in another (vitsweep/run/timing), unless sweep.probe=true asks for more of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vitsweep.config.overrides import yaml_text
from vitsweep.config.schema import DataConfig, SweepConfig
from vitsweep.errors import printable
from vitsweep.run.packs import packing_note
from vitsweep.run.plan_text.power import (
    chance_style,
    describe_chance,
    describe_error,
    describe_looks,
    describe_powers,
    describe_questions,
)
from vitsweep.run.progress_table import describe_counts, duration, new_table, print_tables, table_console
from vitsweep.run.slots import Slot, make_slots
from vitsweep.run.timing.estimate import (
    PLAN_SECONDS,
    TimeEstimate,
    describe_report,
    describe_time,
    epoch_seconds,
    estimate_time,
)
from vitsweep.run.tuning.price import describe_search
from vitsweep.study.changes.extension import extend_plan
from vitsweep.study.estimate import ArmCost, arm_costs
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import Plan, read_plan
from vitsweep.study.questions.advice import spread_advice
from vitsweep.study.questions.power import equality_chances, question_power
from vitsweep.study.questions.study_power import Power, power_warnings, study_power
from vitsweep.study.status import FAILURES, CellStatus, cell_statuses

if TYPE_CHECKING:
    from vitsweep.train.trial.probe import ProbeResult

MAX_CHANGES = 3  # changes that are shown for an arm
WIDE = 110
"""Columns of a console on which tokens, memory and disk of each arm are shown too."""
MIB, GIB = 2**20, 2**30
DOWNLOAD_MB = 170
"""Size of CIFAR-10's archive, 170,498,071 bytes."""


@dataclass(kw_only=True)
class PlanState:
    """Statuses, probe and expected time of a plan."""

    statuses: list[CellStatus]
    """Of all its cells."""
    probed: "dict[str, ProbeResult]" = field(default_factory=dict)
    """Arm -> result of sweep.probe=true."""
    time: TimeEstimate | None = None
    """Of the cells that are left."""


def print_plan(plan: Plan, directory: Path | None = None, probe: bool | None = None, launcher: str = "") -> None:
    """Print render_plan, with the time of the cells that are left."""
    print_tables(render_plan(plan, directory, probe, launcher, PLAN_SECONDS, table_console().width))


def render_plan(
    plan: Plan,
    directory: Path | None = None,
    probe: bool | None = None,
    launcher: str = "",
    seconds: float = 0.0,
    width: int = WIDE,
) -> Group:
    """Return the arms, their state and costs, the study's power, notes and warnings, for rich to print.

    Args:
        plan: the study's.
        directory: the sweep's, with the plan and records of earlier starts; None: there are none.
        probe: whether NUM_STEPS steps of every shape are timed (imports torch); None: as the plan's sweep.probe says.
        launcher: option of hydra/launcher; empty for Hydra's basic one.
        seconds: time in which a few steps may be timed, if no earlier cells of this machine say how long the rest
            takes; 0: none are.
        width: columns of the console.

    Raises:
        RecordError: the directory holds a study with another baseline.
    """
    if directory is not None and (earlier := read_plan(directory)) is not None:
        extend_plan(earlier, plan, directory)
    state = find_state(plan, directory, probe, launcher, seconds)
    costs, power = arm_costs(plan), study_power(plan, directory)
    lines = [*describe_state(state, plan, launcher), *describe_totals(costs, plan)]
    lines += [describe_error(plan), *describe_powers(power)]
    questions, chances = question_power(plan, power.spread), equality_chances(plan, power.spread)
    lines += [describe_questions(questions, power)] if questions else []
    lines = [*describe_download(plan.cells[0].config), *lines]
    texts = [Text(line) for line in lines]
    texts += [Text(printable(describe_chance(chance, power)), style=chance_style(chance)) for chance in chances]
    lines = describe_looks(plan, costs, power.spread, work_rate(state, costs))
    lines += describe_search(plan, costs, state.time.hours if state.time else {})
    lines += spread_advice(plan, directory)
    packs = packing_note(plan.cells, plan.cells[0].config.get("pack", "off"))
    texts += [Text(line) for line in lines] + [Text(f"note: {note}") for note in [*plan.notes, packs] if note]
    texts += [Text(printable(f"warning: {w}"), style="yellow") for w in plan_warnings(power, costs, state)]
    texts += [Text(f"directory: {directory}")] if directory is not None else []
    return Group(arm_table(plan, costs, state, width), *texts)


def find_state(
    plan: Plan,
    directory: Path | None,
    probe: bool | None,
    launcher: str,
    seconds: float,
    statuses: list[CellStatus] | None = None,
) -> PlanState:
    """Read what is done of a plan, unless statuses are given, and estimate the time of the rest; see render_plan."""
    settings = SweepConfig(**plan.cells[0].config["sweep"])
    if statuses is not None:
        pass
    elif directory is None:
        statuses = [CellStatus(cell=cell, status="planned") for cell in plan.cells]
    else:
        statuses = cell_statuses(directory, plan.cells, LivenessCheck())
    state = PlanState(statuses=statuses)
    if settings.probe if probe is None else probe:
        from vitsweep.train.trial.probe import probe_plan

        state.probed = probe_plan(plan)
    todo = cells_left(statuses, settings)
    slots = make_slots(settings.jobs, max(1, len(todo)), is_on_cpu(plan)) if not launcher else [Slot()]
    state.time = estimate_time(plan, todo, slots, directory, seconds, state.probed)
    return state


def cells_left(statuses: Sequence[CellStatus], settings: SweepConfig) -> list[CellStatus]:
    """Return the cells that a start with these settings trains."""
    return [now for now in statuses if now.is_wanted(settings.retry == "failed") and now.status != "running"]


def is_on_cpu(plan: Plan) -> bool:
    """Return whether every cell asks for the CPU."""
    return all(cell.config["device"] == "cpu" for cell in plan.cells)


def plan_warnings(power: Power, costs: list[ArmCost], state: PlanState) -> list[str]:
    """Return warnings on few seeds and on arms that do not fit on the device."""
    probed = state.probed
    return power_warnings(power) + [
        f"{cost.arm} does not fit on this {probed[cost.arm].device}: {probed[cost.arm].error}"
        for cost in costs
        if cost.arm in probed and probed[cost.arm].error
    ]


def arm_table(plan: Plan, costs: list[ArmCost], state: PlanState, width: int = WIDE) -> Table:
    """Return a table with a row per arm: name, finished cells and time first; the rest where there is room."""
    num_seeds = f"{len(plan.seeds)} seed" + "s" * (len(plan.seeds) > 1)
    title = f"{plan.study}: {len(plan.arms)} arms x {num_seeds} = {len(plan.cells)} cells ({plan.design})"
    table = new_table(title, "arm")
    texts = {cost.arm: describe_changes(cost.changes, cost.arm) for cost in costs}
    has_changes = any(text != "-" for text in texts.values())
    headings = ["done", "time/cell", "parameters", "MFLOP/image"]
    headings += ["tokens", "memory MiB", "disk MiB"] if width >= WIDE else []
    headings += ["ms/step", "s/epoch", "peak MiB"] if state.probed else []
    for heading in headings:
        table.add_column(heading, justify="right")
    if has_changes:
        table.add_column("changes", overflow="fold")
    for cost in costs:
        row = [cost.arm, done_column(cost, state), time_column(cost, state), *cost_columns(cost, width)]
        row += probe_columns(cost, state.probed.get(cost.arm)) if state.probed else []
        table.add_row(*row, *([texts[cost.arm]] if has_changes else []))
    return table


def done_column(cost: ArmCost, state: PlanState) -> str:
    """Return `2/3`: the finished and the planned cells of an arm."""
    return f"{sum(now.status == 'done' for now in state.statuses if now.cell.arm == cost.arm)}/{cost.cells}"


def time_column(cost: ArmCost, state: PlanState) -> str:
    """Return the likely time of one cell of an arm; `-` if unknown."""
    known = state.time is not None and cost.arm in state.time.arms
    return duration(state.time.arms[cost.arm].likely) if state.time and known else "-"


def describe_changes(changes: dict[str, Any], arm: str = "") -> str:
    """Return an arm's first changes as `patch_size=8 depth=4`; `-` if its name says the same, or without any."""
    words = [f"{key.rpartition('.')[2]}={yaml_text(value)}" for key, value in changes.items()]
    if arm in ("+".join(words), "+".join(sorted(words))):
        return "-"
    more = [f"and {len(words) - MAX_CHANGES} more"] if len(words) > MAX_CHANGES else []
    return printable(" ".join(words[:MAX_CHANGES] + more)) or "-"


def describe_mflop(cost: ArmCost) -> str:
    """Format the millions of floating-point operations of an image, small ones with two digits."""
    number = cost.flops_per_image / 1e6
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def cost_columns(cost: ArmCost, width: int) -> list[str]:
    """Return the numbers of an arm's row that follow from its configuration."""
    numbers = [f"{cost.params:,}", describe_mflop(cost)]
    if width < WIDE:
        return numbers
    memory, disk = f"{cost.memory_bytes / MIB:,.0f}", f"{cost.disk_bytes / MIB:,.1f}"
    return [*numbers, f"{cost.tokens}" if cost.tokens else "-", memory, disk]


def probe_columns(cost: ArmCost, probed: "ProbeResult | None") -> list[str]:
    """Return the numbers that sweep.probe=true measured for an arm."""
    if probed is None or probed.error:
        return ["-", "-", "too much" if probed else "-"]
    epoch = epoch_seconds(cost, probed)
    shown = "-" if epoch is None else f"{epoch:,.1f}"
    return [f"{1000 * probed.step_seconds:,.1f}", shown, f"{probed.peak_bytes / MIB:,.0f}"]


def work_rate(state: PlanState, costs: list[ArmCost]) -> float | None:
    """Return the seconds of a floating-point operation in training, all jobs together; None if unknown."""
    if state.time is None:
        return None
    pairs = [(state.time.arms[c.arm].likely, c.training_flops) for c in costs if c.arm in state.time.arms]
    flops = sum(number or 0 for _, number in pairs)
    return sum(seconds for seconds, _ in pairs) / flops / state.time.num_jobs if flops else None


def describe_state(state: PlanState, plan: Plan, launcher: str = "") -> list[str]:
    """Return lines on what is done, what is left and how long that takes."""
    settings = SweepConfig(**plan.cells[0].config["sweep"])
    left = cells_left(state.statuses, settings)
    lines = [f"cells: {describe_counts(state.statuses)}; {len(left) or 'nothing'} to train"]
    failed = sum(now.status in FAILURES and not now.has_outside_cause for now in state.statuses)
    if failed and settings.retry != "failed":
        lines.append("failed cells are left as they are; sweep.retry=failed trains them again")
    if not left:
        return lines
    if state.time is None:
        return [*lines, "time: unknown; neither earlier cells of this machine nor timed steps (sweep.probe=true)"]
    most = "at most " if plan.looks and settings.until == "decided" else ""
    lines.append(f"time: {most}{describe_time(state.time)}; then {describe_report(len(plan.cells))}")
    if launcher:
        lines.append(f"time: that is one cell after another; hydra/launcher={launcher} decides how many run at a time")
    return lines


def describe_download(config: dict[str, Any]) -> list[str]:
    """Return a line on images that are missing, and on their download."""
    from vitsweep.data.sources import are_missing  # late: numpy, Pillow

    data, model = DataConfig(**config["data"]), config["model"]
    if not are_missing(data, model["image_size"], model["num_channels"]):
        return []
    if not data.download:
        return [f"warning: CIFAR-10 is not in {data.root}, and data.download=false forbids to fetch it"]
    return [f"images: CIFAR-10 is not in {data.root}; {DOWNLOAD_MB} MB are downloaded there before the first cell"]


def describe_totals(costs: list[ArmCost], plan: Plan) -> list[str]:
    """Return lines on the disk and memory of the cells."""
    disk = sum(cost.cells * cost.disk_bytes for cost in costs) / GIB
    state, memory = max(cost.state_bytes for cost in costs) / MIB, max(cost.memory_bytes for cost in costs) / MIB
    return [
        f"disk: {disk:,.2f} GiB of checkpoints when all is done, and up to {state:,.0f} MiB for each cell that trains",
        f"memory: {memory:,.0f} MiB of weights, gradients, optimizer and activations in fp32; a process takes up to "
        "twice that",
    ]
