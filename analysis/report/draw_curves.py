"""Curves by epoch: the mean over an arm's finished seeds with a band from the lowest to the highest.

Training values are the running ones of training mode (dropout and augmentation on), so they may lie below validation.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from ..marks import mark
from ..statistics.effects import display_scale
from ..text import decimals, wrap_name

CURVES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
"""Metrics of the four panels with every arm, in reading order."""
SPLITS = {"train": "training", "val": "validation"}
MAX_POINTS = 60
"""Largest number of points of a grey curve."""
TITLE_LETTERS = 52
"""Letters in a line of a panel's title."""


def band_over_seeds(history: pd.DataFrame, metrics: tuple[str, ...] = CURVES) -> pd.DataFrame:
    """Return a row per arm, metric and epoch: mean, low and high over the n seeds, in shown units."""
    keys = ["arm", "seed", "epoch"]
    long = history.melt(id_vars=keys, value_vars=list(metrics), var_name="metric").dropna()
    long["value"] = long["value"].astype(float) * long["metric"].map(display_scale).astype(float)
    groups = long.groupby(["arm", "metric", "epoch"], sort=False)["value"]
    return groups.agg(mean="mean", low="min", high="max", n="count").reset_index()


def draw_band(
    band: pd.DataFrame, *, ax: Axes, style: dict, label: str | None = None, tip: str = "", fill: bool = True
) -> Axes:
    """Draw one curve with its band; `band` holds one arm and one metric."""
    if band.empty:
        return ax
    arm, last = band["arm"].iloc[0], band.iloc[-1]
    style = style | {"marker": style.get("marker", "") if len(band) == 1 else ""}
    tip = f"{tip}{_point_text(last)}"
    mark(ax.plot(band["epoch"], band["mean"], label=label, **style)[0], arm, tip)
    if fill and (band["n"] > 1).any():
        ends = band["low"], band["high"]
        mark(ax.fill_between(band["epoch"], *ends, color=style["color"], alpha=0.15, linewidth=0), arm, tip)
    return ax


def _point_text(row: pd.Series) -> str:
    """Return a mean at an epoch with the range of its seeds."""
    is_share = row["metric"].endswith("accuracy")
    places, unit = (2, " %") if is_share else (4, "")
    if row["metric"] == "gap/accuracy":
        unit = " points"
    spread = f" ({decimals(row['low'], places)} to {decimals(row['high'], places)})" if row["n"] > 1 else ""
    seeds = f"{row['n']} seed{'' if row['n'] == 1 else 's'}"
    return f"{decimals(row['mean'], places)}{unit}{spread} at epoch {row['epoch']}, {seeds}"


def draw_lines(band: pd.DataFrame, arms: list[str], metric: str, *, ax: Axes, styles: dict, rest_color: str) -> Axes:
    """Draw one metric: a curve with its band for each of `arms`, a thin grey one for each other arm of `band`."""
    rest = {"color": rest_color, "linewidth": 0.6, "marker": ".", "zorder": 1}
    for arm in dict.fromkeys(band["arm"]):
        if arm not in arms:
            curve = _curve(band, arm, metric)
            step = -(-len(curve) // MAX_POINTS)
            draw_band(curve.iloc[(len(curve) - 1) % step :: step], ax=ax, style=rest, fill=False)
    for arm in arms:
        draw_band(_curve(band, arm, metric), ax=ax, style=styles[arm], label=arm)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def draw_metric(band: pd.DataFrame, arms: list[str], metric: str, *, ax: Axes, styles: dict, rest_color: str) -> Axes:
    """Draw one of CURVES; see draw_lines."""
    split, _, name = metric.partition("/")
    draw_lines(band, arms, metric, ax=ax, styles=styles, rest_color=rest_color)
    ax.set_title(f"{SPLITS[split]} {name}{', %' if name == 'accuracy' else ''}")
    return ax


def together_axes(canvas: Canvas) -> list[Axes]:
    """Return axes for CURVES: two by two with one axis of epochs, both accuracies on one scale."""
    panels = canvas.subplots(2, 2, sharex=True)
    panels[1][1].sharey(panels[1][0])
    return list(panels.flat)


def draw_together(axes: Sequence[Axes], band: pd.DataFrame, arms: list[str], styles: dict, rest_color: str) -> None:
    """Draw CURVES with every arm in each."""
    for ax, metric in zip(axes, CURVES, strict=True):
        draw_metric(band, arms, metric, ax=ax, styles=styles, rest_color=rest_color)
    for ax in axes[2:]:
        ax.set_xlabel("epoch")


def draw_apart(axes: Sequence[Axes], band: pd.DataFrame, arms: list[str], styles: dict) -> None:
    """Draw two panels for each arm: loss and accuracy, training dashed and validation solid."""
    for row, arm in enumerate(arms):
        for ax, name in zip(axes[2 * row : 2 * row + 2], ("loss", "accuracy"), strict=True):
            for split, line in (("train", "--"), ("val", "-")):
                style = styles[arm] | {"linestyle": line, "marker": "o"}
                tip = f"{SPLITS[split]} {name} "
                draw_band(_curve(band, arm, f"{split}/{name}"), ax=ax, style=style, label=SPLITS[split], tip=tip)
            title = f"{arm}: {name}{', %' if name == 'accuracy' else ''}"
            mark(ax.set_title("\n".join(wrap_name(title, TITLE_LETTERS))), arm)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend()
    for ax in axes[-2:]:
        ax.set_xlabel("epoch")


def draw_gap(axes: Sequence[Axes], band: pd.DataFrame, arms: list[str], styles: dict, color: dict) -> None:
    """Draw the generalization gap in accuracy and in loss by epoch, a line for each arm."""
    titles = {"gap/accuracy": "training - validation accuracy, points", "gap/loss": "validation - training loss"}
    for ax, (metric, title) in zip(axes, titles.items(), strict=True):
        draw_lines(band, arms, metric, ax=ax, styles=styles, rest_color=color["s8"])
        ax.set_xlabel("epoch")
        ax.axhline(0, color=color["soft"], linewidth=1)
        ax.set_title(title)


def _curve(band: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    return band[(band["arm"] == arm) & (band["metric"] == metric)].sort_values("epoch")
