"""Drawings of rollout measures over arms and seeds, and of faithfulness against null maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..attention.faithful import NULL_MAPS
from ..labels import label_rows, row_inches
from ..marks import mark
from ..style import theme
from ..text import wrap_name

COLUMNS = 4
LETTERS = 30
"""Letters in a line of an arm's name."""
TITLES = {
    "entropy": "entropy (1: uniform)",
    "effective_patches": "effective patches",
    "max_lift": "strongest patch, x uniform",
    "centre_row_px": "centre from the top, px",
    "centre_column_px": "centre from the left, px",
    "spread_px": "spread, px",
    "prefix_mass": "mass left on the class token",
    "mixing": "head's row against mean row",
    "distance_px": "attention distance, px",
    "specificity": "specificity to the image",
    "flip_consistency": "flip consistency",
    "seed_agreement": "agreement of seeds",
}


def measures_figure(frame: pd.DataFrame, baseline: str, path: Path) -> Path:
    """Write the figure of all measures of a gallery."""
    arms = list(dict.fromkeys(frame["arm"]))
    with theme("light") as color:
        size = figure_inches(len(measured_names(frame)), arms)
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(*measure_grid(frame), squeeze=False, sharey=True)
        draw_measures(list(axes.flat), frame, arms, baseline, color)
        figure.savefig(path, dpi=figure.dpi, metadata={"Software": None})
    return path


def measured_names(frame: pd.DataFrame) -> list[str]:
    """Return the columns of measures that some cell has."""
    return [name for name in frame.columns if name.startswith("rollout/") and frame[name].notna().any()]


def figure_inches(num_measures: int, arms: Sequence[str]) -> tuple[float, float]:
    """Return width and height, inches, at which every arm is readable."""
    rows = -(-num_measures // COLUMNS)
    return 2.1 + 2.2 * COLUMNS, rows * (0.75 + row_inches(arms, 0.2, LETTERS, 0.125) * len(arms)) + 0.3


def measure_grid(frame: pd.DataFrame) -> tuple[int, int]:
    """Return the rows and columns of axes for the measures."""
    return -(-len(measured_names(frame)) // COLUMNS), COLUMNS


def draw_measures(
    axes: Sequence[Axes], frame: pd.DataFrame, arms: list[str], baseline: str, color: dict[str, str]
) -> None:
    """Draw a measure on each axes, which share y: a line per arm with a point per seed and a bar at the mean."""
    names = measured_names(frame)
    for name, ax in zip(names, axes, strict=False):
        draw_measure(frame, name, arms, baseline, ax=ax, color=color)
    for ax in axes[len(names) :]:
        ax.axis("off")
    axes[0].set_ylim(len(arms) - 0.5, -0.5)


def draw_measure(
    frame: pd.DataFrame, name: str, arms: list[str], baseline: str, *, ax: Any, color: dict[str, str]
) -> Any:
    """Draw one measure of all arms, and a line at the baseline's mean."""
    title = TITLES.get(name.removeprefix("rollout/"), name)
    for y, arm in enumerate(arms):
        values = frame.loc[frame["arm"] == arm, name].dropna().to_numpy()
        if not len(values):
            continue
        own = color["s0"] if arm == baseline else color["s1"]
        tip = f"{title}: {', '.join(f'{value:.4g}' for value in values)}; mean {values.mean():.4g}"
        mark(ax.axhspan(y - 0.48, y + 0.48, facecolor="none", edgecolor="none", zorder=0.5), arm, tip)
        flat = np.full(len(values), y)
        points = ax.plot(values, flat, "o", markersize=3.5, color=own, alpha=0.6, markeredgewidth=0)
        mean = ax.plot([values.mean()] * 2, [y - 0.3, y + 0.3], color=own, linewidth=1.8, solid_capstyle="butt")
        for artist in (*points, *mean):
            mark(artist, arm).set_clip_on(False)
    ax.axvline(frame.loc[frame["arm"] == baseline, name].mean(), color=color["soft"], linewidth=0.8, zorder=0)
    label_rows(ax, range(len(arms)), arms, LETTERS)
    ax.set_title(title, fontsize=8.5)
    ax.tick_params(labelsize=7.5)
    ax.locator_params(axis="x", nbins=3)
    ax.ticklabel_format(axis="x", useOffset=False, style="plain")
    return ax


def faithful_figure(frame: pd.DataFrame, path: Path) -> Path:
    """Write the figure of the map minus each null map with 95 % intervals; right of zero the map is better."""
    kinds = [("gap", "drop"), ("gap", "mean colour"), ("pointing", "")]
    shown = [kind for kind in kinds if len(_rows(frame, kind))]
    cells = list(dict.fromkeys(zip(frame["arm"], frame["seed"], strict=True)))
    with theme("light") as color:
        names = [f"{arm}, seed {seed}" for arm, seed in cells]
        size = (2.2 + 2.9 * len(shown), 1.2 + row_inches(names, 0.34, LETTERS) * len(cells))
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for kind, ax in zip(shown, axes, strict=True):
            draw_faithful(_rows(frame, kind), cells, ax=ax, color=color)
            ax.set_title(_metric_title(kind), fontsize=8.5)
        axes[0].set_yticks(range(len(cells)), ["\n".join(wrap_name(name, LETTERS)) for name in names])
        axes[0].set_ylim(len(cells) - 0.5, -0.5)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
        figure.savefig(path, dpi=figure.dpi, metadata={"Software": None})
    return path


def draw_faithful(rows: pd.DataFrame, cells: list[tuple], *, ax: Any, color: dict[str, str]) -> Any:
    """Draw one metric: an interval per cell and null map, in the null map's color and marker."""
    styles = zip(NULL_MAPS, ("s1", "s2", "s3"), ("o", "s", "^"), (-0.2, 0.0, 0.2), strict=True)
    for null, role, marker, offset in styles:
        of_null = rows[rows["null"] == null]
        keys = zip(of_null["arm"], of_null["seed"], strict=True)
        y = np.array([cells.index(key) + offset for key in keys])
        ax.hlines(y, of_null["low"], of_null["high"], color=color[role], linewidth=1.2)
        ax.plot(of_null["difference"], y, marker, markersize=4, color=color[role], label=f"minus {null}")
    ax.axvline(0, color=color["ink"], linewidth=0.9)
    ax.tick_params(labelsize=7.5)
    return ax


def _rows(frame: pd.DataFrame, kind: tuple[str, str]) -> pd.DataFrame:
    return frame[(frame["metric"] == kind[0]) & (frame["missing"] == kind[1])]


def _metric_title(kind: tuple[str, str]) -> str:
    if kind[0] == "pointing":
        return "hits of the telling shape"
    return "insertion - deletion, " + ("tokens dropped" if kind[1] == "drop" else "mean colour")
