"""Results that are possible and still make conclusions doubtful: models at chance level, test sets of few images."""

import math

from vitsweep.study.record import Record

from ..records.selection import Selection

CHANCE_ERRORS = 2.0
"""An accuracy at most this many binomial standard errors above 1 / classes counts as chance."""


def implausible(selection: Selection) -> list[str]:
    """Return a sentence for each of the two, about the finished runs' test accuracy."""
    return [*chance_level(selection), *coarse_test_set(selection)]


def chance_level(selection: Selection) -> list[str]:
    """Name the arms whose mean test accuracy is that of guessing one of the classes."""
    done = selection.done()
    arms, levels = [], set()
    for arm in selection.arms:
        cells = done[(done["arm"] == arm) & done["final/test/accuracy"].notna()]
        chance = _chance(cells["record"].iloc[0]) if len(cells) else math.nan
        images = sum(record.num_images.get("test", 0) for record in cells["record"])
        # Seeds share the test images, so they count once.
        error = math.sqrt(chance * (1 - chance) * len(cells) / images) if images else 0.0
        if cells["final/test/accuracy"].mean() <= chance + CHANCE_ERRORS * error:
            arms.append(arm)
            levels.add(f"{100 * chance:.3g} %")
    if not arms:
        return []
    doubt = "; effects against it say little" if selection.baseline in arms else ""
    return [f"Test accuracy at chance level (about {' or '.join(sorted(levels))}): {', '.join(arms)}{doubt}."]


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


def _chance(record: Record) -> float:
    """Return 1 / classes; NaN if their number is unknown."""
    classes = len(record.classes) or (record.config.get("model") or {}).get("num_classes") or 0
    return 1 / classes if classes > 1 else math.nan
