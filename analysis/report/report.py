"""The report of one study: index.html (one file), report.md, results.json, figures and tables, all from the records.

Equal records give equal bytes: no dates, no machine's paths, fixed random streams. The rollout gallery is the one part
that needs torch and checkpoints; without them the page says so and everything else is there. What it made is noted in
gallery.json, with the rollout measures of each cell, so that a report can be made again where the checkpoints are not
(`gallery="keep"`).
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vitsweep.errors import RecordError
from vitsweep.files import finite
from vitsweep.study.record import METRIC_NAMES

from ..attention.measures import COLUMNS
from ..records.load import StudyRecords, load
from ..records.selection import DEFAULT_METRIC, Selection, select
from ..records.wandb_runs import is_wandb_source, report_folder
from ..statistics.judgement import Judgement, judge
from .figures import save
from .health import data_names, signature
from .page import Bullets, Page, PictureItem, Text, to_html, to_markdown
from .results import RESULTS_NAME, results_json
from .sections import Parts, make_parts
from .tables import frame_csv

REPORT_NAME = "report"
GALLERY_NAME = "gallery.json"
GALLERIES = ("make", "keep", "none")
NO_CHECKPOINTS = "W&B has no checkpoints, so there is no rollout gallery."
NOT_ASKED = "The rollout gallery was not asked for."


def make_report(
    *directories: str | Path,
    out: str | Path | None = None,
    gallery: str = "make",
    metric: str = DEFAULT_METRIC,
    sort: str = "planned",
) -> Path:
    """Write the report of one or many sweep (or cell) directories and return the path of its index.html.

    Args:
        directories: also `wandb:entity/project?group=study`, and folders of W&B run files.
        out: folder to write; None for `report` in the first directory, for W&B in outputs/wandb/<project>/<study>.
        gallery: make (needs torch and checkpoints), keep (the pictures of the report in the first directory) or none.
        metric: what arms are compared by, at the last epoch; or a rollout measure, of the best checkpoint.
        sort: order of the comparison table: planned, or effect.

    Raises:
        RecordError: a directory does not exist, or there is no such metric.
    """
    check_metric(metric, gallery)
    source = str(directories[0])
    first = report_folder(source) if is_wandb_source(source) else Path(source) / REPORT_NAME
    kept = read_gallery(first) if gallery == "keep" else None
    loaded = load(*directories)
    if loaded.is_copy and kept is None:
        kept, gallery = {"panels": [], "notes": [NO_CHECKPOINTS]}, "keep"
    measures, notes = _made_measures(loaded) if gallery == "make" else (kept_measures(kept, loaded), [])
    judgement = judge(loaded, metric, measures)
    return report_judgement(judgement, Path(out) if out else first, kept, gallery == "make", sort, notes)


def check_metric(metric: str, gallery: str) -> None:
    """Refuse a metric that there is not, and a rollout measure where nothing is measured."""
    allowed = (*METRIC_NAMES, *COLUMNS)
    if metric not in allowed:
        raise RecordError(f"--metric={metric}  is unknown; allowed: {', '.join(allowed)}")
    if metric in COLUMNS and gallery == "none":
        raise RecordError(f"--metric={metric}  needs the rollout measures; use --gallery make, or keep")


def report_judgement(
    judgement: Judgement, folder: Path, kept: dict | None, draw_gallery: bool, sort: str, notes: Sequence[str] = ()
) -> Path:
    """Write the report of a judgement into `folder` and return the path of its index.html.

    Args:
        kept: the gallery to show, as read_gallery gives it; None to make one or, without `draw_gallery`, none.
        notes: what is to be said about the rollout measures.
    """
    _empty(folder)
    pictures = kept or _made_gallery(judgement.selection, folder, draw_gallery)
    pictures["notes"] = list(dict.fromkeys([*pictures["notes"], *notes]))
    pictures["measures"] = _measure_rows(judgement.selection.cells)
    write_gallery(pictures, folder)
    parts = make_parts(judgement, sort, _gallery_items(pictures, folder))
    write_report(judgement, parts, folder, sort)
    return folder / "index.html"


def write_report(judgement: Judgement, parts: Parts, folder: Path, sort: str) -> None:
    """Draw the figures and write every file but the gallery's."""
    inlined = {figure.name: save(figure, folder / "figures") for figure in parts.figures}
    for section in parts.sections:
        for item in section.items:
            if item.kind == "figure":
                item.svg = inlined[item.figure.name]
    mark = signature(judgement)
    page = Page(
        title=_title(judgement.selection), lead=_lead(judgement.selection), sections=parts.sections, signature=mark
    )
    texts = {f"figures/{figure.name}.csv": frame_csv(figure.table) for figure in parts.figures}
    for table in parts.tables:
        texts |= {f"tables/{table.name}.csv": table.csv(), f"tables/{table.name}.tex": table.latex()}
    texts |= {"report.md": to_markdown(page, folder), RESULTS_NAME: results_json(judgement, mark, sort)}
    # The page last: where it is, everything else is.
    for name, text in (texts | {"index.html": to_html(page)}).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def read_gallery(folder: Path) -> dict | None:
    """The gallery of a report on disk, its pictures and tables in memory; None when there is none."""
    try:
        known = json.loads((folder / GALLERY_NAME).read_text(encoding="utf-8"))
        for panel in known["panels"]:
            panel["png"] = (folder / "figures" / f"{panel['name']}.png").read_bytes()
            panel["csv"] = (folder / "figures" / f"{panel['name']}.csv").read_text(encoding="utf-8")
    except (OSError, json.JSONDecodeError, KeyError):
        return None
    return known


