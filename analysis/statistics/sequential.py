"""Judgement of a study at its declared looks: what each question shows, which stay open, and what was not needed.

Everything is computed from the plan and the records: the sweep asks between two looks which arms go on, the report asks
once at its end, and both get the same answer. A look is complete when every run of the arms that are open at it has
ended; a stopped arm keeps the p values of its own looks. With declared claims the questions are the claims of the
family, else the arms. The stopping rule is futility without binding: a study that goes on in spite of it keeps its
error (significance/sequential.py).
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vitsweep.significance.contrasts import Contrast
from vitsweep.significance.holm import ALPHA, holm
from vitsweep.significance.sequential import (
    FUTILE,
    Looks,
    Prediction,
    chance_to_decide,
    last_levels,
)
from vitsweep.significance.spending import sequential_p
from vitsweep.study.status import NOT_NEEDED

from ..records.selection import DEFAULT_METRIC, Selection
from . import paired as stats
from .claim_tests import ClaimResult
from .claims import claims_of_family, judge_claim
from .effects import compare_arms, direction, display_scale, find_lost_runs, seed_values

UNENDED = ("planned", "running", "interrupted")
NEXT_LOOK = "next look"
"""Status of a finished run that no complete look counts yet."""
OPEN = "open"


@dataclass(kw_only=True)
class Question:
    """A hypothesis on which seeds are spent: a claim of the family, or an arm against the baseline."""

    name: str
    arms: list[str]
    """Arms that it needs beside the baseline."""
    claim: int | None = None
    """Number of the claim; None for an arm."""
    state: str = OPEN
    """open, or why it was stopped: decided, equivalent, futile, budget, no result."""
    seeds: int = 0
    """Seeds of the look at which it was stopped; while it is open, of the last complete one."""


@dataclass(kw_only=True)
class ArmLooks:
    """P values of an arm at its complete looks, NaN where it has none, and its estimate at the last of them."""

    p: list[float] = field(default_factory=list)
    p_equivalent: list[float] = field(default_factory=list)
    guarded_p: list[float] = field(default_factory=list)
    """With lost runs counted as chance, where there are any."""
    guarded_p_equivalent: list[float] = field(default_factory=list)
    look: int = 0
    pairs: int = 0
    value: float = math.nan
    error: float = math.nan
    freedom: float = math.nan


@dataclass(kw_only=True)
class Sequence:
    """A study judged look by look."""

    looks: Looks
    questions: list[Question]
    needed: dict[str, int]
    """Arm -> number of seeds that it needs, those of the next look included if it goes on."""
    arms: dict[str, ArmLooks]
    claims: list[list[ClaimResult]]
    """For each claim its results at the complete looks that have all of its runs."""
    reached: list[int] = field(default_factory=list)
    """Seeds of the complete looks."""
    open_at: list[list[str]] = field(default_factory=list)
    """Names of the questions that were open at each complete look."""
    runs: list[int] = field(default_factory=list)
    """Runs that were needed up to each complete look."""

    @property
    def is_over(self) -> bool:
        """Return True if no question is open, or the last look is complete."""
        return not any(q.state == OPEN for q in self.questions) or self.looks.last in self.reached

    def sequential(self, p_L: list[float], sides: int = 2, number: int = 1) -> float:
        """Return the sequential p value of a history whose values are `number` times the smallest of as many."""
        if not p_L:
            return math.nan
        found = sequential_p(np.array(p_L) / number, self.looks.seeds, self.looks.spending, sides)[-1]
        return float(np.minimum(1.0, number * found))

    def arm_result(self, arm: str, result: stats.PairedResult, guarded: bool = False) -> stats.PairedResult:
        """Return the result of an arm with sequential p values and an interval that holds at every look.

        Args:
            guarded: lost runs count as chance.
        """
        own = self.arms[arm]
        p_L, within_L = (own.guarded_p, own.guarded_p_equivalent) if guarded else (own.p, own.p_equivalent)
        half = float(self.looks.bound(own.look, own.freedom) * own.error) if own.look else math.nan
        return dataclasses.replace(
            result,
            delta=own.value,
            ci_low=own.value - half,
            ci_high=own.value + half,
            p=self.sequential(p_L),
            p_equivalent=self.sequential(within_L, sides=1),
        )

    def claim_result(self, number: int, result: ClaimResult) -> ClaimResult:
        """Return the result of a claim with sequential p values."""
        history = self.claims[number]
        if result.word:
            return result
        p_for, p_against, p_equivalent = (
            [getattr(one, name) for one in history] for name in ("p_for", "p_against", "p_equivalent")
        )
        for_number, against_number = result.multiplied
        return dataclasses.replace(
            result,
            p_for=self.sequential(p_for, 1 if result.is_one_sided else 2, for_number),
            p_against=self.sequential(p_against, 2, against_number),
            p_equivalent=self.sequential(p_equivalent, 1),
        )

    def widened(self, result: stats.PairedResult) -> stats.PairedResult:
        """Return a comparison with an interval that holds at every look."""
        look = max((look for look in self.looks.seeds if look <= result.n), default=self.looks.seeds[0])
        half = float(self.looks.bound(look, result.freedom) * result.error)
        return dataclasses.replace(result, ci_low=result.delta - half, ci_high=result.delta + half)


def follow_looks(selection: Selection, metric: str = DEFAULT_METRIC) -> Selection:
    """Return the selection with its Sequence and with the runs that complete looks count; itself without looks.

    Which questions stop is decided by the test accuracy, whatever `metric` is reported.
    """
    if not selection.looks or selection.plan is None or not selection.baseline:
        return selection
    sequence = judge_looks(selection, metric)
    cells = selection.cells.copy()
    place = {seed: number for number, seed in enumerate(selection.plan["seeds"])}
    number_C = cells["seed"].map(place).fillna(0)
    counted = {arm: own.look for arm, own in sequence.arms.items()}
    counted[selection.baseline] = max(sequence.reached, default=0)
    is_next_C = number_C >= cells["arm"].map(counted).fillna(0)
    cells.loc[(cells["status"] == "done") & is_next_C, "status"] = NEXT_LOOK
    if until_decided(selection):
        is_unneeded_C = number_C >= cells["arm"].map(sequence.needed).fillna(0)
        cells.loc[(cells["status"] == "planned") & is_unneeded_C, "status"] = NOT_NEEDED
    return dataclasses.replace(selection, cells=cells, sequence=sequence)


def judge_looks(selection: Selection, metric: str = DEFAULT_METRIC) -> Sequence:
    """Judge a selection at each of its complete looks, in order."""
    looks = Looks(seeds=tuple(selection.looks), spending=selection.spending)
    others = selection.non_baseline()
    sequence = Sequence(
        looks=looks,
        questions=ask(selection),
        needed=dict.fromkeys(selection.arms, looks.seeds[0]),
        arms={arm: ArmLooks() for arm in others},
        claims=[[] for _ in selection.claims],
    )
    ended = ended_seeds(selection)
    used = {number: judge_claim(claim, selection).arms for number, claim in enumerate(selection.claims)}
    histories = sequence if metric == DEFAULT_METRIC else _copy(sequence)
    for number, look in enumerate(looks.seeds):
        going = [arm for arm, seeds in sequence.needed.items() if seeds >= look]
        if any(ended[arm] < look for arm in going or [selection.baseline]):
            break
        at_look = _up_to(selection, look)
        ready = {arm for arm in selection.arms if ended[arm] >= look}
        _add_arms(sequence, at_look, metric, look, ready)
        if histories is not sequence:
            _add_arms(histories, at_look, DEFAULT_METRIC, look, ready)
        for claim, arms in used.items():
            if ready.issuperset(arms):
                sequence.claims[claim].append(judge_claim(selection.claims[claim], at_look))
        sequence.reached.append(look)
        sequence.open_at.append([q.name for q in sequence.questions if q.state == OPEN])
        sequence.runs.append(sum(sequence.needed.values()))
        _stop(sequence, histories, selection, look)
        if number + 1 < len(looks.seeds):
            _plan_next(sequence, selection, looks.seeds[number + 1])
    return sequence


def ask(selection: Selection) -> list[Question]:
    """Return the questions of a study: the claims of its family, without one its arms."""
    claims = claims_of_family(selection)
    if claims:
        found = []
        for number in claims:
            judged = judge_claim(selection.claims[number], selection)
            arms = [arm for arm in judged.arms if arm != selection.baseline]
            found.append(Question(name=judged.claim, arms=arms, claim=number))
        return found
    return [Question(name=arm, arms=[arm]) for arm in selection.family() if arm in selection.arms]


def look_lines(sequence: Sequence) -> list[str]:
    """Return a sentence on each complete look: the seeds, the runs, what was stopped, and what stays open."""
    lines, last = [], sequence.looks.last
    for look, began, runs in zip(sequence.reached, sequence.open_at, sequence.runs, strict=True):
        if not began:  # runs that were not needed
            break
        stopped = [q for q in sequence.questions if q.name in began and q.seeds == look and q.state != OPEN]
        names = {q.name for q in stopped}
        parts = [f"{q.name} {q.state}" for q in stopped] or ["nothing stopped"]
        left = [name for name in began if name not in names]
        parts += [f"open: {', '.join(left)}"] if left else []
        lines.append(f"look at {look} of {last} seeds, {runs} runs: {'; '.join(parts)}")
    return lines


def looks_sentences(selection: Selection) -> list[str]:
    """Return the sentence on the looks that were made, and on the runs that they spared; none without looks."""
    sequence, statuses = selection.sequence, selection.cells["status"]
    if sequence is None:
        return []
    declared = f"of {len(sequence.looks.seeds)} declared looks (up to {sequence.looks.last} seeds)"
    if not sequence.open_at:
        return [f"None {declared} is complete, so nothing is judged."]
    made = sum(bool(names) for names in sequence.open_at)
    spared = int((statuses == NOT_NEEDED).sum())
    saved = f"; {spared} of {len(statuses)} planned runs were not needed" if spared else ""
    return [f"Judged at {made} {declared}, with 5 % for all of them together (see Looks){saved}."]


def ended_seeds(selection: Selection) -> dict[str, int]:
    """Return arm -> number of the first planned seeds of which every run has ended, with a result or without."""
    assert selection.plan is not None
    waiting = selection.cells[selection.cells["status"].isin(UNENDED)]
    open_runs, known = set(zip(waiting["arm"], waiting["seed"], strict=True)), {}
    for arm in selection.arms:
        seeds = selection.plan["seeds"]
        known[arm] = next((n for n, seed in enumerate(seeds) if (arm, seed) in open_runs), len(seeds))
    return known


def until_decided(selection: Selection) -> bool:
    """Return True if the plan's last start trained only what was needed."""
    return _sweep_settings(selection).get("until") == "decided"


