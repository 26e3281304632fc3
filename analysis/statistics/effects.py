"""Effects: one row an arm with its mean, its difference to the baseline and the verdict (tables/arms.csv).

Accuracies and their differences are in percent points, everything else in the record's unit. The family of
Holm's correction is every arm of the plan, failed and unstarted ones included (they have no p but count), the placebo
excepted; in a study with claims the claims are the family, and `claimed` brings their adjusted p here.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from vitsweep.config.schema import PAIRED
from vitsweep.significance.contrasts import Contrast
from vitsweep.significance.declared import Comparison
from vitsweep.significance.dunnett import HALF, critical_value, loadings
from vitsweep.significance.estimates import against_baseline, estimate_contrasts
from vitsweep.significance.pooling import (
    FEW_SEEDS,
    declared_contrasts,
    doubtful_contrasts,
    own_error,
    spread_ratios,
)
from vitsweep.study.published import published_value
from vitsweep.study.record import AVERAGE, EMA, ROW_METRICS
from vitsweep.study.status import NOT_NEEDED

from ..records.comparable import LEFT_OUT
from ..records.selection import DEFAULT_METRIC, Selection
from . import paired as stats
from .validity.attrition import FAILURES, LostRuns, lost_runs_at_chance
from .validity.plausibility import chance_value

COLUMNS = (
    "arm n mean sd delta ci_low ci_high p p_holm p_signflip verdict seeds_needed params role changes pairs "
    "sd_delta p_equivalent p_equivalent_holm effect_size better family started failed flops_per_image time_seconds "
    "images_per_second published seeds_low seeds_high joint_low joint_high"
).split()
POOLED = "pooled"
ERROR_COLUMNS = ["freedom", "spread_ratio", "spread_low", "spread_high", "pooling", "p_holm_paired"]
"""Further columns of a study under another error than the paired one."""
LOST_COLUMNS = ["p_lost", "p_holm_lost", "verdict_finished"]
"""Further columns of a study with lost runs: p with them at chance, and the verdict of finished runs alone."""


ROW_TEXTS = {
    "best": " at the lowest validation loss",
    EMA: " of the weights' moving average",
    AVERAGE: " of the weights' average over the last epochs",
}


def display_scale(metric: str) -> float:
    """Return the factor from a metric's unit to the displayed one: 100 for accuracies, else 1."""
    return 100.0 if metric.endswith("accuracy") else 1.0


def metric_text(metric: str) -> str:
    """Return a metric's name as it is shown: `val/accuracy` -> `validation accuracy`."""
    row, metric = split_metric(metric)
    split, _, name = metric.partition("/")
    words = f"{ {'train': 'training', 'val': 'validation'}.get(split, split) } {name.replace('_', ' ')}"
    return f"{words.strip()}{ROW_TEXTS.get(row, '')}"


def image_text(metric: str) -> str:
    """Return the images that a metric is about."""
    split = split_metric(metric)[1].partition("/")[0]
    return {"test": "this test set", "val": "these validation images", "train": "these training images"}.get(
        split, "these test images"
    )


def decimal_places(metric: str) -> int:
    """Return the decimals that a metric is shown with: 2 for percent and percent points, else 4."""
    return 2 if display_scale(metric) == 100.0 else 4


def unit(metric: str) -> str:
    """Return the unit of differences, with a space before it: percent points for accuracies, else none."""
    return " points" if display_scale(metric) == 100.0 else ""


def direction(metric: str) -> int:
    """Return 1 when more is better, -1 for losses, 0 for rollout measures, where neither is better."""
    return 0 if metric.startswith("rollout/") else -1 if metric.endswith("loss") else 1


def column_name(metric: str, when: str = "final") -> str:
    """Return the cells' column of a metric; rollout measures are known of one checkpoint only, ROW_METRICS name one."""
    return metric if metric.startswith("rollout/") or metric in ROW_METRICS else f"{when}/{metric}"


def split_metric(metric: str) -> tuple[str, str]:
    """Return the row of a metric (`final`, unless it names another) and its name: `best/val/loss` -> best, val/loss."""
    row, _, name = metric.partition("/")
    return (row, name) if metric in ROW_METRICS else ("final", metric)


def seed_values(selection: Selection, metric: str = DEFAULT_METRIC, when: str = "final") -> pd.DataFrame:
    """Return (seeds, arms): the metric of each finished cell in displayed units; NaN where there is none."""
    done = selection.done()
    column = column_name(metric, when)
    done = done if column in done else done.assign(**{column: np.nan})  # no run averages its weights
    values = done.pivot(index="seed", columns="arm", values=column) * display_scale(metric)
    return values.reindex(columns=selection.arms)


