"""The figures of a report, made from a Judgement; a figure without anything to show is None."""

import math
from dataclasses import replace

import pandas as pd

from ..attention.measures import COLUMNS
from ..gallery.draw_measures import draw_measures, figure_inches, measure_grid, measured_names
from ..labels import legend_inches, row_inches
from ..records.selection import DEFAULT_METRIC
from ..statistics.effects import decimal_places, display_scale, metric_text, seed_values, unit
from ..statistics.judgement import Judgement, pareto_front, whole_images
from ..style import arm_styles
from ..text import decimals, interval, signed
from . import draw_curves, draw_effects
from .figures import MAX_ARMS, MAX_ROWS, Figure, arms_to_draw, colors_note, grid, rows_note
from .study_tables import about_accuracy, accuracy_name

COSTS = {
    "params": "trainable parameters",
    "flops_per_image": "FLOPs per image, forward",
    "time_seconds": "time per run, seconds",
}
MAX_CLASSES = 20
FOREST_WIDTH = 6.6
"""Inches: the forest plot stands beside the comparison table."""


def run_figures(judgement: Judgement) -> list[Figure]:
    """Return seed strip and, for accuracies, cost."""
    return _present(strip(judgement), cost(judgement) if display_scale(judgement.metric) == 100.0 else None)


def training_figures(judgement: Judgement) -> list[Figure]:
    """Return the curves together and apart, and the generalization gap, over the runs that finished."""
    return [*curves(judgement), *_present(gap(judgement))]


def forest(judgement: Judgement, arms: list[str] | None = None) -> Figure | None:
    """Return every arm's effect with its interval.

    Args:
        arms: those to show, here as in the other figures; None: all, or of many those with the largest effects.
    """
    selection, effects = judgement.selection, judgement.effects
    known = effects[effects["delta"].notna()]
    rows = known[known["arm"].isin(_rows(judgement, arms))]
    if rows.empty:
        return None
    # One pair shows nothing of new seeds, so its interval for new images would pass for what it is not.
    # They are about the test accuracy.
    images = whole_images(judgement) if judgement.metric == DEFAULT_METRIC else judgement.images.iloc[:0]
    images = images[images["pairs"] > 1] if len(images) else images
    wide = " The grey line below is the interval for new test images as well as new seeds." if len(images) else ""
    joint = "Dunnett's" if selection.error == "pooled" else "Bonferroni's"
    exact = (
        "its 95 % t interval (thick) and the one that holds for the whole family at once (with ends, "
        f"{joint} bound, 95 % jointly); filled: significant after correction for the family"
    )
    if selection.sequence is not None:
        exact = "its repeated 95 % interval, which holds at all looks together; filled: significant by Holm at a look"
    exact = "no interval, since one shared seed has none" if rows["pairs"].max() == 1 else exact
    metric, places = judgement.metric, decimal_places(judgement.metric)
    rope = selection.rope if unit(metric) else math.nan
    shaded = "" if math.isnan(rope) else f" Shaded: differences below {rope:g} points, which do not matter here."
    parts = [f"{row['arm']} {_effect(row, places)}" for _, row in rows.iterrows()]
    table = known[["arm", "pairs", "delta", "ci_low", "ci_high", "verdict", "joint_low", "joint_high"]]
    if len(images):
        table = table.merge(images[["arm", "image_low", "image_high"]], on="arm", how="left")

    def paint(axes, color):
        draw_effects.draw_forest(rows, images, ax=axes[0], color=color, rope=rope, metric=metric)

    return Figure(
        name="effects",
        title=f"Effect of each arm on the {metric_text(metric)}",
        caption=f"Mean difference to the baseline on shared seeds with {exact}."
        f"{shaded}{wide}" + rows_note(len(known) - len(rows)),
        alt=f"Effects{' in percent points' if unit(metric) else ''}: {'; '.join(parts)}.",
        table=table,
        size=(FOREST_WIDTH, 0.8 + row_inches(rows["arm"]) * len(rows)),
        paint=paint,
    )


