"""The training graph: loss and accuracy of training and validation by epoch, all arms together and each
apart.

A line is the mean over the seeds that finished, its band reaches from the lowest to the highest. Training values are
the running ones of training mode (dropout and augmentation on), so they may lie below validation.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from ..records.selection import Selection
from ..statistics.effects import display_scale
from ..style import arm_styles
from .figures import Figure, at_most

CURVES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
CAPTION = (
    "Mean over the seeds that finished; the band reaches from the lowest to the highest seed. Training values are "
    "running averages with dropout and augmentation on, so they may lie below validation."
)
PARTS = {"train": "training", "val": "validation"}


def band_over_seeds(history: pd.DataFrame, metrics: tuple[str, ...] = CURVES) -> pd.DataFrame:
    """One row per arm, metric and epoch: mean, low and high over the n seeds, in shown units."""
    keys = ["arm", "seed", "epoch"]
    long = history.melt(id_vars=keys, value_vars=list(metrics), var_name="metric").dropna()
    long["value"] = long["value"].astype(float) * long["metric"].map(display_scale).astype(float)
    groups = long.groupby(["arm", "metric", "epoch"], sort=False)["value"]
    return groups.agg(mean="mean", low="min", high="max", n="count").reset_index()


def draw_band(band: pd.DataFrame, *, ax: Axes, style: dict, label: str | None = None) -> Axes:
    """One curve with its band; `band` holds one arm and one metric."""
    style = style | {"marker": style["marker"] if len(band) == 1 else ""}
    ax.plot(band["epoch"], band["mean"], label=label, **style)
    if (band["n"] > 1).any():
        colour = style["color"]
        ax.fill_between(band["epoch"], band["low"], band["high"], color=colour, alpha=0.15, linewidth=0)
    return ax


def curve_figures(selection: Selection, effects: pd.DataFrame) -> list[Figure]:
    """Arms together, and each arm apart with training and validation in one panel; none without a finished run."""
    band = band_over_seeds(selection.done_history())
    if band.empty:
        return []
    known = set(band["arm"].unique())
    with_curve = [arm for arm in selection.arms if arm in known]
    arms = at_most(with_curve, selection.baseline, effects)
    left_out = len(with_curve) - len(arms)
    note = f" {left_out} more arms are in the table only." if left_out else ""
    last = band[band["epoch"] == band["epoch"].max()]
    alt = _summary(last, arms)
    together = Figure(
        name="curves",
        title="Training graph, arms together",
        caption=CAPTION + note,
        alt=alt,
        table=band,
        size=(9, 5.6),
        draw=lambda canvas, colour: draw_together(band, arms, selection, canvas, colour),
    )
    apart = Figure(
        name="curves-apart",
        title="Training graph, each arm apart",
        caption="Training (dashed) and validation (solid) of each arm, on the same axes everywhere." + note,
        alt=alt,
        table=band,
        size=(9, 1 + 1.9 * len(arms)),
        draw=lambda canvas, colour: draw_apart(band, arms, selection, canvas, colour),
    )
    return [together, apart]


def draw_together(band: pd.DataFrame, arms: list[str], selection: Selection, canvas: Canvas, colour: dict) -> None:
    """Four panels: training and validation, loss and accuracy; every arm in each."""
    styles = arm_styles(selection.arms, selection.baseline, colour)
    panels = canvas.subplots(2, 2, sharex=True)
    for column, part in enumerate(PARTS):
        for row, name in enumerate(("loss", "accuracy")):
            ax = panels[row][column]
            for arm in arms:
                draw_band(_part(band, arm, f"{part}/{name}"), ax=ax, style=styles[arm], label=arm)
            ax.set_title(f"{PARTS[part]} {name}{', %' if name == 'accuracy' else ''}")
            if row:
                ax.set_xlabel("epoch")
                ax.sharey(panels[row][0])
    handles, labels = panels[0][0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower left", ncols=min(4, len(labels)))


def draw_apart(band: pd.DataFrame, arms: list[str], selection: Selection, canvas: Canvas, colour: dict) -> None:
    """A row of two panels for each arm: loss and accuracy, training dashed and validation solid."""
    styles = arm_styles(selection.arms, selection.baseline, colour)
    panels = canvas.subplots(len(arms), 2, sharex=True, sharey="col", squeeze=False)
    for row, arm in enumerate(arms):
        for column, name in enumerate(("loss", "accuracy")):
            ax = panels[row][column]
            for part, line in (("train", "--"), ("val", "-")):
                style = styles[arm] | {"linestyle": line, "marker": "o"}
                draw_band(_part(band, arm, f"{part}/{name}"), ax=ax, style=style, label=PARTS[part])
            ax.set_title(f"{arm}: {name}{', %' if name == 'accuracy' else ''}")
    panels[0][0].legend()
    for ax in panels[-1]:
        ax.set_xlabel("epoch")


def _part(band: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    return band[(band["arm"] == arm) & (band["metric"] == metric)].sort_values("epoch")


def _summary(last: pd.DataFrame, arms: list[str]) -> str:
    values = last[last["metric"] == "val/accuracy"].set_index("arm")["mean"]
    shown = [f"{arm} {values[arm]:.1f} %" for arm in arms if arm in values.index]
    if not shown:
        return "Loss and accuracy by epoch."
    return f"Loss and accuracy by epoch. Validation accuracy at the last epoch: {', '.join(shown)}."