def on_seeds(contrast: Contrast, values: pd.DataFrame) -> np.ndarray:
    """Return a contrast's value on each seed of `values` (seeds, arms) on which all of its arms finished."""
    absent = np.full(len(values), np.nan)
    # Column by column: reindex() and dropna() of a frame take 3 ms for each of hundreds of arms.
    value_CS = np.array([values[arm].to_numpy(float) if arm in values else absent for arm in contrast.weights])
    is_whole_S = ~np.isnan(value_CS).any(axis=0)
    return np.array(list(contrast.weights.values())) @ value_CS[:, is_whole_S]


def compare(
    contrasts: list[Contrast], values: pd.DataFrame, selection: Selection, rope: float, sign: int | list[int]
) -> list[stats.PairedResult]:
    """Judge contrasts of arms under the study's declared error.

    Args:
        values: seed_values.
        rope: in the metric's shown unit; NaN for no equivalence test.
        sign: as in paired.compare_paired, of all contrasts or of each.
    """
    signs = sign if isinstance(sign, list) else [sign] * len(contrasts)
    paired = [stats.compare_paired(on_seeds(c, values), rope, own) for c, own in zip(contrasts, signs, strict=True)]
    if selection.error == PAIRED or not contrasts:
        return paired
    planned = [arm for arm in selection.arms if arm not in selection.unplanned()]
    results = list(paired)
    # Arms outside the plan change no planned arm's error: each is added for itself.
    extra = [tuple(arm for arm in contrast.weights if arm not in planned) for contrast in contrasts]
    for more in dict.fromkeys(extra):
        places = [place for place, own in enumerate(extra) if own == more]
        pool = [*planned, *more]
        value_SA = values.reindex(columns=pool).to_numpy(float)
        weight_CA = np.array([[contrasts[place].weights.get(arm, 0.0) for arm in pool] for place in places])
        flags: dict[int, dict[str, Any]] = dict.fromkeys(range(len(places)), {})
        spreads = None
        if selection.error == POOLED:
            spreads = spread_ratios(value_SA)
            is_own_C = own_error(spreads, weight_CA)
            is_doubtful_C = doubtful_contrasts(spreads, weight_CA, pool.index(selection.baseline))
            flags = {row: {"is_pooled": not is_own_C[row], "is_doubtful": bool(is_doubtful_C[row])} for row in flags}
        found = declared_contrasts(value_SA, weight_CA, selection.error, spreads)
        for row, place in enumerate(places):
            results[place] = stats.under_error(paired[place], found, row, rope, **flags[row])
    return results


def error_columns(
    selection: Selection, values: pd.DataFrame, results: dict[str, stats.PairedResult]
) -> dict[str, dict[str, Any]]:
    """Return arm -> ERROR_COLUMNS, of a study under another error than the paired one."""
    planned = [arm for arm in selection.arms if arm not in selection.unplanned()]
    spreads = spread_ratios(values[planned].to_numpy(float))
    names = ("ratio", "low", "high")
    rows: dict[str, dict[str, Any]] = {arm: {} for arm in selection.arms}
    if selection.error == POOLED:
        for place, arm in enumerate(planned):
            rows[arm] = {f"spread_{name}": float(getattr(spreads, name)[place]) for name in names}
    member_A = np.isin(list(results), selection.family())
    p_paired_A = np.array([result.p_paired for result in results.values()])
    for (arm, result), p in zip(results.items(), stats.holm_of_members(p_paired_A, member_A), strict=True):
        rows[arm] |= {"freedom": result.freedom, "pooling": pooling_word(result), "p_holm_paired": float(p)}
    return rows


def pooling_word(result: stats.PairedResult) -> str:
    """Return how the pooled error stands for a comparison: pooled, doubtful, refuted; empty under another error."""
    if result.is_pooled:
        return "doubtful" if result.is_doubtful or result.n < FEW_SEEDS else "pooled"
    return "refuted" if result.is_doubtful else ""


