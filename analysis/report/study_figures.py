"""The figures of a report, made from a Judgement; one that has nothing to show is left out."""

import itertools

import pandas as pd

from ..statistics.effects import display_scale, seed_values
from ..statistics.judgement import Judgement, pareto_front
from ..style import arm_styles
from ..text import interval, signed
from . import draw_effects
from .draw_curves import band_over_seeds, curve_figures
from .figures import Figure, at_most

COSTS = {
    "params": "trainable parameters",
    "flops_per_image": "FLOPs per image, forward",
    "time_seconds": "time per run, seconds",
}
MAX_CLASSES = 20


def effect_figures(judgement: Judgement) -> list[Figure]:
    """Forest, seed strip and cost."""
    return [f for f in (forest(judgement), strip(judgement), cost(judgement)) if f]


def training_figures(judgement: Judgement) -> list[Figure]:
    """Curves together and apart, and the generalisation gap."""
    curves = curve_figures(judgement.selection, judgement.effects)
    gaps = gap(judgement)
    return curves + ([gaps] if gaps else [])


def forest(judgement: Judgement) -> Figure | None:
    """Every arm's effect with its interval."""
    selection, effects = judgement.selection, judgement.effects
    names = [a for a in at_most(selection.arms, selection.baseline, effects) if a != selection.baseline]
    rows = effects[effects["arm"].isin(names) & effects["delta"].notna()]
    if rows.empty or display_scale(judgement.metric) != 100.0:
        return None
    # One pair shows nothing of new seeds, so its interval for new images would pass for what it is not.
    images = judgement.images
    images = images[images["pairs"] > 1] if len(images) else images
    wide = " The thin grey line is the interval for new test images as well as new seeds." if len(images) else ""
    exact = "its 95 % t interval; filled: significant after Holm"
    exact = "no interval, since one shared seed has none" if rows["pairs"].max() == 1 else exact
    parts = [
        f"{r['arm']} {signed(r['delta'])} {interval(r['ci_low'], r['ci_high'])}".strip() for _, r in rows.iterrows()
    ]
    keys = ["arm", "pairs", "delta", "ci_low", "ci_high", "verdict"]
    table = rows[keys].merge(images[["arm", "image_low", "image_high"]], on="arm", how="left") if wide else rows[keys]
    return Figure(
        name="effects",
        title="Effect of each arm on the test accuracy",
        caption=f"Mean difference to the baseline on shared seeds with {exact}. "
        f"Shaded: differences below {selection.rope:g} points, which do not matter here.{wide}",
        alt=f"Effects in percent points: {'; '.join(parts)}.",
        table=table,
        size=(8.5, 1.1 + 0.36 * len(rows)),
        draw=lambda canvas, colour: draw_effects.draw_forest(
            rows, images, ax=canvas.subplots(), colour=colour, rope=selection.rope
        ),
    )


def strip(judgement: Judgement) -> Figure | None:
    """Every run's accuracy."""
    selection = judgement.selection
    values = seed_values(selection, judgement.metric).dropna(axis="columns", how="all")
    if len(values) < 2 or display_scale(judgement.metric) != 100.0:
        return None
    values = values[[arm for arm in at_most(selection.arms, selection.baseline, judgement.effects) if arm in values]]
    spans = [f"{a} {values[a].min():.2f} to {values[a].max():.2f} %" for a in values]

    def draw(canvas, colour):
        styles = arm_styles(selection.arms, selection.baseline, colour)
        draw_effects.draw_strip(values, ax=canvas.subplots(), styles=styles, colour=colour)

    return Figure(
        name="seeds",
        title="Every run",
        caption="A mark for each run, lines join runs of the same seed, the bar is the arm's mean.",
        alt=f"Test accuracy of the runs: {'; '.join(spans)}.",
        table=values.reset_index().melt(id_vars="seed", var_name="arm", value_name="test accuracy").dropna(),
        size=(8.5, 1.1 + 0.36 * values.shape[1]),
        draw=draw,
    )


