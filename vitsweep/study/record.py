"""Files of a cell: record.json, metrics.jsonl and the names of the others. The truth that analysis reads.

A published study has one file instead, runs.jsonl, with a line for each cell: read_record and read_rows find it there
by the path that the cell's directory had.

Every write of the record is atomic (temporary file, fsync, rename), so a reader sees the old or the new one and never a
part. NaN and infinities are written as null: JSON has none. No torch here.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import sys
import traceback
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from vitsweep.added_fields import added_field, from_values, missing_fields, to_values
from vitsweep.errors import RecordError
from vitsweep.files import check_writable, finite, json_bytes, write_atomically, write_json
from vitsweep.paths import PACKAGE_DIR
from vitsweep.paths import PLAN_NAME as PLAN_NAME
from vitsweep.study.provenance.git import run_git

SCHEMA = 1
RECORD_NAME = "record.json"
METRICS_NAME = "metrics.jsonl"
RUNS_NAME = "runs.jsonl"
"""File of a published study: a JSON object a line, `cell` (id), `record`, and `epochs`, column -> list of values."""
MAX_DEPTH = 4
"""Largest number of folders that are searched for a cell's runs.jsonl, its own and those above."""
PREDICTIONS_NAME = "predictions.npz"
FINAL_NAME = "final.pt"
"""State after the last epoch of a cell that can be trained longer, without the weights: those are in safetensors."""
EPOCHS_FOLDER = "checkpoints"
TUNING_NAME, TUNED_NAME, DROPPED_NAME = "tuning", "tuned", "dropped"
"""Directories beside a plan that hold no cells of it: the trials of its search, the study at the settings found, and
cells that were dropped."""
WITHOUT_CELLS = frozenset({"report", "wandb", "environment", EPOCHS_FOLDER, "__pycache__"})
"""Directories that hold no cell wherever they are."""
TRIAL = "trial"
"""Role of a cell of a search: it is scored on validation images alone, and belongs to no arm's results."""
STATUSES = ("planned", "running", "interrupted", "done", "failed", "diverged")
EMA, AVERAGE = "ema", "average"
METRIC_ROWS = ("final", "best", EMA, AVERAGE)
"""Weights that are scored: after the last epoch, at the lowest validation loss, moving average, mean of last epochs."""
METRIC_NAMES = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/loss", "test/accuracy")
ROW_METRICS = tuple(f"{row}/{name}" for row in METRIC_ROWS[1:] for name in METRIC_NAMES)
"""Metrics of the other weights than the last epoch's, as claims and reports name them: `average/test/accuracy`."""
METRICS_TEXT = f"{', '.join(METRIC_NAMES)}, or one of them behind {', '.join(f'{row}/' for row in METRIC_ROWS[1:])}"


@dataclass(kw_only=True)
class Record:
    """Result of one cell and everything needed to understand or repeat it."""

    schema: int = SCHEMA
    """Version of this layout; another one is refused."""
    status: str = "planned"
    """planned, running, interrupted, done, failed or diverged."""
    study: str = ""
    """Name of the study, or of the sweep, or `single`."""
    role: str = "arm"
    """baseline, arm, placebo or trial."""
    arm: str = "baseline"
    """Slug of the arm's changes against the baseline."""
    levels: dict[str, str] = field(default_factory=dict)
    """Factor -> level."""
    seed: int = 0
    """The replicate."""
    overrides: list[str] = field(default_factory=list)
    """Hydra overrides that compose this cell again."""
    config: dict[str, Any] = field(default_factory=dict)
    """Resolved configuration, from config.to_dict."""
    config_hash: str = ""
    """config.config_hash of it."""
    plan_hash: str = ""
    """Hash of the plan that the cell belongs to; empty for a single run."""
    claims_hash: str = ""
    """Hash of the study's claims; empty without claims."""
    data_fingerprint: str = ""
    """Order-independent hash of all images and labels."""
    data_name: str = ""
    """Name of the data set with this fingerprint, e.g. `CIFAR-10`; empty when unknown."""
    classes: list[str] = field(default_factory=list)
    """Class names by index."""
    normalisation: dict[str, list[float]] = field(default_factory=dict)
    """mean and std per channel, of pixel values scaled to 0..1."""
    num_images: dict[str, int] = field(default_factory=dict)
    """Images used in train, val and test."""
    code: dict[str, Any] = field(default_factory=dict)
    """version, git commit, dirty; `before`: those of earlier attempts that the cell was continued from."""
    versions: dict[str, str] = field(default_factory=dict)
    """Python and the libraries that can change a result."""
    device: str = ""
    """cpu, mps, or the GPU's name."""
    precision: str = ""
    """bf16 or fp32, as used."""
    threads: int = 0
    """CPU threads of torch; a cell that is continued alone keeps its number, which decides the last bits of sums."""
    pack: dict[str, Any] = field(default_factory=dict)
    """Cells trained as one program with this one: `cells` (`arm seed=n`), this one's `place` from 0; none: alone.
    `before`: packs of the earlier attempts that the cell was continued from, oldest first; {} stands for alone."""
    params: int = 0
    """Trainable parameters."""
    flops_per_image: int = 0
    """Forward pass of one image, a multiply-add counted as 2."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """METRIC_ROWS: each METRIC_NAMES -> value, best with its epoch; ema, average of cells that average weights only."""
    epoch: int = 0
    """Epochs finished."""
    started: str = ""
    """UTC, ISO 8601, of the first attempt."""
    finished: str = ""
    """UTC, ISO 8601; empty until the cell has ended."""
    attempts: int = 0
    """Number of starts of the cell."""
    time_seconds: float = 0.0
    """Wall time over all attempts; of the time in a pack an equal share, so that all cells' add up to the machine's."""
    images_per_second: float | None = None
    """Training images over training-step seconds, augmentation included, evaluation excluded; median over epochs.
    In a pack a step's seconds are shared like time_seconds, so this is the pace at which the device worked."""
    peak_gib: float | None = None
    """Peak memory: of the GPU, else of the process, with everything that is trained in it."""
    error: dict[str, str] | None = None
    """type, message and traceback of the exception that ended the cell."""
    wandb: list[dict[str, str]] = field(default_factory=list)
    """id, url and mode of each W&B run."""
    sweep_id: str = added_field("")
    """Random id of the sweep, or of the single run; part of the W&B run's id."""
    environment: dict[str, Any] = added_field({})
    """`packages` and `patch`: files in the sweep's environment folder; `left_out` of the patch; cpu, cores, system,
    instructions, cuda, cudnn; `before`: those of earlier attempts. {}: not recorded."""
    continued_from: dict[str, Any] = added_field({})
    """Finished cell whose training this one continues: study, cell, sweep_id, config_hash, epochs. {}: none."""
    newer: dict[str, Any] = added_field({})
    """Fields that a newer version has written, as they were."""


