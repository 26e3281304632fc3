"""Marks of figures: which arm an artist stands for, and its numbers, as attributes of the page's SVG.

`mark` stores both in the artist's gid, which matplotlib writes as an id. `with_marks` turns these ids into data-arm and
data-tip, from which the page's script highlights an arm in every figure and shows its numbers; `without_marks` removes
them, for an SVG file.
"""

import re
import zlib
from typing import TypeVar

from matplotlib.artist import Artist

MARK = re.compile(r' id="mark\|([0-9a-f]*)\|([^"]*)"')
AnyArtist = TypeVar("AnyArtist", bound=Artist)


def arm_key(arm: str) -> str:
    """Return eight hexadecimal digits that stand for an arm on a page."""
    return f"{zlib.crc32(arm.encode()):08x}"


def mark(artist: AnyArtist, arm: str | None, tip: str = "") -> AnyArtist:
    """Mark an artist as one of an arm (None: of no arm) and return it.

    Args:
        tip: its numbers as they are shown to a reader who points at it; empty: none.
    """
    artist.set_gid(f"mark|{arm_key(arm) if arm is not None else ''}|{tip}")
    return artist


def with_marks(svg: str) -> str:
    """Replace the ids of marks by the attributes data-arm and data-tip."""
    return MARK.sub(lambda found: _attributes(*found.groups()), svg)


def without_marks(svg: str) -> str:
    """Remove the ids of marks."""
    return MARK.sub("", svg)


def _attributes(key: str, tip: str) -> str:
    return (f' data-arm="{key}"' if key else "") + (f' data-tip="{tip}"' if tip else "")
