"""Publish a sweep directory for a repository: report, plan, and per cell its record, epochs and correct answers.

No checkpoints, no private paths (vitsweep/tracking/privacy.py). The layout is that of a sweep directory, so `report`
and `verify` work on it; one bit per test image is kept of the predictions, which is all that the report's numbers use.
"""

import shutil
import sys
from pathlib import Path

from vitsweep.added_fields import to_values
from vitsweep.errors import RecordError
from vitsweep.files import write_atomically, write_json
from vitsweep.study.plan import TUNED_NAME, TUNING_NAME, read_plan_values
from vitsweep.study.provenance.environment import FOLDER as ENVIRONMENT
from vitsweep.study.record import METRICS_NAME, PLAN_NAME, RECORD_NAME, read_record
from vitsweep.tracking.privacy import without_paths

from .records.load import cell_directories, read_plan
from .records.report_files import EXAMPLES_NAME, REPORT_NAME
from .report.report import make_report, read_gallery, write_gallery
from .report.results import report_directories, report_options
from .statistics.examples import UNREADABLE, published_bytes


def publish(directory: str | Path, destination: str | Path) -> Path:
    """Write the published form of a sweep directory and return the path of its index.html.

    Raises:
        RecordError: the directory has no report or no cells, its report is of several directories, or the destination
            is not empty.
    """
    directory, destination = Path(directory), Path(destination)
    report, cells = directory / REPORT_NAME, cell_directories(directory) if directory.is_dir() else []
    if not cells or not (report / "index.html").exists():
        command = f"python -m vitsweep.analysis report {directory}"
        raise RecordError(f"{directory}  holds no report; make it with `{command}`")
    if several := report_directories(report):
        raise RecordError(f"{report}  was made of {' '.join(several)}; make one of {directory} alone to publish it")
    if destination.exists() and any(destination.iterdir()):
        raise RecordError(f"{destination}  is not empty; give a new folder, or remove it first")
    for cell in cells:
        _publish_cell(cell, destination / cell.relative_to(directory))
    publish_environment(directory, destination)
    _publish_search(directory, destination)
    plan, gallery = read_plan(directory, []), without_paths(read_gallery(report))  # its notes may name a file
    if plan:
        write_json(destination / PLAN_NAME, without_paths(plan))
    if gallery:
        (destination / REPORT_NAME / "figures").mkdir(parents=True)
        write_gallery(gallery, destination / REPORT_NAME)
    return make_report(destination, gallery="keep", **report_options(report))


def _publish_search(directory: Path, destination: Path) -> None:
    """Write the published form of a sweep's search and of the study at the settings found, if there are any.

    Optuna's journal is left out: plan and records of the trials have what the report reads.
    """
    search, tuned = directory / TUNING_NAME, directory / TUNED_NAME
    if (plan := read_plan_values(search)) is not None:
        for cell in cell_directories(search):
            _publish_cell(cell, destination / cell.relative_to(directory))
        publish_environment(search, destination / TUNING_NAME)
        write_json(destination / TUNING_NAME / PLAN_NAME, without_paths(plan))
    if (tuned / PLAN_NAME).exists():
        publish(tuned, destination / TUNED_NAME)


def publish_environment(directory: Path, destination: Path) -> None:
    """Copy the lists of packages, and the patches without a private path: one with paths hidden would not apply."""
    for path in sorted((directory / ENVIRONMENT).glob("*-????????????.*")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".patch" and without_paths(text) != text:
            print(f"{ENVIRONMENT}/{path.name}  holds a path of this machine; published without", file=sys.stderr)
            continue
        (destination / ENVIRONMENT).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, destination / ENVIRONMENT / path.name)


def _publish_cell(cell: Path, destination: Path) -> None:
    destination.mkdir(parents=True)
    record = to_values(read_record(cell))
    record["wandb"] = []  # the address of a W&B run names its owner
    write_json(destination / RECORD_NAME, without_paths(record))
    if (cell / METRICS_NAME).exists():
        shutil.copyfile(cell / METRICS_NAME, destination / METRICS_NAME)
    try:
        write_atomically(destination / EXAMPLES_NAME, published_bytes(cell))
    except UNREADABLE as error:
        if not isinstance(error, FileNotFoundError):  # a cell without predictions
            name = f"{cell.parent.name}/{cell.name}"
            print(f"{name}  has predictions that cannot be read ({error}); published without", file=sys.stderr)
