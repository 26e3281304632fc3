"""Curves by epoch: the mean over an arm's finished seeds with a band from the lowest to the highest.

Training values are the running ones of training mode (dropout and augmentation on), so they may lie below validation.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from ..statistics.effects import display_scale

CURVES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
"""Metrics of the four panels with every arm, in reading order."""
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


def draw_metric(band: pd.DataFrame, arms: list[str], metric: str, *, ax: Axes, styles: dict) -> Axes:
    """Draw one of CURVES with every arm."""
    split, _, name = metric.partition("/")
    for arm in arms:
        draw_band(_curve(band, arm, metric), ax=ax, style=styles[arm], label=arm)
    ax.set_title(f"{SPLITS[split]} {name}{', %' if name == 'accuracy' else ''}")
    return ax


def together_axes(canvas: Canvas) -> list[Axes]:
    """Return axes for CURVES: two by two with one axis of epochs, both accuracies on one scale."""
    panels = canvas.subplots(2, 2, sharex=True)
    panels[1][1].sharey(panels[1][0])
    return list(panels.flat)


def draw_together(axes: Sequence[Axes], band: pd.DataFrame, arms: list[str], styles: dict) -> None:
    """Draw CURVES with every arm in each."""
    for ax, metric in zip(axes, CURVES, strict=True):
        draw_metric(band, arms, metric, ax=ax, styles=styles)
    for ax in axes[2:]:
        ax.set_xlabel("epoch")


def draw_apart(axes: Sequence[Axes], band: pd.DataFrame, arms: list[str], styles: dict) -> None:
    """Draw two panels for each arm: loss and accuracy, training dashed and validation solid."""
    for row, arm in enumerate(arms):
        for ax, name in zip(axes[2 * row : 2 * row + 2], ("loss", "accuracy"), strict=True):
            for split, line in (("train", "--"), ("val", "-")):
                style = styles[arm] | {"linestyle": line, "marker": "o"}
                draw_band(_curve(band, arm, f"{split}/{name}"), ax=ax, style=style, label=SPLITS[split])
            ax.set_title(f"{arm}: {name}{', %' if name == 'accuracy' else ''}")
    axes[0].legend()
    for ax in axes[-2:]:
        ax.set_xlabel("epoch")


def draw_gap(axes: Sequence[Axes], band: pd.DataFrame, arms: list[str], styles: dict, zero_color: str) -> None:
    """Draw the generalization gap in accuracy and in loss by epoch, a line for each arm."""
    titles = {"gap/accuracy": "training - validation accuracy, points", "gap/loss": "validation - training loss"}
    for ax, (metric, title) in zip(axes, titles.items(), strict=True):
        for arm in arms:
            rows = band[(band["metric"] == metric) & (band["arm"] == arm)]
            draw_band(rows, ax=ax, style=styles[arm], label=arm)
        ax.set_xlabel("epoch")
        ax.axhline(0, color=zero_color, linewidth=1)
        ax.set_title(title)


def _curve(band: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    return band[(band["arm"] == arm) & (band["metric"] == metric)].sort_values("epoch")
