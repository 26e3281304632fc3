"""The figures of a report, made from a Judgement; a figure without anything to show is None."""

import itertools
from dataclasses import replace

import pandas as pd

from ..attention.measures import COLUMNS
from ..gallery.draw_measures import draw_measures, figure_inches, measure_grid, measured_names
from ..records.selection import DEFAULT_METRIC
from ..statistics.effects import display_scale, metric_text, seed_values
from ..statistics.judgement import Judgement, pareto_front, whole_images
from ..style import arm_styles
from ..text import interval, signed
from . import draw_curves, draw_effects
from .figures import Figure, arms_to_draw, grid, selection_note
from .study_tables import about_accuracy, on_metric

COSTS = {
    "params": "trainable parameters",
    "flops_per_image": "FLOPs per image, forward",
    "time_seconds": "time per run, seconds",
}
MAX_CLASSES, MAX_FACTORS, MAX_PAIRS = 20, 6, 4


def effect_figures(judgement: Judgement) -> list[Figure]:
    """Return forest, seed strip and cost, for accuracies only."""
    if display_scale(judgement.metric) != 100.0:
        return []
    return _present(forest(judgement), strip(judgement), cost(judgement))


def training_figures(judgement: Judgement) -> list[Figure]:
    """Return the curves together and apart, and the generalization gap, over the runs that finished."""
    return [*curves(judgement), *_present(gap(judgement))]


def factor_figures(judgement: Judgement) -> list[Figure]:
    """Return main effects, and the interaction of each pair of factors that is crossed."""
    if judgement.factorial is None or display_scale(judgement.metric) != 100.0:
        return []
    return _present(main_effects(judgement), interactions(judgement))


def forest(judgement: Judgement, arms: list[str] | None = None) -> Figure | None:
    """Return every arm's effect with its interval.

    Args:
        arms: those to show, here as in the other figures; None: all, or of many those with the largest effects.
    """
    selection, effects = judgement.selection, judgement.effects
    known = effects[effects["delta"].notna()]
    rows = known[known["arm"].isin(_shown(judgement, wanted=arms))]
    if rows.empty:
        return None
    # One pair shows nothing of new seeds, so its interval for new images would pass for what it is not.
    # They are about the test accuracy.
    images = whole_images(judgement) if judgement.metric == DEFAULT_METRIC else judgement.images.iloc[:0]
    images = images[images["pairs"] > 1] if len(images) else images
    wide = " The thin grey line is the interval for new test images as well as new seeds." if len(images) else ""
    joint = "Dunnett's" if selection.error == "pooled" else "Bonferroni's"
    exact = (
        "its 95 % t interval (thick) and the one that holds for the whole family at once (with ends, "
        f"{joint} bound, 95 % jointly); filled: significant after correction for the family"
    )
    if selection.sequence is not None:
        exact = "its repeated 95 % interval, which holds at all looks together; filled: significant by Holm at a look"
    exact = "no interval, since one shared seed has none" if rows["pairs"].max() == 1 else exact
    parts = [f"{row['arm']} {_effect(row)}" for _, row in rows.iterrows()]
    table = known[["arm", "pairs", "delta", "ci_low", "ci_high", "verdict", "joint_low", "joint_high"]]
    if len(images):
        table = table.merge(images[["arm", "image_low", "image_high"]], on="arm", how="left")

    def paint(axes, color):
        draw_effects.draw_forest(rows, images, ax=axes[0], color=color, rope=selection.rope)

    return Figure(
        name="effects",
        title=f"Effect of each arm on the {metric_text(judgement.metric)}",
        caption=f"Mean difference to the baseline on shared seeds with {exact}. "
        f"Shaded: differences below {selection.rope:g} points, which do not matter here.{wide}"
        + selection_note(len(known) - len(rows)),
        alt=f"Effects in percent points: {'; '.join(parts)}.",
        table=table,
        size=(8.5, 1.1 + 0.36 * len(rows)),
        paint=paint,
    )


