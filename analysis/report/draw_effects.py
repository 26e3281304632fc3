"""Drawings of effects: forest, seed strip, cost, main effects, interactions, classes.

Each draw_* takes a frame and `ax`, draws there and returns it. Effects are in percent points, the baseline is zero.
"""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ..style import DIVERGING, FIXED_DARK, FIXED_LIGHT, contrast, numbered_style
from ..text import si_number, signed

VERDICT_ROLE = {"helps": "good", "hurts": "bad"}


def draw_forest(effects: pd.DataFrame, images: pd.DataFrame, *, ax: Axes, color: dict, rope: float) -> Axes:
    """Draw effects with their 95 % intervals and the ROPE as a band; thin lines are for new test images, if any.

    Thin lines with ends are the simultaneous intervals of the family.
    """
    place = np.arange(len(effects))[::-1]
    if not math.isnan(rope):
        ax.axvspan(-rope, rope, color=color["rope"], linewidth=0, zorder=0)
    ax.axvline(0, color=color["soft"], linewidth=1)
    wider = images.set_index("arm") if len(images) else images
    for y, (_, row) in zip(place, effects.iterrows(), strict=True):
        shade = color[VERDICT_ROLE.get(row["verdict"], "ink")]
        if row["arm"] in wider.index:
            ends = wider.loc[row["arm"], ["image_low", "image_high"]]
            ax.plot(ends, [y, y], color=color["s8"], linewidth=1, zorder=1)
        ax.plot([row["ci_low"], row["ci_high"]], [y, y], color=shade, linewidth=3, solid_capstyle="butt", zorder=2)
        if not math.isnan(row["joint_low"]):
            ends = [row["joint_low"], row["joint_high"]]
            ax.plot(ends, [y, y], "|-", color=shade, linewidth=1, markersize=6, zorder=2)
        full = row["verdict"] in ("helps", "hurts")
        ax.plot(row["delta"], y, "o", color=shade, markerfacecolor=shade if full else color["paper"], zorder=3)
    ax.set_yticks(place, effects["arm"])
    ax.set_ylim(-0.6, len(effects) - 0.4)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("difference to the baseline, percent points")
    return ax


def draw_strip(values: pd.DataFrame, *, ax: Axes, styles: dict, color: dict, label: str) -> Axes:
    """Draw a dot for each run of `values` (seeds, arms), lines between equal seeds, a bar at each arm's mean."""
    place = np.arange(values.shape[1])[::-1]
    for _, row in values.iterrows():
        ax.plot(row, place, color=color["grid"], linewidth=0.8, zorder=1)
    for y, arm in zip(place, values.columns, strict=True):
        style = styles[arm]
        dots = values[arm].dropna()
        ax.plot(dots, [y] * len(dots), style["marker"], color=style["color"], markersize=5, alpha=0.8, zorder=3)
        if len(dots):
            ax.plot([dots.mean()] * 2, [y - 0.28, y + 0.28], color=color["ink"], linewidth=2, zorder=4)
    ax.set_yticks(place, values.columns)
    ax.set_ylim(-0.6, values.shape[1] - 0.4)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(label)
    return ax


def draw_cost(points: pd.DataFrame, *, ax: Axes, styles: dict, color: dict, cost: str) -> Axes:
    """Draw accuracy against one cost with 95 % intervals; the line joins the arms that no cheaper arm beats."""
    front = points[points["front"]].sort_values(cost)
    ax.plot(front[cost], front["mean"], color=color["s8"], linewidth=1, drawstyle="steps-post", zorder=1)
    for _, row in points.iterrows():
        style = styles[row["arm"]]
        ax.plot([row[cost]] * 2, [row["ci_low"], row["ci_high"]], color=style["color"], linewidth=1.5, zorder=2)
        ax.plot(row[cost], row["mean"], style["marker"], color=style["color"], label=row["arm"], zorder=3)
    if points[cost].max() > 3 * points[cost].min() > 0:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: si_number(value)))
    return ax


def draw_main(main: pd.DataFrame, factor: str, baseline_level: str, *, ax: Axes, color: dict) -> Axes:
    """Draw the effect of each level of one factor with its interval, the baseline's level at zero."""
    rows = main[main["factor"] == factor]
    levels = order_levels([baseline_level, *rows["level"]])
    effect = rows.set_index("level")
    at = {level: number for number, level in enumerate(levels)}
    ax.axhline(0, color=color["soft"], linewidth=1)
    means = [effect.loc[level, "effect"] if level in effect.index else 0.0 for level in levels]
    ax.plot(range(len(levels)), means, color=color["s1"], linewidth=1, zorder=1)
    for level, row in effect.iterrows():
        ax.plot([at[level]] * 2, [row["ci_low"], row["ci_high"]], color=color["s1"], linewidth=2.5)
    ax.plot(range(len(levels)), means, "o", color=color["s1"])
    ax.plot(at[baseline_level], 0, "o", color=color["s0"])
    ax.set_xticks(range(len(levels)), levels)
    ax.set_xlim(-0.4, len(levels) - 0.6)
    aliases = "\n".join(f"or {alias}" for text in dict.fromkeys(rows["aliases"]) for alias in text.split(", ") if alias)
    ax.set_title(f"{factor}\n{aliases}" if aliases else factor, fontsize="small" if aliases else None)
    return ax


def draw_interaction(cells: pd.DataFrame, one: str, other: str, *, ax: Axes, color: dict) -> Axes:
    """Draw mean accuracy by the levels of one factor, a line for each level of the other; parallel lines add up."""
    means = cells.groupby([one, other])["mean"].mean().unstack(other)
    means = means.loc[order_levels(list(means.index)), order_levels(list(means.columns))]
    for number, level in enumerate(means.columns):
        ax.plot(range(len(means)), means[level], label=str(level), **numbered_style(number, color))
    ax.set_xticks(range(len(means)), means.index)
    ax.set_xlim(-0.3, len(means) - 0.7)
    ax.set_xlabel(one)
    ax.legend(title=other, title_fontsize="small", fontsize="small")
    return ax


def draw_classes(table: pd.DataFrame, *, ax: Axes, color: dict) -> Axes:
    """Draw differences (arms, classes) as colored cells with their values, on one symmetric scale."""
    bound = max(float(np.nanmax(np.abs(table.to_numpy()))), 1e-9)
    for y, (_, row) in enumerate(table.iterrows()):
        for x, value in enumerate(row):
            shade = to_hex(DIVERGING(0.5 + value / bound / 2))
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shade, edgecolor=color["paper"]))
            ink = max((FIXED_DARK, FIXED_LIGHT), key=lambda c: contrast(c, shade))
            ax.text(x, y, signed(value, 1), ha="center", va="center", color=ink, fontsize=8)
    ax.set_xlim(-0.5, table.shape[1] - 0.5)
    ax.set_ylim(table.shape[0] - 0.5, -0.5)
    ax.set_xticks(range(table.shape[1]), table.columns, rotation=30, ha="right")
    ax.set_yticks(range(table.shape[0]), table.index)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def order_levels(levels: list[str]) -> list[str]:
    """Return the distinct levels: by value if all are numbers, else in their given order."""
    distinct = list(dict.fromkeys(map(str, levels)))
    try:
        return sorted(distinct, key=float)
    except ValueError:
        return distinct
