"""Read records on disk or in W&B into tidy frames: `cells`, one row a cell, and `history`, one row an epoch.

Nothing found on disk is fatal: a damaged, foreign or too new record is left out and named in `problems`. A planned cell
that was never started is a row with status `planned`, so unfinished work is visible; one whose record is left out is
`unreadable`.
Numbers stay in the record's units (accuracy a fraction of 1); tables turn them into percent points.
"""

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from vitsweep.errors import RecordError
from vitsweep.study.plan import read_plan_values
from vitsweep.study.record import (
    METRIC_NAMES,
    METRIC_ROWS,
    PLAN_NAME,
    RECORD_NAME,
    RUNS_NAME,
    Record,
    cell_directories,
    has_record,
    read_record,
    read_rows,
    read_runs,
)

from .consistency import cell_contradictions, plan_contradictions
from .tuning import TuningRecords, read_tuning
from .wandb_runs import WandbCells, fetch_cells, is_wandb_source, read_run_files

HISTORY_NAMES = (
    "train/loss",
    "train/accuracy",
    "val/loss",
    "val/accuracy",
    "lr",
    "time_seconds",
    "images_per_second",
)
PLAIN_FIELDS = (
    "study role arm seed status epoch config_hash plan_hash claims_hash data_fingerprint data_name params "
    "flops_per_image time_seconds images_per_second peak_gib device precision threads pack attempts started "
    "finished"
).split()
SCORED_ALWAYS = ("final", "best")
"""METRIC_ROWS of every cell; `ema` and `average` are of cells that average their weights."""
PLAN_KEYS = {"study", "plan_hash", "arms", "cells"}
PLANNED_KEYS = ("arm", "role", "levels", "seed", "overrides", "config", "config_hash")
UNPLANNED = "the cells are reported as a plain sweep."


@dataclass(kw_only=True)
class StudyRecords:
    """Cells, epochs and plans of one or many directories."""

    cells: pd.DataFrame
    """One row a cell: `directory`, `cell` (its id), PLAIN_FIELDS, `final/<metric>`, `best/epoch`,
    `best/<metric>`, `record`; `ema/<metric>`, `average/<metric>` where a cell has them."""
    history: pd.DataFrame
    """One row a cell and epoch: `cell`, `arm`, `seed`, `epoch` and HISTORY_NAMES."""
    problems: list[str]
    """A sentence for each thing that could not be read or does not belong."""
    plans: list[dict[str, Any]] = field(default_factory=list)
    """The plan.json of each directory that has one; ids of its cells as in `cells`."""
    is_copy: bool = False
    """True if some of it comes from W&B, which has no predictions and no checkpoints."""
    tuning: TuningRecords | None = None
    """Search of the arms' own settings; None without one, and where several directories are read."""
    prefixes: list[str] = field(default_factory=lambda: [""])
    """Beginning of the cells' ids of each directory; empty if there is one directory."""


def load(*directories: str | Path) -> StudyRecords:
    """Load every cell of sweep or cell directories, or of runs named `wandb:entity/project?group=study`.

    A published directory is read from its runs.jsonl, one with W&B run files and no records from those files.

    Raises:
        RecordError: a directory does not exist, is given twice or holds nothing, or W&B cannot be read.
    """
    rows: list[dict] = []
    history: list[dict] = []
    problems: list[str] = []
    plans: list[dict] = []
    is_copy = False
    sources = list(map(str, directories))
    prefixes = source_prefixes(sources)
    for source, prefix in zip(sources, prefixes, strict=True):
        directory, seen = Path(source), len(problems)
        plan = None if is_wandb_source(source) else read_plan(directory, problems)
        problems += plan_contradictions(directory) if plan else []
        problems[seen:] = [prefix + problem for problem in problems[seen:]]
        found = [] if is_wandb_source(source) else _read_cells(directory, prefix, history, problems)
        wandb_cells = fetch_cells(source) if is_wandb_source(source) else (None if found else read_run_files(directory))
        if wandb_cells:
            found, plan, is_copy = _wandb_rows(wandb_cells, directory, prefix, history), plan or wandb_cells.plan, True
            problems += wandb_cells.problems
        rows += found + _planned(directory, prefix, plan, {row["cell"] for row in found})
        if len(sources) > 1 and not (found or plan or len(problems) > seen):
            raise RecordError(f"{source}  holds no record and no plan; leave it out")
        plans += [plan | {"cells": [c | {"id": prefix + c["id"]} for c in plan["cells"]]}] if plan else []
    cells, epochs = cell_frame(rows), _history_frame(history)
    problems += cell_contradictions(cells, epochs)
    tuning = read_tuning(Path(sources[0])) if len(sources) == 1 and plans and not is_copy else None
    return StudyRecords(
        cells=cells,
        history=epochs,
        problems=problems,
        plans=plans,
        is_copy=is_copy,
        tuning=tuning,
        prefixes=prefixes,
    )


def source_prefixes(sources: list[str]) -> list[str]:
    """Return for each of several sources the shortest end of its path that no other has, as `one/study/`.

    Raises:
        RecordError: a directory does not exist, or is given twice or inside another one.
    """
    for source in sources:
        if not is_wandb_source(source) and not Path(source).is_dir():
            raise RecordError(f"{source}  is not a directory; give a sweep's or a cell's directory")
    if len(sources) == 1:
        return [""]
    paths = [Path(source if is_wandb_source(source) else os.path.realpath(source)) for source in sources]
    for one, other in itertools.permutations(range(len(paths)), 2):
        if paths[one] == paths[other]:
            raise RecordError(f"{sources[other]}  is given twice; give each directory once")
        if paths[one].is_relative_to(paths[other]):
            raise RecordError(f"{sources[one]}  lies in {sources[other]}, which is given too; give each cell once")
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        ends = ["/".join(path.parts[-length:]).strip("/") for path in paths]
        if len(set(ends)) == len(ends):
            break
    return [f"{end}/" for end in ends]


