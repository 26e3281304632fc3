"""Effects on rollout measures: each arm minus the baseline, paired by seed, with t intervals.

Exploratory: a study declares no hypothesis about where models look, so there is no verdict, and Holm's correction runs
over every difference that is tested here (arms with attention x measures, a family). Agreement between seeds gets
no interval: each of its values uses all seeds, so they are no replicates.
"""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from ..attention.measures import COLUMNS
from ..records.selection import Selection, arm_records
from . import paired as stats

UNTESTED = "rollout/seed_agreement"
FIELDS = ["measure", "arm", "n", "mean", "sd", "pairs", "delta", "ci_low", "ci_high", "p"]


def add_measures(cells: pd.DataFrame, measures: pd.DataFrame | None, metric: str = "") -> pd.DataFrame:
    """Add the measures to the cells as columns, NaN where a cell has none; no columns if nothing was measured.

    Args:
        cells: with `cell`, its id.
        measures: `cell` and columns of measures.COLUMNS; None: nothing was measured.
        metric: a measure that is a column in any case.
    """
    known = measures if measures is not None and len(measures) else pd.DataFrame(columns=["cell"])
    names = COLUMNS if len(known) else [name for name in COLUMNS if name == metric]
    values = known.set_index("cell").reindex(index=cells["cell"], columns=list(names)).astype(float)
    return cells.assign(**{name: values[name].to_numpy() for name in names})


def measure_differences(cells: pd.DataFrame, baseline: str, arms: Iterable[str] | None = None) -> pd.DataFrame:
    """Tabulate per measure and arm (FIELDS): mean over seeds, difference to the baseline, t interval, unadjusted p.

    Args:
        cells: a row a cell: arm, seed and columns of measures.COLUMNS.
        baseline: its arm.
        arms: in the order wanted; None: as they come.
    """
    names = [name for name in COLUMNS if name in cells and cells[name].notna().any()]
    rows = []
    for name in names:
        values = cells.pivot(index="seed", columns="arm", values=name).reindex(
            columns=[*(arms or cells["arm"].unique())]
        )
        base = values[baseline] if baseline in values else pd.Series(np.nan, index=values.index)
        for arm in values:
            own = values[arm].dropna().to_numpy()
            mean = own.mean() if len(own) else math.nan
            row = {"measure": name, "arm": arm, "n": len(own), "mean": mean, "sd": stats.sample_sd(own)}
            rows.append(row | (_difference(values[arm] - base, name) if arm != baseline else {}))
    return pd.DataFrame(rows, columns=FIELDS)


def _difference(change: pd.Series, name: str) -> dict[str, float]:
    change_S = change.dropna().to_numpy()
    mean, low, high = (float(x) for x in stats.mean_interval(change_S))
    if name == UNTESTED:
        return {"pairs": len(change_S), "delta": mean}
    p = float(stats.p_paired(change_S))
    return {"pairs": len(change_S), "delta": mean, "ci_low": low, "ci_high": high, "p": p}


def attention_arms(selection: Selection) -> list[str]:
    """Return the family's arms that can have a rollout: all but networks without attention."""
    configs = {arm: record.config for arm, record in arm_records(selection.cells).items()}
    return [arm for arm in selection.family() if (configs.get(arm, {}).get("model") or {}).get("name") != "resnet"]


def measure_effects(selection: Selection) -> pd.DataFrame:
    """Tabulate measure_differences of the finished cells, with `p_holm`; empty if nothing was measured.

    The placebo is no hypothesis, so it is no member of the family.
    """
    frame = measure_differences(selection.done(), selection.baseline, selection.arms)
    family = attention_arms(selection)
    tested = frame["arm"].isin(family) & (frame["measure"] != UNTESTED)
    # Arms of the plan without a cell have no row, and count.
    absent = len(set(family) - set(frame["arm"])) * len(set(frame["measure"]) - {UNTESTED})
    p = np.append(frame["p"].to_numpy(float), np.full(absent, math.nan))
    frame["p_holm"] = stats.holm_of_members(p, np.append(tested.to_numpy(), np.full(absent, True)))[: len(frame)]
    return frame
