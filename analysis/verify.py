"""Recompute every number of a report from its records and list the differences.

The report of a sweep directory, or of a published one, is made again in a temporary folder and compared: numbers in CSV
and JSON with a relative tolerance of 1e-9, texts exactly, those inside SVG too; of pictures nothing else (machines
place letters differently; the numbers behind each figure are in its CSV, of a published report on the page alone). The
gallery's own numbers and each cell's rollout measures need the models, so they are taken from the report.
"""

import csv
import html
import json
import math
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitsweep.errors import RecordError
from vitsweep.study.record import DROPPED_NAME
from vitsweep.study.status import NOT_NEEDED

from .records.correct_images import UNREADABLE, read_correct
from .records.load import load
from .records.report_files import FILES_NAME, GALLERY_NAME, RESULTS_NAME, is_published, report_name
from .report.difference.studies import compare_judgements, comparison_folder, is_comparison, judge_each
from .report.figures import save_svg
from .report.report import read_gallery, report_judgement, saved_measures
from .report.results import input_hashes, report_directories, report_options
from .statistics.examples import TOLERANCE
from .statistics.judgement import Judgement, judge

RELATIVE_TOLERANCE = 1e-9
ENDED = ("done", "failed", "diverged", "unreadable", "left out")
"""Statuses that a report accounts for; a planned cell with another one is a missing seed."""
SORT_KEY = re.compile(r'(?<= data-sort=")[^"]*')
MAX_LINES = 3
"""Differences listed per file; the others are counted."""


def verify(directory: str | Path, *more: str | Path, baseline: str = "", out: str | Path | None = None) -> list[str]:
    """Return a sentence for each difference between a directory's report and its records.

    Args:
        more: the other directories, if the report was made of several, or compares them.
        baseline: arm of a report against another baseline than the study's.
        out: folder of the report; None: where make_report writes it.

    Raises:
        RecordError: there is no report, or it was made of other directories.
    """
    directory, sources = Path(directory), [str(directory), *map(str, more)]
    report = verified_folder(sources, baseline, out)
    if not (report / RESULTS_NAME).exists():
        raise RecordError(f"{report}  holds no report; make it with `python -m vitsweep.analysis report {directory}`")
    options, stated = report_options(report), report_directories(report)
    if is_comparison(report):
        return verify_comparison(sources, report, options)
    gallery, loaded = read_gallery(report), load(*sources)
    if stated != [prefix.rstrip("/") for prefix in loaded.prefixes if prefix]:
        raise RecordError(f"{report}  was made of {' '.join(stated) or 'this directory alone'}; give the same ones")
    judgement = judge(loaded, options["metric"], saved_measures(gallery, loaded), options.get("baseline", ""))
    differences = [
        *dropped_since(directory, report),
        *judgement.problems,
        *missing_seeds(judgement),
        *missing_arms(judgement, report),
    ]
    differences += [*changed_records(judgement, report), *wrong_predictions(judgement)]
    with tempfile.TemporaryDirectory() as fresh:
        published = is_published(directory)
        report_judgement(judgement, Path(fresh), gallery, False, options["sort"], save=save_svg, published=published)
        differences += changed_files(report, Path(fresh))
    return list(dict.fromkeys(differences))


def verified_folder(sources: Sequence[str], baseline: str = "", out: str | Path | None = None) -> Path:
    """Return the folder of the report that these directories have."""
    if out:
        return Path(out)
    report = Path(sources[0]) / report_name(baseline)
    compared = comparison_folder(list(sources)) if len(sources) > 1 else report
    is_pooled = (report / RESULTS_NAME).exists() and len(report_directories(report)) == len(sources)
    return report if is_pooled or not (compared / RESULTS_NAME).exists() else compared


def verify_comparison(sources: list[str], report: Path, options: dict[str, str]) -> list[str]:
    """Return the differences between a comparison of studies and one that is made anew."""
    with tempfile.TemporaryDirectory() as fresh:
        judgements = judge_each(sources, options["metric"], options.get("baseline", ""))
        compare_judgements(sources, judgements, Path(fresh), options)
        return [*(line for own in judgements.values() for line in own.problems), *changed_files(report, Path(fresh))]