def _wandb_rows(wandb_cells: WandbCells, directory: Path, prefix: str, history: list[dict]) -> list[dict]:
    """Rows for the cells that W&B has; the directory of such a cell does not exist."""
    for cell, record, epochs in wandb_cells.cells:
        history += [row | {"cell": prefix + cell, "arm": record.arm, "seed": record.seed} for row in epochs]
    return [cell_row(directory / cell, prefix + cell, record) for cell, record, _ in wandb_cells.cells]


def read_plan(directory: Path, problems: list[str]) -> dict[str, Any] | None:
    """Read the directory's plan.json; None without one, and with a sentence in `problems` for an unreadable one."""
    try:
        plan = read_plan_values(directory)
    except RecordError as error:
        problem = str(error).removeprefix(f"{directory / PLAN_NAME}  ").partition(";")[0]
        problems.append(f"{PLAN_NAME} {problem}; {UNPLANNED}")
        return None
    if plan is None:
        return None
    if not isinstance(plan, dict) or not _is_whole(plan):
        problems.append(f"{PLAN_NAME} is not a plan of vitsweep; {UNPLANNED}")
        return None
    return plan


def _is_whole(plan: dict[str, Any]) -> bool:
    cells = plan.get("cells")
    if not PLAN_KEYS <= set(plan) or not isinstance(cells, list):
        return False
    return all(isinstance(cell, dict) and {"id", *PLANNED_KEYS} <= set(cell) for cell in cells)


def _read_cells(directory: Path, prefix: str, history: list[dict], problems: list[str]) -> list[dict]:
    rows = []
    if (directory / RUNS_NAME).exists():
        problems += read_runs(directory)[1]
    for folder in cell_directories(directory):
        relative = folder.relative_to(directory).as_posix()
        cell = prefix + (relative if relative != "." else "cell")
        try:
            record = read_record(folder)
            row = cell_row(folder, cell, record)
        except (RecordError, OSError, TypeError, AttributeError) as error:
            problems.append(_left_out(cell, folder, error))
            continue
        rows.append(row)
        history += _epoch_rows(folder, cell, record, problems)
    return rows


def _left_out(cell: str, folder: Path, error: Exception) -> str:
    text = str(error).replace(str(folder / RECORD_NAME), "").strip()
    return f"Left out {cell}: its {RECORD_NAME} {text}."


def cell_row(folder: Path, cell: str, record: Record) -> dict[str, Any]:
    """Return the row of StudyRecords.cells for a record."""
    row: dict[str, Any] = {"directory": str(folder), "cell": cell}
    row |= {name: getattr(record, name) for name in PLAIN_FIELDS}
    for when in METRIC_ROWS:
        values = record.metrics.get(when) or {}
        row |= {f"{when}/{name}": values.get(name) for name in METRIC_NAMES if values or when in SCORED_ALWAYS}
    row["best/epoch"] = (record.metrics.get("best") or {}).get("epoch")
    return row | {"record": record}


def _epoch_rows(folder: Path, cell: str, record: Record, problems: list[str]) -> list[dict]:
    try:
        rows = {row["epoch"]: row for row in read_rows(folder)}
    except (TypeError, KeyError, UnicodeDecodeError):
        problems.append(f"Left out the epochs of {cell}: its metrics.jsonl has rows without an epoch.")
        return []
    return [row | {"cell": cell, "arm": record.arm, "seed": record.seed} for row in rows.values()]


def _planned(directory: Path, prefix: str, plan: dict | None, found: set[str]) -> list[dict]:
    """Rows for the cells that the plan lists and that have no readable record, as `planned` or `unreadable`."""
    rows: list[dict] = []
    if not plan:
        return rows
    for planned in plan["cells"]:
        cell = prefix + planned["id"]
        if cell in found:
            continue
        known = {key: planned[key] for key in PLANNED_KEYS}
        # A record that cannot be read is named in the problems, and is no cell that did not start.
        status = "unreadable" if has_record(directory / planned["id"]) else "planned"
        record = Record(study=plan["study"], plan_hash=plan["plan_hash"], status=status, **known)
        rows.append(cell_row(directory / planned["id"], cell, record))
    return rows


def cell_frame(rows: list[dict]) -> pd.DataFrame:
    """Return StudyRecords.cells of rows made by cell_row."""
    # Averages of the weights only where a recipe asks for them: other studies keep their tables.
    when = [*SCORED_ALWAYS, *(w for w in METRIC_ROWS[2:] if any(f"{w}/{METRIC_NAMES[0]}" in row for row in rows))]
    numbers = [f"{w}/{name}" for w in when for name in METRIC_NAMES] + ["best/epoch"]
    columns = ["directory", "cell", *PLAIN_FIELDS, *numbers, "record"]
    cells = pd.DataFrame(rows, columns=columns)
    for name in (*numbers, "params", "flops_per_image", "time_seconds", "images_per_second", "peak_gib"):
        cells[name] = pd.to_numeric(cells[name], errors="coerce").astype(float)
    return cells


def _history_frame(rows: list[dict]) -> pd.DataFrame:
    columns = ["cell", "arm", "seed", "epoch", *HISTORY_NAMES]
    history = pd.DataFrame(rows, columns=columns)
    for name in ("epoch", *HISTORY_NAMES):
        history[name] = pd.to_numeric(history[name], errors="coerce").astype(float)
    return history
