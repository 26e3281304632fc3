"""What could make the numbers wrong, said plainly; and how they were made (methods, signature)."""

import math

import pandas as pd

from vitsweep.study.record import SCHEMA, package_version

from ..attention.measures import COLUMNS
from ..records.selection import DEFAULT_METRIC, Selection
from ..statistics.changed_later import RESTATED, earlier_hashes
from ..statistics.effects import seed_values
from ..statistics.judgement import Judgement
from ..text import duration, format_ranges
from .page import Bullets, Fold, Pairs, Text

ALL_WELL = "Every planned run finished; nothing was left out."
ON_TEST = "the test images (data.val=test, published practice): what was chosen on them is optimistic"
ON_LAST_AND_BEST = "scored with the last and the best weights"
MAX_ERROR = 1.0
"""Percent points: above this standard error of a validation accuracy the images are called few."""
STATUS_WORDS = {
    "planned": "not started",
    "running": "running, or killed without a word",
    "interrupted": "interrupted",
    "failed": "failed",
    "diverged": "diverged (loss no longer a number)",
}


def health_items(selection: Selection, problems: list[str]) -> list:
    """Sentences about everything unfinished, left out or mixed, then each failed cell with its error."""
    restated = [RESTATED] if earlier_hashes(selection) else []
    lines = [*problems, *restated, *selection.notes, *_status_lines(selection.cells), *_missing_pairs(selection)]
    lines += _mixed(selection.cells) + _empty_metrics(selection)
    if _validation(selection.cells) == ON_TEST:
        lines.append(f"Validation used {ON_TEST}.")
    lines += _small_validation(selection.done())
    items: list = [Bullets(lines=lines)] if lines else [Text(text=ALL_WELL)]
    for _, cell in selection.cells.iterrows():
        error = cell["record"].error
        if error:
            title = f"{cell['cell']} {cell['status']}: {error.get('type', '')}: {error.get('message', '')}"
            items.append(Fold(title=title, text=error.get("traceback") or "no traceback"))
    return items


def methods_items(selection: Selection, metric: str = DEFAULT_METRIC) -> list:
    """Protocol, data, versions and cost."""
    cells, done = selection.cells, selection.done()
    if cells.empty:
        return [Text(text="There are no cells.")]
    moment = "of the weights with the lowest validation loss" if metric in COLUMNS else "at the last epoch"
    pairs = [
        ("Seeds", _seeds(cells)),
        ("Metric", f"{metric.replace('/', ' ')} {moment}; {_use_of_test(cells)}"),
        ("Design", selection.design or "plain sweep"),
        ("Data", f"{', '.join(data_names(cells))}; fingerprint {_values(cells['data_fingerprint'].str[:16])}"),
        ("Images", _values(pd.Series([_counts(r.num_images) for r in done["record"]]))),
        ("Validation", _validation(cells)),
        ("Recipe of the baseline", _recipe(selection)),
        ("Device", f"{_values(cells['device'])}, {_values(cells['precision'])}"),
        ("Code", _values(pd.Series([_code(r.code) for r in cells["record"]]))),
        ("Versions", _values(pd.Series([_versions(r.versions) for r in cells["record"]]))),
        ("Device time", f"{duration(cells['time_seconds'].sum())} {_over(cells)}"),
    ]
    return [Pairs(pairs=[(name, value) for name, value in pairs if value])]


def data_names(cells: pd.DataFrame) -> list[str]:
    """What the images are known as, else what the configuration calls them."""
    started = cells[cells["status"] != "planned"]
    # A planned cell has seen no images yet, so it knows no more than its configuration's name for them.
    records = (started if len(started) else cells)["record"]
    names = [r.data_name or str((r.config.get("data") or {}).get("name", "")) for r in records]
    return sorted(set(names) - {""})


def signature(judgement: Judgement) -> str:
    """How the numbers were made, in one line, after sacreBLEU's signatures."""
    selection = judgement.selection
    cells = selection.cells
    known = [f for f in cells["data_fingerprint"] if f]
    seeds = len(set(selection.done()["seed"]))
    parts = {
        "metric": judgement.metric,
        "epoch": "best" if judgement.metric in COLUMNS else "last",
        "data": known[0][:8] if known else "unknown",
        "seeds": seeds,
        "paired": "seed",
        "interval": "t95",
        "multiple": "holm",
        "baseline": selection.baseline,
        "schema": SCHEMA,
        "vitsweep": package_version("vitsweep"),
    }
    return "|".join(f"{key}:{value}" for key, value in parts.items())


