"""What a report consists of, independent of its language: sections of text, lists, tables, figures and
pictures.

report.py fills a Page; to_html and to_markdown write it. The HTML is one file that asks the network for
nothing: style and script are inlined, the content security policy allows exactly them, pictures are data
    URIs.
"""

import base64
import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import jinja2
import pandas as pd

from ..text import escape_markdown
from .figures import Figure
from .tables import Table

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_ROWS = 120
"""Rows of a figure's data table on the page; the CSV beside it has all."""


@dataclass(kw_only=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(kw_only=True)
class Bullets:
    """A list of sentences."""

    lines: list[str]
    kind: str = "bullets"


@dataclass(kw_only=True)
class Pairs:
    """Names and values, one a line."""

    pairs: list[tuple[str, str]]
    kind: str = "pairs"


@dataclass(kw_only=True)
class Fold:
    """Text that is opened on demand, such as a traceback."""

    title: str
    text: str
    kind: str = "fold"


@dataclass(kw_only=True)
class TableItem:
    """A table."""

    table: Table
    kind: str = "table"


@dataclass(kw_only=True)
class FigureItem:
    """A drawn figure: `svg` is what goes into the page, files lie in figures/."""

    figure: Figure
    svg: str
    kind: str = "figure"


@dataclass(kw_only=True)
class PictureItem:
    """A picture made of pixels, such as a rollout sheet, lying at `path` under the report's directory."""

    name: str
    path: Path
    caption: str
    alt: str
    table: pd.DataFrame
    kind: str = "picture"


@dataclass(kw_only=True)
class Section:
    """A heading and what stands under it."""

    id: str
    title: str
    items: list = field(default_factory=list)


@dataclass(kw_only=True)
class Page:
    """A whole report."""

    title: str
    lead: str
    """One line under the title: how many arms, seeds, runs, which data."""
    sections: list[Section]
    signature: str
    """How the numbers were made, in one line of key:value pairs."""


def to_html(page: Page) -> str:
    """The page as one HTML file."""
    style, script = (_read(name) for name in ("report.css", "report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _template().render(page=page, style=style, script=script, digest=digest)


def to_markdown(page: Page, directory: Path) -> str:
    """The page as GitHub Markdown whose pictures lie beside it."""
    parts = [f"# {escape_markdown(page.title)}", escape_markdown(page.lead)]
    for section in page.sections:
        parts.append(f"## {escape_markdown(section.title)}")
        parts += [_markdown_item(item, directory) for item in section.items]
    return "\n\n".join([*parts, f"`{page.signature}`"]) + "\n"


def frame_rows(frame: pd.DataFrame) -> tuple[list[str], list[list[str]], str]:
    """Header, cells and a note for a figure's data table; long ones are thinned evenly."""
    step = max(1, -(-len(frame) // SHOWN_ROWS))
    note = f"Every {step}th of {len(frame):,} rows; the CSV has all." if step > 1 else ""
    rows = [[_short(value) for value in row] for row in frame.iloc[::step].itertuples(index=False)]
    return [str(name) for name in frame.columns], rows, note


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"data_uri": _data_uri, "frame_rows": frame_rows, "shown_width": _shown_width}
    return environment.get_template("report.html.j2")


def _short(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.5g}"
    return str(value)


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()


def _shown_width(path: Path) -> int:
    """Half a PNG's pixels, from its header: a tile is as large in every picture, and sharp on a dense screen."""
    return int.from_bytes(Path(path).read_bytes()[16:20], "big") // 2


def _markdown_item(item, directory: Path) -> str:
    if item.kind == "text":
        return escape_markdown(item.text)
    if item.kind == "bullets":
        return "\n".join(f"- {escape_markdown(line)}" for line in item.lines)
    if item.kind == "pairs":
        return "\n".join(f"- {escape_markdown(name)}: {escape_markdown(value)}" for name, value in item.pairs)
    if item.kind == "fold":
        quoted = "\n".join(f"    {line}" for line in item.text.splitlines())
        return f"{escape_markdown(item.title)}\n\n{quoted}"
    if item.kind == "table":
        return f"{escape_markdown(item.table.caption)}\n\n{item.table.markdown().rstrip()}"
    return _markdown_picture(item, directory)


def _markdown_picture(item, directory: Path) -> str:
    if item.kind == "picture":
        source, dark, alt, caption = item.path.relative_to(directory).as_posix(), "", item.alt, item.caption
    else:
        name, alt, caption = item.figure.name, item.figure.alt, item.figure.caption
        source = f"figures/{name}.svg"
        dark = f'<source media="(prefers-color-scheme: dark)" srcset="figures/{name}-dark.svg">'
    alt = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\n", " ")
    return f'<picture>{dark}<img src="{source}" alt="{alt}"></picture>\n\n{escape_markdown(caption)}'
