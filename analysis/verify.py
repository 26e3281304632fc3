"""Recompute every number of a report from the records and say where the two disagree.

It takes a sweep directory or a published one. The whole report is made again beside the old one and compared: numbers
in CSV and JSON with a tolerance of 1e-9, texts exactly, pictures not at all (fonts differ between machines; the numbers
behind each figure are in its CSV). The rollout gallery's own numbers and each cell's rollout measures need the models,
so they are taken as they are; what is computed from the measures is recomputed.
"""

import csv
import io
import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vitsweep.errors import RecordError

from .records.load import load
from .report.report import GALLERY_NAME, REPORT_NAME, kept_measures, read_gallery, report_judgement
from .report.results import RESULTS_NAME, input_hashes, report_options
from .statistics.examples import TOLERANCE, read_correct
from .statistics.judgement import Judgement, judge

RELATIVE = 1e-9
COUNTED = ("done", "failed", "diverged")
"""Statuses that a report accounts for; every other planned cell is a missing seed."""
MAX_LINES = 3


def verify(directory: str | Path) -> list[str]:
    """A sentence for each disagreement; empty when the report is what the records say.

    Raises:
        RecordError: there is no report.
    """
    directory = Path(directory)
    old = directory / REPORT_NAME
    if not (old / RESULTS_NAME).exists():
        raise RecordError(f"{old}  holds no report; make it with `python -m analysis report {directory}`")
    options = report_options(old)
    gallery = read_gallery(old)
    loaded = load(directory)
    judgement = judge(loaded, options["metric"], kept_measures(gallery, loaded))
    faults = [
        *judgement.problems,
        *missing_seeds(judgement),
        *left_out(judgement, old),
        *changed_inputs(judgement, old),
    ]
    faults += wrong_predictions(judgement) + wrong_epochs(judgement)
    with tempfile.TemporaryDirectory() as fresh:
        report_judgement(judgement, Path(fresh), gallery, False, options["sort"])
        faults += drift(old, Path(fresh))
    return list(dict.fromkeys(faults))


def missing_seeds(judgement: Judgement) -> list[str]:
    """Cells that were planned and have no result; without a plan, seeds that some arms have and others lack."""
    cells, selection = judgement.selection.cells, judgement.selection
    open_cells = cells[~cells["status"].isin(COUNTED)]
    faults = [
        f"{c} is {s}: its seed is missing." for c, s in zip(open_cells["cell"], open_cells["status"], strict=True)
    ]
    if selection.plan:
        return faults
    seeds = sorted(set(cells["seed"]))
    for arm in selection.arms:
        absent = sorted(set(seeds) - set(cells.loc[cells["arm"] == arm, "seed"]))
        faults += [f"{arm} has no cell of seed {seed}, which other arms have." for seed in absent]
    return faults


def left_out(judgement: Judgement, old: Path) -> list[str]:
    """Arms that were started and have no row, and cells that cannot be compared."""
    selection = judgement.selection
    shown = {row["arm"] for row in _csv(old / "tables" / "arms.csv")}
    begun = selection.cells.loc[selection.cells["status"] != "planned", "arm"]
    planned = [arm["arm"] for arm in selection.plan["arms"]] if selection.plan else []
    faults = [f"Arm {arm} was started and is not in the report." for arm in dict.fromkeys(begun) if arm not in shown]
    faults += [f"Arm {arm} is planned and has no cell." for arm in planned if arm not in selection.arms]
    return faults + [note for note in selection.notes if "left out" in note]


def changed_inputs(judgement: Judgement, old: Path) -> list[str]:
    """Records that are not the ones that the report was made from."""
    before, now = json.loads((old / RESULTS_NAME).read_text())["inputs"], input_hashes(judgement)
    return [
        f"The record of {cell} is not the one that the report was made from."
        for cell in sorted(set(before) | set(now))
        if before.get(cell) != now.get(cell)
    ]


def wrong_predictions(judgement: Judgement) -> list[str]:
    """Records whose accuracy at the last or best epoch is not that of their predictions."""
    faults = []
    for _, cell in judgement.selection.done().iterrows():
        for when in ("final", "best"):
            try:
                correct_N = read_correct(Path(cell["directory"]), when)[2]
            except (OSError, ValueError, KeyError):
                continue
            stated = cell[f"{when}/test/accuracy"]
            if not abs(stated - correct_N.mean()) <= TOLERANCE:
                faults.append(
                    f"{cell['cell']} states {100 * stated:.4f} % ({when} epoch), its predictions have "
                    f"{100 * correct_N.mean():.4f} %."
                )
    return faults


