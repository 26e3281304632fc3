"""Attrition: planned seeds that a comparison lacks, the failed runs behind them, and what they would make of a verdict.

Reported beside every mean, because seeds that diverge are not a random sample of the seeds: an arm that loses its worst
ones looks better than it is. So a verdict in favor of a side with lost runs (diverged or failed) needs a second one in
which they count as chance: 1 / classes for accuracies; for losses, where a diverged run has no finite value, that of
guessing all classes alike, ln(classes).
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vitsweep.significance.contrasts import Contrast
from vitsweep.study.status import NOT_NEEDED

from ...records.selection import Selection
from .. import paired as stats

FAILURES = ("diverged", "failed")


@dataclass(kw_only=True)
class LostRuns:
    """Runs that ended without a result, and the value that they count as."""

    values: pd.DataFrame
    """(seeds, arms): the finished runs' metric, NaN where there is none."""
    is_lost: pd.DataFrame
    """(seeds, arms): True for a run that diverged or failed."""
    chance: float
    """Metric at chance level, in the unit of `values`."""
    better: int
    """1 when more of the metric is better, -1 when less is."""

    def counted(self, contrast: Contrast, side: int) -> np.ndarray | None:
        """Return a contrast on its seeds with lost runs at chance; None if no lost run counts.

        Args:
            side: 1 for runs with a positive weight, -1 for those with a negative one, 0 for all. A seed on which only
                runs of the other side are lost stays left out, as it could only add to the difference.
        """
        weight_A = pd.Series(contrast.weights)
        values = self.values.reindex(columns=weight_A.index)
        is_lost = self.is_lost.reindex(columns=weight_A.index, fill_value=False)
        counts = is_lost.loc[:, [weight * side >= 0 for weight in weight_A]].any(axis=1)
        if not counts.any():
            return None
        used = values.mask(is_lost, self.chance)[counts | values.notna().all(axis=1)].dropna()
        return (used @ weight_A).to_numpy()

    def guarded(self, contrast: Contrast, result: stats.PairedResult, rope: float) -> stats.PairedResult:
        """Return a comparison with the larger p of the two verdicts: of finished runs, and with lost ones at chance."""
        favored = self.counted(contrast, int(np.nan_to_num(np.sign(result.delta)) * self.better) or 1)
        everyone = self.counted(contrast, 0)
        p, p_equivalent = result.p, result.p_equivalent
        if favored is not None and result.n > 1:
            agrees = favored.mean() * result.delta > 0
            p = max(p, float(stats.p_paired(favored))) if agrees else 1.0
        if everyone is not None and result.n > 1:
            p_equivalent = float(np.maximum(p_equivalent, stats.p_equivalent(everyone, rope)))
        return dataclasses.replace(result, p=p, p_equivalent=p_equivalent)


def lost_runs_at_chance(selection: Selection, values: pd.DataFrame, chance: float, better: int) -> LostRuns | None:
    """Return the lost runs of a study; None if there are none, or no chance level that a verdict could turn on.

    Args:
        values: (seeds, arms) of finished runs.
        chance: the metric at chance level, in the unit of `values`.
        better: as in LostRuns; 0 for a measure of which neither is better.
    """
    cells = selection.cells
    lost = cells[cells["status"].isin(FAILURES)]
    if lost.empty or not better or math.isnan(chance):
        return None
    seeds = sorted(set(values.index) | set(lost["seed"]))
    is_lost = (
        pd.crosstab(lost["seed"], lost["arm"]).gt(0).reindex(index=seeds, columns=values.columns, fill_value=False)
    )
    return LostRuns(values=values.reindex(seeds), is_lost=is_lost, chance=chance, better=better)


def planned_seeds(selection: Selection, *arms: str) -> int:
    """Count the seeds that the plan has of these arms and that are needed; without a plan, those that left a record."""
    cells = selection.cells[selection.cells["status"] != NOT_NEEDED]
    return cells.loc[cells["arm"].isin(arms), "seed"].nunique()


def seeds_used(selection: Selection, number: int, *arms: str) -> str:
    """Format `6 seeds`, or `3 of 6 seeds (3 runs of patch_size=8 diverged and are left out)`.

    Args:
        number: seeds that the comparison of these arms uses.
    """
    planned = planned_seeds(selection, *arms)
    if number >= planned:
        return f"{number} seed{'' if number == 1 else 's'}"
    lost = lost_runs(selection, *arms)
    return f"{number} of {planned} seeds" + (f" ({lost} left out)" if lost else "")


def lost_runs(selection: Selection, *arms: str) -> str:
    """Format `3 runs of patch_size=8 diverged and are`, arm by arm; empty when no run failed."""
    parts, total = [], 0
    for arm in dict.fromkeys(arms):
        statuses = selection.cells.loc[selection.cells["arm"] == arm, "status"]
        for status in FAILURES:
            number = int((statuses == status).sum())
            total += number
            parts += [f"{number} run{'' if number == 1 else 's'} of {arm} {status}"] if number else []
    return f"{', '.join(parts)} and {'is' if total == 1 else 'are'}" if parts else ""
