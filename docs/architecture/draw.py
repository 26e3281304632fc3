"""Draw the rooms of vitsweep, the imports between them, and the way of one cell: rooms.svg, rooms.png and rooms.csv.

    python docs/architecture/draw.py

The arrows are read from the imports, so the picture shows the code as it is; tests/test_architecture.py compares
rooms.csv with the imports of today and names this command when they differ.
"""

import csv
import sys
from collections import Counter
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1]))
from tests.support.imports import imports_of, python_files  # noqa: E402 - the path comes first

PURPOSES = {
    "config": "YAML and command line\nto one typed Config",
    "data": "images to uint8 tensors,\naugmentation",
    "model": "Config to a network\nand its cost",
    "study": "designs to arms to plan.json;\nstate of each cell on disk",
    "significance": "power, p values,\nbounds of tests",
    "tracking": "the copy for\nWeights & Biases",
    "train": "one cell: step, loop,\ncheckpoint, packs",
    "run": "which cell runs where:\nsweep, pool, Slurm",
    "commands": "one file a\nvitsweep command",
    "records": "read records,\nchoose comparable cells",
    "attention": "rollout, measures,\nfaithfulness",
    "statistics": "effects, claims:\none Judgement",
    "gallery": "pictures of maps",
    "report": "tables, figures,\nfindings, page",
    "api": "import vitsweep as vs:\nplan, run, load",
}
PLACES = {
    "config": (1.5, 9), "data": (0.1, 7), "model": (1.5, 7), "study": (2.9, 7), "train": (0.8, 5), "tracking": (2.9, 5),
    "run": (1.5, 3), "commands": (1.5, 1), "significance": (2.95, 9),
    "records": (5.2, 9), "attention": (4.6, 7), "statistics": (6.0, 7), "gallery": (4.6, 5), "report": (5.4, 3),
    "api": (5.4, 1),
}  # fmt: skip
WAY = ["config", "study", "run", "train", "records", "statistics", "report"]
"""A cell's way: overrides -> plan.json -> a worker -> fit() -> record.json -> judgement -> page."""
WIDTH, HEIGHT = 1.25, 1.1
SIZE, SPAN = (11, 7.4), (7.6, 10.8)  # the figure in inches, and in data units
INK, PALE, ACCENT = "#222222", "#9aa5b1", "#b3452c"


def edges() -> list[tuple[str, str]]:
    """Return (importing room, imported room) of every import between two rooms, sorted."""
    found: Counter[tuple[str, str]] = Counter()
    for path in python_files("vitsweep", "analysis"):
        here = room_of_path(path)
        for module in imports_of(path):
            there = room_of_module(module)
            if here in PLACES and there in PLACES and here != there:
                found[here, there] += 1
    return sorted(found)


def room_of_path(path: Path) -> str:
    """Return the folder that a file lies in."""
    return path.parent.name


def room_of_module(module: str) -> str:
    """Return the room of a dotted module, "" if it lies in none."""
    parts = [part for part in module.split(".") if part not in ("vitsweep", "analysis")]
    return parts[0] if parts and parts[0] in PLACES else ""


def draw(pairs: list[tuple[str, str]]) -> Figure:
    """Return the figure: a box a room, a thin arrow an import, the way of a cell numbered in color."""
    figure = Figure(figsize=SIZE)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.1, SPAN[0] - 0.1)
    axes.set_ylim(0.1, SPAN[1] + 0.1)
    axes.axis("off")
    boxes = {
        name: FancyBboxPatch(
            place, WIDTH, HEIGHT, boxstyle="round,pad=0.03", facecolor="white", edgecolor=INK, zorder=3
        )
        for name, place in PLACES.items()
    }
    for name, (x, y) in PLACES.items():
        axes.add_patch(boxes[name])
        folder = "vitsweep" if x < 4.3 else "analysis"
        axes.text(
            x + WIDTH / 2, y + 0.86, f"{folder}/{name}", ha="center", va="center", weight="bold", size=9, zorder=4
        )
        axes.text(x + WIDTH / 2, y + 0.38, PURPOSES[name], ha="center", va="center", size=7.5, color=INK, zorder=4)
    for importing, imported in pairs:
        arrow(axes, boxes, (importing, imported), PALE)
    for number, (before, after) in enumerate(zip(WAY, WAY[1:], strict=False), start=1):
        arrow(axes, boxes, (before, after), ACCENT, str(number))
    axes.text(0.1, 10.55, "Rooms: a thin arrow points from a room to one that it imports.", size=9, color=INK)
    steps = "A cell's way: 1 overrides become arms, 2 plan.json, 3 a worker trains, 4 record.json, 5 effects, 6 page"
    axes.text(0.1, 0.35, steps, size=9, color=ACCENT)
    return figure


def arrow(axes, boxes: dict[str, FancyBboxPatch], pair: tuple[str, str], color: str, label: str = "") -> None:
    """Add an arrow between two boxes, behind all boxes; a labelled one is thick and bent."""
    (x1, y1), (x2, y2) = middle(pair[0]), middle(pair[1])
    bend = -0.18 if label else 0.05
    patch = FancyArrowPatch(
        (x1, y1), (x2, y2), patchA=boxes[pair[0]], patchB=boxes[pair[1]], connectionstyle=f"arc3,rad={bend}",
        arrowstyle="-|>", mutation_scale=10, color=color, linewidth=2.2 if label else 0.8, shrinkA=3, shrinkB=3,
        zorder=2 if label else 1,
    )  # fmt: skip
    axes.add_patch(patch)
    if label:
        # The curve is quadratic, its control point beside the middle (matplotlib's arc3), in inches, not in data units.
        ratio = (SIZE[1] / SPAN[1]) / (SIZE[0] / SPAN[0])
        control = (x1 + x2) / 2 + bend * (y2 - y1) * ratio, (y1 + y2) / 2 - bend * (x2 - x1) / ratio
        t = 0.75 if abs(x1 - x2) > 2 else 0.5
        ends = ((x1, x2), (y1, y2))
        place = [(1 - t) ** 2 * p + 2 * t * (1 - t) * c + t**2 * q for (p, q), c in zip(ends, control, strict=True)]
        axes.text(
            *place, label, size=9, weight="bold", color="white", ha="center", va="center", zorder=6,
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": color, "edgecolor": "none"},
        )  # fmt: skip


def middle(name: str) -> tuple[float, float]:
    """Return the middle of a room's box."""
    x, y = PLACES[name]
    return x + WIDTH / 2, y + HEIGHT / 2


def main() -> None:
    """Write the pictures and the list of arrows beside this file."""
    pairs = edges()
    with open(FOLDER / "rooms.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([("room", "imports"), *pairs])
    figure = draw(pairs)
    figure.savefig(FOLDER / "rooms.png", dpi=130)
    with rc_context({"svg.hashsalt": "rooms"}):  # the same bytes each time
        figure.savefig(FOLDER / "rooms.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
