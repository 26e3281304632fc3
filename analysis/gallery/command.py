"""`python -m vitsweep.analysis gallery`: rollouts of chosen cells and images, beyond the report's panels."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vitsweep.errors import UserError, printable
from vitsweep.study.record import read_record

from ..attention.columns import cell_measures, faithfulness
from ..attention.faithful import MISSING
from ..attention.looks import (
    ModelView,
    Views,
    ViewSettings,
    collect_views,
    merge_notes,
    try_or_note,
    views_over_training,
)
from ..text import csv_text
from .gallery import (
    MEASURED_IMAGES,
    Gallery,
    accuracy_texts,
    baseline_first,
    file_suffix,
    one_seed_per_arm,
    run_model,
    strip_panel,
)
from .panels import (
    Panel,
    cell_text,
    difference_panel,
    faithful_panel,
    heads_panel,
    measures_panel,
    pairs_panel,
    sheet_panel,
    training_panel,
    with_views,
)

IMAGE_KINDS = ("sheet", "pairs", "difference", "layers", "heads", "training")
KINDS = (*IMAGE_KINDS, "measures", "faithful")
VARIANT_NAMES = ("calibrated", "last", "max", "min", "relevance", "rollout", "topk")
JUDGED_IMAGES = 64
"""Test images of the view `faithful`, spread over the classes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m vitsweep.analysis gallery`."""
    parser.add_argument("directory", nargs="+", help="a sweep's or a cell's directory")
    parser.add_argument("--images", default="7", help="a number, ids=3,17, class=cat:16, disagree:16 or wrong:16")
    parser.add_argument("--arms", nargs="+", help="arms to show, the one to compare with first (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, help="seeds to show (default: all)")
    parser.add_argument("--view", nargs="+", choices=KINDS, default=["sheet", "pairs", "difference", "layers"])
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


def main(options: argparse.Namespace) -> int:
    """Draw the requested views, print each file and each note; return 1 if there is no picture at all.

    Raises:
        UserError: nothing can be shown.
    """
    from ..records.load import load

    folder = Path(options.out) if options.out else Path(options.directory[0]) / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    cells = select_cells(baseline_first(load(*options.directory).cells), options.arms, options.seeds)
    settings = ViewSettings(images=options.images, variant=options.variant, alpha=options.alpha, which=options.which)
    gallery = draw_images(cells, settings, options.view, folder)
    add_numbers(gallery, cells, settings, options, folder)
    for panel in gallery.panels:
        panel.path.with_suffix(".txt").write_text(printable(f"{panel.caption}\n\n{panel.alt}\n"), encoding="utf-8")
        table = panel.table.map(csv_text).rename(columns=csv_text)
        table.to_csv(panel.path.with_suffix(".csv"), index=False, float_format="%.6g")
        print(printable(str(panel.path)))
    for note in merge_notes(gallery.notes):
        print(printable(note))
    return 0 if gallery.panels else 1


def select_cells(cells: pd.DataFrame, arms: Sequence[str] | None, seeds: Sequence[int] | None) -> pd.DataFrame:
    """Return the cells of `arms`, in that order, and `seeds`.

    Raises:
        UserError: there is no such arm.
    """
    if arms:
        missing = [arm for arm in arms if arm not in set(cells["arm"])]
        if missing:
            known = ", ".join(dict.fromkeys(cells["arm"]))
            raise UserError(f"--arms {' '.join(missing)}  is not there; allowed: {known}")
        cells = pd.concat([cells[cells["arm"] == arm] for arm in arms])
    return cells[cells["seed"].isin(seeds)] if seeds else cells


def draw_images(cells: pd.DataFrame, settings: ViewSettings, kinds: Sequence[str], folder: Path) -> Gallery:
    """Draw those of `kinds` that show chosen images."""
    if not set(IMAGE_KINDS) & set(kinds):
        return Gallery()
    views = collect_views(cells, settings)
    gallery = Gallery(notes=views.notes)
    if "sheet" in kinds:
        gallery.panels.append(sheet_panel(views, settings, folder, accuracy_texts(cells, settings.which)))
    shown = one_seed_per_arm(views).model_views
    if "pairs" in kinds:
        names = [f"rollout-pairs{file_suffix(view)}" for view in shown]
        gallery.panels += [pairs_panel(views, v, settings, folder, n) for v, n in zip(shown, names, strict=True)]
    if "difference" in kinds:
        panel = difference_panel(views, views.arms[0], settings, folder)
        gallery.panels += [panel] if panel else []
    for view in shown:
        if "layers" in kinds:
            gallery.panels.append(strip_panel(views, view, settings, folder))
        if "heads" in kinds:
            gallery.panels += head_panels(views, view, settings, folder)
        if "training" in kinds:
            gallery.panels += training_panels(views, view, settings, folder, gallery.notes)
    return gallery


def add_numbers(
    gallery: Gallery, cells: pd.DataFrame, settings: ViewSettings, options: argparse.Namespace, folder: Path
) -> None:
    """Add the requested views of numbers over many images."""
    if "measures" in options.view:
        frame, notes = cell_measures(cells, settings, options.count or MEASURED_IMAGES)
        gallery.notes += notes
        gallery.panels += [measures_panel(frame, frame["arm"].iloc[0], settings, folder)] if len(frame) else []
    if "faithful" in options.view:
        frame, notes = faithfulness(cells, settings, options.count or JUDGED_IMAGES, options.missing)
        gallery.notes += notes
        gallery.panels += [faithful_panel(frame, settings, folder)] if len(frame) else []


def head_panels(views: Views, view: ModelView, settings: ViewSettings, folder: Path) -> list[Panel]:
    """Draw every head of one cell, a panel per image."""
    from ..attention import maps

    rows = run_model(views, view, settings, lambda seen: {"heads": maps.head_rows(seen)})["heads"]
    name = f"rollout-heads{file_suffix(view)}"
    return [
        heads_panel(views, view, rows, n, folder, f"{name}-image{views.id_N[n]}") for n in range(len(views.label_N))
    ]


def training_panels(
    views: Views, view: ModelView, settings: ViewSettings, folder: Path, notes: list[str]
) -> list[Panel]:
    """Draw one cell over its kept epochs: one panel, or a note if no epoch was kept."""
    record = read_record(Path(view.directory))
    what = f"{cell_text(view)}, over training"
    row = {"arm": view.arm, "role": view.role, "seed": view.seed, "directory": view.directory}
    found = try_or_note(lambda: views_over_training(row, record, views, settings), what, notes)
    if found == []:
        notes.append(f"No rollout of {what}: its epochs were not kept; see checkpoint_every_epochs.")
    if not found:
        return []
    return [training_panel(with_views(views, found), settings, folder, f"rollout-training{file_suffix(view)}")]
