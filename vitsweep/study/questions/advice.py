"""Advice from earlier records of a plan's configuration: what its spread is made of, and what would lower it.

Read are the finished records of the sweep's directory and of its newest neighbours, with their predictions. Silent
without three runs that differ in their seed alone.
"""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from vitsweep.config.convert import flatten
from vitsweep.significance.spread import Spread, ratio_of_independent, ratio_of_paired, split_spread
from vitsweep.study.plan import CELLS_PATTERN, Plan
from vitsweep.study.record import AVERAGE, EMA, PLAN_NAME, PREDICTIONS_NAME, RECORD_NAME

MIN_RUNS = 3
MAX_NEIGHBOURS, MAX_RECORDS = 10, 500
"""Limits of what a dry run reads."""
AVERAGING = ("recipe.average_last", "recipe.ema_decay")
SCHEDULING: tuple[str, ...] = (
    "recipe.schedule",
    "recipe.min_lr",
    "recipe.warmup_epochs",
    "recipe.warmup_lr",
    "recipe.cooldown_epochs",
)
SCHEDULING += ("recipe.decay_epochs", "recipe.plateau_factor", "recipe.plateau_patience")
NOT_COMPARED = ("data.root", "data.download", "data.fingerprint", *AVERAGING, *SCHEDULING)
METRIC = "test/accuracy"
ROWS = {AVERAGE: "the average of the last epochs' weights", EMA: "the weights' moving average"}

Run = tuple[Path, dict[str, Any]]


def spread_advice(plan: Plan, directory: Path | None) -> list[str]:
    """Return sentences on the spread of the baseline's configuration; [] without earlier records of it."""
    if directory is None:
        return []
    baseline = next(cell.config for cell in plan.cells if cell.role == "baseline")
    runs = [run for run in earlier_runs(directory) if common(run[1]["config"]) == common(baseline)]
    groups = by_schedule(runs)
    own = groups.get(schedule(baseline), [])
    lines = []
    if len(own) >= MIN_RUNS and (parts := read_spread(own)):
        lines.append(describe_spread(parts, own))
    lines += [describe_average(row, own) for row in ROWS]
    if baseline["recipe"]["schedule"] != "cosine":
        cosine = [group for key, group in groups.items() if json.loads(key)["recipe.schedule"] == "cosine"]
        lines += [describe_cosine(group, own) for group in cosine[:1]]
    return [line for line in lines if line]


def earlier_runs(directory: Path) -> list[Run]:
    """Return the finished runs of a sweep's directory and of its newest neighbours, as (directory, record)."""
    neighbours = [path.parent for path in directory.parent.glob(f"*/{PLAN_NAME}") if path.parent != directory]
    neighbours.sort(key=lambda path: (path / PLAN_NAME).stat().st_mtime, reverse=True)
    found: list[Run] = []
    for folder in (directory, *neighbours[:MAX_NEIGHBOURS]):
        for path in sorted(folder.glob(f"{CELLS_PATTERN}/{RECORD_NAME}"))[: MAX_RECORDS - len(found)]:
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                is_wanted = record["status"] == "done" and record["role"] in ("baseline", "arm")
                if is_wanted and record["metrics"]["final"][METRIC] is not None:
                    found.append((path.parent, record))
            except (OSError, ValueError, KeyError, TypeError):
                continue
    return found


def common(config: dict[str, Any]) -> dict[str, Any]:
    """Return dotted key -> value of what two configurations must share for their spreads to be compared."""
    flat = flatten({group: config[group] for group in ("model", "data", "recipe")})
    return {key: value for key, value in flat.items() if key not in NOT_COMPARED}


def schedule(config: dict[str, Any]) -> str:
    """Return the schedule's settings as a key."""
    flat = flatten({"recipe": config["recipe"]})
    return json.dumps({key: flat[key] for key in SCHEDULING if key in flat}, sort_keys=True)


def by_schedule(runs: list[Run]) -> dict[str, list[Run]]:
    """Return schedule -> its runs, one of each seed and each on the same images: those of the first run."""
    groups: dict[str, dict[int, Run]] = defaultdict(dict)
    for folder, record in runs:
        if record["data_fingerprint"] == runs[0][1]["data_fingerprint"]:
            groups[schedule(record["config"])].setdefault(record["config"]["seed"], (folder, record))
    return {key: list(group.values()) for key, group in groups.items()}


def read_spread(runs: list[Run]) -> Spread | None:
    """Split the spread of runs by their predictions; None unless three have those of the same images."""
    found: dict[bytes, list[np.ndarray]] = defaultdict(list)
    for folder, _ in runs:
        try:
            with open(folder / PREDICTIONS_NAME, "rb") as stream, np.load(stream) as arrays:
                order_N = np.argsort(arrays["id"], kind="stable")
                right_N = (arrays["final_class"] == arrays["label"])[order_N]
                found[arrays["id"][order_N].tobytes()].append(right_N)
        except (OSError, ValueError, KeyError):
            continue
    most = max(found.values(), key=len, default=[])
    return split_spread(np.stack(most)) if len(most) >= MIN_RUNS else None


def accuracy(runs: list[Run], row: str = "final") -> np.ndarray:
    """Return the accuracy of each run in percent; NaN where the row is missing."""
    values = [(record["metrics"].get(row) or {}).get(METRIC) for _, record in runs]
    return 100 * np.array([math.nan if value is None else value for value in values])


def describe_spread(parts: Spread, runs: list[Run]) -> str:
    """Return the sentence on seeds and test images."""
    total, seeds = ([100 * value for value in values] for values in (parts.total, parts.seeds))
    images = runs[0][1]["num_images"]["test"]
    return (
        f"spread of {parts.runs} earlier runs of the baseline's configuration: {total[0]:.2f} points ({total[1]:.2f} "
        f"to {total[2]:.2f}); seeds {seeds[0]:.2f} ({seeds[1]:.2f} to {seeds[2]:.2f}), the chance of {images:,} test "
        f"images {100 * parts.images:.2f}, which more images alone reduce"
    )


def describe_average(row: str, runs: list[Run]) -> str:
    """Return the sentence on what an average of the weights saves; empty without three runs that have it."""
    average, final = accuracy(runs, row), accuracy(runs)
    known = ~np.isnan(average)
    if known.sum() < MIN_RUNS:
        return ""
    field = "recipe.average_last" if row == AVERAGE else "recipe.ema_decay"
    return _saving(f"{ROWS[row]} ({field}, {known.sum()} earlier runs)", ratio_of_paired(average[known], final[known]))


def describe_cosine(cosine: list[Run], runs: list[Run]) -> str:
    """Return the sentence on what cosine decay saves; empty below three runs of either schedule."""
    if min(len(cosine), len(runs)) < MIN_RUNS:
        return ""
    what = f"recipe.schedule=cosine ({len(cosine)} and {len(runs)} earlier runs)"
    return _saving(what, ratio_of_independent(accuracy(cosine), accuracy(runs)))


def _saving(what: str, ratio: tuple[float, float, float]) -> str:
    """Return the sentence on a ratio of variances: seeds that find a difference are in proportion to the variance."""
    if math.isnan(ratio[0]):
        return ""
    share, low, high = (f"{100 * value:.0f}" for value in ratio)
    verdict = "" if ratio[2] < 1 else "; whether it saves any is open" if ratio[1] < 1 else "; it saves none"
    return f"{what}: {share} % ({low} to {high} %) of the variance, and of the seeds for an equal difference{verdict}"
