"""Matplotlib's SVG without what a reader never sees, and its form inside a page."""

import html
import re
from collections import Counter

from ...marks import MARK, with_marks
from ...style import with_css_variables

NUMBER = r"-?\d+(?:\.\d+)?"
STRAIGHT = re.compile(rf' d="((?:[ML] {NUMBER} {NUMBER} *\n?|z *\n?)+)"')
"""Path of straight lines as matplotlib writes it."""


def clean_svg(svg: str) -> str:
    """Remove document type, metadata and unused ids from matplotlib's SVG; cut coordinates to 0.01 points, of straight
    lines to 0.1.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = STRAIGHT.sub(lambda found: f' d="{short_path(found.group(1))}"', svg)
    # Inside the values of tags only: text between them, and marks, may hold numbers that are read.
    svg = re.sub(r'(?<! id)="[^"<]*"', lambda value: re.sub(r"(\d\.\d{2})\d+", r"\1", value.group()), svg)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m.group() if m.group(1) in used or MARK.match(m.group()) else "", svg)
    return re.sub(r"\n\s*", "\n", svg).rstrip() + "\n"


def short_path(path: str) -> str:
    """Return a path of straight lines in steps of 0.1 points, each point relative to the one before."""
    parts, at = [], (0, 0)
    for command, x, y in re.findall(rf"([MLz])(?: ({NUMBER}) ({NUMBER}))?", path):
        if command == "z":
            parts.append("z")
            continue
        point = round(10 * float(x)), round(10 * float(y))
        step = point if command == "M" else (point[0] - at[0], point[1] - at[1])
        letter = command if command == "M" else "" if parts and parts[-1][:1] == "l" and parts[-1] != "z" else "l"
        text = f"{_tenths(step[0])} {_tenths(step[1])}".replace(" -", "-")
        parts.append(f"{letter}{text}" if letter or text.startswith("-") else f" {text}")
        if not letter:  # one command for the whole line
            parts[-2:] = [parts[-2] + parts[-1]]
        at = point
    return "".join(parts)


def _tenths(number: int) -> str:
    return f"{number / 10:g}"


def inline_svg(svg: str, name: str, alt: str, inches: float) -> str:
    """Return the SVG as part of a page: with a title for screen readers, ids of its own, colors of the theme.

    Args:
        name: of the figure; begins its ids.
        alt: title.
        inches: width as drawn.
    """
    svg = with_css_variables(with_marks(svg))
    for prefix in ('id="', 'href="#', "url(#"):
        svg = svg.replace(prefix, f"{prefix}{name}-")
    svg = with_classes(svg, name)
    start, body = svg.split(">", 1)
    start = re.sub(r' (width|height)="[^"]*"', "", start)
    # Narrower than drawn it would be unreadable, so it scrolls; much wider its letters would outgrow the page's.
    size = f"min-width: {inches * 66:.0f}px; max-width: {inches * 104:.0f}px"
    start += f' role="img" aria-labelledby="{name}-name" style="{size}"'
    return f'{start}><title id="{name}-name">{html.escape(alt, quote=False)}</title>{body}'


def with_classes(svg: str, name: str) -> str:
    """Move styles that occur more than once into classes."""
    counts = Counter(re.findall(r' style="([^"]*)"', svg))
    classes = {style: f"{name}-c{i}" for i, style in enumerate(s for s, n in counts.items() if n > 1)}
    svg = re.sub(r' style="([^"]*)"', lambda m: f' class="{classes[m[1]]}"' if m[1] in classes else m.group(), svg)
    rules = "".join(f".{own}{{{html.unescape(style)}}}" for style, own in classes.items())
    return svg.replace("</style>", f"{rules}</style>", 1)
