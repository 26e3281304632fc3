"""plan_table."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vitsweep.config.overrides import yaml_text
from vitsweep.run.packs import packing_note
from vitsweep.run.progress_table import table_console
from vitsweep.study.estimate import ArmCost, Power, arm_costs, power_warnings, study_power
from vitsweep.study.plan import Plan, extend_plan, read_plan

if TYPE_CHECKING:
    from vitsweep.train.trial.probe import ProbeResult

MANY_CHANGES = 3


MIB, GIB = 2**20, 2**30


def print_plan(plan: Plan, directory: Path | None = None, probe: bool | None = None) -> None:
    """Print arms with their prices, what the study can see, notes and warnings.

    Args:
        directory: of the sweep, with the records and the plan of earlier starts; None: there are none.
        probe: whether real steps are timed (imports torch); None: as the plan's own sweep.probe says.

    Raises:
        RecordError: the directory holds a study with another baseline.
    """
    if directory is not None and (earlier := read_plan(directory)) is not None:
        extend_plan(earlier, plan, directory)
    probed: dict[str, ProbeResult] = {}
    if plan.cells[0].config["sweep"].get("probe") if probe is None else probe:
        from vitsweep.train.trial.probe import probe_plan

        probed = probe_plan(plan)
    prices, sight = arm_costs(plan), study_power(plan, directory)
    warnings = power_warnings(sight) + [
        f"{price.arm} does not fit on this {probed[price.arm].device}: {probed[price.arm].error}"
        for price in prices
        if price.arm in probed and probed[price.arm].error
    ]
    lines = [Text(line) for line in [*totals(prices, probed), sight_sentence(sight)]]
    packs = packing_note(plan.cells, plan.cells[0].config.get("pack", "off"))
    lines += [Text(f"note: {note}") for note in [*plan.notes, packs] if note]
    lines += [Text(f"warning: {warning}", style="yellow") for warning in warnings]
    lines += [Text(f"directory: {directory}")] if directory is not None else []
    table_console().print(Group(table_of(plan, prices, probed), *lines))


def table_of(plan: Plan, prices: list[ArmCost], probed: "dict[str, ProbeResult]") -> Table:
    """One row an arm."""
    num_seeds = f"{len(plan.seeds)} seed" + "s" * (len(plan.seeds) > 1)
    title = f"{plan.study}: {len(plan.arms)} arms x {num_seeds} = {len(plan.cells)} cells ({plan.design})"
    table = Table(title=title, title_justify="left")
    headings = ["parameters", "MFLOP/image", "tokens", "memory MiB", "disk MiB"]
    headings += ["ms/step", "s/epoch", "h/cell", "peak MiB"] if probed else []
    table.add_column("arm", overflow="fold")
    table.add_column("changes", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right")
    for price in prices:
        table.add_row(price.arm, changes_text(price.changes), *figures(price, probed.get(price.arm)))
    return table


def changes_text(changes: dict[str, Any]) -> str:
    """What an arm changes, in a few words."""
    words = [f"{key.rpartition('.')[2]}={yaml_text(value)}" for key, value in changes.items()]
    more = [f"and {len(words) - MANY_CHANGES} more"] if len(words) > MANY_CHANGES else []
    return " ".join(words[:MANY_CHANGES] + more) or "-"


def figures(price: ArmCost, probed: "ProbeResult | None") -> list[str]:
    """The numbers of one row."""
    found = [
        f"{price.params:,}",
        f"{price.flops_per_image / 1e6:,.0f}",
        f"{price.tokens}" if price.tokens else "-",
        f"{price.memory_bytes / MIB:,.0f}",
        f"{price.disk_bytes / MIB:,.1f}",
    ]
    if probed is None:
        return found
    if probed.error:
        return [*found, "-", "-", "-", "too much"]
    epoch, hours = epoch_seconds(price, probed), cell_hours(price, probed)
    return [
        *found,
        f"{1000 * probed.step_seconds:,.1f}",
        "-" if epoch is None else f"{epoch:,.1f}",
        "-" if hours is None else f"{hours:,.3g}",
        f"{probed.peak_bytes / MIB:,.0f}",
    ]


def epoch_seconds(price: ArmCost, probed: "ProbeResult") -> float | None:
    """One epoch: its steps, and scoring the validation images; None if the images are not known."""
    if price.images is None or price.steps is None:
        return None
    return price.steps * probed.step_seconds + price.images[1] * probed.eval_seconds


def cell_hours(price: ArmCost, probed: "ProbeResult") -> float | None:
    """One cell: its epochs, and scoring all images with the last and with the best weights."""
    epoch = epoch_seconds(price, probed)
    if epoch is None or price.images is None:
        return None
    return (price.epochs * epoch + 2 * sum(price.images) * probed.eval_seconds) / 3600


def totals(prices: list[ArmCost], probed: "dict[str, ProbeResult]") -> list[str]:
    """What all cells take together."""
    disk = sum(price.cells * price.disk_bytes for price in prices) / GIB
    state = max(price.state_bytes for price in prices) / MIB
    said = [f"checkpoints: {disk:,.2f} GiB when all is done, and up to {state:,.0f} MiB for each cell that trains"]
    flops = [price.training_flops for price in prices]
    if None not in flops:
        together = sum(price.cells * (price.training_flops or 0) for price in prices)
        said.append(f"training: {together / 1e15:,.3g} PFLOP (three forward passes an image)")
    said.append("memory: weights, gradients, optimizer and saved activations in fp32; a process takes up to twice that")
    fits = {arm: found for arm, found in probed.items() if not found.error}
    hours = {arm: cell_hours(price, fits[arm]) for price in prices if (arm := price.arm) in fits}
    if fits and None not in hours.values():
        device = next(iter(fits.values())).device
        together = sum(price.cells * (hours.get(price.arm) or 0) for price in prices)
        said.append(f"time: {together:,.3g} hours of one {device}, by timing a few steps of each shape")
    return said


def sight_sentence(sight: Power) -> str:
    """The smallest effect that the study finds."""
    if not sight.num_compared:
        return "power: nothing is compared with the baseline"
    effect = _among(sight.effect, sight.num_compared, "arm")
    if sight.num_claims:
        effect = f"{_among(sight.effect_of_claims, sight.num_claims, 'claim')}, {effect}"
    return (
        f"power: the smallest difference found with 80 % probability is {effect}; what makes no difference at all is "
        f"found to be within {sight.rope:g} points with {100 * sight.chance_of_equivalence:.0f} % probability; for "
        f"{sight.num_seeds} seeds and a spread of {sight.spread:.2f} points ({sight.source})"
    )


def _among(effect: float, number: int, what: str) -> str:
    """`0.97 points after Holm over 6 arms`."""
    size = "none" if math.isinf(effect) else f"{effect:.2f} points"
    return f"{size} after Holm over {number} {what}s" if number > 1 else f"{size} for one {what}"
