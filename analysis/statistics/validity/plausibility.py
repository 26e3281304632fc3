"""Results that are possible and still make conclusions doubtful: arms or runs at chance level, few test images."""

import math

import pandas as pd

from vitsweep.study.record import Record

from ...records.selection import Selection
from ...text import format_ranges

CHANCE_ERRORS = 2.0
"""An accuracy at most this many binomial standard errors above 1 / classes counts as chance."""


def implausible(selection: Selection) -> list[str]:
    """Return a sentence for each of the three, about the finished runs' test accuracy."""
    return [*chance_level(selection), *collapsed_runs(selection), *coarse_test_set(selection)]


def chance_level(selection: Selection) -> list[str]:
    """Name the arms whose mean test accuracy is that of guessing one of the classes."""
    found = _guessing_arms(selection)
    if not found:
        return []
    arms, levels = list(found), set(found.values())
    doubt = "; effects against it say little" if selection.baseline in arms else ""
    return [f"Test accuracy at chance level (about {' or '.join(sorted(levels))}): {', '.join(arms)}{doubt}."]


def _guessing_arms(selection: Selection) -> dict[str, str]:
    """Return arm -> its chance level as text, of arms whose mean is at chance."""
    done, found = selection.done(), {}
    for arm in selection.arms:
        cells = done[(done["arm"] == arm) & done["final/test/accuracy"].notna()]
        chance, error = _chance_and_error(cells)
        if cells["final/test/accuracy"].mean() <= chance + CHANCE_ERRORS * error:
            found[arm] = f"{100 * chance:.3g} %"
    return found


def collapsed_runs(selection: Selection) -> list[str]:
    """Name single runs that finished at chance level, of arms whose other runs learned."""
    done = selection.done()
    done = done[done["final/test/accuracy"].notna() & ~done["arm"].isin(_guessing_arms(selection))]
    chance, error = _chance_and_error(done)
    accuracy = done["final/test/accuracy"]
    # With few test images a run that learned little looks like one that guesses.
    if not accuracy.max() > chance + 2 * CHANCE_ERRORS * error:
        return []
    runs = done[accuracy <= chance + CHANCE_ERRORS * error]
    parts = [
        f"{arm} (seed{'s' if len(seeds) > 1 else ''} {format_ranges(sorted(seeds))})"
        for arm, seeds in runs.groupby("arm", sort=False)["seed"]
    ]
    if not parts:
        return []
    return [f"Collapsed to chance level (about {100 * chance:.3g} %) while other runs learned: {', '.join(parts)}."]


def _chance_and_error(cells: pd.DataFrame) -> tuple[float, float]:
    """Return 1 / classes of these cells and its binomial standard error on their test images; NaN if not known."""
    chance = _chance(cells["record"].iloc[0]) if len(cells) else math.nan
    images = sum(record.num_images.get("test", 0) for record in cells["record"])
    # Seeds share the test images, so they count once.
    return chance, math.sqrt(chance * (1 - chance) * len(cells) / images) if images else 0.0


def coarse_test_set(selection: Selection) -> list[str]:
    """Compare one test image with the ROPE."""
    sizes = [record.num_images.get("test", 0) for record in selection.done()["record"]]
    fewest = min((size for size in sizes if size), default=0)
    if not fewest or 100 / fewest <= selection.rope:
        return []
    return [
        f"There are only {fewest} test images: one of them is {100 / fewest:.3g} points, more than the "
        f"{selection.rope:g} that matter here."
    ]


def chance_value(selection: Selection, metric: str) -> float:
    """Return a metric at chance level, in shown units: 100 / classes, or ln(classes) for a loss; NaN if not known."""
    if selection.cells.empty or not metric.endswith(("accuracy", "loss")):
        return math.nan
    shares = [share for record in selection.cells["record"] if not math.isnan(share := _chance(record))]
    if not shares:
        return math.nan
    return 100 * shares[0] if metric.endswith("accuracy") else -math.log(shares[0])


def _chance(record: Record) -> float:
    """Return 1 / classes; NaN if their number is unknown."""
    classes = len(record.classes) or (record.config.get("model") or {}).get("num_classes") or 0
    return 1 / classes if classes > 1 else math.nan
