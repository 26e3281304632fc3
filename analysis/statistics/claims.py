"""Claims stated before the first run, and what the data say about them.

A study file lists them. A claim asks about arms, a main effect or an interaction:

    claims:
      - claim: patch 4 beats patch 8          # words, shown in the report
        arm: baseline                         # an arm's slug, or factor=level; a list of them for "all of these"
        than: patch_size=8                    # likewise; left out: the baseline
        metric: test/accuracy                 # left out: test/accuracy at the last epoch
        direction: higher                     # higher, lower or either; left out: what is better for the metric
        rope: 0.5                             # left out: the study's
      - claim: 4 layers are worse than 8, over all patch sizes
        main_effect: depth=4                  # factor=level against the baseline's level; a factor: all its levels
        direction: lower
      - claim: depth and patch size interact
        interaction: [depth, patch_size]      # two factors or levels; either direction, unless one is given
      - claim: dropout makes no difference that matters
        kind: equivalent                      # all comparisons lie within the ROPE
        arm: dropout=none
      - claim: half the width is not worse
        kind: not_worse                       # none is worse by the ROPE or more (non-inferiority)
        arm: width=32
      - claim: validation loss saturates about epoch 75
        kind: saturation
        metric: val/loss
        epoch: 75
        within: 10                            # saturation epochs 65 to 85 support the claim
        rule: fitted                          # or lowest; plans made before there were two rules state none: lowest
        arm: baseline                         # left out: the baseline
      - claim: a convolutional network of equal size does better
        testable: false
        why: no arm of this study is a convolutional network

`kind: effect` is the default; `kind: better` is an effect in the better direction. Every arm in `arm` is compared with
every arm in `than`. A claim of an effect is supported if all of its comparisons are in its direction and significant
(its p is the largest: an intersection-union test), contradicted if one goes significantly the other way (the smallest
p, times the number of comparisons), not supported if all are equivalent within the ROPE; with `direction: either` it is
supported if one comparison differs (the smallest p, times their number). A claim of equality is supported if its test
shows it (two one-sided t tests, or one), contradicted if one comparison lies beyond the ROPE (of not_worse: on the
worse side). All testable claims that are as they were when the first run started are one Holm family at 5 %, in which a
claim that restates another counts once; a claim that was changed later is exploratory: its p is adjusted as if it had
been one more, and it changes no other claim's p.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from vitsweep.significance.contrasts import Contrast, format_levels
from vitsweep.study import claims as rules

from ..records.selection import DEFAULT_METRIC, Selection
from ..text import epochs, interval, p_value, signed
from . import paired as stats
from .claim_tests import EFFECTS, ClaimResult, Decided, judge_results
from .curves import cell_saturation, claim_rule
from .effects import (
    compare,
    decimal_places,
    display_scale,
    find_lost_runs,
    metric_text,
    pooling_word,
    seed_values,
)
from .factorial import planned_effects
from .validity.attrition import seeds_used
from .validity.changed_later import changed_claims

ASIDES = {
    "equivalent": {
        "supported": " No difference beyond {} (two one-sided tests).",
        "contradicted": " The difference is larger than {}.",
    },
    "not_worse": {"supported": " Not worse by {} or more (one-sided test).", "contradicted": " Worse by more than {}."},
}
"""Kind of claim -> verdict -> what its test shows, with the ROPE."""
COLUMNS = "claim kind arms evidence p p_holm verdict changed_after_start".split()


def judge_claims(
    selection: Selection, metric: str = DEFAULT_METRIC
) -> tuple[pd.DataFrame, dict[Decided, stats.AdjustedP] | None]:
    """Return the claims' table (COLUMNS), and the adjusted p of each arm or effect that a claim of an effect is about.

    The second is None for a study without claims, and has no arm if no claim is about `metric`, that of the report: an
    arm if a claim compares it with the baseline, the levels of a main effect or an interaction. Its p of equivalence is
    NaN for a claim with a ROPE of its own.
    """
    if not selection.claims:
        return pd.DataFrame(columns=COLUMNS), None
    judged = [judge_claim(claim, selection) for claim in selection.claims]
    if selection.sequence is not None:
        judged = [selection.sequence.claim_result(number, one) for number, one in enumerate(judged)]
    later = changed_claims(selection)
    changed = [claim in later for claim in selection.claims]
    first = _first_statements(judged, changed)
    member_A = np.array([own == number for number, own in enumerate(first)])
    p_A, p_equivalent_A = (np.array([getattr(one, name) for one in judged]) for name in ("p", "p_equivalent"))
    adjusted = stats.adjust_family(p_A, p_equivalent_A, member_A)
    adjusted = [adjusted[number if own is None else own] for number, own in enumerate(first)]
    rows: list[tuple] = []
    decided: dict[Decided, stats.AdjustedP] = {}
    for number, (claim, one, late, own) in enumerate(zip(selection.claims, judged, changed, adjusted, strict=True)):
        used, word = " ".join(one.arms), _verdict(one, own)
        evidence = f"{one.evidence}{_aside(one, word)}{_restated(first[number], number)}"
        rows.append((one.claim, one.kind, used, evidence, one.p, own.p, word, late))
        if one.decides and not late and one.metric == metric:
            is_study_rope = claim.get("rope") in (None, selection.rope)
            decided[one.decides] = _smaller_p(own, decided.get(one.decides, stats.AdjustedP()), is_study_rope)
    return pd.DataFrame(rows, columns=COLUMNS), decided


def family_size(selection: Selection) -> int:
    """Count the claims of the family."""
    return len(claims_of_family(selection))


def claims_of_family(selection: Selection) -> list[int]:
    """Return the numbers of the claims that are testable and stated before the first run, each restated one once."""
    later = changed_claims(selection)
    judged = [judge_claim(claim, selection) for claim in selection.claims]
    first = _first_statements(judged, [claim in later for claim in selection.claims])
    return [number for number, own in enumerate(first) if own == number]


def _first_statements(judged: list[ClaimResult], changed: list[bool]) -> list[int | None]:
    """Return for each claim the number of the first that asks the same; None for one outside the family."""
    seen: dict[str, int] = {}
    return [
        None if one.word == "not testable" or late else seen.setdefault(one.identity or f"claim {number}", number)
        for number, (one, late) in enumerate(zip(judged, changed, strict=True))
    ]


def _restated(first: int | None, number: int) -> str:
    return "" if first in (None, number) else f" It restates claim {first + 1}, so both count once."


def has_claims(selection: Selection, metric: str) -> bool:
    """Return True if a claim is about an effect on this metric."""
    effects = [claim for claim in selection.claims if (claim.get("kind") or "effect") in EFFECTS]
    return any((claim.get("metric") or DEFAULT_METRIC) == metric for claim in effects)


def judge_claim(claim: dict[str, Any], selection: Selection) -> ClaimResult:
    """Judge one claim by itself; one that cannot be read is `not testable`, with the reason as evidence."""
    words = str(claim.get("claim") or "a claim without words")
    kind = str(claim.get("kind") or "effect")
    if claim.get("testable", True) is False:
        why = str(claim.get("why") or "the study says so")
        return ClaimResult(claim=words, kind=kind, evidence=f"Not testable: {why}.", word="not testable")
    # Keys that its kind does not read make no claim unreadable: earlier versions accepted some.
    if errors := rules.form_errors(claim):
        return ClaimResult(claim=words, kind=kind, evidence=f"Not readable: {errors[0]}.", word="not testable")
    judge = _judge_saturation if kind == "saturation" else _judge_comparisons
    return judge(words, claim, selection)


def find_arm(name: str, selection: Selection) -> str | None:
    """Find the arm of that slug, else the one that differs from the baseline by that `factor=level` alone.

    No claim was stated about an arm that is not in the plan.
    """
    unplanned = selection.unplanned()
    if name in selection.arms and name not in unplanned:
        return name
    factor, _, level = name.partition("=")
    baseline_levels = selection.levels.get(selection.baseline, {})
    if level and baseline_levels.get(factor) == level:
        return selection.baseline
    for arm in selection.arms:
        changed = {k: v for k, v in selection.levels[arm].items() if baseline_levels.get(k) != v}
        if changed == {factor: level} and selection.roles[arm] != "placebo" and arm not in unplanned:
            return arm
    named = rules.earlier_names((selection.planned or {}).values()).get(name)
    return named if named in selection.arms else None


def _judge_comparisons(words: str, claim: dict[str, Any], selection: Selection) -> ClaimResult:
    metric, kind = str(claim.get("metric") or DEFAULT_METRIC), str(claim.get("kind") or "effect")
    study_rope = selection.rope if display_scale(metric) == 100.0 else math.nan
    rope = float(claim["rope"]) if claim.get("rope") is not None else study_rope
    effects = None if claim.get("arm") else planned_effects(selection)
    contrasts, absent = rules.claim_contrasts(
        claim, lambda name: find_arm(name, selection), selection.baseline, effects, selection.design
    )
    judged = ClaimResult(claim=words, kind=kind, evidence=" ".join(absent), metric=metric, rope_value=rope)
    if absent:
        judged.word = "missing" if absent[0].startswith("No arm") else "not testable"
        return judged
    if kind in rules.OF_EQUALITY and not rope > 0:
        judged.evidence, judged.word = f"kind={kind} needs a ROPE above 0.", "not testable"
        return judged
    values, sign = seed_values(selection, metric), rules.claim_sign(claim)
    found = compare(list(contrasts.values()), values, selection, rope, sign)
    if selection.sequence is not None:
        found = [selection.sequence.widened(result) for result in found]
    results = dict(zip(contrasts, found, strict=True))
    judged.arms = list(dict.fromkeys(arm for contrast in contrasts.values() for arm in contrast.weights))
    judged.evidence = _evidence(results, contrasts, metric, selection)
    judged.rope = f"{rope:g} {_in_unit(metric)}"
    judged.is_small = all(max(abs(r.ci_low), abs(r.ci_high)) < rope for r in results.values())
    judged.identity = rules.claim_identity(claim, contrasts)
    if kind in EFFECTS and len(contrasts) == 1:
        judged.decides = _decides(next(iter(contrasts.values())), selection.baseline)
    judge_results(judged, contrasts, results, sign, find_lost_runs(selection, metric, values))
    return judged


def _decides(contrast: Contrast, baseline: str) -> Decided:
    """Return what a claim of one comparison decides: its levels, the arm against the baseline, or nothing."""
    others = [arm for arm in contrast.weights if arm != baseline]
    return contrast.levels or (others[0] if len(others) == 1 else "")


def _judge_saturation(words: str, claim: dict[str, Any], selection: Selection) -> ClaimResult:
    name = str(claim.get("arm") or selection.baseline)
    arm, metric = find_arm(name, selection), str(claim.get("metric") or "val/loss")
    identity = rules.claim_identity(claim, {})
    if arm is None:
        return ClaimResult(
            claim=words, kind="saturation", evidence=f"No arm {name}.", word="missing", identity=identity
        )
    cells = cell_saturation(selection, metric, claim_rule(claim))
    cells = cells[(cells["arm"] == arm) & cells["epoch"].notna()]
    epoch_S, late = cells["epoch"].to_numpy(), int(cells["late"].sum())
    judged = ClaimResult(
        claim=words,
        kind="saturation",
        evidence=f"No run of {arm} has a saturation epoch.",
        arms=[arm],
        identity=identity,
    )
    if len(epoch_S):
        seeds = seeds_used(selection, len(epoch_S), arm)
        judged.evidence = _saturation_evidence(epoch_S, late, f"{arm}: {metric}", seeds, claim)
    if len(epoch_S) < 2:
        judged.word = "single" if len(epoch_S) else "missing"
        return judged
    judged.p_for, judged.p_against = judge_epochs(epoch_S, late, float(claim["epoch"]), float(claim["within"]))
    return judged


def _saturation_evidence(epoch_S: np.ndarray, late: int, what: str, seeds: str, claim: dict[str, Any]) -> str:
    mean, low, high = (float(x) for x in stats.mean_interval(epoch_S))
    shown = epochs(mean, low, high, late)
    why = "" if claim.get("rule") else "; the claim states none and is judged as it was planned"
    still = f" {late} of them were still improving at the end, so the true epoch is later." if late else ""
    return f"{what} saturates at epoch {shown} (rule {claim_rule(claim)}{why}), {seeds}.{still}"


def judge_epochs(epoch_S: np.ndarray, late: int, middle: float, within: float) -> tuple[float, float]:
    """Return p of the mean saturation epoch lying within middle +- within, and of its lying outside.

    Args:
        epoch_S: saturation epoch of each seed, of a late one at most its last epoch.
        late: seeds that were still improving at the end.
    """
    inside, outside = _mean_within(epoch_S, middle, within)
    if late:
        # Their true epochs are later: nothing bounds the mean from above, and only "later than claimed" can be shown.
        return 1.0, outside if epoch_S.mean() > middle + within else 1.0
    return inside, outside


def _mean_within(value_S: np.ndarray, middle: float, within: float) -> tuple[float, float]:
    distance = abs(value_S.mean() - middle)
    error = stats.sample_sd(value_S) / math.sqrt(len(value_S))
    if error == 0:
        # All seeds agree to the epoch: only their number speaks, as in a sign test.
        p = 2.0 ** (1 - len(value_S))
        return (p, 1.0) if distance < within else (1.0, p)
    t = (distance - within) / error
    inside = float(special.stdtr(len(value_S) - 1, t))
    # With the true mean at a bound both verdicts can come out by chance, so the two tests share the 5 %.
    return min(1.0, 2 * inside), min(1.0, 2 * (1 - inside))


def _smaller_p(own: stats.AdjustedP, before: stats.AdjustedP, is_study_rope: bool) -> stats.AdjustedP:
    """Combine the p values of two claims about one arm: the smaller ones count."""
    within = np.fmin(own.p_equivalent if is_study_rope else math.nan, before.p_equivalent)
    return stats.AdjustedP(p=float(np.fmin(own.p, before.p)), p_equivalent=float(within), size=own.size)


def _verdict(judged: ClaimResult, adjusted: stats.AdjustedP) -> str:
    if judged.word:
        return judged.word
    if adjusted.p < stats.ALPHA:
        return "supported" if judged.p_for <= judged.p_against else "contradicted"
    return "not supported" if adjusted.p_equivalent < stats.ALPHA else "undecided"


def _aside(judged: ClaimResult, verdict: str) -> str:
    """Compare the differences with the ROPE, where the verdict's word does not."""
    if judged.kind in ASIDES:
        return ASIDES[judged.kind].get(verdict, "").format(judged.rope)
    if verdict == "not supported":
        return f" No difference beyond {judged.rope} (two one-sided tests)."
    small = verdict in ("supported", "contradicted") and judged.is_small
    return f" That is less than the {judged.rope} that matter." if small else ""


def _evidence(
    results: dict[str, stats.PairedResult], contrasts: dict[str, Contrast], metric: str, selection: Selection
) -> str:
    digits, parts = decimal_places(metric), []
    for name, r in results.items():
        contrast = contrasts[name]
        size = f"{signed(r.delta, digits)} {interval(r.ci_low, r.ci_high, digits)}".strip()
        aliases = f" (or {', '.join(map(format_levels, contrast.aliases))}: not told apart)" if contrast.aliases else ""
        part = f"{name}{aliases}: {size} {_in_unit(metric)}, {seeds_used(selection, r.n, *contrast.weights)}"
        # Of several comparisons the weakest decides, so each shows its own p.
        part += f", unadjusted p {p_value(r.p)}" if len(results) > 1 and r.n > 1 else ""
        word = pooling_word(r)
        part += f", pooling {word}, paired p {p_value(r.p_paired)}" if word in ("doubtful", "refuted") else ""
        parts.append(part)
    return "; ".join(parts) + "."


def _in_unit(metric: str) -> str:
    if display_scale(metric) != 100.0:
        return metric
    return "points" if metric == DEFAULT_METRIC else f"points of {metric_text(metric)}"
