"""The report of a study, made from its records: index.html (one file), report.md, results.json, figures and tables.

The report of a published study (vitsweep/analysis/publish.py) is smaller: its figures are SVG alone, its tables CSV
alone (`vitsweep table` makes the one for a paper of it, too).

Equal records give equal bytes: no dates, no machine's paths, fixed random streams. Only the rollout gallery needs torch
and checkpoints; if it cannot be made, the page has a sentence in its place. gallery.json keeps its captions and each
cell's rollout measures, so that a report can be made again without checkpoints (`gallery="keep"`).
"""

import io
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from vitsweep.errors import RecordError
from vitsweep.files import finite
from vitsweep.study.published import scale_sentence
from vitsweep.study.record import METRIC_NAMES, METRICS_TEXT, ROW_METRICS

from ..attention.measures import COLUMNS
from ..progress import stage, steps
from ..records.comparable import LEFT_OUT
from ..records.load import StudyRecords, load
from ..records.report_files import (
    GALLERY_NAME,
    PAGE_NAME,
    REPORT_NAME,
    RESULTS_NAME,
    digest_inputs,
    is_published,
    move_report,
    report_name,
)
from ..records.selection import DEFAULT_METRIC, Selection, select
from ..records.wandb_runs import is_wandb_source, report_folder
from ..statistics.effects import metric_text
from ..statistics.judgement import Judgement, judge
from ..units import figure_frame
from .figures import Figure, save_figure, save_svg
from .health import data_names
from .health import signature as make_signature
from .page import Bullets, Page, PictureItem, Text, to_html, to_markdown
from .paper.content import paper_markdown, paper_table
from .paper.options import PaperOptions
from .results import results_json
from .sections import Parts, make_parts
from .tables import frame_csv

GALLERIES = ("make", "keep", "none")
ORDERS = ("planned", "effect")
MAX_THUMBNAILS, MAX_ALL_THUMBNAILS = 4, 200
"""Largest number of pictures of test images in a cell of a table, and in a report."""
NO_CHECKPOINTS = "W&B has no checkpoints, so there is no rollout gallery."
NOT_ASKED = "The rollout gallery was not asked for."


def make_report(
    *directories: str | Path,
    out: str | Path | None = None,
    gallery: str = "make",
    metric: str = DEFAULT_METRIC,
    sort: str = "planned",
    baseline: str = "",
) -> Path:
    """Write the report of one or many sweep (or cell) directories and return the path of its index.html.

    Args:
        directories: also `wandb:entity/project?group=study`, and folders of W&B run files.
        out: folder to write; None for `report` in the first directory, for W&B in outputs/wandb/<project>/<study>.
            Within a published directory the report is of the published form, elsewhere it is whole.
        gallery: make (needs torch and checkpoints), keep (the pictures of the report in the first directory) or none.
        metric: metric that arms are compared by, at the last epoch; or a rollout measure, of the best checkpoint.
        sort: order of the comparison table: planned, or effect.
        baseline: arm to compare the others with in place of the study's baseline: an exploratory report in a folder of
            its own, `report-baseline=<arm>`.

    Several directories whose cells cannot be pooled are compared: write_comparison.

    Raises:
        RecordError: a directory does not exist, there is no such metric, gallery or
            order, or `out` holds other files of that name.
    """
    check_metric(metric, gallery)
    for option, value, allowed in (("gallery", gallery, GALLERIES), ("sort", sort, ORDERS)):
        if value not in allowed:
            raise RecordError(f"--{option}={value}  is unknown; allowed: {', '.join(allowed)}")
    source = str(directories[0])
    first = report_folder(source) if is_wandb_source(source) else Path(source) / REPORT_NAME
    saved = read_gallery(first) if gallery == "keep" else None
    first = first.with_name(report_name(baseline)) if baseline and not is_wandb_source(source) else first
    inputs = digest_inputs(*(d for d in directories if not is_wandb_source(str(d))))
    stage("records")
    loaded = load(*directories)
    if loaded.is_copy and saved is None:
        saved, gallery = {"panels": [], "notes": [NO_CHECKPOINTS]}, "keep"
    measures, notes = make_measures(loaded) if gallery == "make" else (saved_measures(saved, loaded), [])
    stage("statistics")
    judgement = judge(loaded, metric, measures, baseline)
    sources = list(map(str, directories))
    if len(sources) > 1 and not all(is_pooled(prefix, loaded, judgement.selection) for prefix in loaded.prefixes):
        from .difference.studies import write_comparison

        return write_comparison(sources, out, metric, sort, baseline)
    folder = Path(out) if out else first
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the report, so that moving into place is renaming.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as fresh:
        published = out is None and is_published(source)
        report_judgement(judgement, Path(fresh), saved, gallery == "make", sort, notes, published=published)
        move_report(Path(fresh), folder, inputs)
    return folder / PAGE_NAME


