"""One Table object -> CSV (raw numbers), Markdown, LaTeX (booktabs) and the cells that the HTML page shows.

Names of arms are the user's and reach four languages, so each writer escapes them; numbers in CSV are unrounded, those
shown are rounded to what ten thousand test images can tell. A column that says the same in every row is hidden where it
is shown and named in a note, never in the CSV.
"""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from ..text import DASH, escape_latex, escape_markdown


@dataclass
class Column:
    """One shown column."""

    title: str
    show: Callable[[dict], str]
    """A row of the frame -> the cell's text."""
    key: str
    """The frame's column that it sorts by."""
    numeric: bool = True
    keep: bool = False
    """Shown even when it says the same in every row."""
    wrap: bool = False
    """Whether a long text may take several lines."""


@dataclass(kw_only=True)
class Table:
    """A frame and how it is shown."""

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    columns: list[Column]
    notes: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    """For each row the runs that its numbers come from, as `1-5, 9` in the table of runs."""

    @cached_property
    def rows(self) -> list[dict]:
        """The frame's rows."""
        return self.frame.to_dict("records")

    @cached_property
    def _all_texts(self) -> list[list[str]]:
        """Column by column the text of every row."""
        return [[column.show(row) for row in self.rows] for column in self.columns]

    @cached_property
    def _shown_places(self) -> list[int]:
        texts = self._all_texts
        if len(self.rows) == 1:
            return [i for i, column in enumerate(self.columns) if column.keep or texts[i][0] not in (DASH, "")]
        return [i for i, column in enumerate(self.columns) if column.keep or len(set(texts[i])) > 1]

    @property
    def shown_columns(self) -> list[Column]:
        """The columns worth a place."""
        return [self.columns[i] for i in self._shown_places]

    @property
    def all_notes(self) -> list[str]:
        """One sentence about what is the same in every row, then the table's own notes."""
        hidden = [i for i in range(len(self.columns)) if i not in self._shown_places and self.rows]
        same = [f"{self.columns[i].title} {self._all_texts[i][0]}" for i in hidden]
        same = [words for words in same if not words.endswith((DASH, " "))]
        return ([f"The same in every row: {', '.join(same)}."] if same else []) + self.notes

    @property
    def texts(self) -> list[list[str]]:
        """The shown cells, row by row, not escaped."""
        return [[self._all_texts[i][row] for i in self._shown_places] for row in range(len(self.rows))]

    @property
    def sort_keys(self) -> list[list[str]]:
        """For each shown cell what it sorts by: a number, or its text; empty for a missing number."""
        return [[_sort_key(row[column.key]) for column in self.shown_columns] for row in self.rows]

    def csv(self) -> str:
        """Every column of the frame, unrounded."""
        return frame_csv(self.frame)

    def markdown(self) -> str:
        """A GitHub table with its notes."""
        lines = [_markdown_row([c.title for c in self.shown_columns])]
        lines.append("|" + "|".join(" ---: " if c.numeric else " :--- " for c in self.shown_columns) + "|")
        lines += [_markdown_row(row) for row in self.texts]
        return "\n".join([*lines, "", *(escape_markdown(note) for note in self.all_notes)]).rstrip() + "\n"

    def latex(self) -> str:
        """A table environment for the booktabs package; nothing else is needed to compile it."""
        spec = "".join("r" if c.numeric else "l" for c in self.shown_columns)
        caption = escape_latex(" ".join([self.caption, *self.all_notes]))
        lines = [r"\begin{table}", r"\centering", f"\\caption{{{caption}}}", f"\\label{{tab:{self.name}}}"]
        lines += [f"\\begin{{tabular}}{{{spec}}}", r"\toprule", _latex_row([c.title for c in self.shown_columns])]
        lines += [r"\midrule", *(_latex_row(row) for row in self.texts)]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def frame_csv(frame: pd.DataFrame) -> str:
    """A frame as CSV: 12 significant digits, empty for NaN, quotes where needed, `\\n` line ends."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(frame.columns)
    columns = [[_plain(value) for value in frame[name].tolist()] for name in frame.columns]
    writer.writerows(zip(*columns, strict=True))
    return stream.getvalue()


def _sort_key(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or math.isnan(float(value)) else f"{float(value):.12g}"


def _plain(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.12g}"
    return "" if value is None else value


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(escape_markdown(cell) for cell in cells) + " |"


def _latex_row(cells: list[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"
