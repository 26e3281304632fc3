"""What a sweep prints at its end: one row an arm."""

from pathlib import Path
from statistics import mean, stdev

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vitsweep.plan import Cell, Plan
from vitsweep.record import Record


def final_table(plan: Plan, records: list[tuple[Cell, Record | None]], directory: Path) -> Group:
    """Arms in planned order with accuracy, size and time, then every cell that is not done, then the path."""
    table = Table(title=f"{plan.study}: test accuracy after the last epoch", title_justify="left")
    for heading in ("arm", "cells", "accuracy %", "parameters", "time s", "images/s"):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for arm in dict.fromkeys(cell.arm for cell, _ in records):
        of_arm = [record for cell, record in records if cell.arm == arm]
        table.add_row(arm, *arm_figures([r for r in of_arm if r and r.status == "done"], len(of_arm)))
    missing = [
        Text(f"{cell.id}: {record.status if record else 'not started'}{reason(record)}", style="red")
        for cell, record in records
        if record is None or record.status != "done"
    ]
    return Group(table, *missing, Text(f"records: {directory}"))


def arm_figures(done: list[Record], num_cells: int) -> list[str]:
    """The cells of one row, from the arm's finished records."""
    if not done:
        return [f"0/{num_cells}", "-", "-", "-", "-"]
    accuracy = [100 * record.metrics["final"]["test/accuracy"] for record in done]
    spread = f" +- {stdev(accuracy):.2f}" if len(accuracy) > 1 else ""
    speeds = [record.images_per_second for record in done if record.images_per_second]
    return [
        f"{len(done)}/{num_cells}",
        f"{mean(accuracy):.2f}{spread}",
        f"{done[0].params:,}",
        f"{mean(record.time_seconds for record in done):.0f}",
        f"{mean(speeds):.0f}" if speeds else "-",
    ]


def reason(record: Record | None) -> str:
    """Why a cell is not done, if its record knows."""
    return f" ({record.error['type']}: {record.error['message']})" if record and record.error else ""
