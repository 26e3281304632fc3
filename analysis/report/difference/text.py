"""A comparison as lines of text: one line for each setting that differs, then the metrics."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vitsweep.config.overrides import yaml_text
from vitsweep.errors import printable
from vitsweep.study.comparison.differences import SECTIONS, Row

from ...text import ARROW, DASH, decimals, interval, signed
from .metric_row import COSTS, MetricRow

PIPED_WIDTH = 240
LONGEST = 70
"""Characters of a value that are shown; --json and --html have all."""
HEADINGS = {"execution": "execution (no part of what identifies a cell)"}
NOTE = "B - A over shared seeds with its paired 95 % t interval, not adjusted for the number of rows"


def text_console() -> Console:
    """Return a console that shows texts as they are, wide enough for every value where there is no terminal."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False, emoji=False, highlight=False)


def show_value(value: Any, longest: int = LONGEST) -> str:
    """Return a value as in YAML, shortened; a dash for none."""
    if value is None:
        return DASH
    text = printable(json.dumps(value) if isinstance(value, dict | list) else yaml_text(value)).replace("\n", " ")
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def section_tables(rows: list[Row]) -> Iterator[tuple[str, Table]]:
    """Yield heading and table of each section that has a difference."""
    for section in SECTIONS:
        own = [row for row in rows if row.section == section]
        if not own:
            continue
        table = Table.grid(padding=(0, 2))
        for row in own:
            name = f"{row.key} [{row.arm}]" if row.arm else row.key
            texts = (show_value(row.a), ARROW, show_value(row.b))
            table.add_row(Text(f"  {name}"), *map(Text, texts))
        yield HEADINGS.get(section, section), table


def metric_table(rows: list[MetricRow]) -> Table:
    """Return the table of metrics; pairs of arms in a column of their own if there are several."""
    has_arms = len({row.arm for row in rows}) > 1
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for title in (["arm"] if has_arms else ["metric"]) + ["A", "B", "B - A", "95 % interval", "seeds"]:
        table.add_column(title, justify="left" if title in ("arm", "metric") else "right")
    for row in rows:
        table.add_row(*map(Text, metric_texts(row, has_arms)))
    return table


def metric_texts(row: MetricRow, has_arms: bool) -> list[str]:
    """Return the cells of a metric's row."""
    places = places_of(row)
    shown = [DASH if value is None else decimals(value, places) for value in (row.a, row.b)]
    difference = "" if row.difference is None else signed(row.difference, places)
    ends = "" if row.ci_low is None or row.ci_high is None else interval(row.ci_low, row.ci_high, places)
    return [row.arm if has_arms else unit_text(row.metric), *shown, difference, ends, seeds_text(row)]


def places_of(row: MetricRow) -> int:
    """Return the decimals that a metric is shown with."""
    if row.metric in ("params", "flops_per_image"):
        return 0
    if row.metric in COSTS:
        return 1
    return 2 if row.metric.endswith("accuracy") else 6 if row.metric.endswith("/lr") else 4


def unit_text(metric: str) -> str:
    """Return a metric's name with its unit."""
    return f"{metric} %" if metric.endswith("accuracy") else metric


def seeds_text(row: MetricRow) -> str:
    """Return the number of shared seeds, or the numbers of both sides."""
    if row.shared and row.shared == row.n_a == row.n_b:
        return f"{row.shared}"
    return f"{row.shared} shared, {row.n_a} and {row.n_b}"
