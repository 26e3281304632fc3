"""A Figure of the report, and `save_figure`, which writes it as an SVG of both themes and as a PNG of each.

What is drawn lies in draw_curves, draw_effects and gallery/draw_measures. Ids are fixed and dates left out, so equal
inputs give equal bytes.
"""

import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection
from matplotlib.colors import is_color_like, to_rgba
from matplotlib.figure import Figure as Canvas

from ..style import DARK, LIGHT, theme, with_both_themes, with_css_variables

COLOR_PROPERTIES = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")
MAX_ARMS = 12
"""Largest number of arms in one figure; the figure's table has all of them."""


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
    """Put the legend of `ax` below all axes, in four columns or as many as the canvas is wide enough for."""
    handles, labels = ax.get_legend_handles_labels()
    for columns in range(min(4, len(labels)), 0, -1):
        legend = canvas.legend(handles, labels, loc="outside lower left", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= canvas.bbox.width:
            return
        legend.remove()


def save_figure(figure: Figure, directory: Path) -> str:
    """Write `<name>.svg`, `<name>.png` and `<name>-dark.png`; return the SVG for the page, colored by CSS variables."""
    files = render(figure)
    (directory / f"{figure.name}.png").write_bytes(files["png"])
    (directory / f"{figure.name}-dark.png").write_bytes(files["dark png"])
    return _write_svg(figure, files["svg"], directory)


def save_svg(figure: Figure, directory: Path) -> str:
    """Write the SVG file of save_figure alone; return the SVG for the page."""
    return _write_svg(figure, render(figure, png=False)["svg"], directory)


def _write_svg(figure: Figure, content: bytes, directory: Path) -> str:
    svg = clean_svg(content.decode())
    (directory / f"{figure.name}.svg").write_text(with_both_themes(svg), encoding="utf-8", newline="\n")
    return inline_svg(svg, figure)


def render(figure: Figure, png: bool = True) -> dict[str, bytes]:
    """Draw the figure and return its files: `svg` and, if wanted, `png` in the light theme, `dark png` in the dark."""
    with theme("light") as color:
        # Not pyplot: it loads the backend that the environment names, which may need a screen or a notebook.
        canvas = Canvas(figsize=figure.size, layout="constrained")
        FigureCanvasAgg(canvas)
        figure.draw(canvas, color)
        # The layout is computed once: computing it again for each file takes longer than drawing.
        engine = canvas.get_layout_engine()
        assert engine is not None  # the constrained layout from above
        engine.execute(canvas)
        canvas.set_layout_engine(None)
        files = {kind: _file_bytes(canvas, kind) for kind in ("svg", "png")[: 1 + png]}
        if not png:
            return files
        darken(canvas)
        return files | {"dark png": _file_bytes(canvas, "png")}


def darken(canvas: Canvas) -> None:
    """Replace the light theme's colors by the dark theme's in every artist of a drawn figure."""
    dark = {to_rgba(LIGHT[role])[:3]: to_rgba(DARK[role])[:3] for role in LIGHT}
    for artist in canvas.findobj():
        # All are read before any is set: a marker's color may follow its line's.
        old = {n: getattr(artist, f"get_{n}")() for n in COLOR_PROPERTIES if hasattr(artist, f"get_{n}")}
        if isinstance(artist, Collection):
            new: dict[str, Any] = {
                n: [(*dark.get(tuple(c[:3]), c[:3]), c[3]) for c in colors] for n, colors in old.items()
            }
        else:
            known = {n: to_rgba(color) for n, color in old.items() if is_color_like(color)}
            new = {n: (*dark.get(c[:3], c[:3]), c[3]) for n, c in known.items()}
        artist.set(**{n: color for n, color in new.items() if len(color)})


def _file_bytes(canvas: Canvas, kind: str) -> bytes:
    # A date or version would make equal inputs differ, and a URL would put an address into an offline page.
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type")) if kind == "svg" else {"Software": None}
    stream = io.BytesIO()
    canvas.savefig(stream, format=kind, metadata=metadata, facecolor=canvas.get_facecolor())
    return stream.getvalue()


def clean_svg(svg: str) -> str:
    """Remove document type, metadata and unused ids from matplotlib's SVG; cut coordinates to 0.01 points."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<!--.*?-->", "", svg, flags=re.DOTALL)
    # Inside tags only: text between them may hold numbers, such as those of an axis.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d{2})\d+", r"\1", tag.group()), svg)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match.group() if match.group(1) in used else "", svg)
    return re.sub(r"\n\s*", "\n", svg).rstrip() + "\n"


def inline_svg(svg: str, figure: Figure) -> str:
    """Return the SVG as part of a page: with a title for screen readers, ids of its own, colors of the theme."""
    svg = with_css_variables(svg)
    for prefix in ('id="', 'href="#', "url(#"):
        svg = svg.replace(prefix, f"{prefix}{figure.name}-")
    start, body = svg.split(">", 1)
    start = re.sub(r' (width|height)="[^"]*"', "", start)
    # Narrower than drawn it would be unreadable, so it scrolls; much wider its letters would outgrow the page's.
    size = f"min-width: {figure.size[0] * 66:.0f}px; max-width: {figure.size[0] * 104:.0f}px"
    start += f' role="img" aria-labelledby="{figure.name}-name" style="{size}"'
    return f'{start}><title id="{figure.name}-name">{html.escape(figure.alt, quote=False)}</title>{body}'


def selection_note(number: int) -> str:
    """Return the sentence of a caption about the arms that arms_to_draw left out; empty if there are none."""
    if not number:
        return ""
    chosen = f" Shown are the {MAX_ARMS - 1} arms with the largest effects"
    return f"{chosen}; {number} more {'is' if number == 1 else 'are'} in the table only."


def arms_to_draw(arms: list[str], baseline: str, effects: pd.DataFrame | None = None) -> list[str]:
    """Return at most MAX_ARMS arms in the study's order: the baseline and those with the largest effects."""
    if len(arms) <= MAX_ARMS:
        return arms
    size = pd.Series(0.0, index=arms)
    if effects is not None:
        size = effects.set_index("arm")["delta"].abs().reindex(arms).fillna(0.0)
    ranked = size.drop(baseline, errors="ignore").sort_values(ascending=False, kind="stable").index
    chosen = {baseline, *ranked[: MAX_ARMS - 1]}
    return [arm for arm in arms if arm in chosen]
