"""Commands, keys and links of README.md, CONTRIBUTING.md and the pages in docs/, as tests of documents read them.

A block of commands is checked unless the line before it is `<!-- not run: REASON -->`.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.support.imports import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```", re.M | re.S
)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)|(?:src|href)=\"(?!https?:|mailto:|#|data:)([^\"]+)\"")


@dataclass(frozen=True)
class Command:
    """Command of a document."""

    place: str
    """Document and command, for messages."""
    words: tuple[str, ...]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands(path: Path) -> list[Command]:
    """Return the commands of a document's blocks that are not marked, and of its inline code."""
    found = []
    for block in BLOCK.finditer(text_of(path)):
        if block["reason"] or block["language"] not in ("", "bash"):
            continue
        lines = block["text"].replace("\\\n", " ").splitlines()
        found += [command for line in lines for command in _parsed(name_of(path), line)]
    inline = [span for span in spans(path) if " " in span and not span.endswith("...")]
    return found + [command for span in inline for command in _parsed(name_of(path), span)]


def _parsed(name: str, line: str) -> list[Command]:
    line = re.sub(r"\[[^\]]*\.\.\.\]|\[--[^\]]*\]", "", line.removeprefix("$ "))  # what may be left out
    if not re.match(r"(python|python3|vitsweep|pip|wandb|jupyter) ", line):
        return []
    return [Command(f"{name}: {line.strip()}", tuple(shlex.split(line, comments=True)))]


def spans(path: Path) -> list[str]:
    """Return the inline code of a document, without its blocks."""
    return INLINE.findall(BLOCK.sub("", text_of(path)))


def links(path: Path) -> list[str]:
    """Return the relative links and pictures of a document."""
    return [one or other for one, other in LINK.findall(BLOCK.sub("", text_of(path)))]


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives a document's headings."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text_of(path), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
