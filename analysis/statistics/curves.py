"""Learning curves: saturation of the validation loss, and the effect of choosing the best epoch.

Saturation rule: the first epoch at which the lowest validation loss so far has come within 1 % of the way from the
first epoch's loss to the run's lowest. A run whose saturation epoch lies in its last 5 %, or among its last two epochs,
was still improving, so its true saturation is later: it is counted as `late`.
"""

import math

import numpy as np
import pandas as pd

from ..records.selection import Selection
from . import paired as stats
from .effects import display_scale

REMAINDER = 0.01
LATE_SHARE = 0.05
LATE_EPOCHS = 2
"""Minimum number of last epochs that count as the end: of a short run 5 % would be less than one."""
RULE = (
    f"the first epoch at which the lowest validation loss so far has come within {100 * REMAINDER:g} % of the way from "
    "the first epoch's loss to the run's lowest"
)
SATURATION_COLUMNS = "arm n epoch sd ci_low ci_high late lowest_epoch".split()
BEST_COLUMNS = "arm n final best gain ci_low ci_high optimism optimism_low optimism_high".split()


def saturation_epoch(loss_E: np.ndarray) -> float:
    """Return the epoch (from 1) at which a loss curve saturates by RULE; NaN below two epochs or when it never
    falls.
    """
    loss_E = np.asarray(loss_E, float)
    if len(loss_E) < 2 or np.isnan(loss_E).any() or not loss_E.min() < loss_E[0]:
        return math.nan
    bound = loss_E.min() + REMAINDER * (loss_E[0] - loss_E.min())
    return float(np.argmax(loss_E <= bound) + 1)


def cell_saturation(selection: Selection, metric: str = "val/loss") -> pd.DataFrame:
    """Tabulate for each finished cell: arm, seed, saturation epoch, epoch of its lowest loss, epochs trained,
    `late`.

    `late`: it was still improving at the end, so that its true saturation epoch is later than the one given.
    """
    rows = []
    for (_, arm, seed), group in selection.done_history().groupby(["cell", "arm", "seed"], sort=False):
        loss_E = group.sort_values("epoch")[metric].to_numpy() * (-1 if metric.endswith("accuracy") else 1)
        lowest = np.nan if np.isnan(loss_E).all() else float(np.nanargmin(loss_E) + 1)
        rows.append((arm, seed, saturation_epoch(loss_E), lowest, len(loss_E)))
    cells = pd.DataFrame(rows, columns=["arm", "seed", "epoch", "lowest_epoch", "epochs"])
    end = np.maximum(cells["epochs"] * LATE_SHARE, LATE_EPOCHS)
    return cells.assign(late=cells["epoch"] > cells["epochs"] - end)


def saturation(selection: Selection) -> pd.DataFrame:
    """Average the saturation epoch of the validation loss per arm, with its 95 % t interval over the n seeds."""
    cells, rows = cell_saturation(selection), []
    for arm in selection.arms:
        own = cells[(cells["arm"] == arm) & cells["epoch"].notna()]
        if own.empty:
            continue
        mean, low, high = stats.mean_interval(own["epoch"].to_numpy())
        late = int(own["late"].sum())
        row = (arm, len(own), mean, stats.sample_sd(own["epoch"]), low, high, late, own["lowest_epoch"].mean())
        rows.append(row)
    return pd.DataFrame(rows, columns=SATURATION_COLUMNS)


def best_against_final(selection: Selection, metric: str = "test/accuracy") -> pd.DataFrame:
    """Compare the metric at the best epoch (lowest validation loss) with the last, per arm, with t interval.

    `optimism` is how much more the validation accuracy exceeds the test accuracy at the chosen epoch than at the last:
    what choosing on validation images adds to the validation figure.
    """
    done, scale, rows = selection.done(), display_scale(metric), []
    for arm in selection.arms:
        cells = done[(done["arm"] == arm) & done[f"final/{metric}"].notna() & done[f"best/{metric}"].notna()]
        if cells.empty:
            continue
        final, best = cells[f"final/{metric}"] * scale, cells[f"best/{metric}"] * scale
        excess = {w: (cells[f"{w}/val/accuracy"] - cells[f"{w}/test/accuracy"]) * 100 for w in ("final", "best")}
        gain = stats.mean_interval((best - final).to_numpy())
        optimism = stats.mean_interval((excess["best"] - excess["final"]).to_numpy())
        rows.append((arm, len(cells), final.mean(), best.mean(), *map(float, gain), *map(float, optimism)))
    return pd.DataFrame(rows, columns=BEST_COLUMNS)
