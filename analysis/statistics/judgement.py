"""The one place where everything is judged: the report prints a Judgement, verify compares two of them."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from vitsweep.config.schema import PAIRED
from vitsweep.significance.declared import Comparison
from vitsweep.significance.power import shared_freedom, spread_interval

from ..records.load import StudyRecords, load
from ..records.selection import DEFAULT_METRIC, Selection, select
from . import paired as stats
from .claims import family_size, has_claims, judge_claims
from .curves import best_against_final, saturation
from .effects import arm_effects, display_scale
from .examples import Examples, class_effects, image_effects, read_examples
from .factorial import Factorial, analyze_factors, is_factorial
from .measure_effects import add_measures, measure_effects
from .sequential import follow_looks
from .tuning.own_settings import Tuning, judge_tuning


@dataclass(kw_only=True)
class Power:
    """Effects that the study could have found, in the metric's shown unit."""

    seeds: int
    """Pairs that most arms have, of those with two or more; of equally many the smaller number."""
    fewest_seeds: int
    """Pairs of the arm that has fewest of them, of those with two or more."""
    most_seeds: int
    """Pairs of the arm that has most of them."""
    sd: float
    """Standard deviation of the differences, pooled over arms; under a pooled error sqrt(2) times the residual one."""
    sd_low: float
    """Lower end of the spread's 95 % interval, from the chi-square distribution."""
    sd_high: float
    arms: int
    """Comparisons in the family."""
    effect: float
    """Smallest effect found with 80 % power under the study's error, in the metric's shown unit. Like the others it is
    proportional to the spread, so the spread's interval is its interval."""
    error: str = PAIRED
    """The study's error."""
    claims: int = 0
    """Claims that can be tested: another family, and the one that counts if there are any."""
    claims_effect: float = math.nan
    """As `effect`, of one of them."""
    questions: int = 0
    """Main effects and named interactions of a factorial design: the family in place of the arms."""
    question_effect: float = math.nan
    """As `effect`, of one of them."""

    def ends(self, effect: float) -> tuple[float, float]:
        """Return the 95 % interval of one of the effects."""
        return effect * self.sd_low / self.sd, effect * self.sd_high / self.sd


@dataclass(kw_only=True)
class Judgement:
    """All numbers of one report."""

    metric: str
    selection: Selection
    problems: list[str]
    effects: pd.DataFrame
    claims: pd.DataFrame
    power: Power | None
    factorial: Factorial | None
    saturation: pd.DataFrame
    best: pd.DataFrame
    examples: Examples | None
    images: pd.DataFrame
    classes: pd.DataFrame
    measures: pd.DataFrame
    """The rollout measures' differences; empty if nothing was measured."""
    tuning: Tuning | None = None
    """The arms at their own settings, and the search for them; None for a study without one."""


def judge(
    loaded: StudyRecords, metric: str = DEFAULT_METRIC, measures: pd.DataFrame | None = None, baseline: str = ""
) -> Judgement:
    """Compute all numbers about `metric` (at the last epoch) from the loaded records.

    Args:
        measures: rollout measures by `cell`, which need the models and are made elsewhere; None: there are none.
        baseline: arm to compare with in place of the study's baseline.
    """
    selection = follow_looks(select(loaded, baseline), metric)
    selection.cells = add_measures(selection.cells, measures, metric)
    claims, claimed = judge_claims(selection, metric)
    own_family = "secondary" if is_factorial(selection) else "arms"
    effects = arm_effects(selection, metric, claimed, own_family)
    factorial = analyze_factors(selection, metric, claimed) if selection.arms else None
    examples = read_examples(selection)
    empty = pd.DataFrame()
    judgement = Judgement(
        metric=metric,
        selection=selection,
        problems=loaded.problems + (examples.problems if examples else []),
        effects=effects,
        claims=claims,
        power=study_power(effects, selection, claims if has_claims(selection, metric) else claims.iloc[:0], factorial),
        factorial=factorial,
        saturation=saturation(selection),
        best=best_against_final(selection) if display_scale(metric) == 100.0 else empty,
        examples=examples,
        images=image_effects(examples, selection) if examples else empty,
        classes=class_effects(examples, selection) if examples else empty,
        measures=measure_effects(selection),
    )
    if loaded.tuning is not None and not selection.own_baseline:
        own = loaded.tuning.directory
        judgement.tuning = judge_tuning(loaded.tuning, judgement, judge(load(own), metric) if own.exists() else None)
        judgement.problems += judgement.tuning.problems
    return judgement


