"""Tests of one claim: p values for and against it from its comparisons, with lost runs counted as chance."""

import math
from dataclasses import dataclass, field

import numpy as np

from vitsweep.significance.contrasts import Contrast
from vitsweep.significance.equivalence import claim_p
from vitsweep.study import claims as rules

from ..text import p_value
from . import paired as stats
from .validity.attrition import LostRuns

EFFECTS = ("effect", "better")
Decided = str | tuple[tuple[str, str], ...]
"""An arm, or the levels of a main effect or an interaction."""


@dataclass(kw_only=True)
class ClaimResult:
    """Result of one claim before Holm's correction."""

    claim: str
    kind: str
    evidence: str
    p_for: float = math.nan
    """p against the claim being false; NaN when it cannot be judged."""
    p_against: float = math.nan
    p_equivalent: float = math.nan
    """p of all comparisons lying within the ROPE: the largest, as in any test of all of them."""
    rope: str = ""
    """The equivalence bound as text: `0.5 points`."""
    is_small: bool = False
    """True if every comparison's interval lies within the ROPE."""
    word: str = ""
    """The verdict when there is no p: single, missing or not testable."""
    arms: list[str] = field(default_factory=list)
    """All arms that the evidence uses."""
    decides: Decided = ""
    """The arm, if the claim is only about its effect on the baseline; the levels, if about one effect of factors."""
    rope_value: float = math.nan
    metric: str = ""
    """Metric of an effect."""
    numbers: tuple = ()
    """Value, standard error and degrees of freedom of each comparison, toward the claim; () where there are none."""
    multiplied: tuple[int, int] = (1, 1)
    """Comparisons by whose number the smallest p was multiplied, in p_for and p_against."""
    identity: str = ""
    """What it asks, the same for restatements; empty when it cannot be read."""

    @property
    def is_one_sided(self) -> bool:
        """Return True if p_for is that of one-sided tests."""
        return self.kind in rules.OF_EQUALITY

    @property
    def p(self) -> float:
        """Return the smaller of the two p values; they cannot both be small."""
        return float(np.fmin(self.p_for, self.p_against))


def judge_results(
    judged: ClaimResult,
    contrasts: dict[str, Contrast],
    results: dict[str, stats.PairedResult],
    sign: int,
    lost: LostRuns | None,
) -> None:
    """Fill in the p values of a claim, or the word that stands in place of a verdict.

    Args:
        judged: with its kind and rope_value.
        contrasts: its comparisons.
        results: those of finished runs.
        sign: direction of the claim, 0 for either.
        lost: runs that count as chance in a second verdict; the larger p of the two counts.
    """
    own = list(results.values())
    if (fewest := min((r.n for r in own), default=0)) < 2:
        judged.word = "single" if fewest else "missing"
        return
    judged.p_for, judged.p_against = _claim_p(judged, own, sign)
    if judged.kind in EFFECTS:
        judged.p_equivalent = float(np.max([r.p_equivalent for r in own]))
    if lost:
        _count_lost_runs(judged, list(contrasts.values()), own, sign, lost)


def _claim_p(judged: ClaimResult, results: list[stats.PairedResult], sign: int) -> tuple[float, float]:
    """Return p for and against a claim of these comparisons."""
    numbers = [[getattr(r, name) for r in results] for name in ("delta", "error", "freedom", "n")]
    kind = judged.kind if judged.kind in rules.OF_EQUALITY else "effect"
    judged.numbers = [(sign or 1) * r.delta for r in results], *numbers[1:3]
    judged.multiplied = (len(results) if kind == "effect" and not sign else 1, len(results))
    holds, fails = claim_p(kind, sign, judged.rope_value, *numbers)
    return float(holds), float(fails)


def _count_lost_runs(
    judged: ClaimResult, contrasts: list[Contrast], results: list[stats.PairedResult], sign: int, lost: LostRuns
) -> None:
    """Raise the p values of a claim to those with the lost runs of the favored side at chance."""
    before = judged.p
    ahead = [int(np.sign(r.delta) * lost.better) or 1 for r in results]
    claimed = [sign * lost.better] * len(results)
    favored = [0] * len(results) if judged.kind == "equivalent" else claimed if sign else ahead
    opposed = ahead if judged.kind == "equivalent" or not sign else [-side for side in claimed]
    if (second := _at_chance(contrasts, results, favored, judged.rope_value, lost)) is not None:
        judged.p_for = max(judged.p_for, _claim_p(judged, second, sign)[0])
    if (second := _at_chance(contrasts, results, opposed, judged.rope_value, lost)) is not None:
        judged.p_against = max(judged.p_against, _claim_p(judged, second, sign)[1])
    everyone = _at_chance(contrasts, results, [0] * len(results), judged.rope_value, lost)
    if judged.kind in EFFECTS and everyone is not None:
        judged.p_equivalent = float(np.max([judged.p_equivalent, *(r.p_equivalent for r in everyone)]))
    if judged.p != before:
        judged.evidence += f" With lost runs counted as chance, p {p_value(judged.p)} instead of {p_value(before)}."


def _at_chance(
    contrasts: list[Contrast], results: list[stats.PairedResult], sides: list[int], rope: float, lost: LostRuns
) -> list[stats.PairedResult] | None:
    """Return the comparisons with the lost runs of these sides at chance; None if there are none."""
    counted = [lost.counted(contrast, side) for contrast, side in zip(contrasts, sides, strict=True)]
    if all(value_S is None for value_S in counted):
        return None
    pairs = zip(counted, results, strict=True)
    return [result if value_S is None else stats.compare_paired(value_S, rope) for value_S, result in pairs]