def strip(judgement: Judgement, arms: list[str] | None = None) -> Figure | None:
    """Return every run's value."""
    values = seed_values(judgement.selection, judgement.metric).dropna(axis="columns", how="all")
    if len(values) < 2:
        return None
    table, values = values, values[[arm for arm in _rows(judgement, arms) if arm in values]]
    metric, name, places = judgement.metric, metric_text(judgement.metric), decimal_places(judgement.metric)
    sign = " %" if unit(metric) else ""
    spans = [f"{a} {decimals(values[a].min(), places)} to {decimals(values[a].max(), places)}{sign}" for a in values]

    def paint(axes, color):
        styles = _styles(judgement, color)
        draw_effects.draw_strip(values, ax=axes[0], styles=styles, color=color, metric=metric)

    return Figure(
        name="seeds",
        title="Every run",
        caption="A mark for each run, lines join runs of the same seed, the bar is the arm's mean."
        + rows_note(table.shape[1] - values.shape[1]),
        alt=f"{name.capitalize()} of the runs: {'; '.join(spans)}.",
        table=table.reset_index().melt(id_vars="seed", var_name="arm", value_name=name).dropna(),
        size=(8.5, 0.8 + row_inches(values.columns) * values.shape[1]),
        paint=paint,
    )


def cost(judgement: Judgement, arms: list[str] | None = None, by: str | None = None) -> Figure | None:
    """Return accuracy against cost, a panel for each cost that differs between arms.

    Args:
        by: one of COSTS; None: all that differ.
    """
    named = _shown(judgement, wanted=arms)
    panels = {c: pareto_front(judgement.effects, c) for c in ([by] if by else COSTS)}
    panels = {c: p for c, p in panels.items() if len(p) > 1 and p[c].max() > 1.02 * p[c].min() > 0}
    if not panels:
        return None
    fronts = [f"by {COSTS[c]} {', '.join(p.loc[p['front'], 'arm'])}" for c, p in panels.items()]

    def paint(axes, color):
        styles = _styles(judgement, color)
        for ax, (name, every) in zip(axes, panels.items(), strict=True):
            points = every if arms is None else every[every["arm"].isin(arms)]
            draw_effects.draw_cost(points, ax=ax, styles=styles, color=color, cost=name, named=named)
            ax.set_xlabel(COSTS[name])
        axes[0].set_ylabel(f"{metric_text(judgement.metric)}, %")

    return Figure(
        name="cost",
        title=f"{accuracy_name(judgement.metric).capitalize()} against cost",
        caption="Mean of the seeds with its 95 % t interval; the line joins the arms that no arm beats at equal or "
        "lower cost. Times depend on the machine."
        + colors_note(max(_hidden(p, named) for p in panels.values()), "grey points"),
        alt=f"No arm is both cheaper and better than: {'; '.join(fronts)}.",
        table=pd.concat([p.rename(columns={c: "cost"}).assign(kind=COSTS[c]) for c, p in panels.items()]),
        size=(9, 3.2 + legend_inches(named, 9)),
        paint=paint,
        layout=grid(1, len(panels), sharey=True),
        has_legend=True,
    )


