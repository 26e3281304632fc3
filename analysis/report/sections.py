"""The sections of a report, made from a Judgement: which text, tables and figures stand where."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from vitsweep.significance.sequential import FUTILE
from vitsweep.study.published import scale_sentence

from ..attention.measures import COLUMNS, DESCRIPTIONS
from ..records.selection import DEFAULT_METRIC
from ..statistics.effects import display_scale, metric_text
from ..statistics.judgement import Judgement, is_main_first
from ..statistics.published import published_effects, published_sentences
from ..statistics.sequential import look_lines
from ..text import DASH, decimals, integer, signed, text_or_dash
from ..units import table_units
from . import study_figures, study_tables
from .factors.figures import factor_figures
from .factors.tables import interaction_table, main_table
from .figures import Figure
from .findings import findings, placebo_sentences
from .health import health_items, methods_items
from .measures.table import measure_table, measure_text
from .overview.verdicts import verdicts
from .page import Bullets, FigureItem, Pair, Section, TableItem, Text
from .tables import Column, Table, use_short_names
from .tuning.section import tuning_items

EXPLORATORY = (
    "Everything else is exploratory. So is the verdict on an arm, unless a claim compares just that arm with the "
    "baseline in {} at the last epoch."
)
EXPLORATORY_EFFECTS = (
    "Everything else is exploratory. So is the verdict on a main effect, an interaction or an arm, unless a claim is "
    "about just that, in {} at the last epoch."
)


HINTS = {
    "comparison": "every run, accuracy against cost, published values",
    "factors": "main effects and interactions",
    "tuning": "arms at their own settings",
    "training": "curves, generalisation gap, saturation, best epoch",
    "images": "other test images, images that change, effect by class",
    "gallery": "attention rollout and its measures",
    "health": "what could make the numbers wrong",
    "methods": "how the numbers were made",
    "runs": "every run with its numbers",
}
"""Id of a section that the reader unfolds -> its contents."""


@dataclass(kw_only=True)
class Parts:
    """Sections of a report, with the tables and the undrawn figures among their items."""

    sections: list[Section]
    tables: list[Table]
    figures: list[Figure]


def make_parts(judgement: Judgement, sort: str, gallery: list) -> Parts:
    """Return the sections in their order, without those that are empty.

    Args:
        sort: order of the comparison table: planned or effect.
        gallery: items of the rollout gallery.
    """
    runs = study_tables.run_numbers(judgement.selection)
    compared, factors = _comparison(judgement, runs, sort), _factors(judgement, runs)
    # The study's questions stand first, beside their figure.
    first = (factors if is_main_first(judgement) and factors else compared).pop(0)
    sections_of_arms = [
        Section(id="comparison", title="Comparison", items=compared + _effects(judgement, runs)),
        Section(id="factors", title="Factors", items=factors),
    ]
    sections = [
        Section(id="verdicts", title="Verdicts", items=[*_present(verdicts(judgement)), first]),
        Section(id="findings", title="Findings", items=[Bullets(lines=findings(judgement))]),
        Section(id="claims", title="Claims", items=_claims(judgement, runs)),
        Section(id="looks", title="Looks", items=_looks(judgement)),
        *(sections_of_arms[::-1] if is_main_first(judgement) else sections_of_arms),
        Section(id="tuning", title="Tuning", items=tuning_items(judgement)),
        Section(id="training", title="Training", items=_training(judgement, runs)),
        Section(id="images", title="Test images and classes", items=_images(judgement, runs)),
        Section(id="gallery", title="Where the models look", items=[*gallery, *_measures(judgement, runs)]),
        Section(id="health", title="Health", items=health_items(judgement)),
        Section(id="methods", title="Methods", items=methods_items(judgement)),
        Section(id="runs", title="Runs", items=[TableItem(table=study_tables.run_table(judgement.selection))]),
    ]
    for section in sections:
        section.hint = HINTS.get(section.id, "")
    items = [item for section in sections for item in section.parts]
    tables = [item.table for item in items if item.kind == "table"]
    for table in tables:
        table.units = table.units or table_units(table.name, display_scale(judgement.metric) == 100.0)
        use_short_names(table, judgement.selection.arms)
    return Parts(
        sections=[section for section in sections if section.items],
        tables=tables,
        figures=[item.figure for item in items if item.kind == "figure"],
    )


def _claims(judgement: Judgement, runs: dict[str, str]) -> list:
    if judgement.claims.empty:
        return []
    table = study_tables.claim_table(judgement)
    table.runs = [_joined(runs, arms.split()) for arms in judgement.claims["arms"]]
    items: list = [TableItem(table=table)]
    if judgement.claims["changed_after_start"].any():
        items.append(Text(text="Claims marked as changed were not what they are now when the first cell started."))
    rest = EXPLORATORY_EFFECTS if is_main_first(judgement) else EXPLORATORY
    return [*items, Text(text=rest.format(metric_text(judgement.metric)))]


def _looks(judgement: Judgement) -> list:
    sequence = judgement.selection.sequence
    if sequence is None or not sequence.reached:
        return []
    return [TableItem(table=look_table(judgement)), Bullets(lines=[f"{x}." for x in look_lines(sequence)])]


def look_table(judgement: Judgement) -> Table:
    """Return the questions of a study with looks: when and why each was stopped."""
    rows = [(q.name, " ".join(q.arms), q.state, q.seeds) for q in judgement.selection.sequence.questions]
    columns = [
        Column("question", lambda r: r["question"], "question", numeric=False, keep=True, wrap=True),
        Column("arms", lambda r: r["arms"], "arms", numeric=False, wrap=True),
        Column("state", lambda r: r["state"], "state", numeric=False, keep=True),
        Column("at seeds", lambda r: integer(r["seeds"]), "seeds", keep=True),
    ]
    caption = (
        "What seeds were spent on. decided, equivalent: shown at that look; futile: the chance to be shown by the last "
        f"look was below {100 * FUTILE:.0f} % (not binding: with more seeds the verdict holds too); budget: the next "
        "look would have exceeded sweep.budget_runs; no result: no pair of runs finished."
    )
    frame = pd.DataFrame(rows, columns=["question", "arms", "state", "seeds"])
    return Table(name="looks", title="Looks", caption=caption, frame=frame, columns=columns)


def _comparison(judgement: Judgement, runs: dict[str, str], sort: str) -> list:
    """Return the comparison table beside the forest plot, and what the placebo says of chance."""
    table = TableItem(table=study_tables.arm_table(judgement, runs, sort))
    lines = placebo_sentences(judgement)
    return [_beside(table, study_figures.forest(judgement)), *([Bullets(lines=lines)] if lines else [])]


def _beside(table: TableItem, figure: Figure | None) -> TableItem | Pair:
    return Pair(table=table, figure=FigureItem(figure=figure)) if figure else table


def _effects(judgement: Judgement, runs: dict[str, str]) -> list:
    return [*_figures(study_figures.run_figures(judgement)), *_published(judgement, runs)]


def _published(judgement: Judgement, runs: dict[str, str]) -> list:
    """Return the table of published values beside our own, if at least two arms have one."""
    selection, metric = judgement.selection, judgement.metric
    frame = published_effects(judgement.effects, selection) if metric == DEFAULT_METRIC else pd.DataFrame()
    if frame.empty:
        return []
    columns = [
        study_tables.arm_column(),
        Column("published, %", lambda r: decimals(r["published_value"]), "published_value", keep=True),
        Column("published runs", lambda r: text_or_dash(r["published_n"]), "published_n", numeric=False),
        Column("here, %", lambda r: study_tables.mean_and_sd(r, 2), "mean", keep=True),
        Column("seeds", lambda r: integer(r["n"]), "n"),
        Column("published effect", lambda r: signed(r["published_effect"], 2) or DASH, "published_effect", keep=True),
        study_tables.estimate_column("effect here [95 % interval]", "delta"),
        Column("published sign", lambda r: text_or_dash(r["holds"]), "holds", numeric=False, keep=True),
        Column("source", lambda r: text_or_dash(r["source"]), "source", numeric=False, wrap=True),
    ]
    scale = scale_sentence(selection.scale)
    caption = (
        "Published values beside this study's own. A published sign holds if the effect here has it and is significant "
        "after the family's correction."
        + (f" This is {scale}; published values are of the whole study." if scale else "")
    )
    table = Table(name="published", title="Published values", caption=caption, frame=frame, columns=columns)
    table.runs = [runs.get(arm, "") for arm in frame["arm"]]
    return [TableItem(table=table), *(Text(text=line) for line in published_sentences(frame, scale))]


def _factors(judgement: Judgement, runs: dict[str, str]) -> list:
    found, selection = judgement.factorial, judgement.selection
    if found is None:
        return []
    tables = [main_table(judgement)] if len(found.main) else []
    tables += [interaction_table(judgement)] if len(found.interactions) else []
    used = _joined(runs, [arm for arm in selection.arms if selection.roles[arm] != "placebo"])
    for table in tables:
        table.notes.append(f"From runs {used}.")
    main, *figures = factor_figures(judgement)
    items: list = [TableItem(table=table) for table in tables]
    if len(found.main):
        items[0] = _beside(items[0], main)
        main = None
    items += _figures([main, *figures])
    return items + ([Bullets(lines=found.notes)] if found.notes else [])


def _training(judgement: Judgement, runs: dict[str, str]) -> list:
    tables = [study_tables.saturation_table(judgement)] if len(judgement.saturation) else []
    tables += [study_tables.best_table(judgement)] if len(judgement.best) else []
    for table in tables:
        table.runs = [runs[arm] for arm in table.frame["arm"]]
    items = _figures(study_figures.training_figures(judgement)) + [TableItem(table=table) for table in tables]
    return items or [Text(text="No run has finished.")]


def _images(judgement: Judgement, runs: dict[str, str]) -> list:
    if judgement.images.empty:
        return []
    table = study_tables.image_table(judgement)
    table.runs = [_joined(runs, [judgement.selection.baseline, arm]) for arm in table.frame["arm"]]
    return [TableItem(table=table), *_figures([study_figures.class_figure(judgement)])]


def _measures(judgement: Judgement, runs: dict[str, str]) -> list:
    if judgement.measures.empty:
        return []
    shown = [name for name in COLUMNS if name in set(judgement.measures["measure"])]
    lines = [f"{measure_text(name)}: {DESCRIPTIONS[name.removeprefix('rollout/')]}." for name in shown]
    table = TableItem(table=measure_table(judgement, runs))
    return [*_figures([study_figures.measure_figure(judgement)]), table, Bullets(lines=lines)]


def _present(item: object) -> list:
    return [item] if item is not None else []


def _figures(figures: Sequence[Figure | None]) -> list:
    return [FigureItem(figure=figure) for figure in figures if figure]


def _joined(runs: dict[str, str], arms: list[str]) -> str:
    return ", ".join(runs[arm] for arm in dict.fromkeys(arms) if runs.get(arm))
