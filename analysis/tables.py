"""One Table object -> CSV (raw numbers), Markdown, LaTeX (booktabs) and the cells that the HTML page shows.

Names of arms are the user's and reach four languages, so each writer escapes them; numbers in CSV are
unrounded, those shown are rounded to what ten thousand test images can tell. A column that says the same in
every row is hidden where it is shown and named in a note, never in the CSV.
"""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from analysis.shown import NOTHING, escape_latex, escape_markdown


@dataclass(kw_only=True)
class Column:
    """One shown column: `show` makes a cell's text from a row of the frame, `key` is the frame column it
    sorts by."""

    title: str
    show: Callable[[pd.Series], str]
    key: str
    numeric: bool = True
    keep: bool = False
    """Shown even when it says the same in every row."""


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

    def shown(self) -> tuple[list[Column], list[str]]:
        """The columns worth a place, and a sentence for each that says the same in every row."""
        kept, notes = [], []
        for column in self.columns:
            texts = {column.show(row) for _, row in self.frame.iterrows()}
            if column.keep or len(texts) > 1:
                kept.append(column)
            elif texts - {NOTHING, ""}:
                notes.append(f"{column.title} is {texts.pop()} in every row.")
        return kept, notes

    def texts(self) -> list[list[str]]:
        """The shown cells, row by row, not escaped."""
        columns, _ = self.shown()
        return [[column.show(row) for column in columns] for _, row in self.frame.iterrows()]

    def sort_keys(self) -> list[list[str]]:
        """For each shown cell what it sorts by: a number, or its text; empty for a missing number."""
        columns, _ = self.shown()
        return [[_sort_key(row[column.key]) for column in columns] for _, row in self.frame.iterrows()]

    def csv(self) -> str:
        """Every column of the frame, unrounded (12 digits), empty where there is no value."""
        return frame_csv(self.frame)

    def markdown(self) -> str:
        """A GitHub table with its notes."""
        columns, notes = self.shown()
        lines = [_markdown_row([c.title for c in columns])]
        lines.append("|" + "|".join(" ---: " if c.numeric else " :--- " for c in columns) + "|")
        lines += [_markdown_row(row) for row in self.texts()]
        return "\n".join([*lines, "", *(escape_markdown(note) for note in notes + self.notes)]).rstrip() + "\n"

    def latex(self) -> str:
        """A table environment for the booktabs package; nothing else is needed to compile it."""
        columns, notes = self.shown()
        spec = "".join("r" if c.numeric else "l" for c in columns)
        body = [_latex_row([c.title for c in columns]), *(_latex_row(row) for row in self.texts())]
        caption = escape_latex(" ".join([self.caption, *notes, *self.notes]))
        lines = [r"\begin{table}", r"\centering", f"\\caption{{{caption}}}", f"\\label{{tab:{self.name}}}"]
        lines += [f"\\begin{{tabular}}{{{spec}}}", r"\toprule", body[0], r"\midrule", *body[1:]]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def frame_csv(frame: pd.DataFrame) -> str:
    """A frame as CSV: 12 significant digits, empty for NaN, quotes where needed, `\\n` line ends."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(frame.columns)
    for row in frame.itertuples(index=False):
        writer.writerow([_plain(value) for value in row])
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