def _sweep_settings(selection: Selection) -> dict[str, Any]:
    cells = (selection.plan or {}).get("cells") or [{}]
    return (cells[0].get("config") or {}).get("sweep") or {}


def _copy(sequence: Sequence) -> Sequence:
    """Return a sequence for the p values that decide what stops, where another metric is reported."""
    return dataclasses.replace(sequence, arms={arm: ArmLooks() for arm in sequence.arms})


def _up_to(selection: Selection, look: int) -> Selection:
    """Return the selection as it was after the first `look` seeds."""
    assert selection.plan is not None
    cells = selection.cells[selection.cells["seed"].isin(selection.plan["seeds"][:look])]
    history = selection.history
    if selection.claims:  # nothing else reads it here
        history = history[history["cell"].isin(cells["cell"])]
    return dataclasses.replace(selection, cells=cells, history=history)


def _add_arms(sequence: Sequence, at_look: Selection, metric: str, look: int, ready: set[str]) -> None:
    """Add each arm's p values at a look; NaN for an arm that was stopped before."""
    values = seed_values(at_look, metric)
    rope = at_look.rope if display_scale(metric) == 100.0 else math.nan
    results = compare_arms(at_look, values, rope, direction(metric))
    lost = find_lost_runs(at_look, metric, values)
    for arm, own in sequence.arms.items():
        result, is_ready = results[arm], arm in ready
        p, within = (result.p, result.p_equivalent) if is_ready else (math.nan, math.nan)
        own.p.append(p)
        own.p_equivalent.append(within)
        if is_ready:
            own.look, own.pairs = look, result.n
            own.value, own.error, own.freedom = result.delta, result.error, result.freedom
            if lost:
                result = lost.guarded(Contrast(weights={arm: 1.0, at_look.baseline: -1.0}), result, rope)
                p, within = result.p, result.p_equivalent
        own.guarded_p.append(p)
        own.guarded_p_equivalent.append(within)


