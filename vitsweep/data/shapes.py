"""Built-in data set data=shapes: ten classes, each one small figure of five colors times two forms.

Every image has equally many pixels of each color: those of the class's color form a ring or a cross, all others are
confetti. So no histogram, mean or background predicts the class, only the figure, whose box is known. The figure stays
MARGIN pixels off the border, so a pad-and-crop by as much keeps it whole, and both forms are mirror-symmetric.
Integers from numpy's stable bit stream only, so a seed gives the same pixels on every machine.
"""

# Shape letters: N images, C color channels, H W pixels, G colors, M pixels of one form, 4 = top, left, bottom, right.

import numpy as np

from vitsweep.data.images import Images
from vitsweep.seeding import draw_bits

SIDE = 32
MARGIN = 4
SIZES = (7, 8, 9, 10)
COLORS = {
    "blue": (60, 100, 235),
    "green": (60, 190, 70),
    "magenta": (200, 70, 210),
    "red": (230, 60, 50),
    "yellow": (240, 200, 50),
}
FORMS = ("cross", "ring")
CLASSES = [f"{color} {form}" for color in COLORS for form in FORMS]


def make_shapes(num_train: int, num_test: int, seed: int) -> Images:
    """Generate the data set; with the same seed, a smaller set is the beginning of a larger one."""
    train, test = (_draw(num_train, seed, "train"), _draw(num_test, seed, "test"))
    image_NCHW, label_N, box_N4 = (np.concatenate(pair) for pair in zip(train, test, strict=True))
    return Images(image_NCHW=image_NCHW, label_N=label_N, box_N4=box_N4, num_train=num_train, classes=list(CLASSES))


def form_mask(form: str, size: int) -> np.ndarray:
    """Return a boolean mask (size, size) of the pixels of `form`, which touches all four sides."""
    y, x = np.mgrid[:size, :size] * 2 - size + 1  # twice the distance from the center, as integers
    if form == "cross":
        return (abs(y) < 3 - (size + 1) % 2) | (abs(x) < 3 - (size + 1) % 2)  # arms of 3 pixels in odd sizes, else 2
    return (y * y + x * x <= size * size) & (y * y + x * x > max(size - 4, 3) ** 2)


def _draw(count: int, seed: int, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generate image_NCHW, label_N and box_N4 of one split."""

    def draw(name: str, bound: int, *shape: int) -> np.ndarray:
        """Draw int16 in 0 .. bound - 1 of shape (count, *shape): 16 random bits each, modulo bound."""
        num_words = -(-int(np.prod(shape)) // 4)
        bits = draw_bits(count * num_words, seed, "shapes", split, name).astype("<u8").view("<u2")
        values = bits.reshape(count, -1)[:, : int(np.prod(shape))] % bound
        return values.astype(np.int16).reshape(count, *shape)

    image_NCHW = _paint_background(draw)
    label_N = np.arange(count) % len(CLASSES)
    size_N = np.array(SIZES)[draw("size", len(SIZES))]
    place_N2 = MARGIN + draw("place", 2**15, 2).astype(np.int64) % (SIDE - 2 * MARGIN + 1 - size_N)[:, None]
    box_N4 = np.concatenate([place_N2, place_N2 + size_N[:, None]], axis=1)
    tint_NGC = np.array(list(COLORS.values())) + draw("colour", 41, len(COLORS), 3) - 20
    _draw_confetti(image_NCHW, draw("confetti", 2**15, SIDE, SIDE), label_N, box_N4, tint_NGC)
    _draw_figures(image_NCHW, label_N, box_N4, tint_NGC)
    return np.clip(image_NCHW, 0, 255).astype(np.uint8), label_N, box_N4


def _paint_background(draw) -> np.ndarray:
    """Paint a muted color, two slanted waves and noise, independent of the class."""
    base_NC11 = 60 + draw("grey", 80, 1, 1, 1) + draw("tint", 41, 3, 1, 1) - 20
    image_NCHW = base_NC11 + draw("noise", 21, 1, SIDE, SIDE) - 10
    step = np.arange(SIDE, dtype=np.int16)
    for wave in ("first wave", "second wave"):
        slope_N2 = draw(f"{wave}, slope", 7, 2, 1, 1) - 3
        period_N11 = 12 + draw(f"{wave}, period", 20, 1, 1)
        phase_NHW = slope_N2[:, 0] * step[:, None] + slope_N2[:, 1] * step + draw(f"{wave}, phase", 64, 1, 1)
        height_NHW = abs(2 * (phase_NHW % period_N11) - period_N11) * 28 // period_N11 - 14
        image_NCHW += height_NHW[:, None] * draw(f"{wave}, weight", 3, 3, 1, 1)
    return image_NCHW


def _draw_confetti(image_NCHW, key_NHW, label_N, box_N4, tint_NGC) -> None:
    """Color single pixels outside the box, so that with the figure all colors have equally many pixels."""
    n, row = len(label_N), np.arange(SIDE)
    in_row_NH = (row >= box_N4[:, 0:1] - 1) & (row <= box_N4[:, 2:3])
    in_column_NW = (row >= box_N4[:, 1:2] - 1) & (row <= box_N4[:, 3:4])
    key_NHW[in_row_NH[:, :, None] & in_column_NW[:, None, :]] = 2**15 - 1  # largest key: last in order
    order_NP = np.argsort(key_NHW.reshape(n, -1), axis=1, kind="stable")  # radix sort, as the keys have 16 bits
    area = np.array([[form_mask(form, size).sum() for form in FORMS] for size in SIZES])
    size_N = box_N4[:, 2] - box_N4[:, 0] - SIZES[0]
    num_NG = np.repeat(area.max(axis=1)[size_N][:, None], len(COLORS), axis=1)
    num_NG[np.arange(n), label_N // 2] -= area[size_N, label_N % 2]
    end_NG = num_NG.cumsum(axis=1)
    for g in range(len(COLORS)):
        rank = np.arange(order_NP.shape[1])
        chosen_NP = (rank >= end_NG[:, g : g + 1] - num_NG[:, g : g + 1]) & (rank < end_NG[:, g : g + 1])
        which, position = np.nonzero(chosen_NP)
        pixel = order_NP[which, position]
        image_NCHW[which, :, pixel // SIDE, pixel % SIDE] = tint_NGC[which, g]


def _draw_figures(image_NCHW, label_N, box_N4, tint_NGC) -> None:
    """Draw each image's figure into its box."""
    for size in SIZES:
        for index, form in enumerate(FORMS):
            y_M, x_M = np.nonzero(form_mask(form, size))
            which = np.flatnonzero((box_N4[:, 2] - box_N4[:, 0] == size) & (label_N % 2 == index))
            row, column = box_N4[which, 0:1] + y_M, box_N4[which, 1:2] + x_M
            image_NCHW[which[:, None], :, row, column] = tint_NGC[which, label_N[which] // 2][:, None]