def check_metric(metric: str, gallery: str) -> None:
    """Raise RecordError for an unknown metric, or a rollout measure with `gallery="none"`."""
    allowed = (*METRIC_NAMES, *ROW_METRICS, *COLUMNS)
    if metric not in allowed:
        raise RecordError(f"--metric={metric}  is unknown; allowed: {METRICS_TEXT}; {', '.join(COLUMNS)}")
    if metric in COLUMNS and gallery == "none":
        raise RecordError(f"--metric={metric}  needs the rollout measures; use --gallery make, or keep")


def check_pooled(sources: list[str], loaded: StudyRecords, selection: Selection) -> None:
    """Raise RecordError for a directory of which no run stands in one table with those of the first."""
    for source, prefix in zip(sources, loaded.prefixes, strict=True):
        if len(sources) > 1 and not is_pooled(prefix, loaded, selection):
            raise RecordError(
                f"{source}  has another baseline, or other images, than {selection.study}, so they are not pooled; "
                "load each alone, or compare them by `vitsweep report A B`"
            )


def is_pooled(prefix: str, loaded: StudyRecords, selection: Selection) -> bool:
    """Return whether a directory has runs of the arms, configurations and images compared, or none at all yet.

    Args:
        prefix: of the directory's cells.
    """
    own = loaded.cells[loaded.cells["cell"].str.startswith(prefix) & (loaded.cells["status"] != "planned")]
    kept = selection.cells[~selection.cells["status"].isin((LEFT_OUT, "planned"))]
    keys = ["arm", "config_hash", "data_fingerprint"]
    return own.empty or bool(
        own[keys].apply(tuple, axis=1).isin(set(kept[keys].itertuples(index=False, name=None))).any()
    )


def report_judgement(
    judgement: Judgement,
    folder: Path,
    saved: dict | None,
    draw_gallery: bool,
    sort: str,
    notes: Sequence[str] = (),
    save: Callable[[Figure, Path], str] | None = None,
    published: bool = False,
) -> Path:
    """Write the report of a judgement into an empty folder and return the path of its index.html.

    Args:
        saved: gallery to show, from read_gallery; None to make one or, without `draw_gallery`, to show none.
        notes: sentences about the rollout measures.
        save: writes a figure's files and returns its SVG for the page; None: save_figure, or save_svg if published.
        published: leave out what can be made again from runs.jsonl: PNG and CSV of figures, the table for a paper,
            embedded pictures.
    """
    for name in ("figures", "tables"):
        (folder / name).mkdir()
    gallery = saved or _make_gallery(judgement.selection, folder, draw_gallery)
    if draw_gallery and saved is None:
        gallery["thumbnails"] = _make_thumbnails(judgement)
    gallery["notes"] = list(dict.fromkeys([*gallery["notes"], *notes]))
    gallery["measures"] = _measure_rows(judgement.selection.cells)
    write_gallery(gallery, folder, published)
    stage("tables")
    parts = make_parts(judgement, sort, _gallery_items(gallery, folder))
    save = save or (save_svg if published else save_figure)
    write_report(judgement, parts, folder, sort, save, published, gallery.get("thumbnails"))
    return folder / PAGE_NAME


