"""Statistics of one paired comparison: arrays in, numbers out.

The last axis of every array counts seeds (suffix _S); leading axes broadcast, so that the simulation which
calibrates these functions calls the very same code. A difference is always arm minus baseline on the same
seed. With equal differences on all seeds the t statistic does not exist: its interval is NaN and p falls back
to the sign-flip test.
Protocol: paired t interval, equivalence by two one-sided tests (Schuirmann 1987), Holm over the family for either p.
Under a pooled or Welch error (`under_error`) estimate, interval and p come from vitsweep.significance instead, and of
arms against the baseline under the pooled one Dunnett's step-down test replaces Holm (`adjust_dunnett`).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from vitsweep.significance.declared import Comparison
from vitsweep.significance.dunnett import HALF, step_down
from vitsweep.significance.estimates import NO_SPREAD, Estimates
from vitsweep.significance.holm import ALPHA, holm
from vitsweep.significance.pooling import FEW_SEEDS
from vitsweep.significance.power import spread_interval

EXACT_SEEDS = 16
RANDOM_FLIPS = 100_000


@dataclass(kw_only=True)
class PairedResult:
    """One arm against another on their shared seeds, in the metric's unit."""

    n: int
    delta: float
    sd: float
    """Standard deviation of the paired differences."""
    ci_low: float
    ci_high: float
    p: float
    p_signflip: float
    p_equivalent: float
    effect_size: float
    """Mean over standard deviation of the differences (Cohen's d_z)."""
    better: float
    """Share of the seeds on which the arm is better, a tie counted as half."""
    error: float = math.nan
    """Standard error of delta; NaN without spread."""
    freedom: float = math.nan
    """Degrees of freedom of the error."""
    loading: float = HALF
    """Root of the correlation that this comparison has with others of the same baseline (dunnett.loadings)."""
    is_pooled: bool = False
    """True if the error is pooled over arms."""
    is_doubtful: bool = False
    """True if pooling is doubtful for one of its arms, or refuted."""
    p_paired: float = math.nan
    """Under another error than the paired one: p of the paired t test."""


@dataclass(kw_only=True)
class AdjustedP:
    """Holm's adjusted p values of one comparison, each over its family."""

    p: float = math.nan
    p_equivalent: float = math.nan
    size: int = 1
    """Comparisons in the family."""


def compare_paired(difference_S: np.ndarray, rope: float, sign: int = 1) -> PairedResult:
    """Compute all numbers of one comparison.

    Args:
        difference_S: arm minus baseline for each shared seed; may be empty.
        rope: differences smaller than this do not matter; NaN for no equivalence test.
        sign: 1 when more is better, -1 when less is (losses), 0 when neither is.
    """
    n = len(difference_S)
    delta, low, high = (float(x) for x in mean_interval(difference_S))
    sd = sample_sd(difference_S)
    size = delta / sd if n > 1 and sd > 0 else math.nan
    better = (difference_S * sign > 0).mean() + (difference_S == 0).mean() / 2 if n and sign else math.nan
    return PairedResult(
        n=n,
        delta=delta,
        sd=sd,
        ci_low=low,
        ci_high=high,
        p=float(p_paired(difference_S)),
        p_signflip=p_signflip(difference_S),
        p_equivalent=float(p_equivalent(difference_S, rope)),
        effect_size=size,
        better=float(better),
        error=sd / math.sqrt(n) if sd > 0 else math.nan,
        freedom=n - 1.0 if n > 1 else math.nan,
    )


def under_error(result: PairedResult, found: Estimates, place: int, rope: float, **flags: bool) -> PairedResult:
    """Return a paired comparison with estimate, interval and p of another error; unchanged below two shared seeds.

    Args:
        found: contrasts, of which `place` is this one.
        flags: is_pooled and is_doubtful, under the pooled error.
    """
    if result.n < 2 or np.isnan(found.value[place]):
        return result
    low, high = (float(end[place]) for end in found.interval(confidence=1 - ALPHA))
    error, delta = float(found.error[place]), float(found.value[place])
    # In units of one pair of runs, as the spread of paired differences is.
    sd = 0.0 if math.isnan(error) else error * math.sqrt(result.n)
    return replace(
        result,
        delta=delta,
        sd=sd,
        ci_low=low,
        ci_high=high,
        p=float(found.p()[place]),
        p_equivalent=float(found.p_within(rope)[place]) if not math.isnan(rope) else math.nan,
        effect_size=delta / sd if sd > 0 else math.nan,
        error=error,
        freedom=float(found.freedom[place]),
        p_paired=result.p,
        **flags,
    )