def strip(judgement: Judgement, arms: list[str] | None = None) -> Figure | None:
    """Return every run's accuracy."""
    values = seed_values(judgement.selection, judgement.metric).dropna(axis="columns", how="all")
    if len(values) < 2:
        return None
    table, values = values, values[[arm for arm in _shown(judgement, wanted=arms) if arm in values]]
    name = metric_text(judgement.metric)
    spans = [f"{a} {values[a].min():.2f} to {values[a].max():.2f} %" for a in values]

    def paint(axes, color):
        styles = _styles(judgement, color)
        draw_effects.draw_strip(values, ax=axes[0], styles=styles, color=color, label=f"{name}, %")

    return Figure(
        name="seeds",
        title="Every run",
        caption="A mark for each run, lines join runs of the same seed, the bar is the arm's mean."
        + selection_note(table.shape[1] - values.shape[1]),
        alt=f"{name.capitalize()} of the runs: {'; '.join(spans)}.",
        table=table.reset_index().melt(id_vars="seed", var_name="arm", value_name=name).dropna(),
        size=(8.5, 1.1 + 0.36 * values.shape[1]),
        paint=paint,
    )


def cost(judgement: Judgement, arms: list[str] | None = None, by: str | None = None) -> Figure | None:
    """Return accuracy against cost, a panel for each cost that differs between arms.

    Args:
        by: one of COSTS; None: all that differ.
    """
    arms = _shown(judgement, wanted=arms)
    panels = {c: pareto_front(judgement.effects, c) for c in ([by] if by else COSTS)}
    panels = {c: p for c, p in panels.items() if len(p) > 1 and p[c].max() > 1.02 * p[c].min() > 0}
    if not panels:
        return None
    fronts = [f"by {COSTS[c]} {', '.join(p.loc[p['front'], 'arm'])}" for c, p in panels.items()]

    def paint(axes, color):
        styles = _styles(judgement, color)
        for ax, (name, every) in zip(axes, panels.items(), strict=True):
            points = every[every["arm"].isin(arms)]
            draw_effects.draw_cost(points, ax=ax, styles=styles, color=color, cost=name)
            ax.set_xlabel(COSTS[name])
        axes[0].set_ylabel(f"{metric_text(judgement.metric)}, %")

    return Figure(
        name="cost",
        title=f"{_accuracy(judgement).capitalize()} against cost",
        caption="Mean of the seeds with its 95 % t interval; the line joins the arms that no arm beats at equal or "
        "lower cost. Times depend on the machine." + selection_note(max(_hidden(p, arms) for p in panels.values())),
        alt=f"No arm is both cheaper and better than: {'; '.join(fronts)}.",
        table=pd.concat([p.rename(columns={c: "cost"}).assign(kind=COSTS[c]) for c, p in panels.items()]),
        size=(9, 3.6 + 0.2 * (len(arms) // 4)),
        paint=paint,
        layout=grid(1, len(panels), sharey=True),
        has_legend=True,
    )


def curves(judgement: Judgement, wanted: list[str] | None = None) -> list[Figure]:
    """Return the curves of all arms together, and of each arm apart; no figure without a finished run."""
    band = draw_curves.band_over_seeds(judgement.selection.done_history())
    if band.empty:
        return []
    known = set(band["arm"])
    arms = _shown(judgement, known, wanted)
    note = selection_note(len(known) - len(arms))
    common = {"alt": _curves_alt(band, arms), "table": band}
    together = Figure(
        name="curves",
        title="Training graph, arms together",
        caption="Mean over the seeds that finished; the band reaches from the lowest to the highest seed. Training "
        "values are running averages with dropout and augmentation on, so they may lie below validation." + note,
        size=(9, 5.6),
        paint=lambda axes, color: draw_curves.draw_together(axes, band, arms, _styles(judgement, color)),
        layout=draw_curves.together_axes,
        has_legend=True,
        **common,
    )
    apart = Figure(
        name="curves-apart",
        title="Training graph, each arm apart",
        caption="Training (dashed) and validation (solid) of each arm, on the same axes everywhere." + note,
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

    def paint(axes, color):
        draw_curves.draw_metric(band, arms, metric, ax=axes[0], styles=_styles(judgement, color))
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
        "with dropout and augmentation on, which lowers the gap." + selection_note(_hidden(band, arms)),
        alt=f"Training minus validation accuracy at the last epoch: {shown}.",
        table=band,
        size=(9, 3.6 + 0.2 * (len(arms) // 4)),
        paint=lambda axes, color: draw_curves.draw_gap(axes, band, arms, _styles(judgement, color), color["soft"]),
        layout=grid(1, 2),
        has_legend=True,
    )


def main_effects(judgement: Judgement) -> Figure | None:
    """Return a panel for each of the first factors: its levels against the baseline's level."""
    assert judgement.factorial is not None
    main, selection = judgement.factorial.main, judgement.selection
    main = main[main["n"] > 0]
    factors = list(dict.fromkeys(main["factor"]))[:MAX_FACTORS]
    if not factors:
        return None
    baseline_levels = selection.levels[selection.baseline]

    def paint(axes, color):
        for ax, factor in zip(axes, factors, strict=True):
            draw_effects.draw_main(main, factor, baseline_levels[factor], ax=ax, color=color)
        axes[0].set_ylabel(f"effect{on_metric(judgement.metric)}, percent points")

    named = [(f"{r['factor']}={r['level']}", r) for _, r in main.iterrows()]
    parts = [f"{name}{f' (or {r.aliases})' if r['aliases'] else ''} {signed(r['effect'])}" for name, r in named]
    note = f" The table has {more} more factors." if (more := main["factor"].nunique() - len(factors)) else ""
    mixed = " Titles name what an effect cannot be told from." if main["aliases"].any() else ""
    return Figure(
        name="main-effects",
        title=f"Main effects of the factors{on_metric(judgement.metric)}",
        caption="Each level against the baseline's level (at zero), averaged over the other factors as the design has "
        f"them, with 95 % t intervals over seeds.{mixed}{note}",
        alt=f"Main effects in percent points: {'; '.join(parts)}.",
        table=main,
        size=(min(9.0, 2.6 + 2.2 * len(factors)), 3.2),
        paint=paint,
        layout=grid(1, len(factors), sharey=True),
    )


def interactions(judgement: Judgement) -> Figure | None:
    """Return a panel for each of the first pairs of crossed factors."""
    assert judgement.factorial is not None
    cells, rows = judgement.factorial.cells, judgement.factorial.interactions
    crossed = list(dict.fromkeys(rows["factors"]))[:MAX_PAIRS]
    pairs = [p for p in itertools.combinations(cells.columns[:-2], 2) if f"{p[0]} x {p[1]}" in crossed]
    if not pairs:
        return None

    def paint(axes, color):
        for ax, (one, other) in zip(axes, pairs, strict=True):
            draw_effects.draw_interaction(cells, one, other, ax=ax, color=color)
        axes[0].set_ylabel(f"{metric_text(judgement.metric)}, %")

    note = f" The table has {more} more pairs." if (more := rows["factors"].nunique() - len(pairs)) else ""
    parts = [f"{r['factors']} at {r['levels']} {signed(r['effect'])}" for _, r in rows.head(6).iterrows()]
    return Figure(
        name="interactions",
        title="Do the effects add up?",
        caption=f"Mean {_accuracy(judgement)} by two factors. Parallel lines: the effects add up. The table below "
        f"tests it.{note}",
        alt=f"Interactions in percent points: {'; '.join(parts)}.",
        table=cells,
        size=(min(9.0, 2.0 + 3.0 * len(pairs)), 3.4),
        paint=paint,
        layout=grid(1, len(pairs), sharey=True),
    )


def class_figure(judgement: Judgement, arms: list[str] | None = None) -> Figure | None:
    """Return the differences by class as a heat map; None with more than MAX_CLASSES classes."""
    classes = judgement.classes
    if classes.empty or classes["class"].nunique() > MAX_CLASSES:
        return None
    table = classes.pivot(index="arm", columns="class", values="delta")
    shown = [arm for arm in _shown(judgement, wanted=arms) if arm in table.index]
    if not shown:
        return None
    table = table.loc[shown, list(dict.fromkeys(classes["class"]))]
    largest = classes.loc[classes["delta"].abs().idxmax()]
    return Figure(
        name="classes",
        title="Effect by class",
        caption="Difference to the baseline in percent points, mean over shared seeds; blue is better. Exploratory: "
        "intervals are in the table and are not corrected for the number of classes."
        f"{about_accuracy(judgement.metric)}{selection_note(_hidden(classes, list(table.index)))}",
        alt=f"Largest difference of a class: {largest['arm']} on {largest['class']}, "
        f"{signed(largest['delta'], 1)} points.",
        table=classes,
        size=(8.5, 1.3 + 0.34 * len(table)),
        paint=lambda axes, color: draw_effects.draw_classes(table, ax=axes[0], color=color),
    )


def measure_figure(judgement: Judgement) -> Figure | None:
    """Return a small panel for each rollout measure; None with a single arm."""
    done, baseline = judgement.selection.done(), judgement.selection.baseline
    finished = set(done["arm"])
    arms, table = _shown(judgement, finished), done[["arm", "seed", *COLUMNS]]
    if len(arms) < 2:
        return None
    changes = judgement.measures[judgement.measures["arm"] != baseline]
    tested = int(changes["ci_low"].notna().sum())
    clear = int(((changes["ci_low"] > 0) | (changes["ci_high"] < 0)).sum())
    return Figure(
        name="measures",
        title="Rollout measures of every run",
        caption="A mark for each run, a bar at the arm's mean, the thin line at the baseline's. Each panel has a scale "
        "of its own." + selection_note(_hidden(table, arms)),
        alt=f"{clear} of {tested} differences to the baseline have a 95 % interval without zero, not adjusted for "
        "their number."
        if tested
        else "No difference to the baseline has an interval.",
        table=table,
        size=figure_inches(len(measured_names(table)), len(arms)),
        paint=lambda axes, color: draw_measures(axes, table, arms, baseline, color),
        layout=grid(*measure_grid(table), sharey=True),
    )


def _accuracy(judgement: Judgement) -> str:
    return "accuracy" if judgement.metric == DEFAULT_METRIC else metric_text(judgement.metric)


def _present(*figures: Figure | None) -> list[Figure]:
    return [figure for figure in figures if figure]


def _hidden(table: pd.DataFrame, arms: list[str]) -> int:
    """Count the arms of a figure's table that it does not show."""
    return len(set(table["arm"]) - set(arms))


def _shown(judgement: Judgement, among: set[str] | None = None, wanted: list[str] | None = None) -> list[str]:
    """Return the arms that a figure shows, of those in `among` (None: of all): the wanted ones, else the largest."""
    selection = judgement.selection
    arms = [arm for arm in selection.arms if among is None or arm in among]
    if wanted is not None:
        return [arm for arm in arms if arm in wanted]
    return arms_to_draw(arms, selection.baseline, judgement.effects)


def _styles(judgement: Judgement, color: dict[str, str]) -> dict[str, dict]:
    drawn = dict.fromkeys([*_shown(judgement), *judgement.selection.arms])
    return arm_styles(list(drawn), judgement.selection.baseline, color)


def _last_values(band: pd.DataFrame, metric: str) -> pd.Series:
    """Return arm -> mean of a metric at the last epoch of the longest run."""
    last = band[(band["metric"] == metric) & (band["epoch"] == band["epoch"].max())]
    return last.set_index("arm")["mean"]


def _effect(row: pd.Series) -> str:
    return f"{signed(row['delta'])} {interval(row['ci_low'], row['ci_high'])}".strip()
