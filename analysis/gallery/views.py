"""Other sheets of the gallery: arm minus baseline, image beside overlay, block by block, head by head, over
training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..attention.difference import Difference
from ..attention.looks import ModelView, Views
from ..attention.measures import lift, log2_lift
from .overlay import DIFFERENCE_COLOURS, as_rgb, overlay, shared_scale
from .sheet import (
    COLUMN,
    FOOT,
    FOOT_WORDS,
    GAP,
    HEAD,
    MARGIN,
    NAMES,
    RIGHT,
    UNDER,
    draw_bar,
    draw_foot,
    draw_inputs,
    draw_prediction,
    shortened,
    stack,
)
from .tiles import PIXELS_A_POINT, TILE, Board, save_board, wrapped

PAIRS_A_ROW = 4


def difference_sheet(views: Views, differences: Sequence[Difference], baseline: str, path: Path) -> Path:
    """Arm minus baseline, mean over seeds, patches that exceed seed noise framed; a row an arm."""
    scale = shared_scale([difference.mean_NP for difference in differences], DIFFERENCE_COLOURS)
    width = MARGIN + NAMES + len(views.label_N) * COLUMN + RIGHT
    height = HEAD + TILE + GAP + len(differences) * COLUMN + MARGIN + FOOT

    def draw(board: Board) -> None:
        board.words(MARGIN, 13, f"Arm minus {baseline}: change of the rollout", size=9.5, weight="bold")
        draw_inputs(board, views, MARGIN + NAMES, HEAD)
        for number, difference in enumerate(differences):
            y = HEAD + TILE + GAP + number * COLUMN
            _draw_difference_name(board, difference, y)
            for column, image_HWC in enumerate(views.image_NHWC):
                x = MARGIN + NAMES + column * COLUMN
                rgb = overlay(image_HWC, difference.mean_NP[column], difference.grid, scale)
                board.tile(x, y, outlined(rgb, difference.exceeds_NP[column].reshape(difference.grid)))
        draw_bar(board, scale, width - RIGHT + GAP, HEAD + TILE + GAP, "arm / baseline")
        draw_foot(
            board, f"Red: more than {baseline}, blue: less. Framed: more than seed noise (false discovery rate 5 %)."
        )

    return save_board(path, width, height, draw)


def _draw_difference_name(board: Board, difference: Difference, y: float) -> None:
    count, total = int(difference.exceeds_NP.sum()), difference.exceeds_NP.size
    marked = f"{count} of {total} framed" if count else "none beyond noise"
    found = marked if len(difference.seeds) > 1 else "one seed: no test"
    seeds = f"{len(difference.seeds)} seed{'s' if len(difference.seeds) > 1 else ''}"
    stack(board, y, wrapped(difference.arm, 17), [seeds, found])


def outlined(rgb: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """The tile with a dark line around the marked patches, none between two of them."""
    rgb = rgb.copy()
    inside = np.pad(marks, 1)
    wide, side = round(1.1 * PIXELS_A_POINT), len(rgb)
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


def pairs_sheet(views: Views, view: ModelView, path: Path, title: str) -> Path:
    """One model: each image with its overlay right beside it, the true class above, the prediction below."""
    pair, row = 2 * TILE + 2 * GAP, TILE + UNDER + 16
    scale = shared_scale([view.log2_lift])
    columns = min(PAIRS_A_ROW, len(views.label_N))
    rows = -(-len(views.label_N) // columns)
    width, height = MARGIN + columns * pair + RIGHT, HEAD + rows * row + FOOT
    predicted_N, confidence_N = view.maps.logit_NK.argmax(1), view.maps.probabilities.max(1)

    def draw(board: Board) -> None:
        board.words(MARGIN, 13, title, size=9.5, weight="bold")
        for number, (image_HWC, label) in enumerate(zip(views.image_NHWC, views.label_N, strict=True)):
            x, y = MARGIN + number % columns * pair, HEAD + number // columns * row
            board.words(x + TILE / 2, y - 6.5, shortened(views.classes[label]), ha="center", weight="bold")
            board.tile(x, y, as_rgb(image_HWC))
            board.tile(x + TILE, y, overlay(image_HWC, view.log2_lift[number], view.maps.grid, scale))
            right = bool(predicted_N[number] == label)
            draw_prediction(board, x + TILE, y, views.classes[predicted_N[number]], confidence_N[number], right)
        draw_bar(board, scale, width - RIGHT + GAP, HEAD)
        draw_foot(board, FOOT_WORDS)

    return save_board(path, width, height, draw)


def layers_sheet(views: Views, view: ModelView, film_NSP: np.ndarray, path: Path, title: str) -> Path:
    """One model: the rollout as if the head read after each block, a column a block; a row an image."""
    value_NSP = np.stack([log2_lift(lift(film_NSP[:, s])) for s in range(film_NSP.shape[1])], axis=1)
    heads = ["image", *(f"block {s + 1}" for s in range(value_NSP.shape[1]))]
    return _grid_sheet(views, view, value_NSP, heads, path, title)


def heads_sheet(views: Views, view: ModelView, row_SHP: np.ndarray, number: int, path: Path, title: str) -> Path:
    """One model and image: where the token that the head reads looks, a row a block, a column an attention head."""
    value_SHP = np.stack([log2_lift(lift(block_HP)) for block_HP in row_SHP])
    names = [f"block {s + 1}" for s in range(len(value_SHP))]
    heads = ["image", *(f"head {h + 1}" for h in range(value_SHP.shape[1]))]
    image_SHWC = np.repeat(views.image_NHWC[number : number + 1], len(value_SHP), axis=0)
    return _tiles(image_SHWC, value_SHP, view.maps.grid, names, heads, path, title)


def _grid_sheet(views: Views, view: ModelView, value_NSP: np.ndarray, heads: list[str], path: Path, title: str) -> Path:
    names = [shortened(views.classes[label]) for label in views.label_N]
    return _tiles(views.image_NHWC, value_NSP, view.maps.grid, names, heads, path, title)


def _tiles(
    image_RHWC: np.ndarray,
    value_RCP: np.ndarray,
    grid: tuple[int, int],
    names: list[str],
    heads: list[str],
    path: Path,
    title: str,
) -> Path:
    """Rows of an image and its maps, named at the left and above."""
    scale = shared_scale([value_RCP])
    names_width = 66
    width = MARGIN + names_width + len(heads) * COLUMN + RIGHT
    height = HEAD + len(names) * COLUMN + GAP + FOOT

    def draw(board: Board) -> None:
        board.words(MARGIN, 13, title, size=9.5, weight="bold")
        for column, head in enumerate(heads):
            x = MARGIN + names_width + column * COLUMN
            board.words(x + TILE / 2, HEAD - 6.5, head, size=7.6, ha="center", role="soft")
        for row, (name, image_HWC) in enumerate(zip(names, image_RHWC, strict=True)):
            y = HEAD + row * COLUMN
            board.words(MARGIN, y + TILE / 2, name, weight="bold")
            board.tile(MARGIN + names_width, y, as_rgb(image_HWC))
            for column, value_P in enumerate(value_RCP[row], start=1):
                board.tile(MARGIN + names_width + column * COLUMN, y, overlay(image_HWC, value_P, grid, scale))
        draw_bar(board, scale, width - RIGHT + GAP, HEAD)
        draw_foot(board, FOOT_WORDS.split(" Bold")[0])

    return save_board(path, width, height, draw)
