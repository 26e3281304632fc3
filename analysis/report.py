"""The report of one study: index.html (one file), report.md, figures and tables, all made from the records.

Equal records give equal bytes: no dates, no machine's paths, fixed random streams. The rollout gallery is the
one part that needs torch and checkpoints; without them the page says so and everything else is there.
"""

import shutil
from pathlib import Path

import pandas as pd

from analysis.draw_curves import curve_figures
from analysis.effects import arm_effects
from analysis.figures import Figure, save
from analysis.findings import findings
from analysis.health import health_items, methods_items, signature
from analysis.load import Loaded, load
from analysis.page import (
    Bullets,
    FigureItem,
    Page,
    PictureItem,
    Section,
    TableItem,
    Text,
    to_html,
    to_markdown,
)
from analysis.selection import Selection, select
from analysis.study_tables import arm_table, run_numbers, run_table
from analysis.tables import Table, frame_csv

REPORT_NAME = "report"


def make_report(*directories: str | Path, out: str | Path | None = None, gallery: bool = True) -> Path:
    """Write the report of one or many sweep (or cell) directories and return the path of its index.html.

    Args:
        out: folder to write; None for `report` in the first directory.
        gallery: whether the rollout gallery is made (needs torch and checkpoints).

    Raises:
        RecordError: a directory does not exist.
    """
    loaded = load(*directories)
    folder = Path(out) if out else Path(directories[0]) / REPORT_NAME
    _empty(folder)
    page, tables = build(loaded, folder, gallery)
    for name, text in tables.items():
        (folder / "tables" / name).write_text(text, encoding="utf-8", newline="\n")
    (folder / "report.md").write_text(to_markdown(page, folder), encoding="utf-8", newline="\n")
    (folder / "index.html").write_text(to_html(page), encoding="utf-8", newline="\n")
    return folder / "index.html"


def build(loaded: Loaded, folder: Path, gallery: bool) -> tuple[Page, dict[str, str]]:
    """The page and the table files; figures are written to folder/figures on the way."""
    selection = select(loaded)
    runs = run_numbers(selection)
    effects = arm_effects(selection)
    comparison, all_runs = arm_table(effects, selection, runs), run_table(selection)
    figures = curve_figures(selection, effects)
    drawn = [FigureItem(figure=figure, svg=save(figure, folder / "figures")) for figure in figures]
    sections = [
        Section(id="findings", title="Findings", items=[Text(text=" ".join(findings(selection, effects)))]),
        Section(id="comparison", title="Comparison", items=[TableItem(table=comparison)]),
        Section(id="training", title="Training", items=drawn or [Text(text="No cell has finished an epoch.")]),
        Section(id="gallery", title="Where the models look", items=_gallery_items(selection, folder, gallery)),
        Section(id="health", title="Health of the study", items=health_items(selection, loaded.problems)),
        Section(id="methods", title="Methods", items=methods_items(selection)),
        Section(id="runs", title="Runs", items=[TableItem(table=all_runs)]),
    ]
    page = Page(title=_title(selection), lead=_lead(selection), sections=sections, signature=signature(selection))
    return page, _table_files([comparison, all_runs], figures)


def _empty(folder: Path) -> None:
    # Files of an earlier report about other arms must not lie beside the new one.
    for name in ("figures", "tables"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)


def _table_files(tables: list[Table], figures: list[Figure]) -> dict[str, str]:
    files = {}
    for table in tables:
        files |= {f"{table.name}.csv": table.csv(), f"{table.name}.tex": table.latex()}
    return files | {f"{figure.name}.csv": frame_csv(figure.table) for figure in figures}


def _gallery_items(selection: Selection, folder: Path, wanted: bool) -> list:
    """Panels and notes of the rollout gallery; one sentence when it cannot be made."""
    if not wanted:
        return [Text(text="The rollout gallery was not asked for.")]
    try:
        from analysis.gallery import report_panels

        made = report_panels(_gallery_cells(selection), folder)
    except Exception as fault:  # noqa: BLE001 - pictures must never cost the report its numbers
        return [Text(text=f"The rollout gallery could not be made ({type(fault).__name__}: {fault}).")]
    panels = [
        PictureItem(name=p.name, path=Path(p.path), caption=p.caption, alt=p.alt, table=p.table) for p in made.panels
    ]
    for panel in panels:
        text = frame_csv(panel.table)
        (folder / "tables" / f"{panel.name}.csv").write_text(text, encoding="utf-8", newline="\n")
    items = panels + ([Bullets(lines=list(made.notes))] if made.notes else [])
    return items or [Text(text="The rollout gallery has no panel for these cells.")]


def _gallery_cells(selection: Selection) -> pd.DataFrame:
    return selection.cells.drop(columns="record")


def _title(selection: Selection) -> str:
    return f"Ablation study: {selection.study}" if selection.study else "Ablation study"


def _lead(selection: Selection) -> str:
    cells, done = selection.cells, len(selection.done())
    seeds = sorted(set(cells["seed"]))
    data = next((name for name in cells["data_name"] if name), "") or "data without a known name"
    arms = f"{len(selection.arms)} arm{'s' if len(selection.arms) != 1 else ''}"
    replicates = f"{len(seeds)} seed{'s' if len(seeds) != 1 else ''}"
    return f"{arms}, {replicates}, {done} of {len(cells)} runs finished; {data}."