def _stop(sequence: Sequence, histories: Sequence, selection: Selection, look: int) -> None:
    """Set the state of each open question after a look."""
    p_H, within_H = np.array([_question_p(question, sequence, histories) for question in sequence.questions]).T
    found_H, equal_H = holm(p_H) < ALPHA, holm(within_H) < ALPHA
    left = max(int((~found_H).sum()), 1)
    for number, question in enumerate(sequence.questions):
        if question.state != OPEN:
            continue
        question.seeds = look
        if found_H[number]:
            question.state = "decided"
        elif equal_H[number]:
            question.state = "equivalent"
        elif look == sequence.looks.last:
            continue
        elif not _has_result(question, sequence, histories):
            question.state = "no result"
        elif _chance(question, sequence, histories, selection, look, left) < FUTILE:
            question.state = "futile"


def _question_p(question: Question, sequence: Sequence, histories: Sequence) -> tuple[float, float]:
    """Return the sequential p values of a question: of its answer, and of a difference within the ROPE."""
    if question.claim is None:
        own = histories.arms[question.name]
        return histories.sequential(own.guarded_p), histories.sequential(own.guarded_p_equivalent, sides=1)
    history = sequence.claims[question.claim]
    if not history:
        return math.nan, math.nan
    result = sequence.claim_result(question.claim, history[-1])
    return result.p, result.p_equivalent


