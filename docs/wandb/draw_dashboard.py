"""Draw what `python -m vitsweep wandb dashboard ... --dry-run` prints: the workspace's sections and panels as boxes.

    python -m vitsweep wandb dashboard study=parts --dry-run | python docs/wandb/draw_dashboard.py dashboard.png

It shows what is asked of W&B, panel by panel, not how W&B's pages look.
"""

import json
import sys
import textwrap

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

COLUMNS, WIDTH, HEIGHT, TITLE, GAP = 2, 5.2, 0.95, 0.42, 0.12  # inches
INK, PALE, FRAME = "#1b1f24", "#57606a", "#0b5cad"


def lines_of(panel: dict) -> list[str]:
    """A panel's kind and what is set in it."""
    config, kind = panel["config"], panel["viewType"]
    grouped = f"{config.get('groupAgg')} by {config.get('groupBy')}, band: {config.get('groupArea')}"
    said = {
        "Run History Line Plot": [f"x: {config.get('xAxis')}", f"{grouped}, up to {config.get('limit')} runs"],
        "Bar Chart": [grouped],
        "Parallel Coordinates Plot": [", ".join(c["accessor"].split(":")[1] for c in config.get("columns", []))],
        "Parameter Importance": [f"for {config.get('targetKey')}"],
        "Media Browser": [f"{config.get('mode')} of {', '.join(config.get('mediaKeys', []))}"],
        "Run Comparer": [f"differences only: {config.get('diffOnly')}"],
        "Markdown Panel": [" ".join(config.get("value", "").replace("#", "").split())[:150]],
    }[kind]
    title = config.get("chartTitle") or ", ".join(config.get("metrics", []))
    return [f"{kind}{': ' + title if title else ''}", *said]


def draw(specification: dict) -> Figure:
    """The workspace as boxes, section below section."""
    sections = specification["workspace"]["section"]["panelBankConfig"]["sections"]
    rows = sum(-(-len(section["panels"]) // COLUMNS) for section in sections)
    height = rows * (HEIGHT + GAP) + len(sections) * TITLE + TITLE
    figure = Figure(figsize=(COLUMNS * (WIDTH + GAP), height), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, COLUMNS * (WIDTH + GAP)), ylim=(0, height))
    axes.axis("off")
    (runs,) = specification["workspace"]["section"]["runSets"]
    chosen = " and ".join(f"{f['key']['name']} {f['op']} {f['value']}" for f in runs["filters"]["filters"])
    grouping = ", ".join(key["name"] for key in runs["grouping"])
    top = height - TITLE
    axes.text(GAP, top + 0.12, f"Runs: {chosen}, grouped by {grouping}", color=INK, fontsize=11, weight="bold")
    for section in sections:
        axes.text(GAP, top - TITLE + 0.12, section["name"], color=FRAME, fontsize=11, weight="bold")
        top -= TITLE
        for number, panel in enumerate(section["panels"]):
            row, column = divmod(number, COLUMNS)
            width = COLUMNS * (WIDTH + GAP) - 2 * GAP if len(section["panels"]) == 1 else WIDTH - GAP
            box(axes, GAP + column * (WIDTH + GAP), top - row * (HEIGHT + GAP), width, lines_of(panel))
        top -= -(-len(section["panels"]) // COLUMNS) * (HEIGHT + GAP)
    return figure


def box(axes, left: float, top: float, width: float, lines: list[str]) -> None:
    """One panel."""
    shape = FancyBboxPatch((left, top - HEIGHT), width, HEIGHT, boxstyle="round,pad=0,rounding_size=0.06")
    shape.set(facecolor="#f6f8fa", edgecolor="#d0d7de")
    axes.add_patch(shape)
    wrapped = [part for line in lines[1:] for part in textwrap.wrap(line, int(width * 13))]
    axes.text(left + 0.1, top - 0.12, lines[0], color=INK, fontsize=9, va="top", weight="bold")
    axes.text(left + 0.1, top - 0.36, "\n".join(wrapped[:3]), color=PALE, fontsize=8.5, va="top", linespacing=1.4)


if __name__ == "__main__":
    draw(json.load(sys.stdin)).savefig(sys.argv[1], dpi=110)
