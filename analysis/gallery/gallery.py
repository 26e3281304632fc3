"""The rollout gallery: panels for the report, and `python -m analysis gallery` for everything beyond them.

Importing this file imports neither torch nor a model; that happens when pictures are really made.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from vitsweep.errors import UserError
from vitsweep.study.record import read_record

from ..attention.columns import cell_measures, faithfulness
from ..attention.faithful import MISSING
from ..attention.looks import (
    ModelView,
    Views,
    ViewSettings,
    collect_views,
    first_line,
    merge_notes,
    try_or_note,
    views_over_training,
)
from .panels import (
    Panel,
    difference_panel,
    faithful_panel,
    heads_panel,
    layers_panel,
    measures_panel,
    pairs_panel,
    sheet_panel,
    training_panel,
)

VIEWS = ("sheet", "pairs", "difference", "layers", "heads", "training", "measures", "faithful")
PICTURES = {"sheet", "pairs", "difference", "layers", "heads", "training"}
VARIANT_NAMES = ("calibrated", "last", "max", "min", "relevance", "rollout", "topk")
NO_GALLERY = "No rollout gallery: {}."
MOST_ARMS, MOST_CELLS = 24, 120
"""Shown in the report; beyond them it would take minutes. The command line knows no such limit."""
MEASURED_IMAGES, JUDGED_IMAGES = 250, 64
"""Test images of the measures (view and report) and of the view `faithful`, spread over the classes, unless --count
says otherwise."""


@dataclass(kw_only=True)
class Gallery:
    """What the report shows of the rollouts."""

    panels: list[Panel] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """A sentence for each thing that could not be shown."""


def report_panels(cells: pd.DataFrame, report_dir: Path) -> Gallery:
    """The report's panels: all arms on seven images, differences over seeds, the baseline block by block.

    Args:
        cells: one row a cell with at least directory, arm, role, seed, status.
        report_dir: the PNGs go to its `figures` folder.
    """
    gallery, settings = Gallery(), ViewSettings()
    figures = Path(report_dir) / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    try:
        cells = limited(in_order(cells), gallery.notes)
        views = collect_views(cells, settings)
    except (UserError, OSError) as fault:
        gallery.notes.append(NO_GALLERY.format(first_line(fault)))
        return gallery
    gallery.notes += views.notes
    one_each = first_seeds(views)
    gallery.panels.append(sheet_panel(one_each, settings, figures, scores_of(cells)))
    changed = difference_panel(views, views.arms[0], settings, figures)
    gallery.panels += [changed] if changed else []
    film = try_or_note(
        lambda: film_panel(views, one_each.model_views[0], settings, figures), "the blocks", gallery.notes
    )
    gallery.panels += [film] if film else []
    gallery.notes = merge_notes(gallery.notes)
    return gallery


def report_measures(cells: pd.DataFrame) -> tuple[pd.DataFrame | None, list[str]]:
    """The rollout measures by `cell` of the cells that the report shows; None if there are none; and notes.

    Args:
        cells: as for report_panels, with `cell`.
    """
    notes: list[str] = []
    try:
        cells = limited(in_order(cells), notes)
        frame, more = cell_measures(cells, ViewSettings(), MEASURED_IMAGES)
        if frame.empty:
            raise UserError(" ".join(merge_notes(more)))
    except (UserError, OSError) as fault:
        return None, [*notes, NO_GALLERY.format(first_line(fault))]
    return frame.merge(cells[["directory", "cell"]], on="directory"), merge_notes(notes + more)


def in_order(cells: pd.DataFrame) -> pd.DataFrame:
    """The baseline's cells first, then arm by arm as they come, seeds ascending."""
    rank = {arm: place for place, arm in enumerate(dict.fromkeys(cells["arm"]))}
    keys = cells.assign(_later=cells["role"] != "baseline", _rank=cells["arm"].map(rank))
    return cells.loc[keys.sort_values(["_later", "_rank", "seed"], kind="stable").index]