def compare_arms(selection: Selection, values: pd.DataFrame, rope: float, sign: int) -> dict[str, stats.PairedResult]:
    """Compare each arm with the baseline under the study's declared error.

    Args:
        values: seed_values.
        rope: as in `compare`.
        sign: as in `compare`.
    """
    arms, base = selection.non_baseline(), selection.baseline
    contrasts = [Contrast(weights={arm: 1.0, base: -1.0}) for arm in arms]
    results = dict(zip(arms, compare(contrasts, values, selection, rope, sign), strict=True))
    pooled = [arm for arm in arms if results[arm].is_pooled and arm not in selection.unplanned()]
    if pooled and values[[base, *pooled]].isna().to_numpy().any():  # else all loadings are dunnett.HALF
        planned = [arm for arm in selection.arms if arm not in selection.unplanned()]
        value_SA = values[[base, *(arm for arm in planned if arm != base)]].to_numpy(float)
        weight_CA = against_baseline(len(planned))[[planned.index(arm) - 1 for arm in pooled]]
        covariance_AA = estimate_contrasts(value_SA, weight_CA, POOLED).covariance
        assert covariance_AA is not None
        for arm, loading in zip(pooled, loadings(covariance_AA), strict=True):
            results[arm].loading = float(loading)
    return results


def differences(values: pd.DataFrame, arm: str, baseline: str) -> pd.Series:
    """Subtract the baseline from the arm on each shared seed."""
    return (values[arm] - values[baseline]).dropna()


def arm_effects(
    selection: Selection,
    metric: str = DEFAULT_METRIC,
    claimed: Mapping[Any, stats.AdjustedP] | None = None,
    own: str = "arms",
) -> pd.DataFrame:
    """Tabulate all effects, COLUMNS wide, in the selection's order of arms.

    Args:
        claimed: adjusted p of the arms that a claim compares with the baseline; a NaN leaves an arm's equivalence
            to the family of all arms. None for a study without claims.
        own: what the family of all arms is called in a study without claims.
    """
    values = seed_values(selection, metric)
    rope = selection.rope if display_scale(metric) == 100.0 else math.nan
    sign = direction(metric)
    published = selection.published if metric == DEFAULT_METRIC else {}
    sequence, results = selection.sequence, compare_arms(selection, values, rope, sign)
    if sequence is not None:
        results = {arm: sequence.arm_result(arm, result) for arm, result in results.items()}
    finished, size = adjusted_p(selection, results)
    lost = find_lost_runs(selection, metric, values)
    guarded = {
        a: lost.guarded(Contrast(weights={a: 1.0, selection.baseline: -1.0}), result, rope) if lost else result
        for a, result in results.items()
    }
    if sequence is not None:
        guarded = {arm: sequence.arm_result(arm, result, guarded=True) for arm, result in results.items()}
    adjusted = adjusted_p(selection, guarded)[0] if lost else dict(finished)
    families = {arm: own if claimed is None else "exploratory" for arm in results}
    families |= dict.fromkeys(selection.unplanned(), "exploratory")
    for arm, stated in (claimed or {}).items():
        if arm not in adjusted:
            continue  # a main effect or an interaction
        within = adjusted[arm].p_equivalent if math.isnan(stated.p_equivalent) else stated.p_equivalent
        adjusted[arm], families[arm] = dataclasses.replace(stated, p_equivalent=within), "claims"
    by_error = {} if selection.error == PAIRED else error_columns(selection, values, results)
    rows = []
    for arm in selection.arms:
        row: dict[str, Any] = {"arm": arm, "role": selection.roles[arm], "changes": selection.changes[arm]}
        row |= _own_numbers(selection, arm, values[arm].dropna().to_numpy())
        row["published"] = published_value(published[arm]) if arm in published else math.nan
        if arm in results:
            row |= effect_columns(results[arm], adjusted[arm], sign) | {"family": families[arm]}
            number = adjusted[arm].size if families[arm] == "claims" else size
            asked = question(selection, families[arm], number, results[arm])
            needed: tuple = (math.nan,) * 3  # at looks nothing says how many seeds more would do
            if sequence is None:
                needed = stats.decision_seeds(results[arm], asked, rope)
                row |= joint_interval(results[arm], asked)
            row |= dict(zip(("seeds_needed", "seeds_low", "seeds_high"), needed, strict=True))
            row |= by_error.get(arm, {})
            if lost:
                row |= with_lost(row, results[arm], finished[arm], guarded[arm].p, sign)
        else:
            row |= {"verdict": "baseline"} | by_error.get(arm, {})
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS + (ERROR_COLUMNS if by_error else []) + (LOST_COLUMNS if lost else []))


def joint_interval(result: stats.PairedResult, asked: Comparison) -> dict[str, float]:
    """Return the ends of an interval that covers, with those of the whole family, at once in 95 % of studies.

    By Dunnett's critical value under the pooled error, else by Bonferroni's, as in the first step of Holm's procedure.
    """
    if math.isnan(result.error):
        return {"joint_low": math.nan, "joint_high": math.nan}
    if result.is_pooled and asked.family is None:
        bound = critical_value(np.full(asked.size, HALF), result.freedom, stats.ALPHA)
    else:
        bound = float(special.stdtrit(result.freedom, 1 - stats.ALPHA / asked.size / 2))
    return {"joint_low": result.delta - bound * result.error, "joint_high": result.delta + bound * result.error}


