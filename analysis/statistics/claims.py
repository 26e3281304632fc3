"""Claims stated before the first run, and what the data say about them.

A study file lists them; three forms:

    claims:
      - claim: patch 4 beats patch 8          # words, shown in the report
        arm: baseline                         # an arm's slug, or factor=level; a list of them for "all of these"
        than: patch_size=8                    # likewise; left out: the baseline
        metric: test/accuracy                 # left out: test/accuracy at the last epoch
        direction: higher                     # higher or lower; left out: what is better for the metric
        rope: 0.5                             # left out: the study's
      - claim: validation loss saturates about epoch 75
        kind: saturation
        metric: val/loss
        epoch: 75
        within: 10                            # saturation epochs 65 to 85 support the claim
        arm: baseline                         # left out: the baseline
      - claim: a convolutional network of equal size does better
        testable: false
        why: no arm of this study is a convolutional network

Every arm in `arm` is compared with every arm in `than`. A claim is supported if all of its comparisons are in its
direction and significant (its p is the largest: an intersection-union test), contradicted if one goes significantly the
other way (the smallest p, times the number of comparisons), not supported if all are equivalent within the ROPE. All
testable claims that are as they were when the first run started are one Holm family at 5 %; a claim that was changed
later is exploratory: its p is adjusted as if it had been one more, and it changes no other claim's p.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from vitsweep.study.record import METRIC_NAMES

from ..records.selection import DEFAULT_METRIC, Selection
from ..text import decimals, interval, p_value, signed
from . import paired as stats
from .attrition import seeds_used
from .changed_later import changed_claims
from .curves import cell_saturation
from .effects import decimal_places, differences, direction, display_scale, metric_text, seed_values

COLUMNS = "claim kind arms evidence p p_holm verdict changed_after_start".split()
KEYS = {"claim", "arm", "than", "metric", "direction", "rope", "kind", "epoch", "within", "testable", "why"}
KINDS = ("effect", "saturation")
CURVES = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")


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
    decides_arm: str = ""
    """The arm, if the claim is only about its effect on the baseline."""
    metric: str = ""
    """Metric of an effect."""

    @property
    def p(self) -> float:
        """Return the smaller of the two p values; they cannot both be small."""
        return float(np.fmin(self.p_for, self.p_against))


def judge_claims(
    selection: Selection, metric: str = DEFAULT_METRIC
) -> tuple[pd.DataFrame, dict[str, stats.AdjustedP] | None]:
    """Return the claims' table (COLUMNS), and the adjusted p of each arm that a claim compares with the baseline.

    The second is None for a study without claims, and has no arm if no claim is about `metric`, that of the report. Its
    p of equivalence is NaN for a claim with a ROPE of its own.
    """
    if not selection.claims:
        return pd.DataFrame(columns=COLUMNS), None
    judged = [judge_claim(claim, selection) for claim in selection.claims]
    later = changed_claims(selection)
    changed = [claim in later for claim in selection.claims]
    member_A = np.array([one.word != "not testable" and not late for one, late in zip(judged, changed, strict=True)])
    p_A, p_equivalent_A = (np.array([getattr(one, name) for one in judged]) for name in ("p", "p_equivalent"))
    adjusted = stats.adjust_family(p_A, p_equivalent_A, member_A)
    rows: list[tuple] = []
    arms: dict[str, stats.AdjustedP] = {}
    for claim, one, late, own in zip(selection.claims, judged, changed, adjusted, strict=True):
        used, word = " ".join(one.arms), _verdict(one, own)
        rows.append((one.claim, one.kind, used, f"{one.evidence}{_aside(one, word)}", one.p, own.p, word, late))
        if one.decides_arm and not late and one.metric == metric:
            is_study_rope = claim.get("rope") in (None, selection.rope)
            arms[one.decides_arm] = _smaller_p(own, arms.get(one.decides_arm, stats.AdjustedP()), is_study_rope)
    return pd.DataFrame(rows, columns=COLUMNS), arms


def has_claims(selection: Selection, metric: str) -> bool:
    """Return True if a claim is about an effect on this metric."""
    effects = [claim for claim in selection.claims if (claim.get("kind") or "effect") == "effect"]
    return any((claim.get("metric") or DEFAULT_METRIC) == metric for claim in effects)


def judge_claim(claim: dict[str, Any], selection: Selection) -> ClaimResult:
    """Judge one claim by itself; one that cannot be read is `not testable`, with the reason as evidence."""
    words = str(claim.get("claim") or "a claim without words")
    kind = str(claim.get("kind") or "effect")
    if claim.get("testable", True) is False:
        why = str(claim.get("why") or "the study says so")
        return ClaimResult(claim=words, kind=kind, evidence=f"Not testable: {why}.", word="not testable")
    error = claim_error(claim)
    if error:
        return ClaimResult(claim=words, kind=kind, evidence=f"Not readable: {error}.", word="not testable")
    judge = _judge_saturation if kind == "saturation" else _judge_effect
    return judge(words, claim, selection)


def claim_error(claim: dict[str, Any]) -> str:
    """Return the first problem in a claim's form; empty when there is none."""
    unknown = sorted(set(claim) - KEYS)
    kind = claim.get("kind") or "effect"
    if unknown:
        return f"unknown key {', '.join(unknown)}; allowed: {', '.join(sorted(KEYS))}"
    if kind not in KINDS:
        return f"kind={kind} is unknown; allowed: {', '.join(KINDS)}"
    allowed = METRIC_NAMES if kind == "effect" else CURVES
    if (claim.get("metric") or allowed[-1]) not in allowed:
        return f"metric={claim['metric']} is unknown; allowed: {', '.join(allowed)}"
    needed = ("epoch", "within") if kind == "saturation" else ()
    for name in (*needed, *(["rope"] if claim.get("rope") is not None else [])):
        if isinstance(claim.get(name), bool) or not isinstance(claim.get(name), int | float):
            return f"{name}={claim.get(name)} must be a number"
    if (claim.get("direction") or "higher") not in ("higher", "lower"):
        return f"direction={claim['direction']} is unknown; allowed: higher, lower"
    return "" if kind == "saturation" or claim.get("arm") else "an effect claim needs arm"


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
    return None


