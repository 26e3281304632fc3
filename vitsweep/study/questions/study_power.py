"""Power of a study: the differences that its seeds can detect, and what looks would save. Nothing is run; no torch.

The spread that the power needs is that of earlier records in the sweep's directory, else a published one.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import variance

import numpy as np

from vitsweep.config.schema import DEFAULT_ROPE, PAIRED
from vitsweep.significance.declared import Comparison
from vitsweep.significance.holm import ALPHA
from vitsweep.significance.power import shared_freedom, spread_interval
from vitsweep.significance.sequential import Expected, Looks, expected_course
from vitsweep.study.estimate import ArmCost, done_records
from vitsweep.study.plan import Plan
from vitsweep.study.questions.power import planned_claims
from vitsweep.study.record import Record

TARGET_POWER = 0.8
MOST_SIMULATED = 12
"""Arms that are simulated; of more, as many stand for all."""
FEW_SEEDS = 5
# Three runs of one ViT on CIFAR-10 under crop and flip, as csm-kr/vit_cifar publishes them: 74.90, 74.08, 73.65 %.
# Their standard deviation times the square root of 2, as if pairing by seed gained nothing.
PUBLISHED_RUNS = (74.90, 74.08, 73.65)
PUBLISHED_SPREAD = math.sqrt(2 * variance(PUBLISHED_RUNS))


@dataclass(kw_only=True)
class Power:
    """Effects that a study can detect."""

    num_seeds: int
    num_compared: int
    """Arms compared with the baseline: the family that Holm corrects for."""
    spread: float
    """Standard deviation of the paired differences, percent points."""
    source: str
    """Source of the spread."""
    freedom: float = math.inf
    """Degrees of freedom of the spread."""
    error: str = PAIRED
    """Error of the tests."""
    num_claims: int = 0
    """Number of testable claims: a family of their own beside the arms."""
    claims_ratio: float = 1.0
    """Variance of the claims' comparisons over that of a paired difference of two arms; the largest of them."""
    rope: float = DEFAULT_ROPE
    """Differences within +- this many percent points count as equivalent."""

    @property
    def effect(self) -> float:
        """The smallest true difference that is found with 80 % power, percent points; inf with one seed."""
        return self.effect_under(self.error)

    @property
    def effect_of_claims(self) -> float:
        """The same over the claims in place of the arms."""
        return self.claims_effect_under(self.error)

    def effect_under(self, error: str) -> float:
        """Return `effect` under an error."""
        return self._comparison(error).detectable_effect(self.num_seeds, self.spread, TARGET_POWER)

    def claims_effect_under(self, error: str) -> float:
        """Return `effect_of_claims` under an error."""
        asked = self._comparison(error, max(1, self.num_claims))
        return asked.detectable_effect(self.num_seeds, self.spread * math.sqrt(self.claims_ratio), TARGET_POWER)

    def ends(self, effect: float) -> tuple[float, float]:
        """Return the 95 % interval of one of the effects, which are proportional to the spread."""
        if math.isinf(self.freedom) or math.isinf(effect):
            return math.nan, math.nan
        low, high = spread_interval(1.0, self.freedom)
        return effect * low, effect * high

    @property
    def chance_of_equivalence(self) -> float:
        """The probability that a claim, or without claims an arm, of no true difference is called equivalent."""
        asked = self._comparison(self.error, self.num_claims or None)
        return asked.equivalence_power(0.0, self.spread, self.num_seeds, self.rope)

    def _comparison(self, error: str, family: int | None = None) -> Comparison:
        return Comparison(error=error, arms=max(1, self.num_compared), family=family, alpha=ALPHA)

    @property
    def smallest_p(self) -> float:
        """The smallest p value of an exact sign-flip test of these seeds, after Holm's first step."""
        return min(1.0, max(1, self.num_compared) * 2.0 ** (1 - self.num_seeds))

    @property
    def seeds_for_exact_test(self) -> int:
        """The fewest seeds with which that test can reach 0.05."""
        return 1 + math.ceil(math.log2(max(1, self.num_compared) / ALPHA))


def study_power(plan: Plan, directory: Path | None) -> Power:
    """Return the power of a study with the seeds it has.

    Args:
        directory: the sweep's, whose earlier records give the spread; None: there are none.
    """
    compared, claims = [row for row in plan.arms if row["role"] == "arm"], planned_claims(plan)
    spread, source, freedom = PUBLISHED_SPREAD, published_source(), len(PUBLISHED_RUNS) - 1.0
    if directory is not None and (measured := measured_spread(done_records(directory))) is not None:
        spread, source, freedom = measured
    return Power(
        num_seeds=len(plan.seeds),
        num_compared=len(compared),
        spread=spread,
        source=source,
        freedom=freedom,
        error=plan.error,
        num_claims=claims.family,
        claims_ratio=claims.variance_ratio,
        rope=plan.rope,
    )