def dropped_since(directory: Path, report: Path) -> list[str]:
    """Return a sentence if runs of the report were dropped from the plan after it was made."""
    runs = json.loads((report / RESULTS_NAME).read_text())["runs"].values()
    gone = [run for run in runs if (directory / DROPPED_NAME / run).is_dir() and not (directory / run).is_dir()]
    if not gone:
        return []
    names = ", ".join(gone[:MAX_LINES]) + (f" and {len(gone) - MAX_LINES} more" if len(gone) > MAX_LINES else "")
    return [f"Dropped from the plan since the report was made: {names}. Make the report again, then verify it."]


def count_numbers(report: Path) -> tuple[int, int]:
    """Return the number of numbers in a report's CSV files, and the number of runs it covers."""
    values = [value for path in report.rglob("*.csv") for row in _read_csv(path) for value in row.values()]
    runs = json.loads((report / RESULTS_NAME).read_text())["runs"]
    return sum(not math.isnan(_number(value)) for value in values), len(runs)


def missing_seeds(judgement: Judgement) -> list[str]:
    """Return planned cells without a result; without a plan, seeds that some arms have and others lack."""
    selection = judgement.selection
    cells = selection.cells
    missing = cells[~cells["status"].isin((*ENDED, NOT_NEEDED))]
    lines = [f"{c} is {s}: its seed is missing." for c, s in zip(missing["cell"], missing["status"], strict=True)]
    if selection.plan:
        return lines
    seeds = sorted(set(cells["seed"]))
    for arm in selection.arms:
        absent = sorted(set(seeds) - set(cells.loc[cells["arm"] == arm, "seed"]))
        lines += [f"{arm} has no cell of seed {seed}, which other arms have." for seed in absent]
    return lines


def missing_arms(judgement: Judgement, report: Path) -> list[str]:
    """Return arms that were started and have no row, planned arms without a cell, and what is left out or unplanned."""
    selection = judgement.selection
    shown = {row["arm"] for row in _read_csv(report / "tables" / "arms.csv")}
    started = selection.cells.loc[~selection.cells["status"].isin(("planned", NOT_NEEDED)), "arm"]
    planned = [arm["arm"] for arm in selection.plan["arms"]] if selection.plan else []
    lines = [f"Arm {arm} was started and is not in the report." for arm in dict.fromkeys(started) if arm not in shown]
    lines += [f"Arm {arm} is planned and has no cell." for arm in planned if arm not in selection.arms]
    named = ("eft out", "not those of the plan")
    notes = [n for n in selection.notes if n in selection.alarms or any(words in n for words in named)]
    return lines + notes


def changed_records(judgement: Judgement, report: Path) -> list[str]:
    """Return records that are not the ones that the report was made from."""
    before, now = json.loads((report / RESULTS_NAME).read_text())["inputs"], input_hashes(judgement)
    changed = (cell for cell in sorted(set(before) | set(now)) if before.get(cell) != now.get(cell))
    return [f"The record of {cell} is not the one that the report was made from." for cell in changed]


def wrong_predictions(judgement: Judgement) -> list[str]:
    """Return records whose accuracy at the last or best epoch is not that of their predictions."""
    lines = []
    for _, cell in judgement.selection.done().iterrows():
        for when in ("final", "best"):
            try:
                accuracy = read_correct(Path(cell["directory"]), when)[2].mean()
            except UNREADABLE:
                continue
            stated = cell[f"{when}/test/accuracy"]
            if not abs(stated - accuracy) <= TOLERANCE:
                lines.append(
                    f"{cell['cell']} states {100 * stated:.4f} % ({when} epoch), its predictions have "
                    f"{100 * accuracy:.4f} %."
                )
    return lines