def _seeds(cells: pd.DataFrame) -> str:
    planned, done = (sorted(set(rows["seed"])) for rows in (cells, cells[cells["status"] == "done"]))
    return (
        format_ranges(planned)
        if planned == done
        else f"{format_ranges(planned)} planned, {format_ranges(done) or 'none'} with results"
    )


def _over(cells: pd.DataFrame) -> str:
    started, done = int((cells["status"] != "planned").sum()), int((cells["status"] == "done").sum())
    rest = "" if done == started else f" ({done} finished)"
    return f"over {started} started run{'' if started == 1 else 's'}{rest}"


def _status_lines(cells: pd.DataFrame) -> list[str]:
    lines = []
    for status, words in STATUS_WORDS.items():
        names = list(cells.loc[cells["status"] == status, "cell"])
        if names:
            shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            lines.append(f"{len(names)} of {len(cells)} cells {words}: {shown}.")
    return lines


def _missing_pairs(selection: Selection) -> list[str]:
    """A sentence for each arm that lacks a seed which the baseline has, or the other way round."""
    if selection.done().empty:
        return []
    values, lines = seed_values(selection), []
    base = set(values[selection.baseline].dropna().index)
    for arm in selection.non_baseline():
        own = set(values[arm].dropna().index)
        if own and own != base:
            lines.append(
                f"{arm} is compared on seeds {format_ranges(sorted(own & base)) or 'none'}; "
                f"seeds without a pair: {format_ranges(sorted(own ^ base))}."
            )
    return lines


def _empty_metrics(selection: Selection) -> list[str]:
    done = selection.done()
    names = list(done.loc[done["final/test/accuracy"].isna(), "cell"])
    return [f"Finished without a test accuracy, so not counted: {', '.join(names)}."] if names else []


def _mixed(cells: pd.DataFrame) -> list[str]:
    started = cells[cells["status"] != "planned"]
    records = list(started["record"])
    lines = []
    commits = sorted({str(r.code.get("commit", ""))[:8] for r in records} - {""})
    if len(commits) > 1:
        lines.append(f"The runs come from {len(commits)} commits: {', '.join(commits)}.")
    if any(r.code.get("dirty") for r in records):
        lines.append("Some runs come from a checkout with uncommitted changes.")
    for name in ("device", "precision"):
        found = sorted(set(started[name]) - {""})
        if len(found) > 1:
            lines.append(f"The runs differ in {name}: {', '.join(found)}.")
    return lines


def _use_of_test(cells: pd.DataFrame) -> str:
    after = "test images were used only after training: " if _validation(cells) != ON_TEST else "test images were "
    return f"{after}{ON_LAST_AND_BEST}"


def _validation(cells: pd.DataFrame) -> str:
    sources = {(r.config.get("data") or {}).get("val", "") for r in cells["record"]} - {""}
    if "test" in sources:
        return ON_TEST
    return "held out of the training images" if sources else ""


def _small_validation(done: pd.DataFrame) -> list[str]:
    """A sentence if so few validation images are there that what is chosen on them is largely chance."""
    sizes = [r.num_images.get("val", 0) for r in done["record"]]
    share = done["final/val/accuracy"].mean()
    if not sizes or not min(sizes) or not 0 < share < 1:
        return []
    error = 100 * math.sqrt(share * (1 - share) / min(sizes))
    if error <= MAX_ERROR:
        return []
    return [
        f"There are only {min(sizes)} validation images: a validation accuracy near {100 * share:.0f} % has a standard "
        f"error of {error:.1f} points from them alone, and they decide the best epoch, the saturation epoch and a "
        "plateau schedule."
    ]


def _counts(images: dict) -> str:
    return ", ".join(f"{number:,} {part}" for part, number in images.items())


def _recipe(selection: Selection) -> str:
    first = selection.cells.loc[selection.cells["arm"] == selection.baseline, "record"].iloc[0]
    values = {name: value for name, value in (first.config.get("recipe") or {}).items() if value is not None}
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _code(code: dict) -> str:
    commit = str(code.get("commit", ""))[:8]
    return f"vitsweep {code.get('version', '')}{' ' + commit if commit else ''}" if code else ""


def _versions(versions: dict) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _values(values: pd.Series) -> str:
    """The distinct values that are not empty, at most four of them."""
    found = sorted({str(v) for v in values if str(v)})
    return "; ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