def sample_sd(value_S: np.ndarray) -> float:
    """Return the sample standard deviation; NaN below two values, 0 when the values differ by rounding only."""
    return float(_sd(np.asarray(value_S, float)))


def mean_interval(value_S: np.ndarray, confidence: float = 1 - ALPHA) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, lower and upper end of the t interval; the ends are NaN below two values or without spread."""
    value_S = np.asarray(value_S, float)
    n = value_S.shape[-1]
    mean = value_S.mean(axis=-1) if n else np.full(value_S.shape[:-1], np.nan)
    half = t_bound(n, confidence) * _standard_error(value_S)
    return mean, mean - half, mean + half


def p_paired(difference_S: np.ndarray) -> np.ndarray:
    """Return the two-sided p of the paired t test; without spread the sign-flip p; NaN below two seeds."""
    difference_S = np.asarray(difference_S, float)
    n, error = difference_S.shape[-1], _standard_error(difference_S)
    if n < 2:
        return np.full(difference_S.shape[:-1], np.nan)
    with np.errstate(invalid="ignore"):
        p = 2 * special.stdtr(n - 1, -np.abs(difference_S.mean(axis=-1)) / error)
    flat = np.where(np.isclose(difference_S, 0).all(axis=-1), 1.0, 2.0 ** (1 - n))
    return np.where(np.isnan(error), flat, p)


def p_equivalent(difference_S: np.ndarray, rope: float) -> np.ndarray:
    """Return the p of the two one-sided paired t tests that the mean difference lies within +-rope.

    Without spread only the number of seeds speaks, as in a sign test. NaN below two seeds or without a rope.
    """
    difference_S = np.asarray(difference_S, float)
    n, error = difference_S.shape[-1], _standard_error(difference_S)
    if n < 2 or math.isnan(rope):
        return np.full(difference_S.shape[:-1], np.nan)
    beyond = np.abs(difference_S.mean(axis=-1)) - rope
    with np.errstate(invalid="ignore"):
        p = special.stdtr(n - 1, beyond / error)
    return np.where(np.isnan(error), np.where(beyond < 0, 2.0 ** (1 - n), 1.0), p)


def p_signflip(difference_S: np.ndarray) -> float:
    """Return the two-sided p of the sign-flip test of the mean, exact up to EXACT_SEEDS seeds, else sampled.

    The smallest value it can take is 2 / 2**n: 0.0625 at five seeds. NaN below two, where it could only be 1.
    """
    difference_S = np.asarray(difference_S, float)
    n = len(difference_S)
    if n < 2:
        return math.nan
    observed = abs(difference_S.sum())
    # Two sums that are equal on paper may differ in the last digits; they count as ties.
    bound = observed - 1e-9 * np.abs(difference_S).sum()
    if n <= EXACT_SEEDS:
        return float((np.abs(_sign_patterns(n) @ difference_S) >= bound).mean())
    sign_FS = np.random.default_rng(0).choice((-1.0, 1.0), size=(RANDOM_FLIPS, n))
    return float((1 + (np.abs(sign_FS @ difference_S) >= bound).sum()) / (1 + RANDOM_FLIPS))


def holm_of_members(p_A: np.ndarray, member_A: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p, (A,), of a family and of others beside it.

    Args:
        member_A: True for the hypotheses of the family; each other p (a placebo, a claim that was changed later) is
            adjusted as if it were one more, and changes no member's p.
    """
    p_A = np.asarray(p_A, float)
    adjusted_A, family = np.empty_like(p_A), p_A[member_A]
    adjusted_A[member_A] = holm(family)
    adjusted_A[~member_A] = [holm(np.append(p, family))[0] for p in p_A[~member_A]]
    return adjusted_A


def adjust_family(p_A: np.ndarray, p_equivalent_A: np.ndarray, member_A: np.ndarray | None = None) -> list[AdjustedP]:
    """Adjust both kinds of p of one family by Holm: neither kind of false finding grows with its size."""
    member_A = np.ones(len(p_A), bool) if member_A is None else member_A
    pairs = zip(holm_of_members(p_A, member_A), holm_of_members(p_equivalent_A, member_A), strict=True)
    size = int(member_A.sum())
    return [AdjustedP(p=float(p), p_equivalent=float(p_equivalent), size=size) for p, p_equivalent in pairs]


