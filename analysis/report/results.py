"""results.json: every number of a report at full precision, with the runs it comes from and hashes of the records."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from vitsweep.files import finite
from vitsweep.study.record import has_record, record_bytes

from ..records.report_files import RESULTS_NAME
from ..records.selection import Selection
from ..statistics.judgement import Judgement, Power
from ..statistics.tuning.own_settings import Tuning
from ..units import table_units, with_units

RESULTS_SCHEMA = 2
"""2: units in the names of columns, as in the CSV tables."""


def results_json(judgement: Judgement, signature: str, sort: str) -> str:
    """Return the text of results.json."""
    selection = judgement.selection
    cells = {arm: _run_numbers(selection, arm) for arm in selection.arms}

    def named(name: str, frame: pd.DataFrame) -> pd.DataFrame:
        return with_units(frame, table_units(name, judgement.metric.endswith("accuracy")))

    found, power = judgement.factorial, judgement.power
    values: dict[str, Any] = {
        "schema": RESULTS_SCHEMA,
        "study": selection.study,
        "options": {"metric": judgement.metric, "sort": sort}
        | ({"baseline": selection.baseline} if selection.own_baseline else {}),
        "baseline": selection.baseline,
        "signature": signature,
        "runs": {str(i): cell for i, cell in enumerate(selection.cells["cell"], start=1)},
        "inputs": input_hashes(judgement),
        "arms": _rows(named("arms", judgement.effects), cells, selection.baseline),
        "claims": _rows(judgement.claims, cells),
        "main_effects": _rows(named("main-effects", found.main)) if found else [],
        **({"questions": _rows(named("questions", found.questions))} if found and len(found.questions) else {}),
        "interactions": _rows(named("interactions", found.interactions)) if found else [],
        "removal": found.removal if found else "",
        "saturation": _rows(judgement.saturation, cells),
        "best_epoch": _rows(named("best-epoch", judgement.best), cells),
        "images": _rows(named("images", judgement.images), cells, selection.baseline),
        "classes": _rows(named("classes", judgement.classes), cells, selection.baseline),
        "measures": _rows(judgement.measures, cells, selection.baseline),
        "power": _power_values(power) if power else None,
    }
    if judgement.tuning:
        values["tuning"] = _tuning(judgement.tuning, judgement.metric.endswith("accuracy"))
    if len(selection.prefixes) > 1:
        values["directories"] = [prefix.rstrip("/") for prefix in selection.prefixes]
    return json.dumps(finite(values), indent=1) + "\n"


def _power_values(power: Power) -> dict[str, Any]:
    """Return the fields of a power; those of main effects only where a study asks about them."""
    return {key: value for key, value in vars(power).items() if power.questions or not key.startswith("question")}


def report_directories(folder: Path) -> list[str]:
    """Return the directories that the report in `folder` was made of, as its cells' ids begin; [] for one."""
    return json.loads((folder / RESULTS_NAME).read_text(encoding="utf-8")).get("directories", [])


def report_options(folder: Path) -> dict[str, str]:
    """Return metric and sort that the report in `folder` was made with."""
    return json.loads((folder / RESULTS_NAME).read_text(encoding="utf-8"))["options"]


def input_hashes(judgement: Judgement) -> dict[str, str]:
    """Return cell -> SHA-256 of its record.json, for the cells that have one or, if published, had one."""
    hashes = {}
    for cell, directory in zip(judgement.selection.cells["cell"], judgement.selection.cells["directory"], strict=True):
        if has_record(Path(directory)):
            hashes[cell] = hashlib.sha256(record_bytes(Path(directory))).hexdigest()
    return hashes


def _tuning(tuning: Tuning, is_accuracy: bool) -> dict[str, Any]:
    """Return the search and the arms at both settings."""
    trials = table_units("trials", is_accuracy, tuning.search.metric.endswith("accuracy"))
    return {
        "search": tuning.search.to_values(),
        "baseline": tuning.baseline,
        "arms": _rows(with_units(tuning.arms, table_units("tuning", is_accuracy))),
        "claims": _rows(tuning.claims),
        "trials": _rows(with_units(tuning.trials, trials)),
        "runs": tuning.num_runs,
        "core_hours": tuning.hours,
        "study_core_hours": tuning.study_hours,
    }


def _run_numbers(selection: Selection, arm: str) -> list[int]:
    cells = zip(selection.cells["arm"], selection.cells["status"], strict=True)
    return [i for i, (a, status) in enumerate(cells, start=1) if a == arm and status == "done"]


def _rows(frame: pd.DataFrame, runs: dict[str, list[int]] | None = None, baseline: str = "") -> list[dict[str, Any]]:
    """Return the frame's rows, each with the numbers of its arms' runs if `runs` is given."""
    rows = []
    for row in frame.to_dict("records"):
        if runs is not None:
            arms = [row["arm"], *([baseline] if baseline else [])] if "arm" in row else row["arms"].split()
            row["runs"] = sorted({number for arm in arms for number in runs.get(arm, [])})
        rows.append(row)
    return rows
