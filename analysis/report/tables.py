"""A Table and its writers: CSV (unrounded), Markdown and the cells of the HTML page.

Arm names are the user's, so each writer escapes them. A column with the same text in every row is hidden and named in a
note, except in the CSV.
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import pandas as pd

from ..text import DASH, csv_text, escape_markdown
from ..units import Units, with_units

LONGEST_NAME = 40
"""Letters of the longest name of an arm that tables show; a longer one has an alias."""
LONGEST_MAIN_NAME = 80
"""The same for a table with few columns, in which a long name takes several lines."""


@dataclass
class Column:
    """Column of a table as it is shown."""

    title: str
    show: Callable[[dict], str]
    """Function from a row of the frame to the cell's text."""
    key: str
    """Name of the frame's column to sort by."""
    numeric: bool = True
    keep: bool = False
    """True for a column that is shown even with the same text in every row."""
    wrap: bool = False
    """True if a long text may take several lines."""


@dataclass(kw_only=True)
class Table:
    """Frame with the columns, caption and notes that it is shown with."""

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    columns: list[Column]
    notes: list[str] = field(default_factory=list)
    main: tuple[str, ...] = ()
    """Keys of the columns that a page shows at first; the reader's switch shows the others. Empty: all."""
    runs: list[str] = field(default_factory=list)
    """For each row, the numbers in the table of runs that its values come from, as `1-5, 9`."""
    units: Units = field(default_factory=dict)
    """Units of the frame's columns, which the names in the CSV have."""

    @cached_property
    def rows(self) -> list[dict]:
        """Return the frame's rows."""
        return self.frame.to_dict("records")

    @cached_property
    def _all_texts(self) -> list[list[str]]:
        """Return the text of every row, column by column."""
        return [[column.show(row) for row in self.rows] for column in self.columns]

    @cached_property
    def _shown_indices(self) -> list[int]:
        texts = self._all_texts
        if len(self.rows) == 1:
            return [i for i, column in enumerate(self.columns) if column.keep or texts[i][0] not in (DASH, "")]
        return [i for i, column in enumerate(self.columns) if column.keep or len(set(texts[i])) > 1]

    @property
    def shown_columns(self) -> list[Column]:
        """Return the columns that are not hidden."""
        return [self.columns[i] for i in self._shown_indices]

    @property
    def tips(self) -> list[str]:
        """Return for each row its shown numbers as a text; without `main` empty, as everything is seen."""
        if not self.main:
            return [""] * len(self.rows)
        titles = [column.title for column in self.shown_columns][1:]
        rows = [zip(titles, row[1:], strict=True) for row in self.texts]
        return ["; ".join(f"{title}: {text}" for title, text in row if text != DASH) for row in rows]

    @property
    def all_notes(self) -> list[str]:
        """Return a sentence with the values of hidden columns, then the table's own notes."""
        hidden = [i for i in range(len(self.columns)) if i not in self._shown_indices and self.rows]
        same = [f"{self.columns[i].title} {self._all_texts[i][0]}" for i in hidden]
        same = [text for text in same if not text.endswith((DASH, " "))]
        return ([f"The same in every row: {', '.join(same)}."] if same else []) + self.notes

    @property
    def texts(self) -> list[list[str]]:
        """Return the shown cells, row by row, not escaped."""
        return [[self._all_texts[i][row] for i in self._shown_indices] for row in range(len(self.rows))]

    @property
    def sort_keys(self) -> list[list[str]]:
        """Return each shown cell's sort key: a number or a text; empty for a missing number."""
        return [[_sort_key(row[column.key]) for column in self.shown_columns] for row in self.rows]

    @property
    def named_frame(self) -> pd.DataFrame:
        """Return every column of the frame, unrounded, with units in the names."""
        return with_units(self.frame, self.units)

    def csv(self) -> str:
        """Return named_frame as CSV."""
        return frame_csv(self.named_frame)

    def markdown(self) -> str:
        """Return a GitHub table with its notes; if it has main columns, all of them folded below these."""
        places = [i for i, column in enumerate(self.shown_columns) if not self.main or column.key in self.main]
        every = list(range(len(self.shown_columns)))
        notes = "\n".join(escape_markdown(note) for note in self.all_notes)
        text = f"{self._markdown_columns(places)}\n\n{notes}".rstrip() + "\n"
        if places == every:
            return text
        folded = self._markdown_columns(every)
        return f"{text}\n<details>\n<summary>All columns</summary>\n\n{folded}\n\n</details>\n"

    def _markdown_columns(self, places: list[int]) -> str:
        columns = [self.shown_columns[i] for i in places]
        lines = [markdown_row([column.title for column in columns])]
        lines.append("|" + "|".join(" ---: " if column.numeric else " :--- " for column in columns) + "|")
        return "\n".join([*lines, *(markdown_row([row[i] for i in places]) for row in self.texts)])


def short_names(arms: Sequence[str], longest: int = LONGEST_NAME) -> dict[str, str]:
    """Return long arm name -> its alias, `A` and the arm's place: `A7`; the others are left out."""
    found = {arm: f"A{place}" for place, arm in enumerate(arms) if len(arm) > longest}
    return {arm: alias for arm, alias in found.items() if alias not in arms}


def use_short_names(table: Table, arms: Sequence[str]) -> None:
    """Show long names in a table's column of arms by their aliases, with a legend below; its CSV keeps the names."""
    names = short_names(arms, LONGEST_MAIN_NAME if table.main else LONGEST_NAME)
    for column in table.columns:
        if column.key == "arm":
            column.show = partial(_short_name, column.show, names)
    if "arm" in table.frame and any(column.key == "arm" for column in table.columns):
        shown = dict.fromkeys(arm for arm in table.frame["arm"] if arm in names)
        table.notes += [f"{names[arm]}: {arm}." for arm in shown]


def _short_name(show: Callable[[dict], str], names: dict[str, str], row: dict) -> str:
    text = show(row)
    return names.get(text, text)


def frame_csv(frame: pd.DataFrame) -> str:
    """Return a frame as CSV: 12 significant digits, empty for NaN, `\\n` line ends, no formulas."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(csv_text, frame.columns))
    columns = [[_csv_value(value) for value in frame[name].tolist()] for name in frame.columns]
    writer.writerows(zip(*columns, strict=True))
    return stream.getvalue()


def _sort_key(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or math.isnan(float(value)) else f"{float(value):.12g}"


def _csv_value(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.12g}"
    return "" if value is None else csv_text(value)


def markdown_row(cells: list[str]) -> str:
    """Return a row of a GitHub table, escaped."""
    return "| " + " | ".join(escape_markdown(cell) for cell in cells) + " |"
