"""Curves by epoch: the mean over an arm's finished seeds with a band from the lowest to the highest.

Training values are the running ones of training mode (dropout and augmentation on), so they may lie below validation.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from ..statistics.effects import display_scale

CURVES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
SPLITS = {"train": "training", "val": "validation"}


def band_over_seeds(history: pd.DataFrame, metrics: tuple[str, ...] = CURVES) -> pd.DataFrame:
    """Return a row per arm, metric and epoch: mean, low and high over the n seeds, in shown units."""
    keys = ["arm", "seed", "epoch"]
    long = history.melt(id_vars=keys, value_vars=list(metrics), var_name="metric").dropna()
    long["value"] = long["value"].astype(float) * long["metric"].map(display_scale).astype(float)
    groups = long.groupby(["arm", "metric", "epoch"], sort=False)["value"]
    return groups.agg(mean="mean", low="min", high="max", n="count").reset_index()


def draw_band(band: pd.DataFrame, *, ax: Axes, style: dict, label: str | None = None) -> Axes:
    """Draw one curve with its band; `band` holds one arm and one metric."""
    style = style | {"marker": style["marker"] if len(band) == 1 else ""}
    ax.plot(band["epoch"], band["mean"], label=label, **style)
    if (band["n"] > 1).any():
        ax.fill_between(band["epoch"], band["low"], band["high"], color=style["color"], alpha=0.15, linewidth=0)
    return ax


def draw_together(canvas: Canvas, band: pd.DataFrame, arms: list[str], styles: dict) -> None:
    """Draw four panels, training and validation by loss and accuracy, with every arm in each."""
    panels = canvas.subplots(2, 2, sharex=True)
    for column, split in enumerate(SPLITS):
        for row, name in enumerate(("loss", "accuracy")):
            ax = panels[row][column]
            for arm in arms:
                draw_band(_curve(band, arm, f"{split}/{name}"), ax=ax, style=styles[arm], label=arm)
            ax.set_title(f"{SPLITS[split]} {name}{', %' if name == 'accuracy' else ''}")
            if row:
                ax.set_xlabel("epoch")
                ax.sharey(panels[row][0])
    add_legend(canvas, panels[0][0])


def draw_apart(canvas: Canvas, band: pd.DataFrame, arms: list[str], styles: dict) -> None:
    """Draw a row of two panels for each arm: loss and accuracy, training dashed and validation solid."""
    panels = canvas.subplots(len(arms), 2, sharex=True, sharey="col", squeeze=False)
    for row, arm in enumerate(arms):
        for column, name in enumerate(("loss", "accuracy")):
            ax = panels[row][column]
            for split, line in (("train", "--"), ("val", "-")):
                style = styles[arm] | {"linestyle": line, "marker": "o"}
                draw_band(_curve(band, arm, f"{split}/{name}"), ax=ax, style=style, label=SPLITS[split])
            ax.set_title(f"{arm}: {name}{', %' if name == 'accuracy' else ''}")
    panels[0][0].legend()
    for ax in panels[-1]:
        ax.set_xlabel("epoch")


def draw_gap(canvas: Canvas, band: pd.DataFrame, arms: list[str], styles: dict, zero_color: str) -> None:
    """Draw the generalization gap in accuracy and in loss by epoch, a line for each arm."""
    titles = {"gap/accuracy": "training - validation accuracy, points", "gap/loss": "validation - training loss"}
    axes = canvas.subplots(1, 2)
    for ax, (metric, title) in zip(axes, titles.items(), strict=True):
        for arm in arms:
            rows = band[(band["metric"] == metric) & (band["arm"] == arm)]
            draw_band(rows, ax=ax, style=styles[arm], label=arm)
        ax.set_xlabel("epoch")
        ax.axhline(0, color=zero_color, linewidth=1)
        ax.set_title(title)
    add_legend(canvas, axes[0])


def add_legend(canvas: Canvas, ax: Axes) -> None:
    """Put the legend of `ax` below all panels."""
    handles, labels = ax.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower left", ncols=min(4, len(labels)))


def _curve(band: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    return band[(band["arm"] == arm) & (band["metric"] == metric)].sort_values("epoch")