def write_report(
    judgement: Judgement,
    parts: Parts,
    folder: Path,
    sort: str,
    save: Callable[[Figure, Path], str],
    published: bool = False,
    thumbnails: dict[str, str] | None = None,
) -> None:
    """Draw the figures and write every file but the gallery's.

    Args:
        thumbnails: image id -> URL-safe base64 of a WebP, for the page's table of test images.
    """
    inlined = {figure.name: save(figure, folder / "figures") for figure in steps(parts.figures, "figures")}
    for item in (item for section in parts.sections for item in section.parts if item.kind == "figure"):
        item.svg = inlined[item.figure.name]
    selection, signature = judgement.selection, make_signature(judgement)
    page = Page(
        title=_title(selection),
        lead=_lead(selection, judgement.metric),
        sections=parts.sections,
        signature=signature,
        thumbnails=thumbnails or {},
    )
    texts = {f"tables/{table.name}.csv": table.csv() for table in parts.tables}
    if not published:
        texts |= paper_texts(judgement, sort)
        texts |= {f"figures/{figure.name}.csv": frame_csv(shown_numbers(figure, judgement)) for figure in parts.figures}
    texts |= {"report.md": to_markdown(page, folder), RESULTS_NAME: results_json(judgement, signature, sort)}
    for name, text in (texts | {PAGE_NAME: to_html(page, published)}).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def paper_texts(judgement: Judgement, sort: str) -> dict[str, str]:
    """Return the files of the table for a paper."""
    options = PaperOptions(sort=sort)
    try:
        latex = paper_table(judgement, options).latex()
    except RecordError as error:  # numbers of a diverged study can be wider than a page
        latex = f"% {error}\n"
    return {"tables/paper.tex": latex, "tables/paper.md": paper_markdown(judgement, options)}


def shown_numbers(figure: Figure, judgement: Judgement) -> pd.DataFrame:
    """Return the numbers behind a figure with their units."""
    chosen_by = judgement.tuning.search.metric if judgement.tuning else DEFAULT_METRIC
    return figure_frame(figure.name, figure.table, judgement.metric, chosen_by.endswith("accuracy"))


def read_gallery(folder: Path) -> dict | None:
    """Read a report's gallery with its pictures and tables; None if there is none or a file is missing."""
    try:
        gallery = json.loads((folder / GALLERY_NAME).read_text(encoding="utf-8"))
        for panel in gallery["panels"]:
            panel["png"] = (folder / "figures" / f"{panel['name']}.png").read_bytes()
            if "csv" not in panel:
                panel["csv"] = (folder / "figures" / f"{panel['name']}.csv").read_text(encoding="utf-8")
    except (OSError, json.JSONDecodeError, KeyError):
        return None
    return gallery


def write_gallery(gallery: dict, folder: Path, published: bool = False) -> None:
    """Write a gallery so that read_gallery returns it; a published one has its tables in gallery.json."""
    for panel in gallery["panels"]:
        (folder / "figures" / f"{panel['name']}.png").write_bytes(panel["png"])
        if not published:
            path = folder / "figures" / f"{panel['name']}.csv"
            path.write_text(panel["csv"], encoding="utf-8", newline="\n")
    keys = ("name", "caption", "alt", *(["csv"] if published else []))
    panels = [{key: panel[key] for key in keys} for panel in gallery["panels"]]
    values = {"panels": panels, "notes": gallery["notes"], "measures": gallery.get("measures", [])}
    values |= {"thumbnails": gallery["thumbnails"]} if gallery.get("thumbnails") else {}
    text = json.dumps(values, indent=1) + "\n"
    (folder / GALLERY_NAME).write_text(text, encoding="utf-8", newline="\n")


def saved_measures(gallery: dict | None, loaded: StudyRecords) -> pd.DataFrame | None:
    """Return the gallery's rollout measures of cells that were not trained again since; None if there are none."""
    cells = loaded.cells[["cell", "record"]].itertuples(index=False)
    finished = {cell: record.finished for cell, record in cells}
    rows = [row for row in (gallery or {}).get("measures", []) if finished.get(row["cell"]) == row["finished"]]
    return pd.DataFrame(rows).drop(columns="finished") if rows else None


