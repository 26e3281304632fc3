"""Decisions at the looks of a study: which hypotheses are decided, equivalent, futile or still open, and the cost.

The same functions judge a study between its looks (the sweep), in its report and in simulated studies (the plan, the
calibration). Leading axes are independent studies. Suffixes: _A arms with the baseline first, _H hypotheses, _L looks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vitsweep.significance.estimates import Estimates, against_baseline, estimate_contrasts
from vitsweep.significance.holm import ALPHA, holm
from vitsweep.significance.pooling import declared_contrasts
from vitsweep.significance.spending import nominal_levels, sequential_p

Estimator = Callable[[np.ndarray, np.ndarray, str], Estimates]
EFFECTS = (0.0, 1.0, 2.0, 4.0)
"""Effects for which plans state their expected cost, standard deviations of a run."""
DRAWS = 200
"""Studies that a plan simulates for each effect."""
FUTILE = 0.1
"""A hypothesis is futile when its chance to be decided at the last look is below this; not binding."""


@dataclass(kw_only=True, frozen=True)
class Looks:
    """Declared looks of a study."""

    seeds: tuple[int, ...]
    """Numbers of seeds, growing."""
    spending: str

    @property
    def last(self) -> int:
        """Return the number of seeds at the last look."""
        return self.seeds[-1]

    def adjusted_p(self, p_HL: np.ndarray, sides: int = 2) -> np.ndarray:
        """Return (..., H): Holm's adjusted p over sequential p values, the group-sequential Holm procedure.

        Args:
            p_HL: (..., H, L) p value of each hypothesis at each look so far; NaN where it was not judged.
        """
        return holm(sequential_p(p_HL, self.seeds, self.spending, sides)[..., -1])

    def bound(self, look: int, freedom: np.ndarray | float, level: float = ALPHA) -> np.ndarray:
        """Return the t bound of the repeated confidence intervals at a look (Jennison & Turnbull 2000, chapter 9).

        Intervals with these bounds cover at all looks together with probability 1 - level.
        """
        from scipy import special

        nominal = nominal_levels(self.seeds, self.spending, level)[self.seeds.index(look)]
        return -special.stdtrit(freedom, nominal / 2)


@dataclass(kw_only=True)
class Prediction:
    """Predictive law of an estimate at the last look, given the one at this look; arrays of one shape.

    With a flat prior the last estimate is this one plus a Student t with this look's degrees of freedom, scaled by the
    standard error times sqrt(1 - seeds / last) (predictive power; Spiegelhalter, Freedman & Blackburn 1986).
    """

    value: np.ndarray
    error: np.ndarray
    freedom: np.ndarray
    share: float
    """Seeds so far over those of the last look."""

    def above(self, bound: np.ndarray | float, level: np.ndarray | float) -> np.ndarray:
        """Return the chance that a one-sided test at `level` finds the parameter above `bound` at the last look."""
        from scipy import special

        with np.errstate(invalid="ignore", divide="ignore"):
            last_freedom = self.freedom / self.share
            needed = bound - special.stdtrit(last_freedom, level) * self.error * math.sqrt(self.share)
            return special.stdtr(self.freedom, (self.value - needed) / (self.error * math.sqrt(1 - self.share)))

    def below(self, bound: np.ndarray | float, level: np.ndarray | float) -> np.ndarray:
        """Return the same for below `bound`."""
        mirrored = Prediction(value=-self.value, error=self.error, freedom=self.freedom, share=self.share)
        return mirrored.above(-np.asarray(bound, float), level)

    def within(self, rope: np.ndarray | float, level: np.ndarray | float) -> np.ndarray:
        """Return the chance that two one-sided tests find the parameter within +-rope at the last look."""
        return np.maximum(self.above(-np.asarray(rope), level) + self.below(rope, level) - 1, 0.0)


def chance_to_decide(
    value: np.ndarray, error: np.ndarray, freedom: np.ndarray, looks: Looks, look: int, family: int, rope: float
) -> np.ndarray:
    """Return the predictive chance that a difference, or that there is none beyond the ROPE, is shown at the last look.

    Args:
        value: estimates at this look; a NaN has a chance of NaN.
        family: hypotheses that are not decided yet, at least 1: Holm's next step.
        rope: NaN or 0 for no test of equivalence.
    """
    law = Prediction(value=np.asarray(value), error=error, freedom=freedom, share=look / looks.last)
    differs, equal = last_levels(looks, family)
    chance = law.above(0.0, differs / 2) + law.below(0.0, differs / 2)
    return chance + law.within(rope, equal) if rope > 0 else chance


def last_levels(looks: Looks, family: int) -> tuple[float, float]:
    """Return the bounds of a two-sided and of a one-sided p value at the last look, at 5 % over the family."""
    level = ALPHA / max(family, 1)
    two, one = (nominal_levels(looks.seeds, looks.spending, level, sides)[-1] for sides in (2, 1))
    return float(two), float(one)


@dataclass(kw_only=True)
class Simulated:
    """Outcomes of simulated studies; the first axis counts studies."""

    found_H: np.ndarray
    """True where an arm was called different."""
    equivalent_H: np.ndarray
    covered_H: np.ndarray
    """True where the repeated intervals of all looks contained the true difference."""
    seeds_H: np.ndarray
    """Seeds that each arm was trained with."""
    baseline_seeds: np.ndarray

    @property
    def runs(self) -> np.ndarray:
        """Return the number of runs of each study, the baseline's included."""
        return self.seeds_H.sum(axis=-1) + self.baseline_seeds


