"""A Figure: how it is drawn, what it says in words, and the numbers behind it; `save` writes it in both
themes.

Drawing functions live in draw_effects and draw_curves: each takes a frame and `ax`, draws there and returns
it. Every figure is written as SVG and PNG, light and dark, with fixed ids and no dates, so equal inputs give
equal bytes.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.collections import Collection
from matplotlib.colors import is_color_like, to_rgba
from matplotlib.figure import Figure as Canvas

from ..style import DARK, LIGHT, recolor, theme

COLOURED = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")
MAX_ARMS = 12
"""Arms that one figure shows; more become unreadable. Their numbers are in the figure's table all the
same."""


@dataclass(kw_only=True)
class Figure:
    """One figure of the report."""

    name: str
    title: str
    caption: str
    alt: str
    """What the figure shows, in one sentence made from its numbers."""
    table: pd.DataFrame
    size: tuple[float, float]
    """Width and height, inches."""
    draw: Callable[[Canvas, dict[str, str]], None]
    """Draws on an empty canvas with the theme's colours."""


def save(figure: Figure, directory: Path) -> str:
    """Write SVG and PNG, light and dark (<name>-dark); return the SVG for the page, in CSS variables."""
    files = render(figure)
    svg = tidy(files["svg"].decode())
    (directory / f"{figure.name}.svg").write_text(svg, encoding="utf-8", newline="\n")
    (directory / f"{figure.name}-dark.svg").write_text(recolor(svg), encoding="utf-8", newline="\n")
    (directory / f"{figure.name}.png").write_bytes(files["png"])
    (directory / f"{figure.name}-dark.png").write_bytes(files["dark png"])
    return inline(svg, figure)


def render(figure: Figure) -> dict[str, bytes]:
    """The figure as `svg` and `png` in the light theme and as `dark png`."""
    with theme("light") as colour:
        canvas = plt.figure(figsize=figure.size, layout="constrained")
        try:
            figure.draw(canvas, colour)
            # The layout is found once; finding it again for each file takes longer than drawing.
            canvas.get_layout_engine().execute(canvas)
            canvas.set_layout_engine(None)
            files = {kind: _saved(canvas, kind) for kind in ("svg", "png")}
            darken(canvas)
            return files | {"dark png": _saved(canvas, "png")}
        finally:
            plt.close(canvas)


def darken(canvas: Canvas) -> None:
    """Give every part of a figure drawn in the light theme the colours of the dark one."""
    dark = {to_rgba(LIGHT[role])[:3]: to_rgba(DARK[role])[:3] for role in LIGHT}
    for artist in canvas.findobj():
        # All are read before any is set: a marker's colour may follow its line's.
        old = {n: getattr(artist, f"get_{n}")() for n in COLOURED if hasattr(artist, f"get_{n}")}
        if isinstance(artist, Collection):
            new = {n: [(*dark.get(tuple(c[:3]), c[:3]), c[3]) for c in colours] for n, colours in old.items()}
        else:
            known = {n: to_rgba(colour) for n, colour in old.items() if is_color_like(colour)}
            new = {n: (*dark.get(c[:3], c[:3]), c[3]) for n, c in known.items()}
        artist.set(**{n: colour for n, colour in new.items() if len(colour)})


def _saved(canvas: Canvas, kind: str) -> bytes:
    # A date or version would make equal inputs differ, and a URL would put an address into an offline page.
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type")) if kind == "svg" else {"Software": None}
    stream = io.BytesIO()
    canvas.savefig(stream, format=kind, metadata=nothing, facecolor=canvas.get_facecolor())
    return stream.getvalue()


def tidy(svg: str) -> str:
    """Matplotlib's SVG without document type, metadata and unused ids, coordinates cut to a hundredth of a point."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<!--.*?-->", "", svg, flags=re.DOTALL)
    # Inside tags only: between them stand words, such as the numbers of an axis.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d{2})\d+", r"\1", tag.group()), svg)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match.group() if match.group(1) in used else "", svg)
    return re.sub(r"\n\s*", "\n", svg).rstrip() + "\n"


def inline(svg: str, figure: Figure) -> str:
    """The SVG as part of a page: named for screen readers, ids of its own, colours that follow the theme."""
    svg = recolor(svg, css_variables=True)
    for mark in ('id="', 'href="#', "url(#"):
        svg = svg.replace(mark, f"{mark}{figure.name}-")
    start, body = svg.split(">", 1)
    start = re.sub(r' (width|height)="[^"]*"', "", start)
    # Narrower than drawn it would be unreadable, so it scrolls; much wider its letters would outgrow the page's.
    size = f"min-width: {figure.size[0] * 66:.0f}px; max-width: {figure.size[0] * 104:.0f}px"
    start += f' role="img" aria-labelledby="{figure.name}-name" style="{size}"'
    return f'{start}><title id="{figure.name}-name">{_escape(figure.alt)}</title>{body}'


def at_most(arms: list[str], baseline: str, effects: pd.DataFrame | None = None) -> list[str]:
    """The arms that a figure shows: the baseline and those with the largest effects, in the study's order."""
    if len(arms) <= MAX_ARMS:
        return arms
    size = pd.Series(0.0, index=arms)
    if effects is not None:
        size = effects.set_index("arm")["delta"].abs().reindex(arms).fillna(0.0)
    ranked = size.drop(baseline, errors="ignore").sort_values(ascending=False, kind="stable").index
    chosen = {baseline, *ranked[: MAX_ARMS - 1]}
    return [arm for arm in arms if arm in chosen]


def _escape(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
