"""`vitsweep diff A B`: what differs between two cells, arms, studies or directories, and by how much the metrics do.

A and B are each a sweep's directory, a cell's, SWEEP/ARM or SWEEP/ARM/seed=N; finished, running and failed cells,
published sweeps and single runs. Settings that are equal are not shown.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from vitsweep.errors import RecordError
from vitsweep.files import finite, write_atomically
from vitsweep.study.comparison.differences import SECTIONS, Row, arm_pairs, compare_sides
from vitsweep.study.comparison.sides import Side, read_side
from vitsweep.study.record import METRIC_NAMES, METRIC_ROWS

from .metric_row import COSTS

EQUAL = "A and B are equal in configuration, code, libraries, data and machine."


def main(arguments: list[str]) -> int:
    """Print or write the comparison; return 0."""
    options = parser().parse_args(arguments)
    a, b = read_side(options.a), read_side(options.b)
    check_metric(options.metric)
    rows = compare_sides(a, b)
    metrics: list[Any] = []
    if not options.no_metrics:
        from .metrics import metric_rows  # late: numpy and scipy

        metrics = metric_rows(arm_pairs(a, b), options.metric)
        if options.metric and not metrics:
            raise RecordError(f"--metric={options.metric}  is in no finished cell of A or B; leave it out to see all")
    notes = side_notes(a, b, rows, bool(metrics))
    if options.html:
        from .page import difference_page  # late: pandas and jinja2

        Path(options.html).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(options.html), difference_page(a, b, rows, metrics, notes).encode())
        print(options.html)
    elif options.json:
        print(json.dumps(to_values(a, b, rows, metrics, notes), indent=1))
    else:
        print_text(a, b, rows, metrics, notes)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    found = argparse.ArgumentParser(prog="vitsweep diff", description=__doc__)
    found.add_argument("a", metavar="A", help="a sweep's or a cell's directory, SWEEP/ARM or SWEEP/ARM/seed=N")
    found.add_argument("b", metavar="B", help="as A; differences are B - A")
    form = found.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print everything as JSON")
    form.add_argument("--html", metavar="FILE", help="write one page that loads nothing")
    choice = found.add_mutually_exclusive_group()
    choice.add_argument("--metric", default="", help="one metric only, such as best/val/loss or time_seconds")
    choice.add_argument("--no-metrics", action="store_true", help="leave the metrics out")
    return found


def check_metric(metric: str) -> None:
    """Raise for a metric that no record has.

    Raises:
        RecordError: with the metrics allowed.
    """
    row, _, name = metric.partition("/")
    if metric and metric not in COSTS and (row not in METRIC_ROWS or name not in METRIC_NAMES):
        allowed = f"one of {', '.join(METRIC_ROWS)}, then / and one of {', '.join(METRIC_NAMES)}; or {', '.join(COSTS)}"
        raise RecordError(f"--metric={metric}  is unknown; allowed: {allowed}; for example final/test/accuracy")


def side_notes(a: Side, b: Side, rows: list[Row], has_metrics: bool) -> list[str]:
    """Return sentences about what the comparison cannot see or must not be read as."""
    notes = [f"{letter}: {problem}" for letter, side in (("A", a), ("B", b)) for problem in side.problems]
    for letter, side in (("A", a), ("B", b)):
        waiting = sum(cell.record.status != "done" for cell in side.cells)
        if waiting and has_metrics:
            notes.append(f"{letter}: {waiting} of {len(side.cells)} cells have not finished and are not in the means.")
        if any(cell.record.started and not cell.record.environment for cell in side.cells):
            notes.append(f"{letter}: an earlier version trained it, which recorded neither patch nor all packages.")
        if any(cell.record.continued_from for cell in side.cells):
            notes.append(f"{letter}: cells continue finished ones, with their state (vitsweep extend).")
    if has_metrics and any(row.section == "data" and row.key.startswith(("fingerprint", "images in ")) for row in rows):
        notes.append("The images differ, so differences of metrics are not those of the settings alone.")
    return notes


def to_values(a: Side, b: Side, rows: list[Row], metrics: list[Any], notes: list[str]) -> dict[str, Any]:
    """Return the comparison for JSON: each section key -> [A, B], by arm where arms differ in their own way."""
    values: dict[str, Any] = {name: {"path": side.name, "summary": side.summary} for name, side in (("a", a), ("b", b))}
    for section in SECTIONS:
        own = [row for row in rows if row.section == section]
        values[section] = {row.key: [row.a, row.b] for row in own if not row.arm}
        by_arm: dict[str, dict[str, list[Any]]] = {}
        for row in own:
            if row.arm:
                by_arm.setdefault(row.arm, {})[row.key] = [row.a, row.b]
        if by_arm:
            values[f"{section}_by_arm"] = by_arm
    return finite(values | {"metrics": [dataclasses.asdict(row) for row in metrics], "notes": notes})


def print_text(a: Side, b: Side, rows: list[Row], metrics: list[Any], notes: list[str]) -> None:
    """Print the comparison."""
    from vitsweep.errors import printable

    from .text import NOTE, metric_table, section_tables, text_console

    console = text_console()
    for letter, side in (("A", a), ("B", b)):
        console.print(printable(f"{letter}  {side.name}  ({side.summary})"), style="bold", soft_wrap=True)
    if not rows:
        console.print(f"\n{EQUAL}")
    for heading, table in section_tables(rows):
        console.print(f"\n{heading}", style="bold")
        console.print(table)
    if metrics:
        is_one_metric = len({row.arm for row in metrics}) > 1
        title = metrics[0].metric if is_one_metric else "metrics"
        console.print(f"\n{title}  ({NOTE})", style="bold", soft_wrap=True)
        console.print(metric_table(metrics))
    for note in notes:
        console.print(printable(note), soft_wrap=True)