def simulate(
    value_SA: np.ndarray,
    effect_H: np.ndarray,
    looks: Looks,
    error: str,
    rope: float = 0.0,
    stops: bool = True,
    estimate: Estimator = declared_contrasts,
) -> Simulated:
    """Judge simulated studies look by look, as a sweep with sweep.until=decided does.

    Args:
        value_SA: (D, S, A) results of all seeds, the baseline first, effects included.
        effect_H: (A - 1,) true differences from the baseline, for coverage.
        error: paired, pooled or welch.
        rope: half-width of the region of equivalence in the unit of the values; 0: no test of equivalence.
        stops: False: all looks are made with all arms, and nothing is futile.
        estimate: estimate_contrasts where all arms are known to spread alike, which is faster.
    """
    D, _, A = value_SA.shape
    shape = (D, A - 1)
    p_HL, within_HL = (np.full((*shape, len(looks.seeds)), np.nan) for _ in range(2))
    is_open_H, seeds_H, covered_H = np.ones(shape, bool), np.zeros(shape, int), np.ones(shape, bool)
    baseline_seeds = np.zeros(D, int)
    found_H = equivalent_H = np.zeros(shape, bool)
    known_SA = np.full(value_SA.shape, np.nan)
    before = 0
    for number, look in enumerate(looks.seeds):
        running_A = np.column_stack([is_open_H.any(axis=1), is_open_H])
        known_SA[:, before:look] = np.where(running_A[:, None], value_SA[:, before:look], np.nan)
        before = look
        seeds_H[is_open_H], baseline_seeds[running_A[:, 0]] = look, look
        now = estimate(known_SA[:, :look], against_baseline(A), error)
        p_HL[..., number] = np.where(is_open_H, now.p(), np.nan)
        found_H = looks.adjusted_p(p_HL[..., : number + 1]) < ALPHA
        if rope > 0:
            within_HL[..., number] = np.where(is_open_H, now.p_within(rope), np.nan)
            equivalent_H = ~found_H & (looks.adjusted_p(within_HL[..., : number + 1], sides=1) < ALPHA)
        half_H = looks.bound(look, now.freedom) * now.error
        covered_H &= ~is_open_H | (np.abs(now.value - effect_H) <= half_H)
        if stops:
            is_open_H = is_open_H & ~found_H & ~equivalent_H
            if look < looks.last:
                is_open_H &= ~_is_futile(now, looks, look, (~found_H).sum(axis=1), rope)
    return Simulated(
        found_H=found_H,
        equivalent_H=equivalent_H,
        covered_H=covered_H,
        seeds_H=seeds_H,
        baseline_seeds=baseline_seeds,
    )


def _is_futile(now: Estimates, looks: Looks, look: int, family_D: np.ndarray, rope: float) -> np.ndarray:
    """Return True where the chance to decide is below FUTILE; it depends on how many hypotheses are left."""
    chance_H = np.full(now.value.shape, np.nan)
    for family in np.unique(family_D):
        rows = family_D == family
        chance_H[rows] = chance_to_decide(
            now.value[rows], now.error[rows], now.freedom[rows], looks, look, int(family), rope
        )
    return chance_H < FUTILE


def draw_studies(
    rng: np.random.Generator, number: int, effect_A: np.ndarray, seeds: int, correlation: float, spread_A: np.ndarray
) -> np.ndarray:
    """Draw (D, S, A) results of runs: a level of each seed that all arms share, and each run's own part.

    Args:
        effect_A: true mean of each arm, the baseline's first.
        correlation: share of the variance of a run of spread 1 that its seed decides in all arms alike (ICC).
        spread_A: standard deviation of each arm's runs beside what the seed decides, over that of a run of spread 1.
    """
    own_SA = rng.standard_normal((number, seeds, len(effect_A))) * spread_A * math.sqrt(1 - correlation)
    shared_S = rng.standard_normal((number, seeds, 1)) * math.sqrt(correlation)
    return own_SA + shared_S + effect_A


@dataclass(kw_only=True)
class Expected:
    """Expected course of a study of which one arm, or every arm, differs by an effect."""

    effect: float
    """In standard deviations of a run."""
    differing: int
    """Arms that differ."""
    found: float
    """Share of the differing arms that are called different; without any, of the studies that call some arm so."""
    runs: float
    seeds: float
    """Seeds of an arm, on average."""
    baseline_seeds: float


def expected_course(
    looks: Looks,
    arms: int,
    error: str,
    rope: float = 0.0,
    correlation: float = 0.0,
    effects: tuple[float, ...] = EFFECTS,
    draws: int = DRAWS,
) -> list[Expected]:
    """Simulate studies that are trained until decided, for each effect with one arm differing and with all.

    Args:
        arms: arms beside the baseline.
        rope: in standard deviations of a run.
        correlation: share of a run's variance that its seed decides in all arms alike.
        effects: in standard deviations of a run.
        draws: studies for each.
    """
    rows = []
    for effect, differing in [(effect, n) for effect in effects for n in sorted({1, arms})]:
        if not effect and differing > 1:
            continue
        true_A = np.zeros(arms + 1)
        true_A[1 : 1 + differing] = effect
        rng = np.random.default_rng([looks.last, arms, round(100 * effect), differing])
        value_SA = draw_studies(rng, draws, true_A, looks.last, correlation, np.ones(arms + 1))
        course = simulate(value_SA, true_A[1:], looks, error, rope, estimate=estimate_contrasts)
        found = course.found_H[:, :differing].mean() if effect else course.found_H.any(axis=1).mean()
        rows.append(
            Expected(
                effect=effect,
                differing=differing if effect else 0,
                found=float(found),
                runs=float(course.runs.mean()),
                seeds=float(course.seeds_H.mean()),
                baseline_seeds=float(course.baseline_seeds.mean()),
            )
        )
    return rows