def _judge_effect(words: str, claim: dict[str, Any], selection: Selection) -> ClaimResult:
    metric = str(claim.get("metric") or DEFAULT_METRIC)
    sign = {"higher": 1, "lower": -1}[claim.get("direction") or ("higher" if direction(metric) > 0 else "lower")]
    study_rope = selection.rope if display_scale(metric) == 100.0 else math.nan
    rope = float(claim["rope"]) if claim.get("rope") is not None else study_rope
    ours, theirs = _names(claim["arm"]), _names(claim.get("than") or selection.baseline)
    names = dict.fromkeys((*ours, *theirs))
    found = {name: arm for name in names if (arm := find_arm(name, selection)) is not None}
    absent = [name for name in names if name not in found]
    if absent:
        return ClaimResult(claim=words, kind="effect", evidence=f"No arm {', '.join(absent)}.", word="missing")
    values = seed_values(selection, metric)
    pairs = [(found[a], found[b]) for a in ours for b in theirs if found[a] != found[b]]
    if not pairs:
        return ClaimResult(
            claim=words, kind="effect", evidence="An arm would be compared with itself.", word="not testable"
        )
    results = {pair: stats.compare_paired(differences(values, *pair).to_numpy(), rope, sign) for pair in pairs}
    used = list(dict.fromkeys(arm for pair in pairs for arm in pair))
    judged = ClaimResult(claim=words, kind="effect", evidence=_effect_evidence(results, metric, selection), arms=used)
    judged.rope = f"{rope:g} {_in_unit(metric)}"
    judged.is_small = all(max(abs(r.ci_low), abs(r.ci_high)) < rope for r in results.values())
    judged.metric = metric
    if len(pairs) == 1 and selection.baseline in pairs[0]:
        judged.decides_arm = next(arm for arm in pairs[0] if arm != selection.baseline)
    return _with_p(judged, list(results.values()), sign)


