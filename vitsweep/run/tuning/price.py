"""Price of a study's search and of the study at the settings found, for the plan's table. Nothing is run."""

from collections.abc import Mapping

from vitsweep.study.estimate import ArmCost
from vitsweep.study.plan import Plan
from vitsweep.study.tuning.rules import first_cells
from vitsweep.study.tuning.search import num_trials
from vitsweep.study.tuning.space import Search, parse_search
from vitsweep.study.tuning.trials import baseline_setting


def describe_search(plan: Plan, costs: list[ArmCost], hours: Mapping[str, float | None]) -> list[str]:
    """Return lines on the search and what follows it; none for a study without one.

    Args:
        plan: the study's.
        costs: of its arms, by which the computation of the trials is counted.
        hours: arm -> expected time of one cell on this machine; empty if unknown.
    """
    if not plan.tune:
        return []
    search, first = parse_search(plan.tune), first_cells(plan)
    start = baseline_setting(first[plan.baseline], search)
    size, num_seeds = num_trials(search, start), len(search.seeds)
    runs = len(first) * size * num_seeds
    space = ", ".join(describe_parameter(search, place) for place in range(len(search.parameters)))
    flops = [cost.training_flops for cost in costs if cost.arm in first]
    price = ""
    if None not in flops:
        price = f", {size * num_seeds * sum(flop or 0 for flop in flops) / 1e15:,.3g} PFLOP"
    known = [hours.get(arm) for arm in first]
    if known and None not in known:  # a trial scores no test image, so a cell's time is a bound
        price = f", up to {size * num_seeds * sum(hour or 0 for hour in known):,.3g} hours"
    seeds = f" x {num_seeds} seeds" if num_seeds > 1 else ""
    lines = [
        f"tune: {len(first)} arms x {size} trials{seeds} = {runs} runs{price}, by {search.sampler} on {search.metric}; "
        f"{space}",
        f"then the study at each arm's own setting: up to {len(plan.cells)} more cells, fewer where a setting is the "
        "baseline's",
    ]
    if not search.contains(start):
        shown = ", ".join(f"{key}={value}" for key, value in start.items())
        lines.append(f"note: the baseline's setting ({shown}) lies outside the space, so no arm is tried with it")
    return lines


def describe_parameter(search: Search, place: int) -> str:
    """Return a parameter with its range as `recipe.lr 0.0001 to 0.01 (log)`, or with its values."""
    parameter = search.parameters[place]
    if parameter.values:
        return f"{parameter.key} {', '.join(f'{value:g}' for value in parameter.values)}"
    return f"{parameter.key} {parameter.low:g} to {parameter.high:g} ({parameter.scale})"