def _has_result(question: Question, sequence: Sequence, histories: Sequence) -> bool:
    if question.claim is None:
        return histories.arms[question.name].pairs > 0
    history = sequence.claims[question.claim]
    return bool(history) and history[-1].word != "missing"


def _chance(
    question: Question, sequence: Sequence, histories: Sequence, selection: Selection, look: int, left: int
) -> float:
    """Return the predictive chance that the last look decides a question; NaN where nothing predicts it."""
    looks = sequence.looks
    if question.claim is None:
        own = histories.arms[question.name]
        numbers = np.array(own.value), np.array(own.error), np.array(own.freedom)
        return float(chance_to_decide(*numbers, looks, look, left, selection.rope))
    result = sequence.claims[question.claim][-1]
    if not result.numbers:
        return math.nan
    value, error, freedom = (np.array(x, float) for x in result.numbers)
    law = Prediction(value=value, error=error, freedom=freedom, share=look / looks.last)
    two, one = last_levels(looks, left)
    rope = result.rope_value
    if result.kind == "not_worse":
        return float(np.min(law.above(-rope, one)) + np.max(law.below(-rope, two / 2)))
    if result.kind == "equivalent":
        return float(np.min(law.within(rope, one)) + np.max(law.above(rope, two / 2) + law.below(-rope, two / 2)))
    differs = law.above(0.0, two / 2) + law.below(0.0, two / 2)
    return float(np.min(differs) + (np.min(law.within(rope, one)) if rope > 0 else 0.0))


def _plan_next(sequence: Sequence, selection: Selection, look: int) -> None:
    """Set what each arm needs up to the next look, or stop all open questions if the budget does not pay for it."""
    going = {arm for question in sequence.questions if question.state == OPEN for arm in question.arms}
    if not going and not any(question.state == OPEN for question in sequence.questions):
        return
    going |= {arm for arm in selection.arms if selection.roles[arm] != "arm"}  # the baseline and placebos
    following = {arm: look if arm in going else seeds for arm, seeds in sequence.needed.items()}
    budget = _sweep_settings(selection).get("budget_runs")
    if until_decided(selection) and budget is not None and sum(following.values()) > budget:
        for question in sequence.questions:
            question.state = "budget" if question.state == OPEN else question.state
        return
    sequence.needed = following