def kept_measures(kept: dict | None, loaded: StudyRecords) -> pd.DataFrame | None:
    """The rollout measures by cell that an earlier report was made with; None if no cell is still the same."""
    cells = loaded.cells[["cell", "record"]].itertuples(index=False)
    finished = {cell: record.finished for cell, record in cells}  # another time: trained again since
    rows = [row for row in (kept or {}).get("measures", []) if finished.get(row["cell"]) == row["finished"]]
    return pd.DataFrame(rows).drop(columns="finished") if rows else None


def _measure_rows(cells: pd.DataFrame) -> list[dict]:
    """What kept_measures gives back: the measured cells, empty values as null."""
    names = [name for name in COLUMNS if name in cells]
    measured = cells[cells[names].notna().any(axis=1)] if names else cells.iloc[:0]
    finished = [record.finished for record in measured["record"]]
    return finite(measured[["cell", *names]].assign(finished=finished).to_dict("records"))


def _made_measures(loaded: StudyRecords) -> tuple[pd.DataFrame | None, list[str]]:
    """The rollout measures of the cells that will be compared; None and a sentence when there are none."""
    try:
        from ..gallery.gallery import report_measures

        return report_measures(select(loaded).cells.drop(columns="record"))
    except Exception as fault:  # measures must never cost the report its accuracies
        return None, [_broken(fault)]


def _broken(fault: Exception) -> str:
    return f"The rollout gallery could not be made ({type(fault).__name__}: {fault})."


def _made_gallery(selection: Selection, folder: Path, wanted: bool) -> dict:
    """Panels and notes of the rollout gallery; one sentence when it cannot be made."""
    if not wanted:
        return {"panels": [], "notes": [NOT_ASKED]}
    try:
        from ..gallery.gallery import report_panels

        made = report_panels(selection.cells.drop(columns="record"), folder)
    except Exception as fault:  # pictures must never cost the report its numbers
        return {"panels": [], "notes": [_broken(fault)]}
    panels = [
        {
            "name": Path(panel.path).stem,
            "caption": panel.caption,
            "alt": panel.alt,
            "png": Path(panel.path).read_bytes(),
            "csv": frame_csv(panel.table),
        }
        for panel in made.panels
    ]
    return {"panels": panels, "notes": list(made.notes) or ([] if panels else ["There is nothing to show."])}


def write_gallery(pictures: dict, folder: Path) -> None:
    """Write what read_gallery gives."""
    for panel in pictures["panels"]:
        (folder / "figures" / f"{panel['name']}.png").write_bytes(panel["png"])
        (folder / "figures" / f"{panel['name']}.csv").write_text(panel["csv"], encoding="utf-8", newline="\n")
    words = [{key: panel[key] for key in ("name", "caption", "alt")} for panel in pictures["panels"]]
    values = {"panels": words, "notes": pictures["notes"], "measures": pictures.get("measures", [])}
    text = json.dumps(values, indent=1) + "\n"
    (folder / GALLERY_NAME).write_text(text, encoding="utf-8", newline="\n")


def _gallery_items(pictures: dict, folder: Path) -> list:
    items: list = []
    for panel in pictures["panels"]:
        name = panel["name"]
        # Read back as text, so that a kept gallery and a new one show the same.
        table = pd.read_csv(folder / "figures" / f"{name}.csv", dtype=str, keep_default_na=False)
        path = folder / "figures" / f"{name}.png"
        items.append(PictureItem(name=name, path=path, caption=panel["caption"], alt=panel["alt"], table=table))
    notes = pictures["notes"]
    if len(notes) == 1:
        return [*items, Text(text=notes[0])]
    return [*items, Bullets(lines=notes)] if notes else items


def _empty(folder: Path) -> None:
    # Files of an earlier report about other arms must not lie beside the new one.
    for name in ("figures", "tables"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)


def _title(selection: Selection) -> str:
    return f"Ablation study: {selection.study}" if selection.study else "Ablation study"


def _lead(selection: Selection) -> str:
    cells, done = selection.cells, len(selection.done())
    data = ", ".join(data_names(cells)) or "no data"
    counts = [(len(selection.arms), "arm"), (cells["seed"].nunique(), "seed")]
    shown = ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in counts)
    return f"{shown}, {done} of {len(cells)} runs finished; {data}."
