"""From a Judgement to the sections of a report: text first, then claims, tables, figures, gallery, methods, runs."""

import math
from dataclasses import dataclass

from ..statistics.curves import RULE
from ..statistics.judgement import Judgement
from ..text import decimals
from . import study_figures, study_tables
from .figures import Figure
from .findings import findings, placebo_sentences, seeds_sentence
from .health import health_items, methods_items
from .measure_items import measure_figure, measure_table, measure_words
from .page import Bullets, FigureItem, Section, TableItem, Text
from .tables import Table

MEASURED = (
    "Rollout measures: of the weights with the lowest validation loss, heads averaged, alpha 0.5, means over the same "
    "test images for every run; definitions and sources in docs/rollout.md. Agreement between seeds has no interval, "
    "since each of its values uses all seeds."
)
EXPLORATORY = (
    "Everything else is exploratory. So is the verdict on an arm, unless a claim compares just that arm with the "
    "baseline in test accuracy at the last epoch."
)
CLAIM_VERDICTS = (
    "Verdict of a claim: supported or contradicted if Holm p < 0.05, by the sign of the difference; not supported if "
    "two one-sided t tests place every comparison within the ROPE; else undecided. Single: one shared seed, so no "
    "test; missing: no shared seed, or no such arm; not testable: the study file says so, or the claim cannot be read."
)


@dataclass(kw_only=True)
class Parts:
    """Everything of a report but its gallery: sections whose figures are not drawn yet, and the tables among them."""

    sections: list[Section]
    tables: list[Table]
    figures: list[Figure]


def make_parts(judgement: Judgement, sort: str, gallery: list) -> Parts:
    """The sections in their order; those with nothing to say are left out."""
    runs = study_tables.run_numbers(judgement.selection)
    sections = [
        Section(id="findings", title="Findings", items=[Bullets(lines=findings(judgement))]),
        Section(id="claims", title="Claims", items=_claims(judgement, runs)),
        Section(id="comparison", title="Comparison", items=_comparison(judgement, runs, sort)),
        Section(id="factors", title="Factors", items=_factors(judgement, runs)),
        Section(id="training", title="Training", items=_training(judgement, runs)),
        Section(id="images", title="Test images and classes", items=_images(judgement, runs)),
        Section(id="gallery", title="Where the models look", items=[*gallery, *_measures(judgement, runs)]),
        Section(id="health", title="Health", items=health_items(judgement.selection, judgement.problems)),
        Section(id="methods", title="Methods", items=_methods(judgement)),
        Section(id="runs", title="Runs", items=[TableItem(table=study_tables.run_table(judgement.selection))]),
    ]
    items = [item for section in sections for item in section.items]
    return Parts(
        sections=[section for section in sections if section.items],
        tables=[item.table for item in items if item.kind == "table"],
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
    items.append(Text(text=EXPLORATORY))
    return items


def _comparison(judgement: Judgement, runs: dict[str, str], sort: str) -> list:
    table = TableItem(table=study_tables.arm_table(judgement, runs, sort))
    figures = [_drawn(f) for f in study_figures.effect_figures(judgement)]
    lines = placebo_sentences(judgement)
    return [table, *([Bullets(lines=lines)] if lines else []), *figures]


def _factors(judgement: Judgement, runs: dict[str, str]) -> list:
    found = judgement.factorial
    if found is None:
        return []
    items: list = [_drawn(f) for f in study_figures.factor_figures(judgement)]
    tables = [study_tables.main_table(judgement)] if len(found.main) else []
    tables += [study_tables.interaction_table(judgement)] if len(found.interactions) else []
    used = _joined(runs, [arm for arm in judgement.selection.arms if judgement.selection.roles[arm] != "placebo"])
    for table in tables:
        table.notes.append(f"From runs {used}.")
    items += [TableItem(table=table) for table in tables]
    return items + ([Bullets(lines=found.notes)] if found.notes else [])


def _training(judgement: Judgement, runs: dict[str, str]) -> list:
    items: list = [_drawn(f) for f in study_figures.training_figures(judgement)]
    for frame, make in (
        (judgement.saturation, lambda: study_tables.saturation_table(judgement, RULE)),
        (judgement.best, lambda: study_tables.best_table(judgement)),
    ):
        if len(frame):
            table = make()
            table.runs = [runs[arm] for arm in frame["arm"]]
            items.append(TableItem(table=table))
    return items or [Text(text="No run has finished.")]


def _images(judgement: Judgement, runs: dict[str, str]) -> list:
    if judgement.images.empty:
        return []
    base = judgement.selection.baseline
    figure = study_figures.class_figure(judgement)
    tables = [study_tables.image_table(judgement)]
    for table in tables:
        table.runs = [_joined(runs, [base, arm]) for arm in table.frame["arm"]]
    return [TableItem(table=t) for t in tables] + ([_drawn(figure)] if figure else [])


def _measures(judgement: Judgement, runs: dict[str, str]) -> list:
    if judgement.measures.empty:
        return []
    figure = measure_figure(judgement)
    items: list = [_drawn(figure)] if figure else []
    return [*items, TableItem(table=measure_table(judgement, runs)), measure_words(judgement)]


def _methods(judgement: Judgement) -> list:
    items = methods_items(judgement.selection, judgement.metric)
    lines = [
        seeds_sentence(judgement),
        "Estimand: the difference of mean accuracy on this test set, at these hyper-parameters, over the random "
        "streams of initialisation, data order, augmentation and dropout, for this one set of training and validation "
        "images. It says nothing about other hyper-parameters, nor about other training images.",
        "Interval: 95 % paired t interval over shared seeds, not adjusted for the number of arms. p: paired t test; "
        f"Holm p: {_families(judgement)}; "
        "sign-flip p: every pattern of signs up to 16 seeds.",
        "Verdict: helps or hurts (of a rollout measure: differs) if Holm p < 0.05; else equivalent if two one-sided t "
        f"tests (5 %, Holm over the same family) place it within {judgement.selection.rope:g} points; else undecided, "
        "which is not a finding of no effect.",
        "Seeds to decide: the fewest in all that reach 80 % power in a fresh study if the observed difference and "
        "spread were the true ones; a rough guide at few seeds. To add seeds here until something is found finds too "
        "much.",
        "Intervals for new test images: seeds and images resampled together, with one shared seed the images alone; "
        "coverage from three seeds up in docs/calibration.",
    ]
    lines += [CLAIM_VERDICTS] if len(judgement.claims) else []
    lines += [MEASURED] if len(judgement.measures) else []
    power = judgement.power
    if power and not math.isinf(power.effect):
        claimed = f"{decimals(power.claims_effect)} among {power.claims} claims, " if power.claims else ""
        lines.append(
            f"Minimum detectable effect: {claimed}{decimals(power.effect)} among {power.arms} arms (80 % power, 0.05 "
            f"over that number, {power.seeds} seeds: the fewest pairs of any arm; standard deviation of the paired "
            f"differences {decimals(power.sd)}, pooled over arms)."
        )
    return [*items, Bullets(lines=lines)] if len(judgement.effects) else items


def _families(judgement: Judgement) -> str:
    arms = "over all arms of the plan, finished or not"
    if not (judgement.effects["family"] == "claims").any():
        return f"adjusted {arms}"
    return f"of arms that a claim is about adjusted over the claims; of all others (exploratory) {arms}"


def _drawn(figure: Figure) -> FigureItem:
    return FigureItem(figure=figure, svg="")


def _joined(runs: dict[str, str], arms: list[str]) -> str:
    return ", ".join(runs[arm] for arm in dict.fromkeys(arms) if runs.get(arm))
