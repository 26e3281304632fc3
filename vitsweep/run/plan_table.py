"""Table of a plan: what each arm changes and costs, the totals, the smallest effect that the study can find, warnings.

Printed by `python -m vitsweep plan` and by sweep.dry_run=true; torch is imported only to time steps (sweep.probe=true).
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vitsweep.config.overrides import yaml_text
from vitsweep.errors import printable
from vitsweep.run.packs import packing_note
from vitsweep.run.progress_table import table_console
from vitsweep.run.tuning.price import describe_search
from vitsweep.significance.sequential import DRAWS, FUTILE
from vitsweep.study.changes.extension import extend_plan
from vitsweep.study.estimate import (
    ArmCost,
    Power,
    SequentialCost,
    arm_costs,
    power_warnings,
    sequential_costs,
    study_power,
)
from vitsweep.study.plan import Plan, read_plan
from vitsweep.study.questions.advice import spread_advice
from vitsweep.study.questions.power import EqualityChance, QuestionPower, equality_chances, question_power

if TYPE_CHECKING:
    from vitsweep.train.trial.probe import ProbeResult

SPENDING_TEXT = {
    "constant": "one bound of p at every look",
    "obrien_fleming": "error spending of the O'Brien-Fleming kind, little at early looks",
    "pocock": "error spending of the Pocock kind, nearly even",
}
SIMULATED_TEXT = (
    f"simulated, {DRAWS} studies each, all arms spread alike; an arm also stops when its chance to be decided is below "
    f"{100 * FUTILE:.0f} %"
)
MAX_CHANGES = 3  # changes that are shown for an arm
MIB, GIB = 2**20, 2**30
LOW_CHANCE = 0.5  # below it a claim of equality is more likely undecided
ERROR_TEXT = {
    "paired": "each arm's own differences by seed",
    "pooled": "one variance of all arms, seeds as blocks",
    "welch": "each arm's own variance, unpaired",
}


def print_plan(plan: Plan, directory: Path | None = None, probe: bool | None = None) -> None:
    """Print render_plan."""
    table_console().print(render_plan(plan, directory, probe))


def render_plan(plan: Plan, directory: Path | None = None, probe: bool | None = None) -> Group:
    """Return the arms and their costs, the study's power, notes and warnings, for rich to print.

    Args:
        plan: the study's.
        directory: the sweep's, with the plan and records of earlier starts; None: there are none.
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
    costs, power = arm_costs(plan), study_power(plan, directory)
    warnings = power_warnings(power) + [
        f"{cost.arm} does not fit on this {probed[cost.arm].device}: {probed[cost.arm].error}"
        for cost in costs
        if cost.arm in probed and probed[cost.arm].error
    ]
    lines = [Text(line) for line in [*describe_totals(costs, probed), describe_error(plan), *describe_powers(power)]]
    questions, chances = question_power(plan, power.spread), equality_chances(plan, power.spread)
    lines += [Text(describe_questions(questions, power))] if questions else []
    lines += [Text(printable(describe_chance(chance, power)), style=chance_style(chance)) for chance in chances]
    lines += [Text(line) for line in describe_looks(plan, costs, power.spread)]
    hours = {cost.arm: cell_hours(cost, probed[cost.arm]) for cost in costs if cost.arm in probed}
    lines += [Text(line) for line in describe_search(plan, costs, hours)]
    lines += [Text(line) for line in spread_advice(plan, directory)]
    packs = packing_note(plan.cells, plan.cells[0].config.get("pack", "off"))
    lines += [Text(f"note: {note}") for note in [*plan.notes, packs] if note]
    lines += [Text(printable(f"warning: {warning}"), style="yellow") for warning in warnings]
    lines += [Text(f"directory: {directory}")] if directory is not None else []
    return Group(arm_table(plan, costs, probed), *lines)