def curves(judgement: Judgement, wanted: list[str] | None = None) -> list[Figure]:
    """Return the curves of all arms together, and of each arm apart; no figure without a finished run."""
    band = draw_curves.band_over_seeds(judgement.selection.done_history())
    if band.empty:
        return []
    arms = _shown(judgement, set(band["arm"]), wanted)
    common = {"alt": _curves_alt(band, arms), "table": band}
    drawn = band if wanted is None else band[band["arm"].isin(arms)]
    others = _hidden(drawn, arms)
    together = Figure(
        name="curves",
        title="Training graph, arms together",
        caption="Mean over the seeds that finished; the band reaches from the lowest to the highest seed. Training "
        "values are running averages with dropout and augmentation on, so they may lie below validation."
        + colors_note(others),
        size=(9, 5.2 + legend_inches(arms, 9)),
        paint=lambda axes, color: draw_curves.draw_together(axes, drawn, arms, _styles(judgement, color), color["s8"]),
        layout=draw_curves.together_axes,
        has_legend=True,
        **common,
    )
    apart = Figure(
        name="curves-apart",
        title="Training graph, each arm apart",
        caption="Training (dashed) and validation (solid) of each arm, on the same axes everywhere."
        + (f" {others} more arms are in the figure above only." if others else ""),
        size=(9, 1 + 1.9 * len(arms)),
        paint=lambda axes, color: draw_curves.draw_apart(axes, band, arms, _styles(judgement, color)),
        layout=grid(len(arms), 2, sharex=True, sharey="col"),
        **common,
    )
    return [together, apart]


def one_curve(judgement: Judgement, metric: str, wanted: list[str] | None = None) -> Figure | None:
    """Return one panel of the curves: a metric of draw_curves.CURVES."""
    figures = curves(judgement, wanted)
    if not figures:
        return None
    band = figures[0].table[figures[0].table["metric"] == metric]
    arms = _shown(judgement, set(band["arm"]), wanted)
    drawn = band if wanted is None else band[band["arm"].isin(arms)]

    def paint(axes, color):
        styles = _styles(judgement, color)
        draw_curves.draw_metric(drawn, arms, metric, ax=axes[0], styles=styles, rest_color=color["s8"])
        axes[0].set_xlabel("epoch")

    return replace(
        figures[0], name=metric.replace("/", "-"), table=band, size=(6, 4), paint=paint, layout=grid(), has_legend=True
    )


def _curves_alt(band: pd.DataFrame, arms: list[str]) -> str:
    values = _last_values(band, "val/accuracy")
    shown = [f"{arm} {values[arm]:.1f} %" for arm in arms if arm in values.index]
    if not shown:
        return "Loss and accuracy by epoch."
    return f"Loss and accuracy by epoch. Validation accuracy at the last epoch: {', '.join(shown)}."


def gap(judgement: Judgement) -> Figure | None:
    """Return training minus validation accuracy, and validation minus training loss, by epoch."""
    history = judgement.selection.done_history().copy()
    history["gap/accuracy"] = history["train/accuracy"] - history["val/accuracy"]
    history["gap/loss"] = history["val/loss"] - history["train/loss"]
    band = draw_curves.band_over_seeds(history, ("gap/accuracy", "gap/loss"))
    if band.empty:
        return None
    arms, last = _shown(judgement, set(band["arm"])), _last_values(band, "gap/accuracy")
    shown = ", ".join(f"{a} {signed(last[a], 1)} points" for a in arms if a in last)
    return Figure(
        name="gap",
        title="Generalisation gap",
        caption="Above zero the model does better on images it was trained on. Training values are running averages "
        "with dropout and augmentation on, which lowers the gap." + colors_note(_hidden(band, arms)),
        alt=f"Training minus validation accuracy at the last epoch: {shown}.",
        table=band,
        size=(9, 3.2 + legend_inches(arms, 9)),
        paint=lambda axes, color: draw_curves.draw_gap(axes, band, arms, _styles(judgement, color), color),
        layout=grid(1, 2),
        has_legend=True,
    )