def find_lost_runs(selection: Selection, metric: str, values: pd.DataFrame) -> LostRuns | None:
    """Return the study's lost runs with the metric's chance level; None if there are none to count.

    Args:
        values: seed_values of this metric.
    """
    return lost_runs_at_chance(selection, values, chance_value(selection, metric), direction(metric))


def with_lost(
    row: dict[str, Any], result: stats.PairedResult, finished: stats.AdjustedP, p_lost: float, sign: int
) -> dict[str, Any]:
    """Return LOST_COLUMNS of an arm whose row has the guarded verdict; no number of seeds decides a withdrawn one."""
    if row["family"] == "claims":
        return {"p_lost": p_lost, "p_holm_lost": row["p_holm"], "verdict_finished": ""}
    before = stats.verdict(result, finished, sign)
    found = {"p_holm": finished.p, "p_lost": p_lost, "p_holm_lost": row["p_holm"], "verdict_finished": before}
    nothing = dict.fromkeys(("seeds_needed", "seeds_low", "seeds_high"), math.nan)
    return found | (nothing if before != row["verdict"] else {})


def question(selection: Selection, family: str, number: int, result: stats.PairedResult) -> Comparison:
    """Return what a verdict asks, for its power: an arm among the arms, or one of `number` claims.

    Args:
        family: of COLUMNS.
        result: of the arm; the paired error is asked where pooling was refuted.
    """
    error = PAIRED if selection.error == POOLED and not result.is_pooled else selection.error
    arms = max(len(selection.family()), 1)
    return Comparison(error=error, arms=arms, family=number if family == "claims" else None)


def adjusted_p(selection: Selection, results: dict[str, stats.PairedResult]) -> tuple[dict[str, stats.AdjustedP], int]:
    """Adjust each arm's p values over the family of arms; also return the size of that family (at least 1).

    A placebo is no hypothesis, so it is no member of the family; an arm of the plan without a result is one.
    """
    names = list(dict.fromkeys([*results, *selection.family()]))
    member_A = np.isin(names, selection.family())
    p_A, p_equivalent_A = (
        np.array([getattr(results[arm], name) if arm in results else math.nan for arm in names])
        for name in ("p", "p_equivalent")
    )
    adjusted = dict(zip(names, stats.adjust_family(p_A, p_equivalent_A, member_A), strict=True))
    if selection.error == POOLED and selection.sequence is None:  # at looks Holm alone is shown to keep the error
        own = [results.get(arm, stats.compare_paired(np.empty(0), math.nan)) for arm in names]
        for arm, p in zip(names, stats.adjust_dunnett(own, member_A), strict=True):
            adjusted[arm].p = float(p)
    return {arm: adjusted[arm] for arm in results}, max(int(member_A.sum()), 1)


def _own_numbers(selection: Selection, arm: str, value_S: np.ndarray) -> dict:
    cells = selection.cells[selection.cells["arm"] == arm]
    done = cells[cells["status"] == "done"]
    return {
        "n": len(value_S),
        "mean": value_S.mean() if len(value_S) else math.nan,
        "sd": stats.sample_sd(value_S),
        "params": _known(cells["params"]),
        "flops_per_image": _known(cells["flops_per_image"]),
        "time_seconds": done["time_seconds"].mean(),
        "images_per_second": done["images_per_second"].mean(),
        "started": int((~cells["status"].isin(("planned", LEFT_OUT, NOT_NEEDED))).sum()),
        "failed": int(cells["status"].isin(FAILURES).sum()),
    }


def _known(values: pd.Series) -> float:
    """Return the arm's parameters or FLOPs from its first cell that counted them."""
    counted = values[values > 0]
    return counted.iloc[0] if len(counted) else math.nan


def effect_columns(result: stats.PairedResult, adjusted: stats.AdjustedP, sign: int) -> dict[str, Any]:
    """Return the columns of one comparison with its verdict, named as in COLUMNS."""
    numbers = dataclasses.asdict(result)
    numbers = {"pairs" if k == "n" else "sd_delta" if k == "sd" else k: v for k, v in numbers.items()}
    numbers |= {"p_holm": adjusted.p, "p_equivalent_holm": adjusted.p_equivalent}
    return numbers | {"verdict": stats.verdict(result, adjusted, sign)}