KEPT = ("started", "attempts", "time_seconds", "wandb", "device", "threads", "code", "pack", "sweep_id", "newer") + (
    "environment",
    "continued_from",
)
"""Fields that a new attempt takes from the record of the one before."""


def with_history(now: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """Return `now` with a list `before` of the earlier values, oldest first; the last one only if it differs."""
    last = {key: value for key, value in earlier.items() if key != "before"}
    before = earlier.get("before", []) + ([last] if last != now else [])
    return now | ({"before": before} if before else {})


def without_history(now: dict[str, Any]) -> dict[str, Any]:
    """Return a value of with_history without its list `before`."""
    return {key: value for key, value in now.items() if key != "before"}


def keep_history(record: Record, earlier: Record, is_start: bool) -> None:
    """Keep code and environment of the earlier attempts that a cell continues; drop what a fresh start does not."""
    if is_start:
        record.pack, record.continued_from = without_history(record.pack), {}
        return
    record.code = with_history(record.code, earlier.code)
    if earlier.environment:  # of an earlier version's cell there is none
        record.environment = with_history(record.environment, earlier.environment)


def write_record(directory: Path, record: Record) -> None:
    """Write `record.json` atomically."""
    write_json(directory / RECORD_NAME, to_values(record))


def error_info(error: BaseException) -> dict[str, str]:
    """Return type, message and traceback of an exception, as the record keeps them."""
    text = "".join(traceback.format_exception(error))
    return {"type": type(error).__name__, "message": str(error), "traceback": text}


def read_record(directory: Path) -> Record:
    """Read the record in a cell's directory.

    Raises:
        FileNotFoundError: there is none.
        RecordError: it is no JSON, has another schema, or lacks fields of the first version.
    """
    path = Path(directory) / RECORD_NAME
    try:
        values = json.loads(record_bytes(path.parent).decode())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}  is not a record ({error}); move the directory away") from error
    if not isinstance(values, dict) or "schema" not in values:
        raise RecordError(f"{path}  is not a record of vitsweep; move the directory away")
    if values["schema"] != SCHEMA:
        raise RecordError(
            f"{path}  has schema={values['schema']}, this version reads {SCHEMA}; use the vitsweep that wrote it"
        )
    missing = missing_fields(Record, values)
    if missing or values["status"] not in STATUSES:
        wrong = f"without {', '.join(missing)}" if missing else f"status={values['status']}"
        raise RecordError(f"{path}  is damaged: {wrong}; move the directory away")
    return Record(**from_values(Record, values))


def record_bytes(directory: Path) -> bytes:
    """Return the bytes of a cell's record.json, of a published cell those that it had.

    Raises:
        FileNotFoundError: there is none.
    """
    try:
        return (Path(directory) / RECORD_NAME).read_bytes()
    except FileNotFoundError:
        run = published_run(directory)
        if run is None:
            raise
        return json_bytes(run["record"])