def class_figure(judgement: Judgement, arms: list[str] | None = None) -> Figure | None:
    """Return the differences by class as a heat map; None with more than MAX_CLASSES classes."""
    classes = judgement.classes
    if classes.empty or classes["class"].nunique() > MAX_CLASSES:
        return None
    table = classes.pivot(index="arm", columns="class", values="delta")
    shown = [arm for arm in _rows(judgement, arms) if arm in table.index]
    if not shown:
        return None
    table = table.loc[shown, list(dict.fromkeys(classes["class"]))]
    largest = classes.loc[classes["delta"].abs().idxmax()]
    return Figure(
        name="classes",
        title="Effect by class",
        caption="Difference to the baseline in percent points, mean over shared seeds; blue is better. Exploratory: "
        "intervals are in the table and are not corrected for the number of classes."
        f"{about_accuracy(judgement.metric)}{rows_note(_hidden(classes, list(table.index)))}",
        alt=f"Largest difference of a class: {largest['arm']} on {largest['class']}, "
        f"{signed(largest['delta'], 1)} points.",
        table=classes,
        size=(8.5, 1.1 + row_inches(table.index, 0.34) * len(table)),
        paint=lambda axes, color: draw_effects.draw_classes(table, ax=axes[0], color=color),
    )


def measure_figure(judgement: Judgement) -> Figure | None:
    """Return a small panel for each rollout measure; None with a single arm."""
    done, baseline = judgement.selection.done(), judgement.selection.baseline
    finished = set(done["arm"])
    arms, table = [arm for arm in _rows(judgement) if arm in finished], done[["arm", "seed", *COLUMNS]]
    if len(arms) < 2:
        return None
    changes = judgement.measures[judgement.measures["arm"] != baseline]
    tested = int(changes["ci_low"].notna().sum())
    clear = int(((changes["ci_low"] > 0) | (changes["ci_high"] < 0)).sum())
    return Figure(
        name="measures",
        title="Rollout measures of every run",
        caption="A mark for each run, a bar at the arm's mean, the thin line at the baseline's. Each panel has a scale "
        "of its own." + rows_note(_hidden(table, arms)),
        alt=f"{clear} of {tested} differences to the baseline have a 95 % interval without zero, not adjusted for "
        "their number."
        if tested
        else "No difference to the baseline has an interval.",
        table=table,
        size=figure_inches(len(measured_names(table)), arms),
        paint=lambda axes, color: draw_measures(axes, table, arms, baseline, color),
        layout=grid(*measure_grid(table), sharey=True),
    )


def _present(*figures: Figure | None) -> list[Figure]:
    return [figure for figure in figures if figure]


def _hidden(table: pd.DataFrame, arms: list[str]) -> int:
    """Count the arms of a figure's table that it does not show."""
    return len(set(table["arm"]) - set(arms))


def _shown(judgement: Judgement, among: set[str] | None = None, wanted: list[str] | None = None) -> list[str]:
    """Return the arms with a color and a name, of those in `among` (None: of all): the wanted, else the largest."""
    selection = judgement.selection
    arms = [arm for arm in selection.arms if among is None or arm in among]
    if wanted is not None:
        return [arm for arm in arms if arm in wanted]
    return arms_to_draw(arms, selection.baseline, judgement.effects, MAX_ARMS)


def _rows(judgement: Judgement, wanted: list[str] | None = None) -> list[str]:
    """Return the arms of a figure with a row for each: the wanted ones, else those with the largest effects."""
    selection = judgement.selection
    if wanted is not None:
        return [arm for arm in selection.arms if arm in wanted]
    return arms_to_draw(selection.arms, selection.baseline, judgement.effects, MAX_ROWS)


def _styles(judgement: Judgement, color: dict[str, str]) -> dict[str, dict]:
    drawn = dict.fromkeys([*_shown(judgement), *judgement.selection.arms])
    return arm_styles(list(drawn), judgement.selection.baseline, color)


def _last_values(band: pd.DataFrame, metric: str) -> pd.Series:
    """Return arm -> mean of a metric at the last epoch of the longest run."""
    last = band[(band["metric"] == metric) & (band["epoch"] == band["epoch"].max())]
    return last.set_index("arm")["mean"]


def _effect(row: pd.Series, places: int) -> str:
    return f"{signed(row['delta'], places)} {interval(row['ci_low'], row['ci_high'], places)}".strip()
