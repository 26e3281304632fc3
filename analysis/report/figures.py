"""A Figure of the report, and `save_figure`, which writes it as an SVG of both themes and as a PNG.

What is drawn lies in draw_curves, draw_effects and gallery/draw_measures. Ids are fixed and dates left out, so equal
inputs give equal bytes.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from ..labels import legend_columns, separate_ticks
from ..marks import mark, without_marks
from ..style import theme, with_both_themes
from .svg import clean_svg, inline_svg

MAX_ARMS = 12
"""Largest number of arms with a color and a name in one figure; the others are grey, or left out."""
MAX_ROWS = 60
"""Largest number of arms in a figure with a row for each; the figure's table has all of them."""


def grid(rows: int = 1, columns: int = 1, **shared: Any) -> Callable[[Canvas], list[Axes]]:
    """Return a function that puts rows x columns axes on a canvas and returns them in reading order.

    Args:
        shared: `sharex` and `sharey` of Figure.subplots.
    """
    return lambda canvas: list(canvas.subplots(rows, columns, squeeze=False, **shared).flat)


@dataclass(kw_only=True)
class Figure:
    """Figure of the report: drawing function, words and the numbers behind it."""

    name: str
    title: str
    caption: str
    alt: str
    """Alternative text: one sentence made from the figure's numbers."""
    table: pd.DataFrame
    """Numbers behind the figure."""
    size: tuple[float, float]
    """Width and height, inches."""
    paint: Callable[[Sequence[Axes], dict[str, str]], object]
    """Function that draws on the figure's axes with the theme's colors by role."""
    layout: Callable[[Canvas], Sequence[Axes]] = grid()
    """Function that puts the figure's axes on an empty canvas."""
    has_legend: bool = False
    """True for a legend of the first axes' artists, below all axes."""

    def draw(self, canvas: Canvas, color: dict[str, str]) -> Sequence[Axes]:
        """Draw on an empty canvas with the theme's colors by role; return the axes."""
        axes = self.layout(canvas)
        self.paint(axes, color)
        if self.has_legend:
            add_legend(canvas, axes[0])
        return axes


def add_legend(canvas: Canvas, ax: Axes) -> None:
    """Put the legend of `ax` below all axes, in four columns or as many as the canvas is wide enough for.

    Its entries are marked with their arms.
    """
    handles, labels = ax.get_legend_handles_labels()
    columns = legend_columns(labels, canvas.get_figwidth())
    legend = canvas.legend(handles, labels, loc="outside lower left", ncols=columns)
    for artists in (legend.get_texts(), legend.legend_handles):
        for artist, name in zip(artists, labels, strict=True):
            if artist is not None:
                mark(artist, name)


def save_figure(figure: Figure, directory: Path) -> str:
    """Write `<name>.svg` and `<name>.png`; return the SVG for the page, colored by CSS variables."""
    files = render(figure)
    (directory / f"{figure.name}.png").write_bytes(files["png"])
    return _write_svg(figure, files["svg"], directory)


def save_svg(figure: Figure, directory: Path) -> str:
    """Write the SVG file of save_figure alone; return the SVG for the page."""
    return _write_svg(figure, render(figure, png=False)["svg"], directory)


def _write_svg(figure: Figure, content: bytes, directory: Path) -> str:
    svg = clean_svg(content.decode())
    text = with_both_themes(without_marks(svg))
    (directory / f"{figure.name}.svg").write_text(text, encoding="utf-8", newline="\n")
    return inline_svg(svg, figure.name, figure.alt, figure.size[0])


def render(figure: Figure, png: bool = True) -> dict[str, bytes]:
    """Draw the figure in the light theme and return its files: `svg` and, if wanted, `png`."""
    with theme("light") as color:
        # Not pyplot: it loads the backend that the environment names, which may need a screen or a notebook.
        canvas = Canvas(figsize=figure.size, layout="constrained")
        FigureCanvasAgg(canvas)
        figure.draw(canvas, color)
        lay_out(canvas)
        return {kind: _file_bytes(canvas, kind) for kind in ("svg", "png")[: 1 + png]}


def lay_out(canvas: Canvas) -> None:
    """Place axes and labels for good: computing it again for each file takes longer than drawing."""
    engine = canvas.get_layout_engine()
    assert engine is not None  # the constrained layout
    engine.execute(canvas)
    if separate_ticks(canvas):
        engine.execute(canvas)
    canvas.set_layout_engine(None)


def _file_bytes(canvas: Canvas, kind: str) -> bytes:
    # A date or version would make equal inputs differ, and a URL would put an address into an offline page.
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type")) if kind == "svg" else {"Software": None}
    stream = io.BytesIO()
    canvas.savefig(stream, format=kind, metadata=metadata, facecolor=canvas.get_facecolor())
    return stream.getvalue()


def rows_note(number: int) -> str:
    """Return the sentence of a caption about the arms without a row; empty if there are none."""
    if not number:
        return ""
    chosen = f" Shown are the {MAX_ROWS - 1} arms with the largest effects"
    return f"{chosen}; {number} more {'is' if number == 1 else 'are'} in the table only."


def colors_note(number: int, others: str = "thin grey lines") -> str:
    """Return the sentence of a caption about the arms that have no color; empty if there are none.

    Args:
        others: what these arms are drawn as.
    """
    if not number:
        return ""
    chosen = f" Named are the {MAX_ARMS - 1} arms with the largest effects"
    return f"{chosen}; {others}: {number} more, see the table."


def arms_to_draw(
    arms: list[str], baseline: str, effects: pd.DataFrame | None = None, most: int = MAX_ARMS
) -> list[str]:
    """Return at most `most` arms in the study's order: the baseline and those with the largest effects."""
    if len(arms) <= most:
        return arms
    size = pd.Series(0.0, index=arms)
    if effects is not None:
        size = effects.set_index("arm")["delta"].abs().reindex(arms).fillna(0.0)
    ranked = size.drop(baseline, errors="ignore").sort_values(ascending=False, kind="stable").index
    chosen = {baseline, *ranked[: most - 1]}
    return [arm for arm in arms if arm in chosen]