def _measure_rows(cells: pd.DataFrame) -> list[dict]:
    """Return the measured cells as saved_measures expects them, empty values as null."""
    names = [name for name in COLUMNS if name in cells]
    measured = cells[cells[names].notna().any(axis=1)] if names else cells.iloc[:0]
    finished = [record.finished for record in measured["record"]]
    return finite(measured[["cell", *names]].assign(finished=finished).to_dict("records"))


def make_measures(loaded: StudyRecords) -> tuple[pd.DataFrame | None, list[str]]:
    """Return the rollout measures of the compared cells (None if there are none), and notes."""
    try:
        from ..gallery.gallery import report_measures

        return report_measures(select(loaded).cells.drop(columns="record"))
    except Exception as error:  # a report without measures is better than none
        return None, [_failure_note(error)]


def _make_gallery(selection: Selection, folder: Path, wanted: bool) -> dict:
    """Return panels and notes of the rollout gallery; a note alone if it is not wanted or cannot be made."""
    if not wanted:
        return {"panels": [], "notes": [NOT_ASKED]}
    try:
        from ..gallery.gallery import report_panels

        made = report_panels(selection.cells.drop(columns="record"), folder)
    except Exception as error:  # a report without pictures is better than none
        return {"panels": [], "notes": [_failure_note(error)]}
    panels = [
        {
            "name": panel.name,
            "caption": panel.caption,
            "alt": panel.alt,
            "png": panel.path.read_bytes(),
            "csv": frame_csv(panel.table),
        }
        for panel in made.panels
    ]
    return {"panels": panels, "notes": list(made.notes) or ([] if panels else ["There is nothing to show."])}


def _make_thumbnails(judgement: Judgement) -> dict[str, str]:
    """Return pictures of the images that the table of test images names; none if the images are not there."""
    if judgement.images.empty:
        return {}
    try:
        from ..gallery.thumbnails import thumbnails

        lists = judgement.images[["gained_ids", "lost_ids"]].to_numpy().ravel()
        named = [int(image_id) for text in lists for image_id in text.split()[:MAX_THUMBNAILS]]
        return thumbnails(judgement.selection.cells.drop(columns="record"), named[:MAX_ALL_THUMBNAILS])
    except Exception:  # ids say which images are meant; the gallery's note says why there are no pictures
        return {}


def _failure_note(error: Exception) -> str:
    return f"The rollout gallery could not be made ({type(error).__name__}: {error})."


def _gallery_items(gallery: dict, folder: Path) -> list:
    items: list = []
    for panel in gallery["panels"]:
        path = folder / "figures" / f"{panel['name']}.png"
        # Read back as text, so that a saved gallery and a new one give the same page.
        table = pd.read_csv(io.StringIO(panel["csv"]), dtype=str, keep_default_na=False)
        items.append(
            PictureItem(name=panel["name"], path=path, caption=panel["caption"], alt=panel["alt"], table=table)
        )
    notes = gallery["notes"]
    if len(notes) == 1:
        return [*items, Text(text=notes[0])]
    return [*items, Bullets(lines=notes)] if notes else items


def _title(selection: Selection) -> str:
    against = f" against {selection.baseline}" if selection.own_baseline else ""
    return f"Ablation study: {selection.study}{against}" if selection.study else f"Ablation study{against}"


def _lead(selection: Selection, metric: str) -> str:
    cells, done = selection.cells, len(selection.done())
    data = ", ".join(data_names(cells)) or "no data"
    counts = [(len(selection.arms), "arm"), (cells["seed"].nunique(), "seed")]
    shown = ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in counts)
    compared = "" if metric == DEFAULT_METRIC else f" Arms are compared by {metric_text(metric)}."
    scale = scale_sentence(selection.scale)
    small = f" This is {scale}." if scale else ""
    return f"{shown}, {done} of {len(cells)} runs finished; {data}.{small}{compared}"
