"""report/files.json: the files that a report wrote, with their hashes, and a digest of the records it was made from.

A report is made in a temporary folder and moved into place file by file, this list last. So a full disk leaves the old
report, a torn one is recognized, and only files that a report wrote are ever removed. No pandas, no matplotlib: the end
of a sweep asks `is_current` before it imports them.
"""

import hashlib
import json
import os
from pathlib import Path

from vitsweep.config.overrides import slug
from vitsweep.errors import RecordError
from vitsweep.files import write_json
from vitsweep.study.record import DROPPED_NAME, METRICS_NAME, PLAN_NAME, PREDICTIONS_NAME, RECORD_NAME, RUNS_NAME

REPORT_NAME = "report"
FILES_NAME = "files.json"
PAGE_NAME = "index.html"
GALLERY_NAME = "gallery.json"
RESULTS_NAME = "results.json"
EXAMPLES_NAME = "examples.npz"
INPUT_NAMES = (PLAN_NAME, RECORD_NAME, METRICS_NAME, PREDICTIONS_NAME, RUNS_NAME, EXAMPLES_NAME)
SKIPPED_FOLDERS = {"report", "wandb", "__pycache__", DROPPED_NAME}


def report_name(baseline: str = "") -> str:
    """Return the name of a report's folder; one against another baseline than the study's has its own."""
    return f"{REPORT_NAME}-baseline={slug(baseline)}" if baseline else REPORT_NAME


def is_published(directory: str | Path) -> bool:
    """Return whether a directory is a published study, whose report leaves out what can be made again."""
    return (Path(directory) / RUNS_NAME).is_file()


def digest_inputs(*directories: str | Path) -> str:
    """Return the SHA-256 of the names and contents of all plans, records, epochs and predictions in directories."""
    digest = hashlib.sha256()
    for directory in map(Path, directories):
        for folder, below, files in os.walk(directory):
            below[:] = sorted(name for name in below if name not in SKIPPED_FOLDERS)
            for path in (Path(folder, name) for name in sorted(set(files).intersection(INPUT_NAMES))):
                digest.update(f"{path.relative_to(directory).as_posix()} {_file_hash(path)}\n".encode())
        digest.update(b"\n")
    return digest.hexdigest()


def is_current(report: Path, *directories: str | Path) -> bool:
    """Return True if a report was made from what the directories hold now and every file of it is as written."""
    written = _read(report)
    if not written or written["inputs"] != digest_inputs(*directories):
        return False
    return all((report / name).is_file() and _file_hash(report / name) == h for name, h in written["files"].items())


def move_report(fresh: Path, report: Path, inputs: str) -> None:
    """Move the files of a new report into place, and remove those of the earlier one that it does not replace.

    Raises:
        RecordError: a file that no report wrote would be overwritten.
    """
    names = sorted(path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file())
    own = set((_read(report) or {"files": {}})["files"])
    # Reports of earlier versions have no list, nor has a kept gallery.
    is_earlier = (report / RESULTS_NAME).exists() or (report / GALLERY_NAME).exists()
    foreign = [name for name in names if name not in own and (report / name).exists()]
    if foreign and not is_earlier:
        raise RecordError(f"{report / foreign[0]}  was not written by a report; choose another folder with --out")
    hashes = {name: _file_hash(fresh / name) for name in names}
    for name in names:
        (report / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(fresh / name, report / name)
    for name in own - set(names):
        (report / name).unlink(missing_ok=True)
    write_json(report / FILES_NAME, {"inputs": inputs, "files": hashes})


def _read(report: Path) -> dict | None:
    """Read the list of a report's files; None without a readable one."""
    try:
        written = json.loads((report / FILES_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # Nothing outside the report's folder is ever its file.
    is_list = isinstance(written, dict) and isinstance(written.get("files"), dict) and "inputs" in written
    return written if is_list and all(_is_inside(name) for name in written["files"]) else None


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _file_hash(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
