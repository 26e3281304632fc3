"""Drawings of effects: forest, seed strip, cost, main effects, interactions, classes.

Each draw_* takes a frame and `ax`, draws there and returns it. Effects are in percent points, the baseline is zero.
Artists are marked with their arm and numbers (marks.py); in a figure with a row per arm the whole row is.
"""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ..labels import label_levels, label_rows
from ..marks import mark
from ..records.selection import DEFAULT_METRIC
from ..statistics.effects import decimal_places, metric_text, unit
from ..style import DIVERGING, FIXED_DARK, FIXED_LIGHT, contrast, numbered_style
from ..text import bounds, decimals, interval, si_number, signed, wrap_name

VERDICT_ROLE = {"helps": "good", "hurts": "bad"}
PANEL_LETTERS = 26
"""Letters in a line of a small panel's title."""


def draw_forest(
    effects: pd.DataFrame, images: pd.DataFrame, *, ax: Axes, color: dict, rope: float, metric: str = DEFAULT_METRIC
) -> Axes:
    """Draw effects with their 95 % intervals and the ROPE (NaN: none) as a band; lines below are for new test images.

    Thin lines with ends are the simultaneous intervals of the family.
    """
    place = np.arange(len(effects))[::-1]
    if not math.isnan(rope):
        ax.axvspan(-rope, rope, color=color["rope"], linewidth=0, zorder=0)
    ax.axvline(0, color=color["soft"], linewidth=1)
    wider = images.set_index("arm") if len(images) else images
    for y, (_, row) in zip(place, effects.iterrows(), strict=True):
        arm, shade = row["arm"], color[VERDICT_ROLE.get(row["verdict"], "ink")]
        mark_row(ax, y, arm, f"{effect_text(row, metric)}, {row['verdict']}")
        if arm in wider.index:
            ends = wider.loc[arm, ["image_low", "image_high"]]
            # Below the others, which would hide a shorter one.
            mark(ax.plot(ends, [y - 0.26] * 2, color=color["s8"], linewidth=1.6, zorder=1)[0], arm)
        ends = [row["ci_low"], row["ci_high"]]
        mark(ax.plot(ends, [y, y], color=shade, linewidth=3, solid_capstyle="butt", zorder=2)[0], arm)
        if not math.isnan(row["joint_low"]):
            ends = [row["joint_low"], row["joint_high"]]
            mark(ax.plot(ends, [y, y], "|-", color=shade, linewidth=1, markersize=6, zorder=2)[0], arm)
        full = row["verdict"] in ("helps", "hurts")
        face = shade if full else color["paper"]
        mark(ax.plot(row["delta"], y, "o", color=shade, markerfacecolor=face, zorder=3)[0], arm)
    label_rows(ax, place, list(effects["arm"]))
    ax.set_ylim(-0.6, len(effects) - 0.4)
    ax.grid(axis="y", visible=False)
    points = ", percent points" if unit(metric) else ""
    ax.set_xlabel(f"difference to the baseline in {metric_text(metric)}{points}")
    return ax


def mark_row(ax: Axes, y: float, arm: str, tip: str) -> None:
    """Cover an arm's row with an invisible area that shows its numbers."""
    mark(ax.axhspan(y - 0.48, y + 0.48, facecolor="none", edgecolor="none", zorder=0.5), arm, tip)


def effect_text(row: pd.Series, metric: str) -> str:
    """Return an effect with its interval and number of seeds."""
    places, pairs = decimal_places(metric), row["pairs"]
    ends = interval(row["ci_low"], row["ci_high"], places)
    shown = f"{signed(row['delta'], places)}{unit(metric)} {ends}".strip()
    return f"{shown}, {pairs:.0f} seed{'' if pairs == 1 else 's'}"


def draw_strip(values: pd.DataFrame, *, ax: Axes, styles: dict, color: dict, metric: str = DEFAULT_METRIC) -> Axes:
    """Draw a dot for each run of `values` (seeds, arms), lines between equal seeds, a bar at each arm's mean."""
    place, places = np.arange(values.shape[1])[::-1], decimal_places(metric)
    for _, row in values.iterrows():
        ax.plot(row, place, color=color["grid"], linewidth=0.8, zorder=1)
    for y, arm in zip(place, values.columns, strict=True):
        style = styles[arm]
        dots = values[arm].dropna()
        mark_row(ax, y, arm, ", ".join(f"seed {seed} {decimals(dot, places)}" for seed, dot in dots.items()))
        points = ax.plot(
            dots, [y] * len(dots), style["marker"], color=style["color"], markersize=5, alpha=0.8, zorder=3
        )
        mark(points[0], arm)
        if len(dots):
            mean = ax.plot([dots.mean()] * 2, [y - 0.28, y + 0.28], color=color["ink"], linewidth=2, zorder=4)
            mark(mean[0], arm)
    label_rows(ax, place, list(values.columns))
    ax.set_ylim(-0.6, values.shape[1] - 0.4)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(f"{metric_text(metric)}{', %' if unit(metric) else ''}")
    return ax


