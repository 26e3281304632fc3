"""Publish a sweep directory for a repository: report, plan, and all records, epochs and correct answers in two files.

No checkpoints, no private paths (vitsweep/tracking/privacy.py). Written are plan.json, runs.jsonl (study/record.py),
examples.npz (records/correct_images.py) and a report without what can be made again. `load`, `report`, `verify`,
`status` and `reproduce` read this form as they read a sweep's directory; equal inputs give equal bytes. A README.md,
written by hand, is kept.
"""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from vitsweep.added_fields import to_values
from vitsweep.errors import RecordError
from vitsweep.files import finite, write_atomically, write_json
from vitsweep.study.plan import TUNED_NAME, TUNING_NAME, read_plan_values
from vitsweep.study.provenance.environment import FOLDER as ENVIRONMENT
from vitsweep.study.record import PLAN_NAME, RUNS_NAME, cell_directories, read_record, read_rows
from vitsweep.study.status import LOOKS_NAME
from vitsweep.tracking.privacy import without_paths

from .records.correct_images import examples_bytes
from .records.load import read_plan
from .records.report_files import EXAMPLES_NAME, REPORT_NAME
from .report.report import make_report, read_gallery, write_gallery
from .report.results import report_directories, report_options

README = "README.md"


def publish(directory: str | Path, destination: str | Path) -> Path:
    """Write the published form of a sweep directory, or of an earlier published one; return its index.html's path.

    Raises:
        RecordError: the directory has no report or no cells, its report is of several directories, or the destination
            holds more than a README.md.
    """
    directory, destination = Path(directory), Path(destination)
    report, cells = directory / REPORT_NAME, cell_directories(directory) if directory.is_dir() else []
    if not cells or not (report / "index.html").exists():
        command = f"python -m vitsweep.analysis report {directory}"
        raise RecordError(f"{directory}  holds no report; make it with `{command}`")
    if several := report_directories(report):
        raise RecordError(f"{report}  was made of {' '.join(several)}; make one of {directory} alone to publish it")
    if destination.exists() and {path.name for path in destination.iterdir()} - {README}:
        raise RecordError(f"{destination}  is not empty; give a new folder, or remove what it has besides {README}")
    plan, gallery = read_plan(directory, []), without_paths(read_gallery(report))  # its notes may name a file
    _publish_cells(directory, destination, plan)
    _publish_notes(directory, destination)
    _publish_search(directory, destination)
    if gallery:
        for panel in gallery["panels"]:
            panel["png"] = smaller_png(panel["png"])
        (destination / REPORT_NAME / "figures").mkdir(parents=True)
        write_gallery(gallery, destination / REPORT_NAME, published=True)
    return make_report(destination, gallery="keep", **report_options(report))


def smaller_png(content: bytes) -> bytes:
    """Return a PNG of the same pixels: an alpha channel that is opaque everywhere is left out, the rest packed well."""
    with Image.open(io.BytesIO(content)) as picture:
        is_opaque = picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255)
        stream = io.BytesIO()
        (picture.convert("RGB") if is_opaque else picture).save(stream, "PNG", optimize=True)
    return min(content, stream.getvalue(), key=len)


def _publish_search(directory: Path, destination: Path) -> None:
    """Write the published form of a sweep's search and of the study at the settings found, if there are any.

    Optuna's journal is left out: plan and records of the trials have what the report reads.
    """
    search, tuned = directory / TUNING_NAME, directory / TUNED_NAME
    if (plan := read_plan_values(search)) is not None:
        _publish_cells(search, destination / TUNING_NAME, plan)
    if (tuned / PLAN_NAME).exists():
        publish(tuned, destination / TUNED_NAME)


def _publish_cells(directory: Path, destination: Path, plan: dict[str, Any] | None) -> None:
    """Write plan.json, runs.jsonl and examples.npz of a directory's cells."""
    destination.mkdir(parents=True, exist_ok=True)
    cells = {path.relative_to(directory).as_posix(): path for path in cell_directories(directory)}
    lines = [json.dumps(finite(published_line(cell, path))) + "\n" for cell, path in cells.items()]
    write_atomically(destination / RUNS_NAME, "".join(lines).encode())
    publish_environment(directory, destination)
    if plan:
        write_json(destination / PLAN_NAME, without_paths(plan))
    examples, errors = examples_bytes(cells)
    if examples:
        write_atomically(destination / EXAMPLES_NAME, examples)
    for cell, error in errors.items():
        print(f"{cell}  has predictions that cannot be read ({error}); published without", file=sys.stderr)


def published_line(cell: str, directory: Path) -> dict[str, Any]:
    """Return a cell's line of runs.jsonl."""
    record = to_values(read_record(directory))
    record["wandb"] = []  # the address of a W&B run names its owner
    rows = read_rows(directory)
    columns = dict.fromkeys(name for row in rows for name in row)
    epochs = {name: [row.get(name) for row in rows] for name in columns}
    return {"cell": cell, "record": without_paths(record), "epochs": epochs}


def publish_environment(directory: Path, destination: Path) -> None:
    """Copy the lists of packages, and the patches without a private path: one with paths hidden would not apply."""
    for path in sorted((directory / ENVIRONMENT).glob("*-????????????.*")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".patch" and without_paths(text) != text:
            print(f"{ENVIRONMENT}/{path.name}  holds a path of this machine; published without", file=sys.stderr)
            continue
        (destination / ENVIRONMENT).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, destination / ENVIRONMENT / path.name)


def _publish_notes(directory: Path, destination: Path) -> None:
    """Copy the note beside a study, and the judgement of its looks."""
    for name in (README, LOOKS_NAME):
        if (directory / name).exists() and not (destination / name).exists():
            shutil.copyfile(directory / name, destination / name)
