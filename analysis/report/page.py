"""A report's Page of sections and items, and its two writers: to_html and to_markdown.

The HTML is one file that loads nothing: style and script are inlined, the content security policy allows exactly them,
and pictures are data URIs. Only a published page shows PNG files of its own folder instead.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from vitsweep.errors import printable

from ..marks import arm_key
from ..text import escape_markdown
from .figures import Figure
from .tables import Table

TEMPLATES = Path(__file__).parent / "templates"
LONGEST_TABLE = 15
"""Largest number of rows of a table that is not folded."""
SHOWN_ROWS = 120
"""Largest number of rows of a figure's data table on the page; the CSV has all."""


@dataclass(kw_only=True)
class Text:
    """Paragraph."""

    text: str
    kind: str = "text"


@dataclass(kw_only=True)
class Bullets:
    """List of sentences."""

    lines: list[str]
    kind: str = "bullets"


@dataclass(kw_only=True)
class KeyValues:
    """Names with their values, one per line."""

    pairs: list[tuple[str, str]]
    kind: str = "key_values"


@dataclass(kw_only=True)
class Details:
    """Text that the reader opens, such as a traceback."""

    title: str
    text: str
    kind: str = "details"


@dataclass(kw_only=True)
class TableItem:
    """Table of a section."""

    table: Table
    kind: str = "table"


@dataclass(kw_only=True)
class FigureItem:
    """Drawn figure; its files lie in figures/."""

    figure: Figure
    svg: str = ""
    """SVG for the page, filled in when the figure is drawn."""
    kind: str = "figure"


@dataclass(kw_only=True)
class Pair:
    """Table with a figure of the same arms beside it."""

    table: TableItem
    figure: FigureItem
    kind: str = "pair"


@dataclass(kw_only=True)
class Chip:
    """Name with a few numbers."""

    name: str
    text: str
    key: str
    """marks.arm_key of the arm; empty: of none."""


@dataclass(kw_only=True)
class VerdictRow:
    """Verdict with the arms that have it."""

    name: str
    verdict: str
    count: int
    chips: list[Chip]
    more: int = 0
    """Number of arms that are not named."""


@dataclass(kw_only=True)
class Verdicts:
    """Verdicts in short, below the sentences that must be read first."""

    notices: list[str]
    rows: list[VerdictRow]
    kind: str = "verdicts"


@dataclass(kw_only=True)
class PictureItem:
    """PNG such as a rollout sheet, at `path` under the report's directory."""

    name: str
    path: Path
    caption: str
    alt: str
    table: pd.DataFrame
    kind: str = "picture"


@dataclass(kw_only=True)
class Section:
    """Heading with its items."""

    id: str
    title: str
    items: list = field(default_factory=list)
    hint: str = ""
    """Contents in a few words, for a section that the reader unfolds; empty: it is open."""

    @property
    def parts(self) -> list:
        """Return the items, of pairs their table and figure."""
        pairs = ([item.table, item.figure] if item.kind == "pair" else [item] for item in self.items)
        return [part for parts in pairs for part in parts]


@dataclass(kw_only=True)
class Page:
    """Whole report."""

    title: str
    lead: str
    """Line under the title: numbers of arms, seeds and runs, and the data."""
    sections: list[Section]
    signature: str
    """Line of key:value pairs that says how the numbers were made."""
    thumbnails: dict[str, str] = field(default_factory=dict)
    """Id of a test image -> URL-safe base64 of a WebP."""


def to_html(page: Page, published: bool = False) -> str:
    """Return the page as one HTML file; of a published report it shows the PNG files beside it, and names no CSV."""
    style, script = (_read(name) for name in ("report.css", "report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return printable(_template().render(page=page, style=style, script=script, digest=digest, published=published))


def to_markdown(page: Page, directory: Path) -> str:
    """Return the page as GitHub Markdown with links to the pictures under `directory`."""
    parts = [f"# {escape_markdown(page.title)}", escape_markdown(page.lead)]
    for section in page.sections:
        parts.append(f"## {escape_markdown(section.title)}")
        parts += [_markdown_item(item, directory) for item in section.parts]
    return printable("\n\n".join([*parts, f"`{page.signature}`"]) + "\n")


def frame_rows(frame: pd.DataFrame) -> tuple[list[str], list[list[str]], str]:
    """Return header, cells and a note for a figure's data table; long tables are thinned evenly."""
    step = max(1, -(-len(frame) // SHOWN_ROWS))
    note = f"Every {step}th of {len(frame):,} rows." if step > 1 else ""
    rows = [[_short(value) for value in row] for row in frame.iloc[::step].itertuples(index=False)]
    return [str(name) for name in frame.columns], rows, note


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"data_uri": _data_uri, "frame_rows": frame_rows, "shown_width": _shown_width}
    environment.filters |= {"arm_key": arm_key, "split_interval": _split_interval, "breakable": _breakable}
    environment.globals["longest"] = LONGEST_TABLE
    return environment.get_template("report.html.j2")


def _split_interval(text: str) -> Markup:
    """Return a cell as HTML in which a line may break before an interval or a standard deviation, nowhere within."""
    parts = re.split(r" (?=[\[\u00b1])", text, maxsplit=1)
    return (
        Markup(" ").join(Markup('<span class="whole">{}</span>').format(part) for part in parts)
        if parts[1:]
        else escape(text)
    )


def _breakable(text: str) -> Markup:
    """Return a text as HTML whose long words may break after an underscore, an equals sign or a plus."""
    return Markup("<wbr>").join(re.split(r"(?<=[=+_])", text)) if " " not in text else escape(text)


def _short(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.5g}"
    return str(value)


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()


def _shown_width(path: Path) -> int:
    """Return half a PNG's width in pixels: a tile is as large in every picture, and sharp on a dense screen."""
    return int.from_bytes(Path(path).read_bytes()[16:20], "big") // 2


def _markdown_item(item, directory: Path) -> str:
    if item.kind == "text":
        return escape_markdown(item.text)
    if item.kind == "bullets":
        return "\n".join(f"- {escape_markdown(line)}" for line in item.lines)
    if item.kind == "key_values":
        return "\n".join(f"- {escape_markdown(name)}: {escape_markdown(value)}" for name, value in item.pairs)
    if item.kind == "verdicts":
        return "\n".join([*(f"- **{escape_markdown(line)}**" for line in item.notices), *map(_verdict_line, item.rows)])
    if item.kind == "details":
        quoted = "\n".join(f"    {line}" for line in item.text.splitlines())
        return f"{escape_markdown(item.title)}\n\n{quoted}"
    if item.kind == "table":
        return f"{escape_markdown(item.table.caption)}\n\n{item.table.markdown().rstrip()}"
    return _markdown_picture(item, directory)


def _verdict_line(row: VerdictRow) -> str:
    named = "; ".join(escape_markdown(f"{chip.name} {chip.text}".strip()) for chip in row.chips)
    return f"- {row.name}: {named}{f' and {row.more} more' if row.more else ''}"


def _markdown_picture(item, directory: Path) -> str:
    if item.kind == "picture":
        source, alt, caption = item.path.relative_to(directory).as_posix(), item.alt, item.caption
    else:
        source, alt, caption = f"figures/{item.figure.name}.svg", item.figure.alt, item.figure.caption
    alt = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\n", " ")
    return f'<img src="{source}" alt="{alt}">\n\n{escape_markdown(caption)}'