def has_record(directory: Path) -> bool:
    """Return whether a cell has a record, readable or not."""
    return (Path(directory) / RECORD_NAME).exists() or published_run(directory) is not None


def published_run(cell: Path) -> dict[str, Any] | None:
    """Return a cell's line in the runs.jsonl of its directory, or of the next one above that has one; None without."""
    cell = Path(cell)
    for folder in (cell, *cell.parents)[:MAX_DEPTH]:
        if (folder / RUNS_NAME).is_file():
            return read_runs(folder)[0].get(cell.relative_to(folder).as_posix())
    return None


def read_runs(directory: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Read the runs.jsonl of a published study: cell -> its line, and a sentence for each line that is not one."""
    path = directory / RUNS_NAME
    now = path.stat()
    return _read_runs(path, now.st_mtime_ns, now.st_size)


@lru_cache(maxsize=8)
def _read_runs(path: Path, mtime_ns: int, size: int) -> tuple[dict[str, dict[str, Any]], list[str]]:
    runs, problems = {}, []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            run = json.loads(line)
            columns = dict(run["epochs"])
            if len(set(map(len, columns.values()))) > 1:
                raise ValueError
            runs[run["cell"]] = {"record": run["record"], "epochs": columns}
        except (ValueError, KeyError, TypeError):
            problems.append(f"Left out line {number} of {path.name}: it is not a run of vitsweep.")
    return runs, problems


def _published_rows(cell: Path) -> list[dict[str, Any]]:
    run = published_run(cell)
    columns = run["epochs"] if run else {}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def append_row(directory: Path, row: dict[str, Any]) -> None:
    """Append one epoch's row to metrics.jsonl.

    Raises:
        LockLost: another process has taken the cell over.
    """
    check_writable(directory)
    with open(directory / METRICS_NAME, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(finite(row)) + "\n")


def sync_rows(directory: Path) -> None:
    """Sync metrics.jsonl to disk, so that no saved state is ahead of its rows."""
    path = directory / METRICS_NAME
    if path.exists():
        with open(path, "ab") as stream:
            os.fsync(stream.fileno())


def read_rows(directory: Path) -> list[dict[str, Any]]:
    """Read the epoch rows of a cell; an incomplete last line (the writer was killed) is left out."""
    path = Path(directory) / METRICS_NAME
    if not path.exists():
        return _published_rows(path.parent)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        rows = json.loads(f"[{','.join(lines)}]")  # half the time of one call a line
        if len(rows) == len(lines):
            return rows
    except json.JSONDecodeError:
        pass
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def drop_rows_after(directory: Path, last_epoch: int) -> list[dict[str, Any]]:
    """Drop the rows after `last_epoch` (they are trained again) and return the others."""
    rows = [row for row in read_rows(directory) if row["epoch"] <= last_epoch]
    write_atomically(directory / METRICS_NAME, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return rows


def cell_directories(directory: Path) -> list[Path]:
    """Return the directories below (or at) `directory` that hold a record, or did before publication, in order."""
    found = set()
    for folder, below, files in os.walk(directory):
        if RUNS_NAME in files:
            found |= {Path(folder, cell) for cell in read_runs(Path(folder))[0]}
        if RECORD_NAME in files:
            found.add(Path(folder))
            below.clear()
        skipped = WITHOUT_CELLS | ({TUNING_NAME, TUNED_NAME, DROPPED_NAME} if PLAN_NAME in files else set())
        below[:] = [name for name in below if name not in skipped and not name.startswith("report-")]
    return sorted(found)


def epoch_checkpoints(directory: Path) -> dict[int, Path]:
    """Return epoch -> weights file of the checkpoints kept, in order; see checkpoint_every_epochs."""
    kept = (directory / EPOCHS_FOLDER).glob("epoch-*.safetensors")
    return dict(sorted((int(path.stem.removeprefix("epoch-")), path) for path in kept))


def now() -> str:
    """Return the time in UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@cache
def code_identity() -> dict[str, Any]:
    """Return version, git commit and whether the checkout has uncommitted changes; commit is empty in a wheel."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {"version": package_version("vitsweep"), "commit": commit or "", "dirty": bool(changes)}


def _git(*arguments: str) -> str | None:
    # Only a checkout of ours counts: a wheel installed inside another repository must not report its commit.
    if not (PACKAGE_DIR.parent / "run.py").exists():
        return None
    found = run_git(PACKAGE_DIR.parent, *arguments)
    return None if found is None else found.decode(errors="replace").strip()


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that can change a result."""
    names = ("torch", "torchvision", "numpy", "hydra-core", "omegaconf", "wandb")
    return {"python": platform.python_version(), "platform": sys.platform} | {n: package_version(n) for n in names}


def package_version(name: str) -> str:
    """Return the installed version of a distribution, or `unknown` (a checkout that is not installed)."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