def limited(cells: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """No more arms and cells than a report should wait for, and a note of what was left out."""
    arms = list(dict.fromkeys(cells["arm"]))
    if len(arms) > MOST_ARMS:
        notes.append(f"{len(arms) - MOST_ARMS} of {len(arms)} arms are left out; see python -m analysis gallery.")
        cells = cells[cells["arm"].isin(arms[:MOST_ARMS])]
    seeds_an_arm = max(1, MOST_CELLS // max(1, cells["arm"].nunique()))
    place = cells.groupby("arm", sort=False).cumcount()
    if (place >= seeds_an_arm).any():
        notes.append(f"The first {seeds_an_arm} seeds of each arm are shown; see python -m analysis gallery.")
    return cells[place < seeds_an_arm]


def first_seeds(views: Views) -> Views:
    """Each arm's view with the lowest seed that the first arm has too, else with its lowest."""
    wanted = [view.seed for view in views.of(views.arms[0])]
    model_views = []
    for arm in views.arms:
        of_arm = views.of(arm)
        model_views.append(next((s for s in of_arm if s.seed in wanted), of_arm[0]))
    return only(views, model_views)


def only(views: Views, model_views: list[ModelView]) -> Views:
    """The same images with some of the model_views."""
    return Views(**(vars(views) | {"model_views": model_views}))


def scores_of(cells: pd.DataFrame, which: str = "best") -> dict[str, str]:
    """Cell directory -> its test accuracy in words, where the frame has it."""
    column = f"{'best' if which == 'best' else 'final'}/test/accuracy"
    if column not in cells:
        return {}
    rows = cells.dropna(subset=[column])
    return {str(row["directory"]): f"accuracy {100 * row[column]:.1f} %" for row in rows.to_dict("records")}


def film_panel(views: Views, view: ModelView, settings: ViewSettings, folder: Path) -> Panel:
    """The block-by-block panel of one cell.

    Raises:
        UserError: its checkpoint is not there.
    """
    from ..attention import maps

    film = reading(views, view, settings, lambda seen: {"film": maps.layer_rows(seen, alpha=settings.alpha)})
    return layers_panel(views, view, film["film"], settings, folder, f"rollout-layers{suffix(view)}")


def reading(views: Views, view: ModelView, settings: ViewSettings, use) -> dict:
    """What `use` makes of one cell's forward pass over the chosen images."""
    from vitsweep.train.checkpoint import load_model

    from ..attention import maps

    model = load_model(view.directory, settings.which)
    return maps.run_passes(model, views.image_NCHW, read_record(Path(view.directory)).normalisation, use)


def suffix(view: ModelView) -> str:
    """Part of a file name that tells which cell."""
    safe = "".join(c if c.isalnum() or c in "=+.-" else "_" for c in view.arm)
    return f"-{safe}-seed{view.seed}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m analysis gallery`."""
    parser.add_argument("directory", nargs="+", help="a sweep's or a cell's directory")
    parser.add_argument("--images", default="7", help="a number, ids=3,17, class=cat:16, disagree:16 or wrong:16")
    parser.add_argument("--arms", nargs="+", help="arms to show, the one to compare with first (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, help="seeds to show (default: all)")
    parser.add_argument("--view", nargs="+", choices=VIEWS, default=["sheet", "pairs", "difference", "layers"])
    parser.add_argument("--variant", choices=VARIANT_NAMES, default="rollout", help="kind of map")
    parser.add_argument("--alpha", type=float, default=0.5, help="weight of the residual path, 0 to 1")
    parser.add_argument(
        "--count", type=int, help=f"test images that measures ({MEASURED_IMAGES}) and faithful ({JUDGED_IMAGES}) use"
    )
    parser.add_argument(
        "--missing", nargs="+", choices=MISSING, default=["drop"], help="how faithful takes patches away"
    )
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint")
    parser.add_argument("--out", help="folder to write (default: gallery in the first directory)")


def main(given: argparse.Namespace) -> int:
    """Draw what was asked for, print each file and each note; 1 if there is no picture at all.

    Raises:
        UserError: nothing can be shown.
    """
    from ..records.load import load

    folder = Path(given.out) if given.out else Path(given.directory[0]) / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    cells = wanted(in_order(load(*given.directory).cells), given.arms, given.seeds)
    settings = ViewSettings(images=given.images, variant=given.variant, alpha=given.alpha, which=given.which)
    gallery = draw(cells, settings, given.view, folder)
    add_numbers(gallery, cells, settings, given, folder)
    for panel in gallery.panels:
        panel.path.with_suffix(".txt").write_text(f"{panel.caption}\n\n{panel.alt}\n", encoding="utf-8")
        panel.table.to_csv(panel.path.with_suffix(".csv"), index=False, float_format="%.6g")
        print(panel.path)
    for note in merge_notes(gallery.notes):
        print(note)
    return 0 if gallery.panels else 1


def wanted(cells: pd.DataFrame, arms: Sequence[str] | None, seeds: Sequence[int] | None) -> pd.DataFrame:
    """The asked-for arms in the asked-for order, and seeds.

    Raises:
        UserError: an arm that is not there.
    """
    if arms:
        missing = [arm for arm in arms if arm not in set(cells["arm"])]
        if missing:
            known = ", ".join(dict.fromkeys(cells["arm"]))
            raise UserError(f"--arms {' '.join(missing)}  is not there; allowed: {known}")
        cells = pd.concat([cells[cells["arm"] == arm] for arm in arms])
    return cells[cells["seed"].isin(seeds)] if seeds else cells


def add_numbers(
    gallery: Gallery, cells: pd.DataFrame, settings: ViewSettings, given: argparse.Namespace, folder: Path
) -> None:
    """The views that need many images, if asked for."""
    if "measures" in given.view:
        frame, notes = cell_measures(cells, settings, given.count or MEASURED_IMAGES)
        gallery.notes += notes
        gallery.panels += [measures_panel(frame, frame["arm"].iloc[0], settings, folder)] if len(frame) else []
    if "faithful" in given.view:
        frame, notes = faithfulness(cells, settings, given.count or JUDGED_IMAGES, given.missing)
        gallery.notes += notes
        gallery.panels += [faithful_panel(frame, settings, folder)] if len(frame) else []


def draw(cells: pd.DataFrame, settings: ViewSettings, kinds: Sequence[str], folder: Path) -> Gallery:
    """All asked-for views of the chosen images."""
    if not PICTURES & set(kinds):
        return Gallery()
    views = collect_views(cells, settings)
    gallery = Gallery(notes=views.notes)
    one_each = first_seeds(views)
    scores = scores_of(cells, settings.which)
    if "sheet" in kinds:
        gallery.panels.append(sheet_panel(views, settings, folder, scores))
    if "pairs" in kinds:
        names = [f"rollout-pairs{suffix(view)}" for view in one_each.model_views]
        gallery.panels += [
            pairs_panel(views, s, settings, folder, n) for s, n in zip(one_each.model_views, names, strict=True)
        ]
    if "difference" in kinds:
        changed = difference_panel(views, views.arms[0], settings, folder)
        gallery.panels += [changed] if changed else []
    for view in one_each.model_views:
        if "layers" in kinds:
            gallery.panels.append(film_panel(views, view, settings, folder))
        if "heads" in kinds:
            gallery.panels += head_panels(views, view, settings, folder)
        if "training" in kinds:
            gallery.panels += training_panels(views, view, settings, folder, gallery.notes)
    return gallery


def training_panels(
    views: Views, view: ModelView, settings: ViewSettings, folder: Path, notes: list[str]
) -> list[Panel]:
    """One cell over its kept epochs: one panel, or a note that none were kept."""
    record = read_record(Path(view.directory))
    tell = f"{view.arm}, seed {view.seed}, over training"
    row = {"arm": view.arm, "role": view.role, "seed": view.seed, "directory": view.directory}
    found = try_or_note(lambda: views_over_training(row, record, views, settings), tell, notes)
    if not found:
        notes += (
            [f"No rollout of {tell}: its epochs were not kept; see checkpoint_every_epochs."] if found == [] else []
        )
        return []
    return [training_panel(only(views, found), settings, folder, f"rollout-training{suffix(view)}")]


def head_panels(views: Views, view: ModelView, settings: ViewSettings, folder: Path) -> list[Panel]:
    """Every head of one cell, a panel an image."""
    from ..attention import maps

    rows = reading(views, view, settings, lambda seen: {"heads": maps.head_rows(seen)})["heads"]
    return [
        heads_panel(views, view, rows, n, folder, f"rollout-heads{suffix(view)}-image{views.id_N[n]}")
        for n in range(len(views.label_N))
    ]