def cost(judgement: Judgement) -> Figure | None:
    """Accuracy against what it costs, a panel for each cost that differs between arms."""
    selection = judgement.selection
    rows = judgement.effects[
        judgement.effects["arm"].isin(at_most(selection.arms, selection.baseline, judgement.effects))
    ]
    panels = {c: pareto_front(rows, c) for c in COSTS}
    panels = {c: p for c, p in panels.items() if len(p) > 1 and p[c].max() > 1.02 * p[c].min() > 0}
    if not panels or display_scale(judgement.metric) != 100.0:
        return None
    fronts = [f"by {COSTS[c]} {', '.join(p.loc[p['front'], 'arm'])}" for c, p in panels.items()]

    def draw(canvas, colour):
        styles = arm_styles(selection.arms, selection.baseline, colour)
        axes = canvas.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (name, points) in zip(axes, panels.items(), strict=True):
            draw_effects.draw_cost(points, ax=ax, styles=styles, colour=colour, cost=name, label=COSTS[name])
        for ax in axes[1:]:
            ax.set_ylabel("")
        handles, labels = axes[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower left", ncols=min(4, len(labels)))

    return Figure(
        name="cost",
        title="Accuracy against cost",
        caption="Mean of the seeds with its 95 % t interval; the line joins the arms that no arm beats at equal or "
        "lower cost. Times depend on the machine.",
        alt=f"No arm is both cheaper and better than: {'; '.join(fronts)}.",
        table=pd.concat([p.rename(columns={c: "cost"}).assign(kind=COSTS[c]) for c, p in panels.items()]),
        size=(9, 3.6 + 0.2 * (len(rows) // 4)),
        draw=draw,
    )


def gap(judgement: Judgement) -> Figure | None:
    """Training minus validation accuracy, and validation minus training loss, by epoch."""
    selection = judgement.selection
    history = selection.done_history().copy()
    history["gap/accuracy"] = history["train/accuracy"] - history["val/accuracy"]
    history["gap/loss"] = history["val/loss"] - history["train/loss"]
    band = band_over_seeds(history, ("gap/accuracy", "gap/loss"))
    if band.empty:
        return None
    known = set(band["arm"].unique())
    arms = at_most([a for a in selection.arms if a in known], selection.baseline, judgement.effects)
    last = band[(band["metric"] == "gap/accuracy") & (band["epoch"] == band["epoch"].max())].set_index("arm")["mean"]

    def draw(canvas, colour):
        styles = arm_styles(selection.arms, selection.baseline, colour)
        axes = canvas.subplots(1, 2)
        titles = {"gap/accuracy": "training - validation accuracy, points", "gap/loss": "validation - training loss"}
        for ax, (metric, title) in zip(axes, titles.items(), strict=True):
            draw_effects.draw_gap(band[band["metric"] == metric], arms, ax=ax, styles=styles)
            ax.axhline(0, color=colour["soft"], linewidth=1)
            ax.set_title(title)
        handles, labels = axes[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower left", ncols=min(4, len(labels)))

    shown = ", ".join(f"{a} {signed(last[a], 1)} points" for a in arms if a in last)
    return Figure(
        name="gap",
        title="Generalisation gap",
        caption="Above zero the model does better on images it was trained on. Training values are running averages "
        "with dropout and augmentation on, which lowers the gap.",
        alt=f"Training minus validation accuracy at the last epoch: {shown}.",
        table=band,
        size=(9, 3.6 + 0.2 * (len(arms) // 4)),
        draw=draw,
    )


def factor_figures(judgement: Judgement) -> list[Figure]:
    """Main effects, and the interaction of each pair of factors that is crossed."""
    found = judgement.factorial
    if found is None or display_scale(judgement.metric) != 100.0:
        return []
    return [f for f in (_main_effects(judgement), _interactions(judgement)) if f]


def _main_effects(judgement: Judgement) -> Figure | None:
    main, selection = judgement.factorial.main, judgement.selection
    factors = list(dict.fromkeys(main["factor"]))[:6]
    if not factors:
        return None
    usual = selection.levels[selection.baseline]

    def draw(canvas, colour):
        axes = canvas.subplots(1, len(factors), sharey=True, squeeze=False)[0]
        for ax, factor in zip(axes, factors, strict=True):
            draw_effects.draw_main(main, factor, usual[factor], ax=ax, colour=colour)
        axes[0].set_ylabel("effect, percent points")

    parts = [f"{r['factor']}={r['level']} {signed(r['effect'])}" for _, r in main.iterrows()]
    return Figure(
        name="main-effects",
        title="Main effects of the factors",
        caption="Each level against the baseline's level (at zero), averaged over the other factors as the design has "
        "them, with 95 % t intervals over seeds.",
        alt=f"Main effects in percent points: {'; '.join(parts)}.",
        table=main,
        size=(min(9.0, 2.6 + 2.2 * len(factors)), 3.2),
        draw=draw,
    )


def _interactions(judgement: Judgement) -> Figure | None:
    cells = judgement.factorial.cells
    crossed = list(dict.fromkeys(judgement.factorial.interactions["factors"]))[:4]
    pairs = [p for p in itertools.combinations(cells.columns[:-2], 2) if f"{p[0]} x {p[1]}" in crossed]
    if not pairs:
        return None

    def draw(canvas, colour):
        axes = canvas.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
        for ax, (one, other) in zip(axes, pairs, strict=True):
            draw_effects.draw_interaction(cells, one, other, ax=ax, colour=colour)
        axes[0].set_ylabel("test accuracy, %")

    rows = judgement.factorial.interactions
    parts = [f"{r['factors']} at {r['levels']} {signed(r['effect'])}" for _, r in rows.head(6).iterrows()]
    return Figure(
        name="interactions",
        title="Do the effects add up?",
        caption="Mean accuracy by two factors. Parallel lines: the effects add up. The table below tests it.",
        alt=f"Interactions in percent points: {'; '.join(parts)}.",
        table=cells,
        size=(min(9.0, 2.0 + 3.0 * len(pairs)), 3.4),
        draw=draw,
    )


def class_figure(judgement: Judgement) -> Figure | None:
    """Differences by class as a heat map."""
    if judgement.classes.empty or judgement.classes["class"].nunique() > MAX_CLASSES:
        return None
    selection = judgement.selection
    table = judgement.classes.pivot(index="arm", columns="class", values="delta")
    order = [a for a in at_most(selection.arms, selection.baseline, judgement.effects) if a in table.index]
    table = table.loc[order, list(dict.fromkeys(judgement.classes["class"]))]
    worst = judgement.classes.loc[judgement.classes["delta"].abs().idxmax()]
    return Figure(
        name="classes",
        title="Effect by class",
        caption="Difference to the baseline in percent points, mean over shared seeds; blue is better. Exploratory: "
        "intervals are in the table and are not corrected for the number of classes.",
        alt=f"Largest difference of a class: {worst['arm']} on {worst['class']}, {signed(worst['delta'], 1)} points.",
        table=judgement.classes,
        size=(8.5, 1.3 + 0.34 * len(table)),
        draw=lambda canvas, colour: draw_effects.draw_classes(table, ax=canvas.subplots(), colour=colour),
    )
