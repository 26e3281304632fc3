"""The gallery's pictures as pages of tiles: arms, image beside overlay, arm minus baseline, block by block, heads.

Every sheet has one color scale. Shapes: N images, S blocks, H heads, P patches in reading order, R rows and C columns
of a sheet.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ..attention.difference import Difference
from ..attention.looks import ModelView, Views
from ..attention.measures import lift, log2_lift
from ..style import theme
from .overlay import DIFFERENCE_COLORS, Scale, as_rgb, overlay, shared_scale
from .tiles import (
    BAR_COLUMN,
    CAPTION_HEIGHT,
    COLUMN,
    FOOT_HEIGHT,
    GAP,
    HEAD_HEIGHT,
    MARGIN,
    NAMES_WIDTH,
    PIXELS_PER_POINT,
    TILE,
    AxesCanvas,
    TileCanvas,
    shorten,
)

ROWS_PER_INPUT = 6
"""Rows of overlays below one row of images, at most: an image is never far from its maps."""
PAIRS_PER_ROW = 4
BLOCK_NAME_WIDTH = 66
LETTER_WIDTH = 0.68
"""Mean width of a bold letter over its size, rounded up."""
LIFT_TITLE = "patch's share / uniform"
SCALE_TEXT = "Yellow: more than a uniform share, blue: less; one scale for all."
FOOT_TEXT = f"{SCALE_TEXT} Bold red: wrong prediction."


@dataclass(kw_only=True)
class Sheet:
    """Page of tiles in the light theme: title, tiles, color bar and foot."""

    size: tuple[float, float]
    """Width and height, points."""
    title: str
    draw: Callable[[TileCanvas], None]
    """Function that draws everything between title and foot."""
    scale: Scale
    bar_y: float = HEAD_HEIGHT
    bar_title: str = LIFT_TITLE
    foot: str = FOOT_TEXT

    def save(self, path: Path) -> Path:
        """Write the page as PNG."""
        with theme("light") as color:
            canvas = TileCanvas(*self.size, color)
            self._paint(canvas)
            return canvas.save(path)

    def draw_on(self, ax: Axes) -> Axes:
        """Draw the page on an axes, as large as fits, and return it."""
        with theme("light") as color:
            self._paint(AxesCanvas(*self.size, color, ax))
        return ax

    def _paint(self, canvas: TileCanvas) -> None:
        fitting = (self.size[0] - 2 * MARGIN) / (LETTER_WIDTH * len(self.title))
        canvas.text(MARGIN, 13, self.title, size=min(9.5, fitting), weight="bold")
        self.draw(canvas)
        canvas.color_bar(self.size[0] - BAR_COLUMN + GAP, self.bar_y, self.scale, self.bar_title)
        canvas.text(MARGIN, self.size[1] - 9, self.foot, size=6.8, role="soft")


def arms_sheet(
    views: Views,
    path: Path,
    title: str,
    scores: dict[str, str] | None = None,
    rows_per_input: int = ROWS_PER_INPUT,
) -> Path:
    """Write the main sheet; see lay_out_arms."""
    return lay_out_arms(views, title, scores, rows_per_input).save(path)


def lay_out_arms(
    views: Views, title: str, scores: dict[str, str] | None = None, rows_per_input: int = ROWS_PER_INPUT
) -> Sheet:
    """Lay out the main sheet: the same images for every arm and seed, a row per model.

    Args:
        scores: cell directory -> text for its row, such as the accuracy.
        rows_per_input: rows of overlays below one row of images, at most.
    """
    blocks = split_rows(views.model_views, rows_per_input)
    heights = [COLUMN + len(block) * (TILE + CAPTION_HEIGHT) + 14 for block in blocks]
    size = (_width(len(views.label_N)), HEAD_HEIGHT + sum(heights) + FOOT_HEIGHT)
    scale = shared_scale([view.log2_lift for view in views.model_views])

    def draw(canvas: TileCanvas) -> None:
        tops = itertools.accumulate(heights, initial=HEAD_HEIGHT)
        for block, top in zip(blocks, tops, strict=False):
            _draw_inputs(canvas, views, top)
            for number, view in enumerate(block):
                y = top + COLUMN + number * (TILE + CAPTION_HEIGHT)
                canvas.name(y, *_row_name(view, (scores or {}).get(view.directory, "")))
                _draw_overlays(canvas, views, view, scale, y)

    return Sheet(size=size, title=title, draw=draw, scale=scale, bar_y=HEAD_HEIGHT + COLUMN)


def split_rows(model_views: Sequence[ModelView], most: int = ROWS_PER_INPUT) -> list[list[ModelView]]:
    """Split the rows into blocks of at most `most`, without splitting an arm that fits into one."""
    blocks: list[list[ModelView]] = [[]]
    for _, group in itertools.groupby(model_views, key=lambda view: view.arm):
        rows = list(group)
        if blocks[-1] and len(blocks[-1]) + len(rows) > most:
            blocks.append([])
        while len(rows) > most:
            blocks[-1:] = [rows[:most], []]
            rows = rows[most:]
        blocks[-1] += rows
    return [block for block in blocks if block]


def pairs_sheet(views: Views, view: ModelView, path: Path, title: str) -> Path:
    """Write one model's sheet: each image beside its overlay, the true class above, the prediction below."""
    pair, row = 2 * COLUMN, TILE + CAPTION_HEIGHT + 16
    columns = min(PAIRS_PER_ROW, len(views.label_N))
    rows = -(-len(views.label_N) // columns)
    size = (MARGIN + columns * pair + BAR_COLUMN, HEAD_HEIGHT + rows * row + FOOT_HEIGHT)
    scale = shared_scale([view.log2_lift])

    def draw(canvas: TileCanvas) -> None:
        for number in range(len(views.label_N)):
            x, y = MARGIN + number % columns * pair, HEAD_HEIGHT + number // columns * row
            _draw_input(canvas, views, number, x, y)
            _draw_overlay(canvas, views, view, number, scale, x + TILE, y)

    return Sheet(size=size, title=title, draw=draw, scale=scale).save(path)


def difference_sheet(views: Views, differences: Sequence[Difference], baseline: str, path: Path) -> Path:
    """Write arm minus baseline, mean over seeds, a row per arm; patches that exceed seed noise are framed."""
    scale = shared_scale([difference.mean_NP for difference in differences], DIFFERENCE_COLORS)
    top = HEAD_HEIGHT + COLUMN
    size = (_width(len(views.label_N)), top + len(differences) * COLUMN + MARGIN + FOOT_HEIGHT)

    def draw(canvas: TileCanvas) -> None:
        _draw_inputs(canvas, views, HEAD_HEIGHT)
        for number, difference in enumerate(differences):
            y = top + number * COLUMN
            canvas.name(y, difference.arm, _difference_details(difference))
            for column, image_HWC in enumerate(views.image_NHWC):
                rgb = overlay(image_HWC, difference.mean_NP[column], difference.grid, scale)
                framed = frame_patches(rgb, difference.exceeds_NP[column].reshape(difference.grid))
                canvas.tile(MARGIN + NAMES_WIDTH + column * COLUMN, y, framed)

    title = f"Arm minus {baseline}: change of the rollout"
    foot = f"Red: more than {baseline}, blue: less. Framed: more than seed noise (false discovery rate 5 %)."
    words = {"title": title, "bar_title": "arm / baseline", "foot": foot}
    return Sheet(size=size, draw=draw, scale=scale, bar_y=top, **words).save(path)


def frame_patches(rgb: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Return the tile with a dark line around the marked patches, none between two of them."""
    rgb = rgb.copy()
    inside = np.pad(marks, 1)
    wide, side = round(1.1 * PIXELS_PER_POINT), len(rgb)
    edges = [np.ceil(np.arange(n + 1) * side / n).astype(int) for n in marks.shape]
    for row, column in np.argwhere(marks):
        top, bottom, left, right = edges[0][row], edges[0][row + 1], edges[1][column], edges[1][column + 1]
        if not inside[row, column + 1]:
            rgb[top : top + wide, left:right] = 0
        if not inside[row + 2, column + 1]:
            rgb[bottom - wide : bottom, left:right] = 0
        if not inside[row + 1, column]:
            rgb[top:bottom, left : left + wide] = 0
        if not inside[row + 1, column + 2]:
            rgb[top:bottom, right - wide : right] = 0
    return rgb


def layers_sheet(views: Views, view: ModelView, strip_NSP: np.ndarray, path: Path, title: str) -> Path:
    """Write one model's rollout as if the head read after each block: a row per image, a column per block."""
    value_NSP = np.stack([log2_lift(lift(strip_NSP[:, s])) for s in range(strip_NSP.shape[1])], axis=1)
    names = [shorten(views.classes[label]) for label in views.label_N]
    heads = ["image", *(f"block {s + 1}" for s in range(value_NSP.shape[1]))]
    return _grid_sheet(views.image_NHWC, value_NSP, view.maps.grid, names, heads, path, title)


def heads_sheet(views: Views, view: ModelView, row_SHP: np.ndarray, number: int, path: Path, title: str) -> Path:
    """Write the attention of the token that the head reads, for one image: a row per block, a column per head."""
    value_SHP = np.stack([log2_lift(lift(block_HP)) for block_HP in row_SHP])
    names = [f"block {s + 1}" for s in range(len(value_SHP))]
    heads = ["image", *(f"head {h + 1}" for h in range(value_SHP.shape[1]))]
    image_SHWC = np.repeat(views.image_NHWC[number : number + 1], len(value_SHP), axis=0)
    return _grid_sheet(image_SHWC, value_SHP, view.maps.grid, names, heads, path, title)


def _grid_sheet(
    image_RHWC: np.ndarray,
    value_RCP: np.ndarray,
    grid: tuple[int, int],
    names: list[str],
    heads: list[str],
    path: Path,
    title: str,
) -> Path:
    """Write rows of an image and its maps, with names at the left and heads above."""
    scale, left = shared_scale([value_RCP]), MARGIN + BLOCK_NAME_WIDTH
    size = (left + len(heads) * COLUMN + BAR_COLUMN, HEAD_HEIGHT + len(names) * COLUMN + GAP + FOOT_HEIGHT)

    def draw(canvas: TileCanvas) -> None:
        for column, head in enumerate(heads):
            x = left + column * COLUMN + TILE / 2
            canvas.text(x, HEAD_HEIGHT - 6.5, head, size=7.6, ha="center", role="soft")
        for row, (name, image_HWC) in enumerate(zip(names, image_RHWC, strict=True)):
            y = HEAD_HEIGHT + row * COLUMN
            canvas.text(MARGIN, y + TILE / 2, name, weight="bold")
            canvas.tile(left, y, as_rgb(image_HWC))
            for column, value_P in enumerate(value_RCP[row], start=1):
                canvas.tile(left + column * COLUMN, y, overlay(image_HWC, value_P, grid, scale))

    return Sheet(size=size, title=title, draw=draw, scale=scale, foot=SCALE_TEXT).save(path)


def _width(columns: int) -> float:
    return MARGIN + NAMES_WIDTH + columns * COLUMN + BAR_COLUMN


def _draw_inputs(canvas: TileCanvas, views: Views, y: float) -> None:
    canvas.text(MARGIN, y + TILE / 2, "image", role="soft")
    for number in range(len(views.label_N)):
        _draw_input(canvas, views, number, MARGIN + NAMES_WIDTH + number * COLUMN, y)


def _draw_input(canvas: TileCanvas, views: Views, number: int, x: float, y: float) -> None:
    canvas.tile(x, y, as_rgb(views.image_NHWC[number]))
    name = shorten(views.classes[views.label_N[number]])
    canvas.text(x + TILE / 2, y - 6.5, name, ha="center", weight="bold")


def _draw_overlays(canvas: TileCanvas, views: Views, view: ModelView, scale: Scale, y: float) -> None:
    for number in range(len(views.label_N)):
        _draw_overlay(canvas, views, view, number, scale, MARGIN + NAMES_WIDTH + number * COLUMN, y)


def _draw_overlay(
    canvas: TileCanvas, views: Views, view: ModelView, number: int, scale: Scale, x: float, y: float
) -> None:
    """Draw one overlay with prediction and confidence below it, in bold red if wrong."""
    canvas.tile(x, y, overlay(views.image_NHWC[number], view.log2_lift[number], view.maps.grid, scale))
    predicted, confidence = view.maps.logit_NK[number].argmax(), view.maps.probabilities[number].max()
    right = predicted == views.label_N[number]
    look = {"role": "soft"} if right else {"role": "bad", "weight": "bold"}
    text = f"{shorten(views.classes[predicted], 11)} {100 * confidence:.0f} %"
    canvas.text(x + TILE / 2, y + TILE + 7, text, size=7.2, ha="center", **look)


def _row_name(view: ModelView, score: str) -> tuple[str, list[str]]:
    """Return the name and the details of a model's row."""
    scores = [score] if score else []
    if view.epoch is not None:  # the title names arm and seed
        return f"epoch {view.epoch}" if view.epoch else "untrained", scores
    rows, columns = view.maps.grid
    return view.arm, [f"seed {view.seed}", f"{rows} x {columns} patches", *scores]


def _difference_details(difference: Difference) -> list[str]:
    count, total, num_seeds = int(difference.exceeds_NP.sum()), difference.exceeds_NP.size, len(difference.seeds)
    if num_seeds < 2:
        return ["1 seed", "one seed: no test"]
    return [f"{num_seeds} seeds", f"{count} of {total} framed" if count else "none beyond noise"]
