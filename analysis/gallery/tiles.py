"""A page of tiles with text, placed in points: the canvas and the layout that all sheets of the gallery share.

Tiles are copied into the finished page pixel by pixel, so a sheet of hundreds is quick and nothing is resampled.
"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from ..text import wrap_name
from .overlay import MAP_WEIGHT, Scale, enlarge

# Lengths in points.
TILE = 72
GAP = 6
COLUMN = TILE + GAP
MARGIN = 10
NAMES_WIDTH = 104
LONG_NAME = 48
"""Letters of the longest name that is written in full size."""
HEAD_HEIGHT = 36
"""Height of title and class names."""
CAPTION_HEIGHT = 17
"""Height of the line under an overlay."""
BAR_WIDTH = 11
BAR_COLUMN = 70
"""Width of the color bar with its labels."""
FOOT_HEIGHT = 12
PIXELS_PER_POINT = 8 / 3
SIDE = round(TILE * PIXELS_PER_POINT)
"""Pixels of a tile's side: 192, six for each of a 32 x 32 image."""


class TileCanvas:
    """Page of tiles, text and color bars; x to the right and y down, both in points.

    Args:
        width: of the page, points.
        height: of the page, points.
        color: the theme's colors by role.
    """

    def __init__(self, width: float, height: float, color: dict[str, str]):
        self.size = (width, height)
        self.color = color
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72 * PIXELS_PER_POINT)
        self.canvas = FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")
        self.pasted: list[tuple[int, int, np.ndarray]] = []

    def tile(self, x: float, y: float, rgb: np.ndarray) -> None:
        """Place a picture of any size, RGB in 0..1, enlarged to a tile."""
        self._paste(x, y, enlarge(rgb, SIDE))

    def text(self, x: float, y: float, text: str, *, role: str = "ink", size: float = 8, **more: Any) -> None:
        """Write a text whose anchor (left, middle by default) is at the position."""
        settings: dict[str, Any] = {"ha": "left", "va": "center", "color": self.color[role], "fontsize": size} | more
        self.axes.text(x, y, text, **settings)

    def name(self, y: float, name: str, details: list[str]) -> None:
        """Write a row's name in bold at the left margin with small lines below it, centered on a tile's height.

        A long name has smaller letters.
        """
        size, step, letters = (8.2, 10.5, 17) if len(name) <= LONG_NAME else (6, 7.5, 23)
        lines = wrap_name(name, letters)
        top = y + TILE / 2 - (step * (len(lines) - 1) + 9.5 * len(details)) / 2
        for number, line in enumerate(lines):
            self.text(MARGIN, top + step * number, line, size=size, weight="bold")
        for number, line in enumerate(details, start=1):
            self.text(MARGIN, top + step * (len(lines) - 1) + 9.5 * number, line, size=7.2, role="soft")

    def color_bar(self, x: float, y: float, scale: Scale, title: str, height: float = TILE) -> None:
        """Draw a bar in the colors of an overlay on mid grey, with ticks and title."""
        strip = scale.paint(np.linspace(scale.reach, -scale.reach, round(height * PIXELS_PER_POINT))[:, None])
        strip = MAP_WEIGHT * strip + (1 - MAP_WEIGHT) * 0.5
        self._paste(x, y, np.repeat(strip, round(BAR_WIDTH * PIXELS_PER_POINT), axis=1))
        for position, label in zip(*scale.ticks, strict=True):
            tick_y = y + height * (0.5 - position / (2 * scale.reach))
            self.axes.plot([x + BAR_WIDTH, x + BAR_WIDTH + 3], [tick_y] * 2, color=self.color["soft"], linewidth=0.7)
            self.text(x + BAR_WIDTH + 5, tick_y, label, size=7)
        self.text(x + BAR_WIDTH + 32, y + height / 2, title, size=7, role="soft", rotation=90, ha="center")

    def _paste(self, x: float, y: float, rgb: np.ndarray) -> None:
        corner = round(y * PIXELS_PER_POINT), round(x * PIXELS_PER_POINT)
        self.pasted.append((*corner, np.round(255 * rgb).astype(np.uint8)))

    def save(self, path: Path) -> Path:
        """Write the PNG; equal pages give equal bytes."""
        # Matplotlib draws the text; tiles are copied in afterwards, since it would resample every pixel of them.
        self.canvas.draw()
        page = np.array(self.canvas.buffer_rgba())
        for top, left, rgb in self.pasted:
            target = page[top : top + rgb.shape[0], left : left + rgb.shape[1], :3]
            target[...] = rgb[: target.shape[0], : target.shape[1]]
        imsave(path, page, format="png", metadata={"Software": None})  # type: ignore[dict-item]  # None leaves it out
        return path


class AxesCanvas(TileCanvas):
    """The same page on an axes of any figure, as large as fits; tiles are drawn by matplotlib.

    Args:
        width: of the page, points.
        height: of the page, points.
        color: the theme's colors by role.
        axes: axes, of which only frame and limits are changed.
    """

    def __init__(self, width: float, height: float, color: dict[str, str], axes: Axes):
        self.size, self.color, self.axes = (width, height), color, axes
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
        axes.axis("off")
        points = 72 / axes.figure.dpi  # of a pixel
        self.scale = points * min(axes.bbox.width / width, axes.bbox.height / height)

    def text(self, x: float, y: float, text: str, *, role: str = "ink", size: float = 8, **more: Any) -> None:
        """Write a text, smaller or larger as the page is."""
        super().text(x, y, text, role=role, size=size * self.scale, **more)

    def _paste(self, x: float, y: float, rgb: np.ndarray) -> None:
        height, width = (length / PIXELS_PER_POINT for length in rgb.shape[:2])
        pixels = np.round(255 * rgb).astype(np.uint8)
        self.axes.imshow(pixels, extent=(x, x + width, y + height, y), interpolation="nearest")


def shorten(name: str, width: int = 14) -> str:
    """Return a class name cut to the width of a tile."""
    return name if len(name) <= width else f"{name[: width - 2]}.."