def arm_table(plan: Plan, costs: list[ArmCost], probed: "dict[str, ProbeResult]") -> Table:
    """Return a table with a row per arm."""
    num_seeds = f"{len(plan.seeds)} seed" + "s" * (len(plan.seeds) > 1)
    title = f"{plan.study}: {len(plan.arms)} arms x {num_seeds} = {len(plan.cells)} cells ({plan.design})"
    table = Table(title=title, title_justify="left")
    headings = ["parameters", "MFLOP/image", "tokens", "memory MiB", "disk MiB"]
    headings += ["ms/step", "s/epoch", "h/cell", "peak MiB"] if probed else []
    table.add_column("arm", overflow="fold")
    table.add_column("changes", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right")
    for cost in costs:
        table.add_row(cost.arm, describe_changes(cost.changes), *arm_numbers(cost, probed.get(cost.arm)))
    return table


def describe_changes(changes: dict[str, Any]) -> str:
    """Return an arm's first changes as `patch_size=8 depth=4`."""
    words = [f"{key.rpartition('.')[2]}={yaml_text(value)}" for key, value in changes.items()]
    more = [f"and {len(words) - MAX_CHANGES} more"] if len(words) > MAX_CHANGES else []
    return printable(" ".join(words[:MAX_CHANGES] + more)) or "-"


def arm_numbers(cost: ArmCost, probed: "ProbeResult | None") -> list[str]:
    """Return the numbers of an arm's row; those of the probe only if there is one."""
    numbers = [
        f"{cost.params:,}",
        f"{cost.flops_per_image / 1e6:,.0f}",
        f"{cost.tokens}" if cost.tokens else "-",
        f"{cost.memory_bytes / MIB:,.0f}",
        f"{cost.disk_bytes / MIB:,.1f}",
    ]
    if probed is None:
        return numbers
    if probed.error:
        return [*numbers, "-", "-", "-", "too much"]
    epoch, hours = epoch_seconds(cost, probed), cell_hours(cost, probed)
    return [
        *numbers,
        f"{1000 * probed.step_seconds:,.1f}",
        "-" if epoch is None else f"{epoch:,.1f}",
        "-" if hours is None else f"{hours:,.3g}",
        f"{probed.peak_bytes / MIB:,.0f}",
    ]


def epoch_seconds(cost: ArmCost, probed: "ProbeResult") -> float | None:
    """Return the time of one epoch's steps and its scoring of the validation images; None if not known."""
    if cost.images is None or cost.steps is None:
        return None
    return cost.steps * probed.step_seconds + cost.images[1] * probed.eval_seconds


def cell_hours(cost: ArmCost, probed: "ProbeResult") -> float | None:
    """Return the time of one cell: its epochs, and scoring all images with the last and the best weights."""
    epoch = epoch_seconds(cost, probed)
    if epoch is None or cost.images is None:
        return None
    return (cost.epochs * epoch + 2 * sum(cost.images) * probed.eval_seconds) / 3600


def describe_totals(costs: list[ArmCost], probed: "dict[str, ProbeResult]") -> list[str]:
    """Return lines on the disk, computation, memory and time of all cells together."""
    disk = sum(cost.cells * cost.disk_bytes for cost in costs) / GIB
    state = max(cost.state_bytes for cost in costs) / MIB
    lines = [f"checkpoints: {disk:,.2f} GiB when all is done, and up to {state:,.0f} MiB for each cell that trains"]
    flops = [cost.training_flops for cost in costs]
    if None not in flops:
        total_flops = sum(cost.cells * (cost.training_flops or 0) for cost in costs)
        lines.append(f"training: {total_flops / 1e15:,.3g} PFLOP (three forward passes an image)")
    lines += ["memory: weights, gradients, optimizer and saved activations in fp32; a process takes up to twice that"]
    fits = {arm: result for arm, result in probed.items() if not result.error}
    hours = {arm: cell_hours(cost, fits[arm]) for cost in costs if (arm := cost.arm) in fits}
    if fits and None not in hours.values():
        device = next(iter(fits.values())).device
        total_hours = sum(cost.cells * (hours.get(cost.arm) or 0) for cost in costs)
        lines.append(f"time: {total_hours:,.3g} hours of one {device}, by timing a few steps of each shape")
    return lines


def describe_error(plan: Plan) -> str:
    """Return a line on the error of the tests that the plan declares."""
    return f"error: {plan.error} ({ERROR_TEXT[plan.error]})"


def describe_looks(plan: Plan, costs: list[ArmCost], spread: float) -> list[str]:
    """Return lines on the looks of a plan, and on its runs until decided: expected, and at most."""
    if not plan.looks:
        return []
    until, budget = (plan.cells[0].config["sweep"].get(name) for name in ("until", "budget_runs"))
    lines = [
        f"looks: after {', '.join(map(str, plan.looks))} seeds; {SPENDING_TEXT[plan.spending]}; 5 % over all looks, by "
        "Holm over sequential p values"
    ]
    if until != "decided":
        return [*lines, "sweep.until=decided  would train after each look only what is still open"]
    rows = sequential_costs(plan, costs, spread)
    lines += [f"until decided, {describe_course(row)}" for row in rows]
    most = min(len(plan.cells), budget or len(plan.cells))
    limit = f" (sweep.budget_runs={budget})" if budget else ""
    return [*lines, f"until decided, at most {most} of {len(plan.cells)} runs{limit}; {SIMULATED_TEXT}"]


def describe_course(row: SequentialCost) -> str:
    """Return `one arm differs by 2 sd of a run: 23 runs, 1.3 PFLOP, found in 61 %`."""
    course, cost = row.course, "" if row.flops is None else f", {row.flops / 1e15:,.3g} PFLOP"
    runs = f"{row.runs:.0f} runs{cost}"
    if not course.effect:
        return f"no arm differs: {runs}, some arm called different in {100 * course.found:.0f} %"
    who = "one arm differs" if course.differing == 1 else "all arms differ"
    return f"{who} by {course.effect:g} sd of a run: {runs}, found in {100 * course.found:.0f} %"


def describe_powers(power: Power) -> list[str]:
    """Return describe_power, and a line on the other error of paired and pooled, if the two differ."""
    if power.num_compared < 2 or power.num_seeds < 2:
        return [describe_power(power)]
    other = "paired" if power.error == "pooled" else "pooled"
    assumes = " (if all arms spread alike)" if other == "pooled" else ""
    return [describe_power(power), f"power under error={other}{assumes}: {describe_effects(power, other)}"]


def describe_effects(power: Power, error: str) -> str:
    """Return the smallest effects that are found under an error, of claims and of arms."""
    method = "Dunnett" if error == "pooled" else "Holm"
    effect = describe_effect(power.effect_under(error), power.num_compared, "arm", method, power)
    if not power.num_claims:
        return effect
    claims = describe_effect(power.claims_effect_under(error), power.num_claims, "claim", "Holm", power)
    return f"{claims}, {effect}"


def describe_power(power: Power) -> str:
    """Return a sentence on the smallest effect that the study finds."""
    if not power.num_compared:
        return "power: nothing is compared with the baseline"
    effect = describe_effects(power, power.error)
    return (
        f"power: the smallest difference found with 80 % probability is {effect}; what makes no difference at all is "
        f"found to be within {power.rope:g} points with {100 * power.chance_of_equivalence:.0f} % probability; for "
        f"{power.num_seeds} seeds and a spread of {power.spread:.2f} points ({power.source})"
    )


def describe_questions(questions: QuestionPower, power: Power) -> str:
    """Return a sentence on the main effects of a factorial design, which are its questions."""
    number = questions.num_named
    named = f" and {number} interaction{'s' * (number > 1)}" if number else ""
    effect = describe_effect(questions.effect, questions.num_main + number, "effect")
    return (
        f"questions: {questions.num_main} main effects{named}, each of which uses many arms: the smallest main effect "
        f"found with 80 % probability is {effect} ({describe_effect(power.effect, power.num_compared, 'arm')}: the "
        "verdicts on single arms are secondary)"
    )


def describe_chance(chance: EqualityChance, power: Power) -> str:
    """Return a sentence on the chance of showing a claim of equality, with the ROPE or the seeds that would do."""
    shown = "equivalent within" if chance.kind == "equivalent" else "not worse by"
    each = f" (each of its {chance.comparisons} comparisons)" if chance.comparisons > 1 else ""
    seeds = "more than 100,000" if math.isinf(chance.seeds_needed) else f"{chance.seeds_needed:,}"
    remedy = "no ROPE" if math.isinf(chance.rope_needed) else f"a ROPE of {chance.rope_needed:.2f} points"
    holm = f", after Holm over {chance.num_claims} claims" if chance.num_claims > 1 else ""
    begin = "warning: " if chance.chance < LOW_CHANCE else ""
    return (
        f"{begin}study.claims[{chance.number}] ({chance.claim}): {100 * chance.chance:.0f} % chance to be shown "
        f"{shown} {chance.rope:g} points with {power.num_seeds} seeds if there is no difference at all{each}{holm}; "
        f"80 % needs {seeds} seeds, or {remedy} with these"
    )


def chance_style(chance: EqualityChance) -> str:
    """Return the style of a line about a claim of equality: that of a warning where it can hardly be shown."""
    return "yellow" if chance.chance < LOW_CHANCE else ""


def describe_effect(effect: float, number: int, kind: str, method: str = "Holm", power: Power | None = None) -> str:
    """Return an effect and its correction as `0.97 points [0.60, 1.90] after Holm over 6 arms`.

    Args:
        method: correction for more than one.
        power: whose spread's interval is added; None: without.
    """
    size = "none" if math.isinf(effect) else f"{effect:.2f} points"
    low, high = power.ends(effect) if power else (math.nan, math.nan)
    size += "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    return f"{size} after {method} over {number} {kind}s" if number > 1 else f"{size} for one {kind}"