def wrong_epochs(judgement: Judgement) -> list[str]:
    """Finished cells whose metrics.jsonl has another number of epochs than their record."""
    counts = judgement.selection.history.groupby("cell").size()
    faults = []
    for _, cell in judgement.selection.done().iterrows():
        rows = int(counts.get(cell["cell"], 0))
        if rows != cell["epoch"]:
            faults.append(f"{cell['cell']} states {cell['epoch']} epochs, its metrics.jsonl has {rows}.")
    return faults


def drift(old: Path, fresh: Path) -> list[str]:
    """Files of the two reports that differ in more than rounding."""
    faults = []
    names = {p.relative_to(r).as_posix() for r in (old, fresh) for p in r.rglob("*") if p.suffix in COMPARE}
    for name in sorted(names - {GALLERY_NAME}):
        if not ((old / name).exists() and (fresh / name).exists()):
            faults.append(f"{name} is {'missing from' if (fresh / name).exists() else 'foreign to'} the report.")
            continue
        found = COMPARE[Path(name).suffix](old / name, fresh / name)
        faults += [f"{name}: {line}" for line in found[:MAX_LINES]]
        if len(found) > MAX_LINES:
            faults.append(f"{name}: {len(found) - MAX_LINES} more differences.")
    return faults


def count_numbers(directory: str | Path) -> tuple[int, int]:
    """How many numbers the report's CSV files have, and how many runs it is about."""
    old = Path(directory) / REPORT_NAME
    cells = [value for path in old.rglob("*.csv") for row in _csv(path) for value in row.values()]
    runs = json.loads((old / RESULTS_NAME).read_text())["runs"]
    return sum(not math.isnan(_number(value)) for value in cells), len(runs)


def _compare_csv(old: Path, fresh: Path) -> list[str]:
    one, other = _csv(old), _csv(fresh)
    if len(one) != len(other) or (one and other and list(one[0]) != list(other[0])):
        return [f"{len(one)} rows there, {len(other)} recomputed, or other columns"]
    faults = []
    for number, (a, b) in enumerate(zip(one, other, strict=True), start=1):
        wrong = [key for key in a if not _same(a[key], b[key])]
        faults += [
            f"row {number}, {key}: {a[key] or 'nothing'} there, {b[key] or 'nothing'} recomputed" for key in wrong
        ]
    return faults


def _compare_json(old: Path, fresh: Path) -> list[str]:
    one, other = (_flat(json.loads(p.read_text())) for p in (old, fresh))
    # The hashes of the inputs have a sentence of their own.
    both = (k for k in sorted(set(one) | set(other)) if not k.startswith("/inputs/"))
    keys = [k for k in both if not _same(one.get(k), other.get(k))]
    return [f"{k}: {one.get(k)} there, {other.get(k)} recomputed" for k in keys]


def _compare_text(old: Path, fresh: Path) -> list[str]:
    one, other = (_without_pictures(p.read_text(encoding="utf-8")).splitlines() for p in (old, fresh))
    wrong = [(a, b) for a, b in zip(one, other, strict=False) if a != b]
    faults = ["`{}` there, `{}` recomputed".format(*_around(a, b)) for a, b in wrong]
    return faults + ([f"{len(one)} lines there, {len(other)} recomputed"] if len(one) != len(other) else [])


COMPARE = {
    ".csv": _compare_csv,
    ".json": _compare_json,
    ".md": _compare_text,
    ".html": _compare_text,
    ".tex": _compare_text,
}


def _csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(io.StringIO(stream.read())))


def _same(one: Any, other: Any) -> bool:
    if one == other:
        return True
    a, b = _number(one), _number(other)
    return bool(np.isclose(a, b, rtol=RELATIVE, atol=1e-12))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}/{key}").items()}
    if isinstance(value, list):
        return {k: v for i, item in enumerate(value) for k, v in _flat(item, f"{prefix}/{i}").items()}
    return {prefix: value}


def _without_pictures(text: str) -> str:
    text = re.sub(r"<svg.*?</svg>", "<svg>", text, flags=re.DOTALL)
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]*", "data:", text)


def _around(one: str, other: str) -> tuple[str, str]:
    """Both lines near the first place where they differ."""
    place = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, place - 30)
    return one[start : place + 30].strip(), other[start : place + 30].strip()
