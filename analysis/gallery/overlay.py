"""Maps as colours over images: nearest neighbour on the model's own grid, one scale for everything in a figure.

The scale is the binary logarithm of the lift, so twice the uniform share and half of it are equally far from the
middle, and a map of little contrast looks like one. Nothing is smoothed: an 8 x 8 map has 64 values and shows 64
squares.
Shapes: H W pixels, P patches in reading order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np

MAP_COLOURS = "cividis"
DIFFERENCE_COLOURS = "RdBu_r"
SHARE_OF_MAP = 0.7
"""Weight of the map's colour in an overlay; the rest is the image in grey."""
SMALLEST_RANGE, LARGEST_RANGE = 0.25, 4.0
"""Doublings on either side of uniform that a scale shows: less would paint noise, more is never needed for 1024
patches."""


@dataclass(kw_only=True, frozen=True)
class Scale:
    """Colours of values that are doublings: -reach is the first colour, 0 the middle, +reach the last."""

    reach: float
    """Doublings at the ends."""
    colours: str = MAP_COLOURS
    """Name of matplotlib's colour map."""

    def paint(self, value: np.ndarray) -> np.ndarray:
        """Values of any shape as RGB in 0..1, beyond the ends the end's colour."""
        share = np.clip(np.asarray(value) / (2 * self.reach) + 0.5, 0, 1)
        return np.asarray(matplotlib.colormaps[self.colours](share))[..., :3]

    @property
    def ticks(self) -> tuple[list[float], list[str]]:
        """Places on the colour bar and their words: x1/4, x1/2, x1, x2, x4, or finer when the reach is small."""
        if self.reach < 1:
            places = [-self.reach, 0.0, self.reach]
            return places, [f"x{2**place:.2g}" for place in places]
        step = 1 if self.reach < 3 else 2
        doublings = range(-int(self.reach) // step * step, int(self.reach) + 1, step)
        return [float(d) for d in doublings], [f"x{2**d}" if d >= 0 else f"x1/{2**-d}" for d in doublings]


def shared_scale(values: Sequence[np.ndarray], colours: str = MAP_COLOURS) -> Scale:
    """The scale of a whole figure: reaches the 98th percentile of all its values, rounded up to a quarter
    doubling."""
    size = np.concatenate([np.abs(value).ravel() for value in values]) if len(values) else np.zeros(1)
    size = size[np.isfinite(size)]
    reach = np.ceil(4 * np.percentile(size, 98) - 1e-9) / 4 if len(size) else 0.0
    return Scale(reach=float(np.clip(reach, SMALLEST_RANGE, LARGEST_RANGE)), colours=colours)


def overlay(
    image_HWC: np.ndarray, value_P: np.ndarray, grid: tuple[int, int], scale: Scale, side: int = 192
) -> np.ndarray:
    """The image in grey under the map's colours, RGB in 0..1, `side` pixels high and wide."""
    colour = enlarged(scale.paint(value_P).reshape(*grid, 3), side)
    grey = enlarged(luminance(image_HWC), side)[..., None]
    return SHARE_OF_MAP * colour + (1 - SHARE_OF_MAP) * grey


def enlarged(array: np.ndarray, side: int) -> np.ndarray:
    """Nearest neighbour to `side` x `side` pixels; the factor need not be whole, so every grid fits every tile."""
    rows, columns = (np.arange(side) * array.shape[axis] // side for axis in (0, 1))
    return array[rows][:, columns]


def luminance(image_HWC: np.ndarray) -> np.ndarray:
    """Rec. 709 luma of a uint8 image, 0..1, (H, W); one channel counts as grey."""
    if image_HWC.shape[-1] == 1:
        return image_HWC[..., 0] / 255
    return image_HWC @ np.array([0.2126, 0.7152, 0.0722]) / 255


def as_rgb(image_HWC: np.ndarray) -> np.ndarray:
    """A uint8 image as RGB in 0..1."""
    return np.repeat(image_HWC, 3, axis=-1) / 255 if image_HWC.shape[-1] == 1 else image_HWC / 255