def adjust_dunnett(results: list[PairedResult], member_A: np.ndarray) -> np.ndarray:
    """Return step-down Dunnett's adjusted p of comparisons with one baseline under the pooled error.

    Comparisons with an error of their own (pooling was refuted, or there is no spread) keep Holm's adjusted p. As in
    `holm`, a NaN counts in the family, and what is no member is adjusted as if it were one more.
    """
    p_A, freedom_A, loading_A = (
        np.array([getattr(result, name) for result in results], float) for name in ("p", "freedom", "loading")
    )
    adjusted_A = holm_of_members(p_A, member_A)
    is_pooled_A = np.array([result.is_pooled for result in results], bool) & ~np.isnan(freedom_A)
    if not is_pooled_A.any():
        return adjusted_A
    freedom = float(freedom_A[is_pooled_A].max())
    # By the unadjusted p, which lost runs may have raised above that of delta / error.
    t_A = -special.stdtrit(np.where(np.isnan(freedom_A), freedom, freedom_A), p_A / 2)
    family = np.flatnonzero(member_A)
    stepped_A = step_down(t_A[family], loading_A[family], freedom) if len(family) else np.empty(0)
    for place, arm in enumerate(family):
        adjusted_A[arm] = stepped_A[place] if is_pooled_A[arm] else adjusted_A[arm]
    for arm in np.flatnonzero(is_pooled_A & ~member_A):
        one = np.append(arm, family)
        adjusted_A[arm] = step_down(t_A[one], loading_A[one], float(freedom_A[arm]))[0]
    return adjusted_A


def verdict(result: PairedResult, adjusted: AdjustedP, sign: int = 1) -> str:
    """Return helps, hurts (differs, with sign 0), equivalent or undecided; single for one seed, missing for none."""
    if result.n < 2:
        return "single" if result.n else "missing"
    if adjusted.p < ALPHA:
        return "differs" if not sign else "helps" if result.delta * sign > 0 else "hurts"
    return "equivalent" if adjusted.p_equivalent < ALPHA else "undecided"


def decision_seeds(result: PairedResult, asked: Comparison, rope: float) -> tuple[float, float, float]:
    """Return the fewest seeds that decide with 80 % power if the observed difference and spread are true.

    Either the difference is found or, when it lies within the ROPE, equivalence is, both in the family; the cheaper
    counts. The second and third number are for the ends of the spread's 95 % interval. NaN where there is no spread to
    go by, and below FEW_SEEDS seeds, from which the interval would say nothing.

    Args:
        asked: the family and the error.
    """
    if result.n < FEW_SEEDS or not result.sd > 0:
        return math.nan, math.nan, math.nan
    low, high = spread_interval(result.sd, result.freedom)
    likely, fewest, most = (asked.seeds_to_decide(result.delta, sd, rope) for sd in (result.sd, low, high))
    return likely, fewest, most


def _sd(value_S: np.ndarray) -> np.ndarray:
    if value_S.shape[-1] < 2:
        return np.full(value_S.shape[:-1], np.nan)
    sd = value_S.std(axis=-1, ddof=1)
    return np.where(sd <= NO_SPREAD * np.abs(value_S).max(axis=-1), 0.0, sd)


def _standard_error(value_S: np.ndarray) -> np.ndarray:
    """Return the standard error; NaN below two values and where there is no spread."""
    sd = _sd(value_S)
    return np.where(sd > 0, sd, np.nan) / math.sqrt(max(value_S.shape[-1], 1))


def t_bound(n: int, confidence: float = 1 - ALPHA) -> float:
    """Return half the t interval of a mean of n values, in standard errors; NaN below two values."""
    return float(special.stdtrit(n - 1, 1 - (1 - confidence) / 2)) if n > 1 else math.nan


def _sign_patterns(n: int) -> np.ndarray:
    """(2**(n-1), n) signs, the first always +: the other half gives the same absolute sums."""
    number_F = np.arange(2 ** (n - 1))
    return 1.0 - 2.0 * ((number_F[:, None] >> np.arange(n)) & 1)
