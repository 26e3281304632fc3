"""Fit a table into a text width: choose its font size, break or turn headings, and give long columns several lines.

Widths are estimated from the character widths of Computer Modern (cmr10.tfm), without kerning, which is mostly
negative. Other sizes of the font are relatively wider, as ARTICLE has it.
"""

import re
import unicodedata
from dataclasses import dataclass

from ...text import ARROW, DASH, MINUS, NO_BREAK, PLUS_MINUS

ASCII_WIDTHS = (
    "333 278 500 833 500 833 778 278 389 389 500 778 278 333 278 500 500 500 500 500 500 500 500 500 500 "
    "500 278 278 778 778 778 472 778 750 708 722 764 681 653 785 750 361 514 778 625 917 750 778 681 778 "
    "736 556 722 750 750 1028 750 750 611 278 500 278 500 390 500 500 556 444 556 444 306 500 556 278 306 "
    "528 278 833 556 500 556 528 392 394 389 556 528 722 528 528 444 500 278 500 500"
)
"""Widths of the characters from space to tilde, as text.escape_latex writes them, in thousandths of the size."""
WIDTHS = {chr(32 + place): int(width) / 100 for place, width in enumerate(ASCII_WIDTHS.split())} | {
    PLUS_MINUS: 7.78,
    MINUS: 7.78,
    DASH: 5.0,
    NO_BREAK: 3.33,
    ARROW: 10.0,
}
"""Character -> its width in points at 10 pt."""
WIDEST = 10.0
"""Width of a character that WIDTHS lacks, such as a Chinese one."""
SIZES = ("normalsize", "small", "footnotesize", "scriptsize")
SEPARATIONS = (6.0, 6.0, 4.0, 3.0)
"""Half the space between columns at each size, in points."""
BASELINES = (12.0, 11.0, 9.5, 8.0)
"""Distance of lines at each size, in points."""
ARTICLE = (
    (345.0, (1.0, 0.925, 0.85, 0.797)),
    (360.0, (1.095, 1.0, 0.925, 0.85)),
    (390.0, (1.175, 1.095, 1.0, 0.85)),
)
"""Text width of an A4 article at 10, 11 and 12 pt, with the width of its text at each size over that at 10 pt."""
SAFETY = 1.01
PAGE = 380.0
"""Height in points at 10 pt up to which a table with its caption stays on one page."""
LONGEST = 55.0
"""Widest piece of a name without a place to break it, and least width of a column of several lines, at 10 pt."""


@dataclass(frozen=True)
class Attempt:
    """Way to make a table narrower."""

    size: int
    """Place in SIZES."""
    wrap: bool = False
    """Give long columns several lines."""
    turn: bool = False
    """Turn the headings of factors upright."""
    stack: bool = False
    """Place intervals below their estimates."""


ORDER = (
    Attempt(0),
    Attempt(1),
    Attempt(2),
    Attempt(2, wrap=True),
    Attempt(2, turn=True),
    Attempt(2, wrap=True, turn=True),
    Attempt(2, turn=True, stack=True),
    Attempt(2, wrap=True, turn=True, stack=True),
    Attempt(3, turn=True),
    Attempt(3, wrap=True, turn=True),
    Attempt(3, wrap=True, turn=True, stack=True),
)


@dataclass(kw_only=True)
class PaperColumn:
    """Column of a table for a paper, as text that is not escaped."""

    key: str
    head: str
    cells: list[str]
    numeric: bool = True
    """True for a column that is aligned to the right."""
    wrap: bool = False
    """True if its cells may take several lines."""
    turn: bool = False
    """True for a factor's column, whose heading may be turned upright."""
    stack: bool = False
    """True if what is in brackets may stand below the rest."""


@dataclass(kw_only=True)
class Fitted:
    """Columns with the size and the widths at which they fit."""

    columns: list[PaperColumn]
    size: str
    separation: float
    heads: list[list[str]]
    """Lines of each heading."""
    shares: list[float | None]
    """Width of each column of several lines as a share of the text width; None for one of a single line."""
    turned: list[bool]
    """For each column, True if its heading is turned upright."""
    stacked: list[bool]
    """For each column, True if what is in brackets stands below the rest."""
    most_lines: int
    """Estimated number of lines of the highest row."""
    height: float
    """Estimated height of the rows in points at 10 pt."""

    @property
    def is_long(self) -> bool:
        """Return True if the table is higher than a page leaves room for."""
        return self.height > PAGE


class TooWideError(Exception):
    """No size fits.

    Args:
        width: the least width of the columns that was tried, in points.
    """

    def __init__(self, width: float):
        super().__init__(f"{width:.0f} pt")
        self.width = width