def _with_p(judged: ClaimResult, results: list[stats.PairedResult], sign: int) -> ClaimResult:
    fewest = min((r.n for r in results), default=0)
    if fewest < 2:
        judged.word = "single" if fewest else "missing"
        return judged
    agree = [r.delta * sign > 0 for r in results]
    judged.p_for = max(r.p if yes else 1.0 for r, yes in zip(results, agree, strict=True))
    judged.p_against = min(1.0 if yes else r.p * len(results) for r, yes in zip(results, agree, strict=True))
    judged.p_against = min(judged.p_against, 1.0)
    judged.p_equivalent = float(np.max([r.p_equivalent for r in results]))
    return judged


def _judge_saturation(words: str, claim: dict[str, Any], selection: Selection) -> ClaimResult:
    name = str(claim.get("arm") or selection.baseline)
    arm, metric = find_arm(name, selection), str(claim.get("metric") or "val/loss")
    if arm is None:
        return ClaimResult(claim=words, kind="saturation", evidence=f"No arm {name}.", word="missing")
    cells = cell_saturation(selection, metric)
    cells = cells[(cells["arm"] == arm) & cells["epoch"].notna()]
    epoch_S, late = cells["epoch"].to_numpy(), int(cells["late"].sum())
    judged = ClaimResult(
        claim=words, kind="saturation", evidence=f"No run of {arm} has a saturation epoch.", arms=[arm]
    )
    if len(epoch_S):
        judged.evidence = _saturation_evidence(
            epoch_S, late, f"{arm}: {metric}", seeds_used(selection, len(epoch_S), arm)
        )
    if len(epoch_S) < 2:
        judged.word = "single" if len(epoch_S) else "missing"
        return judged
    middle, within = float(claim["epoch"]), float(claim["within"])
    judged.p_for, judged.p_against = _about(epoch_S, middle, within)
    if late:
        # Their true epochs are later: nothing bounds the mean from above, and only "later than claimed" can be shown.
        judged.p_for, judged.p_against = 1.0, judged.p_against if epoch_S.mean() > middle + within else 1.0
    return judged


def _saturation_evidence(epoch_S: np.ndarray, late: int, what: str, seeds: str) -> str:
    mean, low, high = (float(x) for x in stats.mean_interval(epoch_S))
    shown = f" [{decimals(low, 1)}, {decimals(high, 1)}]" if not math.isnan(low) else ""
    still = f" {late} of them were still improving at the end, so the true epoch is later." if late else ""
    return f"{what} saturates at epoch {decimals(mean, 1)}{shown}, {seeds}.{still}"


def _about(value_S: np.ndarray, middle: float, within: float) -> tuple[float, float]:
    """Return p of the mean lying within middle +- within, and of its lying outside."""
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
    if verdict == "not supported":
        return f" No difference beyond {judged.rope} (two one-sided tests)."
    small = verdict in ("supported", "contradicted") and judged.is_small
    return f" That is less than the {judged.rope} that matter." if small else ""


def _effect_evidence(results: dict[tuple[str, str], stats.PairedResult], metric: str, selection: Selection) -> str:
    digits, parts = decimal_places(metric), []
    for (arm, than), r in results.items():
        size = f"{signed(r.delta, digits)} {interval(r.ci_low, r.ci_high, digits)}".strip()
        part = f"{arm} minus {than}: {size} {_in_unit(metric)}, {seeds_used(selection, r.n, arm, than)}"
        # Of several comparisons the weakest decides, so each shows its own p.
        parts.append(f"{part}, unadjusted p {p_value(r.p)}" if len(results) > 1 and r.n > 1 else part)
    return "; ".join(parts) + "."


def _in_unit(metric: str) -> str:
    if display_scale(metric) != 100.0:
        return metric
    return "points" if metric == DEFAULT_METRIC else f"points of {metric_text(metric)}"


def _names(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)]
