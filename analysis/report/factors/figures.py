"""Figures of main effects and interactions."""

import itertools

from ...statistics.effects import display_scale, metric_text
from ...statistics.judgement import Judgement
from ...text import signed
from .. import draw_effects
from ..figures import Figure, grid
from ..study_tables import accuracy_name, on_metric

MAX_FACTORS, MAX_PAIRS = 6, 4


def factor_figures(judgement: Judgement) -> list[Figure | None]:
    """Return main effects, and the interaction of each pair of factors that is crossed."""
    if judgement.factorial is None or display_scale(judgement.metric) != 100.0:
        return [None, None]
    return [main_effects(judgement), interactions(judgement)]


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
        caption=f"Mean {accuracy_name(judgement.metric)} by two factors. Parallel lines: the effects add up. "
        f"The table tests it.{note}",
        alt=f"Interactions in percent points: {'; '.join(parts)}.",
        table=cells,
        size=(min(9.0, 2.0 + 3.0 * len(pairs)), 3.4),
        paint=paint,
        layout=grid(1, len(pairs), sharey=True),
    )