def changed_files(report: Path, fresh: Path) -> list[str]:
    """Return files of the two reports that differ in more than rounding, with their first differences."""
    lines = []
    names = {p.relative_to(r).as_posix() for r in (report, fresh) for p in r.rglob("*") if p.suffix in COMPARE}
    for name in sorted(names - {GALLERY_NAME, FILES_NAME}):
        if not (report / name).exists():
            lines.append(f"{name} is missing from the report.")
        elif not (fresh / name).exists():
            lines.append(f"{name} does not belong to the report.")
        else:
            found = COMPARE[Path(name).suffix](report / name, fresh / name)
            lines += [f"{name}: {line}" for line in found[:MAX_LINES]]
            lines += [f"{name}: {len(found) - MAX_LINES} more differences."] if len(found) > MAX_LINES else []
    return lines


def _compare_csv(report: Path, fresh: Path) -> list[str]:
    one, other = _read_csv(report), _read_csv(fresh)
    if len(one) != len(other) or (one and other and list(one[0]) != list(other[0])):
        return [f"{len(one)} rows in the report, {len(other)} recomputed, or other columns"]
    return [
        _difference(f"row {number}, {key}: ", a[key] or "nothing", b[key] or "nothing")
        for number, (a, b) in enumerate(zip(one, other, strict=True), start=1)
        for key in a
        if not _is_same(a[key], b[key])
    ]


def _compare_json(report: Path, fresh: Path) -> list[str]:
    one, other = (_flat(json.loads(path.read_text())) for path in (report, fresh))
    # changed_records compares the hashes of the inputs.
    keys = (key for key in sorted(set(one) | set(other)) if not key.startswith("/inputs/"))
    return [_difference(f"{k}: ", one.get(k), other.get(k)) for k in keys if not _is_same(one.get(k), other.get(k))]


def _compare_text(report: Path, fresh: Path) -> list[str]:
    one, other = (_without_pictures(path.read_text(encoding="utf-8")).splitlines() for path in (report, fresh))
    around = [_around_difference(a, b) for a, b in zip(one, other, strict=False) if not _is_same_text(a, b)]
    lines = [_difference("", f"`{a}`", f"`{b}`") for a, b in around]
    return lines + ([_difference("", f"{len(one)} lines", len(other))] if len(one) != len(other) else [])


COMPARE = {
    ".csv": _compare_csv,
    ".json": _compare_json,
    ".md": _compare_text,
    ".html": _compare_text,
    ".tex": _compare_text,
    ".svg": _compare_text,
}


def _difference(where: str, stated: Any, recomputed: Any) -> str:
    return f"{where}{stated} in the report, {recomputed} recomputed"


def _read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _is_same(one: Any, other: Any) -> bool:
    return one == other or bool(np.isclose(_number(one), _number(other), rtol=RELATIVE_TOLERANCE, atol=1e-12))


def _is_same_text(one: str, other: str) -> bool:
    """Return whether two lines are equal, but for rounding of the unrounded numbers that a page sorts its rows by."""
    if one == other:
        return True
    (words, numbers), (other_words, other_numbers) = (
        (SORT_KEY.sub("", line), SORT_KEY.findall(line)) for line in (one, other)
    )
    return words == other_words and len(numbers) == len(other_numbers) and all(map(_is_same, numbers, other_numbers))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested value as path -> leaf."""
    if not isinstance(value, dict | list):
        return {prefix: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {path: leaf for key, item in items for path, leaf in _flat(item, f"{prefix}/{key}").items()}


def _without_pictures(text: str) -> str:
    """Reduce each SVG to its elements and texts, and drop PNGs."""
    text = re.sub(r"<svg.*?</svg>", lambda match: f"<svg>{_svg_words(match.group())}</svg>", text, flags=re.DOTALL)
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]*", "data:", text)


def _svg_words(svg: str) -> str:
    """Return the kinds of elements of an SVG and its texts and titles, one a line, in their order."""
    kinds = " ".join(sorted(set(re.findall(r"<([A-Za-z][\w:-]*)", svg))))
    words = re.split(r"<[^>]*>", re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL))
    return "\n".join([kinds, *(html.unescape(word.strip()) for word in words if word.strip())])


def _around_difference(one: str, other: str) -> tuple[str, str]:
    """Return both lines near the first character where they differ."""
    pairs = enumerate(zip(one, other, strict=False))
    first = next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
    start = max(0, first - 30)
    return one[start : first + 30].strip(), other[start : first + 30].strip()
