"""A comparison as one HTML page in the report's style, which loads nothing."""

import difflib
from collections.abc import Callable

import pandas as pd

from vitsweep.study.comparison.differences import SECTIONS, Row, changed_files, patch_text
from vitsweep.study.comparison.sides import Side
from vitsweep.study.record import package_version

from ..page import Bullets, Details, KeyValues, Page, Section, TableItem, Text, to_html
from ..tables import Column, Table
from .metric_row import MetricRow
from .text import HEADINGS, NOTE, metric_texts, show_value

LONGEST = 300
METRIC_TITLES = ("A", "B", "B - A", "95 % interval", "seeds")


def difference_page(a: Side, b: Side, rows: list[Row], metrics: list[MetricRow], notes: list[str]) -> str:
    """Return the page of a comparison."""
    sections = [Section(id="sides", title="Compared", items=side_items(a, b, notes))]
    for section in SECTIONS:
        if own := [row for row in rows if row.section == section]:
            items = [TableItem(table=row_table(section, own))]
            items += patch_items(a, b) if section == "code" else []
            sections.append(Section(id=section, title=HEADINGS.get(section, section).capitalize(), items=items))
    if metrics:
        sections.append(Section(id="metrics", title="Metrics", items=[TableItem(table=metric_frame(metrics))]))
    equal = [name for name in SECTIONS if name not in {row.section for row in rows}]
    lead = f"{len(rows)} differences" if len(rows) != 1 else "1 difference"
    lead += f"; equal: {', '.join(equal)}" if equal else ""
    signature = f"vitsweep:{package_version('vitsweep')} command:diff"
    return to_html(Page(title="Difference of A and B", lead=f"{lead}.", sections=sections, signature=signature))


def side_items(a: Side, b: Side, notes: list[str]) -> list:
    """Return the names and contents of both sides, and the notes."""
    names = [(letter, f"{side.name}: {side.summary}") for letter, side in (("A", a), ("B", b))]
    return [KeyValues(pairs=names)] + ([Bullets(lines=notes)] if notes else [])


def row_table(section: str, rows: list[Row]) -> Table:
    """Return the table of one section."""
    names = ("setting", "arm", "A", "B")
    values = [(row.key, row.arm, show_value(row.a, LONGEST), show_value(row.b, LONGEST)) for row in rows]
    columns = [text_column(name, keep=name != "arm") for name in names]
    if not any(row.arm for row in rows):
        columns = [column for column in columns if column.key != "arm"]
    title = HEADINGS.get(section, section)
    caption = f"{title.capitalize()}: values that differ."
    return Table(name=section, title=title, caption=caption, frame=pd.DataFrame(values, columns=names), columns=columns)


def metric_frame(rows: list[MetricRow]) -> Table:
    """Return the table of metrics."""
    has_arms = len({row.arm for row in rows}) > 1
    names = ("arm" if has_arms else "metric", *METRIC_TITLES)
    frame = pd.DataFrame([metric_texts(row, has_arms) for row in rows], columns=names)
    caption = f"{rows[0].metric}: {NOTE}." if has_arms else f"{NOTE}."
    columns = [text_column(name, keep=True, numeric=place > 0) for place, name in enumerate(names)]
    return Table(name="metrics", title="Metrics", caption=caption, frame=frame, columns=columns)


def text_column(name: str, keep: bool, numeric: bool = False) -> Column:
    """Return a column of texts."""
    show: Callable[[dict], str] = lambda row: str(row[name])  # noqa: E731
    return Column(title=name, show=show, key=name, numeric=numeric, keep=keep, wrap=not numeric)


def patch_items(a: Side, b: Side) -> list:
    """Return the uncommitted changes of both sides and how they differ, to be opened."""
    patches = [patch_text(side.cells[0]) for side in (a, b)]
    if patches[0] == patches[1]:
        return []
    items: list = [Text(text="The patches are those of each side's first cell.")]
    for letter, patch in zip("AB", patches, strict=True):
        if patch:
            title = f"Uncommitted changes of {letter}: {', '.join(changed_files(patch))}"
            items.append(Details(title=title, text=patch))
    if all(patches):
        one, other = (patch.splitlines() for patch in patches)
        lines = difflib.unified_diff(one, other, "A", "B", lineterm="")
        items.append(Details(title="From the patch of A to that of B", text="\n".join(lines)))
    return items
