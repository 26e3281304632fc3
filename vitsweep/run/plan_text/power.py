"""Sentences on the statistical power of a plan: error, smallest effects, chances of claims of equality, looks."""

import math

from vitsweep.run.progress_table import duration
from vitsweep.significance.sequential import DRAWS, FUTILE
from vitsweep.study.estimate import ArmCost
from vitsweep.study.plan import Plan
from vitsweep.study.questions.power import EqualityChance, QuestionPower
from vitsweep.study.questions.study_power import Power, SequentialCost, sequential_costs

SPENDING_TEXT = {
    "constant": "one bound of p at every look",
    "obrien_fleming": "error spending of the O'Brien-Fleming kind, little at early looks",
    "pocock": "error spending of the Pocock kind, nearly even",
}
SIMULATED_TEXT = (
    f"simulated, {DRAWS} studies each, all arms spread alike; an arm also stops when its chance to be decided is below "
    f"{100 * FUTILE:.0f} %"
)
WHOLE_SCALE = 100.0
"""Largest difference of two accuracies, points."""
LOW_CHANCE = 0.5  # below it a claim of equality is more likely undecided
ERROR_TEXT = {
    "paired": "each arm's own differences by seed",
    "pooled": "one variance of all arms, seeds as blocks",
    "welch": "each arm's own variance, unpaired",
}


def describe_error(plan: Plan) -> str:
    """Return a line on the error of the tests that the plan declares."""
    return f"error: {plan.error} ({ERROR_TEXT[plan.error]})"


def describe_looks(plan: Plan, costs: list[ArmCost], spread: float, rate: float | None = None) -> list[str]:
    """Return lines on the looks of a plan, and on its runs until decided: expected, and at most.

    Args:
        rate: seconds of a floating-point operation in training, all jobs together; None: unknown.
    """
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
    lines += [f"until decided, {describe_course(row, rate)}" for row in rows]
    most = min(len(plan.cells), budget or len(plan.cells))
    limit = f" (sweep.budget_runs={budget})" if budget else ""
    return [*lines, f"until decided, at most {most} of {len(plan.cells)} runs{limit}; {SIMULATED_TEXT}"]


def describe_course(row: SequentialCost, rate: float | None = None) -> str:
    """Return `one arm differs by 2 sd of a run: 23 runs, about 2.5 h, found in 61 %`."""
    course, cost = row.course, "" if row.flops is None or not rate else f", about {duration(row.flops * rate)}"
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
    if power.num_seeds < 2:
        return "power: no difference is found, however large: one seed shows no spread to compare it with"
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
    if effect > WHOLE_SCALE:
        size = "none" if math.isinf(effect) else f"more than {WHOLE_SCALE:.0f} points"
    else:
        low, high = power.ends(effect) if power else (math.nan, math.nan)
        size = f"{effect:.2f} points" + ("" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]")
    return f"{size} after {method} over {number} {kind}s" if number > 1 else f"{size} for one {kind}"