@dataclass(kw_only=True)
class SequentialCost:
    """Expected cost of a study with looks that is trained until decided, for one effect."""

    course: Expected
    runs: float
    flops: float | None
    """Of the training; None where the images are not known."""


def sequential_costs(plan: Plan, costs: list[ArmCost], spread: float) -> list[SequentialCost]:
    """Return the expected runs and training of a plan with looks, simulated; [] without looks or arms.

    Args:
        spread: standard deviation of paired differences, as that of Power.
    """
    roles = {row["arm"]: row["role"] for row in plan.arms}
    compared = [cost for cost in costs if roles[cost.arm] == "arm"]
    others = [cost for cost in costs if roles[cost.arm] != "arm"]
    if not plan.looks or not compared:
        return []
    looks = Looks(seeds=tuple(plan.looks), spending=plan.spending)
    number = min(len(compared), MOST_SIMULATED)
    found = []
    for course in expected_course(looks, number, plan.error, plan.rope / (spread / math.sqrt(2))):
        seeds = [(cost, course.seeds) for cost in compared] + [(cost, course.baseline_seeds) for cost in others]
        flops = [cost.training_flops for cost, _ in seeds]
        total = None if None in flops else sum(n * (one or 0) for one, (_, n) in zip(flops, seeds, strict=True))
        found.append(SequentialCost(course=course, runs=sum(n for _, n in seeds), flops=total))
    return found


def published_source() -> str:
    """Describe the source of the assumed spread and its uncertainty."""
    runs = ", ".join(f"{run:.2f}" for run in PUBLISHED_RUNS)
    low, high = spread_interval(PUBLISHED_SPREAD, len(PUBLISHED_RUNS) - 1)
    return (
        f"assumed from {len(PUBLISHED_RUNS)} published runs of one ViT under crop and flip (csm-kr/vit_cifar: {runs} "
        f"%), as if pairing gained nothing; so few runs leave {low:.2f} to {high:.2f} points possible"
    )


def measured_spread(records: list[Record]) -> tuple[float, str, float] | None:
    """Return the spread of paired differences, pooled over arms, its source and its degrees of freedom.

    None without two pairs of an arm.

    Without pairs (the baseline alone was run) the spread between seeds counts, as if pairing gained nothing.
    """
    known = {(r.arm, r.seed): (r.metrics.get("final") or {}).get("test/accuracy") for r in records}
    accuracy = {cell: 100 * value for cell, value in known.items() if value is not None}
    baseline = next((r.arm for r in records if r.role == "baseline"), None)
    arms = list(dict.fromkeys(r.arm for r in records))
    pairs = [
        [
            value - accuracy[baseline, seed]
            for (name, seed), value in accuracy.items()
            if name == arm and (baseline, seed) in accuracy
        ]
        for arm in arms
        if baseline is not None and arm != baseline
    ]
    alone = [[value for (name, _), value in accuracy.items() if name == arm] for arm in arms]
    for groups, factor, what in ((pairs, 1, "paired differences"), (alone, 2, "cells, as if pairing gained nothing")):
        groups = [group for group in groups if len(group) > 1]
        if groups:
            freedom = sum(len(group) - 1 for group in groups)
            pooled = sum((len(group) - 1) * variance(group) for group in groups) / freedom
            shared = shared_freedom(np.array([len(group) - 1 for group in groups])) if factor == 1 else float(freedom)
            return math.sqrt(factor * pooled), f"of {sum(map(len, groups))} {what} in this directory", shared
    return None


def power_warnings(sight: Power) -> list[str]:
    """Return a message for each limit that few seeds set, with the remedy."""
    found = []
    n, needed = sight.num_seeds, sight.seeds_for_exact_test
    count = "1 seed" if n == 1 else f"{n} seeds"
    if n < FEW_SEEDS:
        found.append(
            f"{count} {'is' if n == 1 else 'are'} few: intervals from fewer than {FEW_SEEDS} are wide; "
            f"use seeds={FEW_SEEDS} or more"
        )
    if sight.smallest_p > ALPHA:
        family = f" after Holm over {sight.num_compared} arms" if sight.num_compared > 1 else ""
        found.append(
            f"an exact sign-flip test of {count} cannot reach p = {ALPHA}{family}, its smallest is "
            f"{sight.smallest_p:.2g}; use seeds={needed} or more if you want one"
        )
    return found
