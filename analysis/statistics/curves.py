"""Learning curves: saturation of the validation loss, and the effect of choosing the best epoch.

The rules of saturation are those of vitsweep/significance/saturation.py. A run whose saturation epoch lies in its last
5 %, or among its last two epochs, or beyond its end, was still improving, so its true saturation is later: it is
counted as `late`, and its epoch is censored at its own length.
"""

import math

import numpy as np
import pandas as pd

from vitsweep.significance.saturation import FITTED, LOWEST, RULE_TEXTS, saturation_epochs

from ..records.selection import Selection
from . import paired as stats
from .effects import display_scale

LATE_SHARE = 0.05
LATE_EPOCHS = 2
"""Minimum number of last epochs that count as the end: of a short run 5 % would be less than one."""
SATURATION_COLUMNS = "arm n epoch sd ci_low ci_high late lowest_epoch".split()
BEST_COLUMNS = "arm n final best gain ci_low ci_high optimism optimism_low optimism_high".split()


def claim_rule(claim: dict) -> str:
    """Return the rule of a saturation claim; one that states none was planned when there was only `lowest`."""
    return str(claim.get("rule") or LOWEST)


def study_rule(selection: Selection) -> str:
    """Return the rule of the study's first saturation claim that can be tested; `fitted` for a study without one."""
    claims = [c for c in selection.claims if c.get("kind") == "saturation" and c.get("testable", True) is True]
    return claim_rule(claims[0]) if claims else FITTED


def rule_text(selection: Selection) -> str:
    """Describe the rule of the study, with a warning where it is `lowest`."""
    rule = study_rule(selection)
    warning = "; noise and longer training move it, and new plans state rule=fitted" if rule == LOWEST else ""
    return f"{RULE_TEXTS[rule]} (rule {rule}{warning})"


def cell_saturation(selection: Selection, metric: str = "val/loss", rule: str = FITTED) -> pd.DataFrame:
    """Tabulate for each finished cell: arm, seed, saturation epoch, epoch of its lowest loss, epochs trained,
    `late`.

    `late`: it was still improving at the end, so that its true saturation epoch is later than the one given.
    """
    rows, curves = [], []
    for (_, arm, seed), group in selection.done_history().groupby(["cell", "arm", "seed"], sort=False):
        loss_E = group.sort_values("epoch")[metric].to_numpy(float) * (-1 if metric.endswith("accuracy") else 1)
        lowest = np.nan if np.isnan(loss_E).all() else float(np.nanargmin(loss_E) + 1)
        rows.append((arm, seed, lowest, len(loss_E)))
        curves.append(loss_E)
    cells = pd.DataFrame(rows, columns=["arm", "seed", "lowest_epoch", "epochs"])
    epoch, end = saturation_epochs(curves, rule), np.maximum(cells["epochs"] * LATE_SHARE, LATE_EPOCHS)
    return cells.assign(epoch=np.minimum(epoch, cells["epochs"]), late=epoch > cells["epochs"] - end)


def saturation(selection: Selection) -> pd.DataFrame:
    """Average the saturation epoch of the validation loss per arm, with its 95 % t interval over the n seeds.

    Where runs were still improving, the mean is one of lower bounds, and so is the interval's lower end; there is
    neither an upper end nor a spread.
    """
    cells, rows = cell_saturation(selection, rule=study_rule(selection)), []
    for arm in selection.arms:
        own = cells[(cells["arm"] == arm) & cells["epoch"].notna()]
        if own.empty:
            continue
        mean, low, high = map(float, stats.mean_interval(own["epoch"].to_numpy()))
        sd, late = stats.sample_sd(own["epoch"]), int(own["late"].sum())
        if late:
            sd = high = math.nan
        rows.append((arm, len(own), mean, sd, low, high, late, own["lowest_epoch"].mean()))
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
