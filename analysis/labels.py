"""Labels of figures that are never cut and never collide: rows with long names, ticks, legends."""

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike

from .marks import mark
from .text import wrap_name

ROW_WIDTH = 34
"""Largest number of characters in a line of a row's label."""
LINE_INCHES = 0.165
"""Height of a line of text of 9 points."""
LETTER_INCHES = 0.08
"""Mean width of a letter of 9 points, rounded up."""
GAP_PIXELS = 4
SLANT = 30
"""Degrees by which names on an x axis are turned if they collide."""


def row_inches(names: Sequence[str], least: float = 0.36, width: int = ROW_WIDTH, line: float = LINE_INCHES) -> float:
    """Return the height of a row, inches, in which the longest of the wrapped names has room."""
    lines = max((len(wrap_name(name, width)) for name in names), default=1)
    return max(least, line * lines + 0.1)


def label_rows(ax: Axes, place: ArrayLike, names: Sequence[str], width: int = ROW_WIDTH) -> None:
    """Label the rows of an axes with arms, each marked and wrapped."""
    ax.set_yticks(place, ["\n".join(wrap_name(name, width)) for name in names])
    for tick, name in zip(ax.yaxis.get_major_ticks(), names, strict=True):
        mark(tick.label1, name)


def label_levels(ax: Axes, names: Sequence[str], width: int = 16) -> None:
    """Label an x axis with one name per unit, wrapped."""
    ax.set_xticks(range(len(names)), ["\n".join(wrap_name(str(name), width)) for name in names])


def legend_inches(names: Sequence[str], width: float) -> float:
    """Return the height of a legend below a figure of this width, inches: see legend_columns."""
    columns = legend_columns(names, width)
    return 0.19 * -(-len(names) // columns) + 0.1


def legend_columns(names: Sequence[str], width: float, most: int = 4) -> int:
    """Return the number of columns in which a legend of these names is no wider than `width` inches."""
    longest = 0.55 + LETTER_INCHES * max((len(name) for name in names), default=1)
    return max(1, min(most, len(names) or 1, int(width / longest)))


def separate_ticks(canvas: Figure) -> bool:
    """Thin the numbers of x axes whose labels collide, and slant names that do; return True if any did.

    The figure must have been laid out, and needs another layout then.
    """
    has_changed = False
    for ax in canvas.axes:
        axis = ax.xaxis
        low, high = sorted(ax.get_xlim())
        ticks = [(tick.get_loc(), tick.label1) for tick in axis.get_major_ticks()]
        ticks = [(at, label) for at, label in ticks if low <= at <= high and _is_seen(label)]
        boxes = [label.get_window_extent() for _, label in ticks]
        is_slanted = any(label.get_rotation() for _, label in ticks)
        if is_slanted or not any(_collide(a, b) for a, b in pairwise(boxes)):
            continue
        has_changed = True
        if isinstance(axis.get_major_locator(), FixedLocator):
            for _, label in ticks:
                label.set(rotation=SLANT, ha="right", rotation_mode="anchor")
            continue
        kept = _apart(boxes)
        formatter = axis.get_major_formatter()
        axis.set_major_locator(FixedLocator([ticks[i][0] for i in kept]))
        axis.set_major_formatter(formatter)
    return has_changed


def _is_seen(label: Text) -> bool:
    return bool(label.get_text()) and label.get_visible()


def _collide(one: Bbox, other: Bbox) -> bool:
    left, right = sorted((one, other), key=lambda box: box.x0)
    return right.x0 - left.x1 < GAP_PIXELS


def _apart(boxes: Sequence[Bbox]) -> list[int]:
    """Return the numbers of the largest evenly spaced subset of boxes that do not collide."""
    for step in range(2, len(boxes) + 1):
        kept = list(range((len(boxes) - 1) % step, len(boxes), step))
        if not any(_collide(boxes[a], boxes[b]) for a, b in pairwise(kept)):
            return kept
    return [0]
