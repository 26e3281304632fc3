"""Power of a study's questions before it runs: main effects, and the chance that a claim of equality can be shown.

Spreads are those of paired differences of two arms, percent points of test accuracy, as in estimate.Power; a contrast
of more arms has less or more than that (Contrast.variance_ratio), if all arms spread alike.
"""

import math
from dataclasses import dataclass
from typing import Any

from vitsweep.config.schema import FACTORIAL
from vitsweep.significance.contrasts import Contrast, Effects
from vitsweep.significance.declared import Comparison
from vitsweep.significance.equivalence import chance_to_show, rope_to_show, seeds_to_show
from vitsweep.significance.holm import ALPHA
from vitsweep.study import claims as rules
from vitsweep.study.arms import written_settings
from vitsweep.study.plan import Plan

TARGET_POWER = 0.8


@dataclass(kw_only=True)
class QuestionPower:
    """The main effects of a factorial design, and what the study can find of them."""

    num_main: int
    num_named: int
    """Named interactions, of the same family."""
    effect: float
    """Smallest main effect that is found with 80 % power, percent points; of the main effect with the largest error."""


@dataclass(kw_only=True)
class EqualityChance:
    """The chance that a claim of equality is supported if there is no difference at all."""

    number: int
    """Its place in the study file, from 0."""
    claim: str
    kind: str
    rope: float
    comparisons: int
    chance: float
    """Of the comparison with the largest error; the others must be shown too."""
    rope_needed: float
    """ROPE that the planned seeds would show with 80 % power, percent points."""
    seeds_needed: float
    """Seeds that would show this ROPE with 80 % power."""
    num_claims: int
    """Claims of the family."""


@dataclass(kw_only=True)
class PlannedClaims:
    """The testable claims of a plan with their comparisons."""

    claims: list[tuple[int, dict[str, Any], list[Contrast]]]
    """Number, claim and comparisons."""
    family: int
    """Size of Holm's family: each restated claim counts once."""

    @property
    def variance_ratio(self) -> float:
        """Largest variance of a comparison of a claim of an effect, over that of a difference of two arms."""
        effects = [found for _, claim, found in self.claims if claim.get("kind", "effect") in ("effect", "better")]
        return max((contrast.variance_ratio for found in effects for contrast in found), default=1.0)


def planned_claims(plan: Plan) -> PlannedClaims:
    """Return the testable claims of a plan."""
    effects, levels, placebos = _effects(plan)
    names = {name: name for name in placebos} | rules.earlier_names(plan.arms)
    found, asked = [], set()
    for number, claim in enumerate(plan.claims):
        if not isinstance(claim, dict) or claim.get("testable", True) is False:
            continue
        contrasts: dict[str, Contrast] = {}
        if claim.get("kind") != "saturation":
            contrasts, _ = rules.claim_contrasts(
                claim, lambda n: rules.find_arm(n, levels, names), plan.baseline, effects, plan.design
            )
        found.append((number, claim, list(contrasts.values())))
        asked.add(rules.claim_identity(claim, contrasts))
    return PlannedClaims(claims=found, family=len(asked))


def question_power(plan: Plan, spread: float) -> QuestionPower | None:
    """Return the power of main effects; None where the design has none that are its questions."""
    effects, _, _ = _effects(plan)
    if plan.design not in FACTORIAL or not effects.main:
        return None
    named = [rules.interaction_contrasts(pair, effects, plan.design)[0] for pair in plan.interactions]
    num_named = len({contrast.levels for contrasts in named for contrast in contrasts.values()})
    compared = _comparison(plan, len(effects.main) + num_named)
    sd = spread * math.sqrt(max(contrast.variance_ratio for contrast in effects.main.values()))
    effect = compared.detectable_effect(len(plan.seeds), sd, TARGET_POWER)
    return QuestionPower(num_main=len(effects.main), num_named=num_named, effect=effect)


def equality_chances(plan: Plan, spread: float) -> list[EqualityChance]:
    """Return the chances of the claims of equality about the test accuracy; other metrics have no known spread."""
    planned, n = planned_claims(plan), len(plan.seeds)
    compared, alpha = _comparison(plan, planned.family), ALPHA / max(1, planned.family)
    found = []
    for number, claim, contrasts in planned.claims:
        kind, metric = claim.get("kind"), claim.get("metric") or "test/accuracy"
        if kind not in rules.OF_EQUALITY or metric != "test/accuracy" or not contrasts:
            continue
        sd = spread * math.sqrt(max(contrast.variance_ratio for contrast in contrasts))
        rope = plan.rope if claim.get("rope") is None else float(claim["rope"])

        def error(seeds: int, sd: float = sd) -> tuple[float, float]:
            return sd / math.sqrt(seeds), compared.freedom(seeds)

        chance = EqualityChance(
            number=number,
            claim=str(claim.get("claim") or ""),
            kind=kind,
            rope=rope,
            comparisons=len(contrasts),
            chance=chance_to_show(kind, *error(n), rope, alpha),
            rope_needed=rope_to_show(kind, *error(n), alpha, TARGET_POWER),
            seeds_needed=seeds_to_show(kind, error, rope, alpha, TARGET_POWER),
            num_claims=planned.family,
        )
        found.append(chance)
    return found


def _comparison(plan: Plan, family: int) -> Comparison:
    arms = sum(row["role"] == "arm" for row in plan.arms)
    return Comparison(error=plan.error, arms=max(1, arms), family=max(1, family))


def _effects(plan: Plan) -> tuple[Effects, dict[str, dict[str, str]], set[str]]:
    """Return the effects that a plan shows, the levels of its arms, and its placebos."""
    levels = rules.plan_levels(plan.arms, written_settings(plan.cells[0].config))
    return rules.plan_effects(levels, plan.design), levels, {row["arm"] for row in plan.arms} - set(levels)
