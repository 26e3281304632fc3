"""A sheet of tiles with words: everything is placed in points of the finished page, pictures pixel by pixel.

Tiles are copied into the finished page, so a sheet of hundreds is quick and nothing is resampled.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from ..style import theme
from .overlay import SHARE_OF_MAP, Scale, enlarged

TILE = 72
"""Side of a tile, points."""
PIXELS_A_POINT = 8 / 3
"""So a tile has 192 pixels, six to each of a 32 x 32 image."""
SIDE = round(TILE * PIXELS_A_POINT)
BAR_WIDTH = 11


class Board:
    """Tiles, words, frames and colour bars by place; x to the right and y down, both in points.

    Args:
        width: of the page, points.
        height: of the page, points.
        colour: the theme's colours by role.
    """

    def __init__(self, width: float, height: float, colour: dict[str, str]):
        self.size = (width, height)
        self.colour = colour
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72 * PIXELS_A_POINT)
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")
        self.pasted: list[tuple[int, int, np.ndarray]] = []

    def tile(self, x: float, y: float, rgb: np.ndarray) -> None:
        """A picture of any size, RGB in 0..1, enlarged to a tile."""
        self._paste(x, y, enlarged(rgb, SIDE))

    def words(self, x: float, y: float, text: str, *, role: str = "ink", size: float = 8, **more: Any) -> None:
        """Text whose anchor (left, middle by default) is at the place."""
        settings = {"ha": "left", "va": "center", "color": self.colour[role], "fontsize": size} | more
        self.axes.text(x, y, text, **settings)

    def bar(self, x: float, y: float, height: float, scale: Scale, title: str) -> None:
        """A colour bar in the colours of an overlay on mid grey, with its ticks and what it measures."""
        strip = scale.paint(np.linspace(scale.reach, -scale.reach, round(height * PIXELS_A_POINT))[:, None])
        strip = SHARE_OF_MAP * strip + (1 - SHARE_OF_MAP) * 0.5
        self._paste(x, y, np.repeat(strip, round(BAR_WIDTH * PIXELS_A_POINT), axis=1))
        for place, word in zip(*scale.ticks, strict=True):
            tick_y = y + height * (0.5 - place / (2 * scale.reach))
            self.axes.plot([x + BAR_WIDTH, x + BAR_WIDTH + 3], [tick_y] * 2, color=self.colour["soft"], linewidth=0.7)
            self.words(x + BAR_WIDTH + 5, tick_y, word, size=7)
        self.words(x + BAR_WIDTH + 32, y + height / 2, title, size=7, role="soft", rotation=90, ha="center")

    def _paste(self, x: float, y: float, rgb: np.ndarray) -> None:
        place = round(y * PIXELS_A_POINT), round(x * PIXELS_A_POINT)
        self.pasted.append((*place, np.round(255 * rgb).astype(np.uint8)))

    def save(self, path: Path) -> Path:
        """Write the PNG; equal boards give equal bytes."""
        # Matplotlib sets the words; tiles are copied in afterwards, since it would resample every pixel of them.
        self.figure.canvas.draw()
        page = np.array(self.figure.canvas.buffer_rgba())
        for top, left, rgb in self.pasted:
            place = page[top : top + rgb.shape[0], left : left + rgb.shape[1], :3]
            place[...] = rgb[: place.shape[0], : place.shape[1]]
        imsave(path, page, format="png", metadata={"Software": None})
        return path


def wrapped(text: str, width: int) -> list[str]:
    """An arm's name in lines of at most `width` characters, broken after a + where that is possible."""
    lines = [""]
    for part in text.replace("+", "+\n").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        while len(part) > width:
            lines[-1], part = part[:width], part[width:]
            lines.append("")
        lines[-1] += part
    return lines


def save_board(path: Path, width: float, height: float, draw: Callable[[Board], None]) -> Path:
    """Let `draw` fill a board in the light theme, and write it."""
    with theme("light") as colour:
        board = Board(width, height, colour)
        draw(board)
        return board.save(path)
