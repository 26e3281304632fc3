"""Publish a sweep directory for a repository: report, plan, and per cell its record, epochs and correct answers.

No checkpoints, no absolute paths. The layout is that of a sweep directory, so `report` and `verify` work on it; one bit
per test image is kept of the predictions, which is all that the report's numbers use.
"""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

from vitsweep.errors import RecordError
from vitsweep.files import write_atomically, write_json
from vitsweep.study.record import METRICS_NAME, PLAN_NAME, RECORD_NAME, read_record

from .records.load import cell_directories, read_plan
from .report.report import REPORT_NAME, make_report, read_gallery, write_gallery
from .report.results import report_options
from .statistics.examples import EXAMPLES_NAME, published_bytes

ABSOLUTE = re.compile(r"(?<![\w.:/~-])(?:~|[A-Za-z]:)?[/\\](?:[\w.+=@-]+[/\\])+([\w.+=@-]*)")
"""Absolute path in a text; group 1 is its last part."""


def publish(directory: str | Path, destination: str | Path) -> Path:
    """Write the published form of a sweep directory and return the path of its index.html.

    Raises:
        RecordError: the directory has no report or no cells, or the destination is not empty.
    """
    directory, destination = Path(directory), Path(destination)
    report, cells = directory / REPORT_NAME, cell_directories(directory) if directory.is_dir() else []
    if not cells or not (report / "index.html").exists():
        raise RecordError(f"{directory}  holds no report; make it with `python -m analysis report {directory}`")
    if destination.exists() and any(destination.iterdir()):
        raise RecordError(f"{destination}  is not empty; give a new folder, or remove it first")
    for cell in cells:
        _publish_cell(cell, destination / cell.relative_to(directory))
    plan, gallery = read_plan(directory, []), read_gallery(report)
    if plan:
        write_json(destination / PLAN_NAME, without_paths(plan))
    if gallery:
        (destination / REPORT_NAME / "figures").mkdir(parents=True)
        write_gallery(gallery, destination / REPORT_NAME)
    return make_report(destination, gallery="keep", **report_options(report))


def without_paths(value: Any) -> Any:
    """Return the nested value with every absolute path shortened to its last part."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    return ABSOLUTE.sub(lambda match: match.group(1) or ".", value) if isinstance(value, str) else value


def _publish_cell(cell: Path, destination: Path) -> None:
    destination.mkdir(parents=True)
    record = dataclasses.asdict(read_record(cell))
    record["wandb"] = []  # the address of a W&B run names its owner
    write_json(destination / RECORD_NAME, without_paths(record))
    if (cell / METRICS_NAME).exists():
        shutil.copyfile(cell / METRICS_NAME, destination / METRICS_NAME)
    try:
        write_atomically(destination / EXAMPLES_NAME, published_bytes(cell))
    except FileNotFoundError:
        return  # a cell without predictions
