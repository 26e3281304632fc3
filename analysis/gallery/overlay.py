"""Attention maps as colors over images: nearest neighbor on the model's own grid, one scale for a whole figure.

The scale is the binary logarithm of the lift, so twice the uniform share and half of it are equally far from the
middle. Nothing is smoothed: an 8 x 8 map shows 64 squares. Shapes: H W pixels, P patches in reading order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np

MAP_COLORS = "cividis"
DIFFERENCE_COLORS = "RdBu_r"
MAP_WEIGHT = 0.7
"""Weight of the map's color in an overlay; the rest is the image in grey."""
MIN_REACH, MAX_REACH = 0.25, 4.0
"""Limits of a scale's reach, in doublings: a smaller one would paint noise, 1024 patches never need a larger one."""


@dataclass(kw_only=True, frozen=True)
class Scale:
    """Color scale of log2 lifts: -reach is the first color, 0 the middle, +reach the last."""

    reach: float
    """Doublings at the ends."""
    colors: str = MAP_COLORS
    """Name of matplotlib's color map."""

    def paint(self, value: np.ndarray) -> np.ndarray:
        """Return values of any shape as RGB in 0..1; values beyond the ends get the end's color."""
        share = np.clip(np.asarray(value) / (2 * self.reach) + 0.5, 0, 1)
        return np.asarray(matplotlib.colormaps[self.colors](share))[..., :3]

    @property
    def ticks(self) -> tuple[list[float], list[str]]:
        """Return positions on the color bar and their labels: x1/4, x1/2, x1, x2, x4, or finer for a small reach."""
        if self.reach < 1:
            positions = [-self.reach, 0.0, self.reach]
            return positions, [f"x{2**position:.2g}" for position in positions]
        step = 1 if self.reach < 3 else 2
        doublings = range(-int(self.reach) // step * step, int(self.reach) + 1, step)
        return [float(d) for d in doublings], [f"x{2**d}" if d >= 0 else f"x1/{2**-d}" for d in doublings]


def shared_scale(values: Sequence[np.ndarray], colors: str = MAP_COLORS) -> Scale:
    """Return the scale of a figure: the 98th percentile of all its values, rounded up to a quarter doubling."""
    size = np.concatenate([np.abs(value).ravel() for value in values]) if len(values) else np.zeros(1)
    size = size[np.isfinite(size)]
    reach = np.ceil(4 * np.percentile(size, 98) - 1e-9) / 4 if len(size) else 0.0
    return Scale(reach=float(np.clip(reach, MIN_REACH, MAX_REACH)), colors=colors)


def overlay(
    image_HWC: np.ndarray, value_P: np.ndarray, grid: tuple[int, int], scale: Scale, side: int = 192
) -> np.ndarray:
    """Return the image in grey under the map's colors, RGB in 0..1, `side` pixels high and wide."""
    color = enlarge(scale.paint(value_P).reshape(*grid, 3), side)
    grey = enlarge(luminance(image_HWC), side)[..., None]
    return MAP_WEIGHT * color + (1 - MAP_WEIGHT) * grey


def enlarge(array: np.ndarray, side: int) -> np.ndarray:
    """Repeat pixels to `side` x `side` (nearest neighbor); the factor need not be whole."""
    rows, columns = (np.arange(side) * array.shape[axis] // side for axis in (0, 1))
    return array[rows][:, columns]


def luminance(image_HWC: np.ndarray) -> np.ndarray:
    """Return the Rec. 709 luma of a uint8 image, 0..1, (H, W); a single channel is grey already."""
    if image_HWC.shape[-1] == 1:
        return image_HWC[..., 0] / 255
    return image_HWC @ np.array([0.2126, 0.7152, 0.0722]) / 255


def as_rgb(image_HWC: np.ndarray) -> np.ndarray:
    """Return a uint8 image of one or three channels as RGB in 0..1."""
    return np.repeat(image_HWC, 3, axis=-1) / 255 if image_HWC.shape[-1] == 1 else image_HWC / 255
