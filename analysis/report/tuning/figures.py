"""Figure of a search: validation accuracy of every trial against each tuned field, an arm a line."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ...labels import legend_inches
from ...marks import mark
from ...statistics.judgement import Judgement
from ...statistics.tuning.own_settings import Tuning
from ...style import arm_styles
from ...text import decimals
from ..figures import Figure, arms_to_draw, colors_note, grid

MAX_PANELS = 4


def search_figure(judgement: Judgement, tuning: Tuning) -> Figure | None:
    """Return the figure; None before a trial has a value."""
    known = tuning.trials[tuning.trials["accuracy"].notna()]
    if known.empty:
        return None
    every = list(dict.fromkeys(known["arm"]))
    baseline = judgement.selection.baseline
    arms = arms_to_draw(every, baseline, judgement.effects)
    parameters = tuning.search.parameters[:MAX_PANELS]
    best = known[known["best"]]
    parts = [
        f"{row['arm']} {decimals(row['accuracy'], 1)} % at {', '.join(f'{row[p.key]:g}' for p in parameters)}"
        for _, row in best[best["arm"].isin(arms)].iterrows()
    ]
    width = min(9.0, 7.5 + 1.5 * (len(parameters) - 1))
    joined = "Lines join the settings of an arm; a" if len(parameters) == 1 else "A"

    def paint(axes, color):
        styles = arm_styles(list(dict.fromkeys([*arms, *judgement.selection.arms])), baseline, color)
        for ax, parameter in zip(axes, parameters, strict=True):
            start = tuning.baseline.get(parameter.key)
            draw_search(known, parameter.key, ax=ax, styles=styles, color=color, start=start, named=arms)
            if parameter.scale == "log" and not parameter.values:
                set_log_scale(ax)
            ax.set_xlabel(parameter.key)
        axes[0].set_ylabel("validation accuracy, %")

    return Figure(
        name="tuning",
        title="Accuracy of the trials",
        caption=f"Validation accuracy at the last epoch, mean over the search's seeds. {joined} ring marks each arm's "
        "best trial, the vertical line the baseline's setting. Test images were not scored."
        + colors_note(len(every) - len(arms), "grey points"),
        alt=f"Best trials: {'; '.join(parts)}." if parts else "No arm has a best trial.",
        table=known,
        size=(width, 3.2 + legend_inches(arms, width)),
        paint=paint,
        layout=grid(1, len(parameters), sharey=True),
        has_legend=True,
    )


def set_log_scale(ax: Axes) -> None:
    """Make the axis of a field logarithmic, with plain numbers at the powers of ten."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def draw_search(
    trials: pd.DataFrame, key: str, *, ax: Axes, styles: dict, color: dict, start: float | None, named: list[str]
) -> Axes:
    """Draw the trials' accuracy against one field, joined where it is the only one, the best of each arm ringed.

    Args:
        start: the baseline's setting.
        named: arms with a color and a name in the legend; the others are grey.
    """
    is_only = sum("." in name for name in trials.columns) == 1
    if isinstance(start, int | float):
        ax.axvline(start, color=color["soft"], linewidth=1)
    for arm, own in trials.groupby("arm", sort=False):
        style = styles[arm] if arm in named else {"color": color["s8"], "marker": ".", "linewidth": 0.6, "zorder": 1}
        style = style if is_only else style | {"linestyle": ""}
        means = own.groupby(key)["accuracy"].mean().sort_index()
        x, y = (means.index, means) if is_only else (own[key], own["accuracy"])
        best = own[own["best"]]
        ends = ", ".join(f"{decimals(row['accuracy'])} % at {key} {row[key]:g}" for _, row in best.iterrows())
        line = ax.plot(x, y, markersize=5, label=arm if arm in named else None, **style)
        ring = {"color": style["color"], "markerfacecolor": "none", "markersize": 11}
        for artist in (*line, *(ax.plot(best[key], best["accuracy"], "o", **ring) if arm in named else ())):
            mark(artist, str(arm), f"best {ends}" if ends else "no best trial")
    return ax
