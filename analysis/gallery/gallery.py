"""The rollout gallery of a report: its panels and the rollout measures of its cells.

Importing this file imports neither torch nor a model; making pictures or measures does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from vitsweep.errors import UserError
from vitsweep.study.record import read_record

from ..attention.columns import cell_measures
from ..attention.looks import ModelView, Views, ViewSettings, collect_views, first_line, merge_notes, try_or_note
from .panels import Panel, difference_panel, layers_panel, sheet_panel, with_views

NO_GALLERY = "No rollout gallery: {}."
MAX_ARMS, MAX_CELLS = 24, 120
"""Limits of a report, which would take minutes beyond them; the command line has none."""
MEASURED_IMAGES = 250
"""Test images of the measures, spread over the classes."""


@dataclass(kw_only=True)
class Gallery:
    """Panels, and notes about what could not be shown."""

    panels: list[Panel] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def report_panels(cells: pd.DataFrame, report_dir: Path) -> Gallery:
    """Draw the report's panels: all arms on seven images, differences over seeds, the baseline block by block.

    Args:
        cells: one row a cell with at least directory, arm, role, seed, status.
        report_dir: the PNGs go to its `figures` folder.
    """
    gallery, settings = Gallery(), ViewSettings()
    figures = Path(report_dir) / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    try:
        cells = limit_cells(baseline_first(cells), gallery.notes)
        views = collect_views(cells, settings)
    except (UserError, OSError) as error:
        gallery.notes.append(NO_GALLERY.format(first_line(error)))
        return gallery
    gallery.notes += views.notes
    shown = one_seed_per_arm(views)
    panels: list[Panel | None] = [sheet_panel(shown, settings, figures, accuracy_texts(cells))]
    panels.append(difference_panel(views, views.arms[0], settings, figures))
    first = shown.model_views[0]
    panels.append(try_or_note(lambda: strip_panel(views, first, settings, figures), "the blocks", gallery.notes))
    gallery.panels = [panel for panel in panels if panel]
    gallery.notes = merge_notes(gallery.notes)
    return gallery


def report_measures(cells: pd.DataFrame) -> tuple[pd.DataFrame | None, list[str]]:
    """Return the rollout measures by `cell` (None if there are none), and notes.

    Args:
        cells: as for report_panels, with `cell`.
    """
    notes: list[str] = []
    try:
        cells = limit_cells(baseline_first(cells), notes)
        frame, more = cell_measures(cells, ViewSettings(), MEASURED_IMAGES)
        if frame.empty:
            raise UserError(" ".join(merge_notes(more)))
    except (UserError, OSError) as error:
        return None, [*notes, NO_GALLERY.format(first_line(error))]
    return frame.merge(cells[["directory", "cell"]], on="directory"), merge_notes(notes + more)


def baseline_first(cells: pd.DataFrame) -> pd.DataFrame:
    """Sort cells: the baseline's first, then arm by arm in their order, seeds ascending."""
    rank = {arm: number for number, arm in enumerate(dict.fromkeys(cells["arm"]))}
    keys = cells.assign(_later=cells["role"] != "baseline", _rank=cells["arm"].map(rank))
    return cells.loc[keys.sort_values(["_later", "_rank", "seed"], kind="stable").index]


def limit_cells(cells: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Return at most MAX_ARMS arms and MAX_CELLS cells; append a note about those left out."""
    arms = list(dict.fromkeys(cells["arm"]))
    if len(arms) > MAX_ARMS:
        left_out = f"{len(arms) - MAX_ARMS} of {len(arms)} arms are left out"
        notes.append(f"{left_out}; see python -m vitsweep.analysis gallery.")
        cells = cells[cells["arm"].isin(arms[:MAX_ARMS])]
    seeds_per_arm = max(1, MAX_CELLS // max(1, cells["arm"].nunique()))
    number = cells.groupby("arm", sort=False).cumcount()
    if (number >= seeds_per_arm).any():
        notes.append(f"The first {seeds_per_arm} seeds of each arm are shown; see python -m vitsweep.analysis gallery.")
    return cells[number < seeds_per_arm]


def one_seed_per_arm(views: Views) -> Views:
    """Return each arm's view with the lowest seed that the first arm has too, else with its lowest seed."""
    seeds = {view.seed for view in views.of(views.arms[0])}
    of_arms = [views.of(arm) for arm in views.arms]
    return with_views(views, [next((v for v in of_arm if v.seed in seeds), of_arm[0]) for of_arm in of_arms])


def accuracy_texts(cells: pd.DataFrame, which: str = "best") -> dict[str, str]:
    """Return cell directory -> its test accuracy as text, for the cells that have one."""
    column = f"{'best' if which == 'best' else 'final'}/test/accuracy"
    if column not in cells:
        return {}
    rows = cells.dropna(subset=[column])
    return {str(row["directory"]): f"accuracy {100 * row[column]:.1f} %" for row in rows.to_dict("records")}


def strip_panel(views: Views, view: ModelView, settings: ViewSettings, folder: Path) -> Panel:
    """Draw the block-by-block panel of one cell.

    Raises:
        UserError: its checkpoint is missing.
    """
    from ..attention import maps

    passes = run_model(views, view, settings, lambda seen: {"strip": maps.layer_rows(seen, alpha=settings.alpha)})
    return layers_panel(views, view, passes["strip"], settings, folder, f"rollout-layers{file_suffix(view)}")


def run_model(views: Views, view: ModelView, settings: ViewSettings, use: Callable) -> dict:
    """Run one cell's model on the chosen images and return what `use` makes of the forward passes.

    Raises:
        UserError: its checkpoint is missing.
    """
    from vitsweep.train.checkpoint import load_model

    from ..attention import maps

    model = load_model(view.directory, settings.which)
    return maps.run_passes(model, views.image_NCHW, read_record(Path(view.directory)).normalisation, use)


def file_suffix(view: ModelView) -> str:
    """Return the part of a file name that names the cell."""
    safe = "".join(c if c.isalnum() or c in "=+.-" else "_" for c in view.arm)
    return f"-{safe}-seed{view.seed}"