def fit(columns: list[PaperColumn], width: float | None = None) -> Fitted:
    """Return the columns at the largest size, and with the plainest headings, at which they fit.

    Args:
        width: in points, at a base size of 10 pt; None: the text width of an A4 article, whatever its base size.

    Raises:
        TooWideError: they fit at no size.
    """
    pages = ARTICLE if width is None else ((width, ARTICLE[0][1]),)
    least = float("inf")
    for attempt in ORDER:
        turned = [attempt.turn and column.turn for column in columns]
        stacked = [attempt.stack and column.stack for column in columns]
        heads = [[c.head] if t else _head_lines(c, s) for c, t, s in zip(columns, turned, stacked, strict=True)]
        natural = [_column_width(*one) for one in zip(columns, heads, turned, stacked, strict=True)]
        is_flexible = [attempt.wrap and column.wrap for column in columns]
        floors = [_floor(c, w) if flexible else w for c, w, flexible in zip(columns, natural, is_flexible, strict=True)]
        gaps, size = 2 * SEPARATIONS[attempt.size] * (len(columns) - 1), attempt.size
        # The gaps do not grow with the page: they count as on the narrowest one, so that shares fit on each.
        free = 1 - gaps / pages[0][0]
        room = min(free * page / factors[size] for page, factors in pages) / SAFETY
        least = min(least, sum(floors) * pages[0][1][size] * SAFETY + gaps)
        if sum(floors) > room:
            continue
        given = _divided(natural, floors, is_flexible, room)
        lines = [max(_lines(columns, given, row), 1 + any(stacked)) for row in range(len(columns[0].cells))]
        return Fitted(
            columns=columns,
            size=SIZES[size],
            separation=SEPARATIONS[size],
            heads=heads,
            shares=[_share(w, size, pages) if w < n else None for w, n in zip(given, natural, strict=True)],
            turned=turned,
            stacked=stacked,
            most_lines=max(lines, default=1),
            height=BASELINES[size] * (sum(lines) + max(map(len, heads))),
        )
    raise TooWideError(least)


def text_width(text: str) -> float:
    """Return the width of a text in points at 10 pt."""
    return sum(_character_width(character) for character in text)


def pieces(text: str) -> list[str]:
    """Return a text cut after each place where a line may end: spaces, punctuation, and every LONGEST points."""
    found = [""]
    for part in re.findall(r"[^\s_=,+/.:;|-]*[\s_=,+/.:;|-]*", text):
        for character in part:
            is_wide = unicodedata.east_asian_width(character) in "WF"
            if found[-1] and (is_wide or text_width(found[-1] + character) > LONGEST):
                found.append("")
            found[-1] += character
        found += [""] if found[-1] else []
    return [piece for piece in found if piece]


def stacked_parts(text: str) -> list[str]:
    """Return a text cut before its brackets: `+0.30 [+0.10, +0.50]` in two."""
    first, bracket, rest = text.partition(" [")
    return [first, f"[{rest}"] if bracket else [text]


def _character_width(character: str) -> float:
    if character in WIDTHS:
        return WIDTHS[character]
    base = unicodedata.normalize("NFD", character)[0]
    return WIDTHS.get(base, WIDEST)


def _head_lines(column: PaperColumn, is_stacked: bool) -> list[str]:
    """Return a heading in lines no wider than the cells, as far as its words allow."""
    words = column.head.split(" ")
    room = max([_cells_width(column, is_stacked), *(text_width(word) for word in words)])
    lines: list[str] = []
    for word in words:
        if lines and text_width(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _column_width(column: PaperColumn, head: list[str], is_turned: bool, is_stacked: bool) -> float:
    own = [WIDTHS["M"] * 1.2] if is_turned else [text_width(line) for line in head]
    return max([*own, _cells_width(column, is_stacked)])


def _cells_width(column: PaperColumn, is_stacked: bool) -> float:
    parts = (stacked_parts(cell) if is_stacked else [cell] for cell in column.cells)
    return max((text_width(part) for cell in parts for part in cell), default=0.0)


def _floor(column: PaperColumn, natural: float) -> float:
    """Return the least width of a column of several lines."""
    words = [word for text in [*column.cells, column.head] for word in pieces(text)]
    return min(natural, max([LONGEST, *(text_width(word) for word in words)]))


def _divided(natural: list[float], floors: list[float], is_flexible: list[bool], room: float) -> list[float]:
    """Return the columns' widths: what is left over goes to those of several lines, by what each lacks."""
    left = room - sum(floors)
    lacks = [n - f if flexible else 0.0 for n, f, flexible in zip(natural, floors, is_flexible, strict=True)]
    part = min(1.0, left / sum(lacks)) if sum(lacks) else 0.0
    return [f + part * lack for f, lack in zip(floors, lacks, strict=True)]


def _share(width: float, size: int, pages: tuple[tuple[float, tuple[float, ...]], ...]) -> float:
    """Return a column's width as a share of the text width that suffices on each page."""
    return round(max(width * factors[size] / page for page, factors in pages), 3)


def _lines(columns: list[PaperColumn], widths: list[float], row: int) -> int:
    """Return the number of lines of a row, with some room for the ragged ends of lines."""
    needed = [(text_width(c.cells[row]), w) for c, w in zip(columns, widths, strict=True)]
    return max(1 if own <= width else 1 + int(1.15 * own / width) for own, width in needed)