def draw_cost(points: pd.DataFrame, *, ax: Axes, styles: dict, color: dict, cost: str, named: list[str]) -> Axes:
    """Draw accuracy against one cost with 95 % intervals; the line joins the arms that no cheaper arm beats.

    Args:
        named: arms with a style and a name in the legend; the others are grey.
    """
    front = points[points["front"]].sort_values(cost)
    ax.plot(front[cost], front["mean"], color=color["s8"], linewidth=1, drawstyle="steps-post", zorder=1)
    for _, row in points.sort_values("arm", key=lambda arms: arms.isin(named), kind="stable").iterrows():
        arm = row["arm"]
        style = styles[arm] if arm in named else {"color": color["s8"], "marker": "."}
        ends = ax.plot([row[cost]] * 2, [row["ci_low"], row["ci_high"]], color=style["color"], linewidth=1.5, zorder=2)
        mark(ends[0], arm)
        label = arm if arm in named else None
        point = ax.plot(row[cost], row["mean"], style["marker"], color=style["color"], label=label, zorder=3)
        tip = f"{decimals(row['mean'])} % {bounds(row['ci_low'], row['ci_high'])}, {si_number(row[cost])}"
        mark(point[0], arm, tip)
    ax.xaxis.set_major_locator(MaxNLocator(5))
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
        tip = f"{factor}={level}: {signed(row['effect'])} points {interval(row['ci_low'], row['ci_high'])}".strip()
        mark(ax.plot(at[level], row["effect"], "o", color=color["s1"])[0], None, tip)
    ax.plot(at[baseline_level], 0, "o", color=color["s0"])
    label_levels(ax, levels)
    ax.set_xlim(-0.4, len(levels) - 0.6)
    aliases = [f"or {alias}" for text in dict.fromkeys(rows["aliases"]) for alias in text.split(", ") if alias]
    lines = [line for text in (factor, *aliases) for line in wrap_name(text, PANEL_LETTERS)]
    ax.set_title("\n".join(lines), fontsize="small" if aliases else None)
    return ax


def draw_interaction(cells: pd.DataFrame, one: str, other: str, *, ax: Axes, color: dict) -> Axes:
    """Draw mean accuracy by the levels of one factor, a line for each level of the other; parallel lines add up."""
    means = cells.groupby([one, other])["mean"].mean().unstack(other)
    means = means.loc[order_levels(list(means.index)), order_levels(list(means.columns))]
    for number, level in enumerate(means.columns):
        line = ax.plot(range(len(means)), means[level], label=str(level), **numbered_style(number, color))
        values = ", ".join(f"{one}={at} {decimals(value)} %" for at, value in means[level].items())
        mark(line[0], None, f"{other}={level}: {values}")
    label_levels(ax, list(means.index))
    ax.set_xlim(-0.3, len(means) - 0.7)
    ax.set_xlabel(one)
    ax.legend(title=other, title_fontsize="small", fontsize="small")
    return ax


def draw_classes(table: pd.DataFrame, *, ax: Axes, color: dict) -> Axes:
    """Draw differences (arms, classes) as colored cells with their values, on one symmetric scale."""
    bound = max(float(np.nanmax(np.abs(table.to_numpy()))), 1e-9)
    for y, (arm, row) in enumerate(table.iterrows()):
        for x, (name, value) in enumerate(row.items()):
            shade = to_hex(DIVERGING(0.5 + value / bound / 2))
            cell = Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shade, edgecolor=color["paper"])
            mark(ax.add_patch(cell), str(arm), f"{name}: {signed(value)} points")
            ink = max((FIXED_DARK, FIXED_LIGHT), key=lambda c: contrast(c, shade))
            text = ax.text(x, y, signed(value, 1), ha="center", va="center", color=ink, fontsize=8)
            mark(text, str(arm))
    ax.set_xlim(-0.5, table.shape[1] - 0.5)
    ax.set_ylim(table.shape[0] - 0.5, -0.5)
    ax.set_xticks(range(table.shape[1]), table.columns, rotation=30, ha="right")
    label_rows(ax, range(table.shape[0]), list(table.index))
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