def study_power(
    effects: pd.DataFrame, selection: Selection, claims: pd.DataFrame, factorial: Factorial | None = None
) -> Power | None:
    """Compute the minimum detectable effect; None when no arm has two shared seeds that differ."""
    known = effects[(effects["pairs"] > 1) & (effects["sd_delta"] > 0)]
    if known.empty:
        return None
    sd, seeds, arms = _pooled_sd(known), _usual(known["pairs"]), max(len(selection.family()), 1)
    is_refuted = selection.error == "pooled" and not known["pooling"].isin(("pooled", "doubtful")).any()
    asked = Comparison(error=PAIRED if is_refuted else selection.error, arms=arms)
    low, high = spread_interval(sd, _freedom(known, asked.error))
    power = Power(
        seeds=seeds,
        fewest_seeds=int(known["pairs"].min()),
        most_seeds=int(known["pairs"].max()),
        sd=sd,
        sd_low=low,
        sd_high=high,
        arms=arms,
        effect=asked.detectable_effect(seeds, sd),
        error=asked.error,
    )
    if len(claims):
        power.claims = family_size(selection)
    if power.claims:
        power.claims_effect = replace(asked, family=power.claims).detectable_effect(seeds, sd)
    questions = factorial.questions if factorial else effects.iloc[:0]
    known = questions[(questions["pairs"] > 1) & (questions["sd_delta"] > 0)]
    known = known[known["factors"] == 1] if len(known) else known
    if len(known):
        power.questions = len(questions)
        own = replace(asked, family=len(questions))
        power.question_effect = own.detectable_effect(_usual(known["pairs"]), _pooled_sd(known))
    return power


def _usual(pairs: pd.Series) -> int:
    """Return the most frequent number of pairs, the smallest of equally frequent ones."""
    return int(pairs.mode().min())


def _freedom(known: pd.DataFrame, error: str) -> float:
    """Return the degrees of freedom of the spread that _pooled_sd gives."""
    if error == "pooled":
        return float(known["freedom"].max())
    return shared_freedom(known["pairs"].to_numpy(float) - 1)


def _pooled_sd(known: pd.DataFrame) -> float:
    """Return the standard deviation of paired differences, pooled over rows."""
    freedom = known["pairs"].to_numpy(float) - 1
    return math.sqrt(float((known["sd_delta"].to_numpy() ** 2 * freedom).sum() / freedom.sum()))


def is_main_first(judgement: "Judgement") -> bool:
    """Return True if the main effects are the study's questions, and arms by themselves secondary."""
    return judgement.factorial is not None and len(judgement.factorial.questions) > 0


def whole_images(judgement: Judgement) -> pd.DataFrame:
    """Return the image effects of arms of which every pair has its predictions."""
    if judgement.images.empty:
        return judgement.images
    pairs = judgement.effects.set_index("arm")["pairs"]
    return judgement.images[judgement.images["pairs"] == judgement.images["arm"].map(pairs)]


def placebo_rows(judgement: Judgement) -> pd.DataFrame:
    """Return the effects of the placebo arms that have a pair."""
    effects = judgement.effects
    return effects[(effects["role"] == "placebo") & (effects["pairs"] > 0)]


def family_error(tests: int) -> float:
    """Return the probability of a false finding among independent tests at 5 % each without correction."""
    return 1 - (1 - stats.ALPHA) ** tests


def pareto_front(effects: pd.DataFrame, cost: str) -> pd.DataFrame:
    """Tabulate arm, cost, mean with its 95 % interval, and True where no arm is as cheap and better."""
    rows = effects[effects["mean"].notna() & effects[cost].notna()].copy()
    half = [stats.t_bound(n) * sd / math.sqrt(n) for n, sd in zip(rows["n"], rows["sd"], strict=True)]
    rows["ci_low"], rows["ci_high"] = rows["mean"] - half, rows["mean"] + half
    better = [
        ((rows[cost] <= c) & (rows["mean"] >= m) & ((rows[cost] < c) | (rows["mean"] > m))).any()
        for c, m in zip(rows[cost], rows["mean"], strict=True)
    ]
    rows["front"] = ~np.array(better, bool)
    return rows[["arm", cost, "n", "mean", "ci_low", "ci_high", "front"]].reset_index(drop=True)
