"""The gallery's main sheet: the same images for every arm and seed, one row a model, one colour scale for all.

A row of the images as they are stands above each few rows of overlays, so an image is never far from its maps.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

from ..attention.looks import ModelView, Views
from .overlay import Scale, as_rgb, overlay, shared_scale
from .tiles import TILE, Board, save_board, wrapped

GAP = 6
"""Between tiles, points."""
COLUMN = TILE + GAP
NAMES = 104
"""Width of the column that names the models, points."""
MARGIN = 10
HEAD = 36
"""Height of title and class names, points."""
UNDER = 17
"""Height of the line under an overlay, points."""
ROWS_AN_INPUT = 6
"""Rows of overlays below one row of images, at most."""
RIGHT = 70
"""Width of the colour bar's column, points."""
FOOT = 12
"""Height of the line at the bottom, points."""
FOOT_WORDS = "Yellow: more than a uniform share, blue: less; one scale for all. Bold red: wrong prediction."
LIFT_WORDS = "patch's share / uniform"


def arms_sheet(
    views: Views,
    path: Path,
    title: str,
    scores: dict[str, str] | None = None,
    rows_an_input: int = ROWS_AN_INPUT,
) -> Path:
    """Write the sheet of all model_views.

    Args:
        views: images and model_views.
        path: the PNG to write.
        title: what the maps are.
        scores: cell directory -> a few words for its row, such as the accuracy.
        rows_an_input: rows of overlays below one row of images, at most.
    """
    model_views, columns = views.model_views, len(views.label_N)
    scale = shared_scale([view.log2_lift for view in model_views])
    blocks = blocks_of(model_views, rows_an_input)
    width = MARGIN + NAMES + columns * COLUMN + RIGHT
    height = HEAD + sum(_block_height(block) for block in blocks) + FOOT

    def draw(board: Board) -> None:
        board.words(MARGIN, 13, title, size=9.5, weight="bold")
        y = HEAD
        for block in blocks:
            draw_inputs(board, views, MARGIN + NAMES, y)
            for number, view in enumerate(block):
                row_y = y + TILE + GAP + number * (TILE + UNDER)
                draw_name(board, view, row_y, (scores or {}).get(view.directory, ""))
                draw_overlays(board, views, view, scale, MARGIN + NAMES, row_y)
            y += _block_height(block)
        draw_bar(board, scale, width - RIGHT + GAP, HEAD + TILE + GAP)
        draw_foot(board, FOOT_WORDS)

    return save_board(path, width, height, draw)


def blocks_of(model_views: Sequence[ModelView], most: int = ROWS_AN_INPUT) -> list[list[ModelView]]:
    """The rows below each row of images: whole arms where they fit."""
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


def draw_inputs(board: Board, views: Views, x: float, y: float) -> None:
    """One row of images with the true class above."""
    board.words(MARGIN, y + TILE / 2, "image", role="soft")
    for number, (image_HWC, label) in enumerate(zip(views.image_NHWC, views.label_N, strict=True)):
        board.tile(x + number * COLUMN, y, as_rgb(image_HWC))
        words = shortened(views.classes[label])
        board.words(x + number * COLUMN + TILE / 2, y - 6.5, words, ha="center", weight="bold")


def draw_overlays(board: Board, views: Views, view: ModelView, scale: Scale, x: float, y: float) -> None:
    """One row of overlays with the prediction under each."""
    predicted_N = view.maps.logit_NK.argmax(1)
    confidence_N = view.maps.probabilities.max(1)
    for number, image_HWC in enumerate(views.image_NHWC):
        tile_x = x + number * COLUMN
        board.tile(tile_x, y, overlay(image_HWC, view.log2_lift[number], view.maps.grid, scale))
        right = predicted_N[number] == views.label_N[number]
        draw_prediction(board, tile_x, y, views.classes[predicted_N[number]], confidence_N[number], bool(right))


def draw_prediction(board: Board, x: float, y: float, name: str, confidence: float, right: bool) -> None:
    """Prediction and confidence under a tile; a wrong one in bold and red."""
    look = {"role": "soft"} if right else {"role": "bad", "weight": "bold"}
    board.words(
        x + TILE / 2, y + TILE + 7, f"{shortened(name)} {100 * confidence:.0f} %", size=7.2, ha="center", **look
    )


def draw_name(board: Board, view: ModelView, y: float, score: str) -> None:
    """Who looks: arm, seed, grid, and how it scored."""
    rows, columns = view.maps.grid
    name, small = wrapped(view.arm, 17), [f"seed {view.seed}", f"{rows} x {columns} patches"]
    if view.epoch is not None:  # the title says who
        name, small = [f"epoch {view.epoch}" if view.epoch else "untrained"], []
    stack(board, y, name, [*small, *([score] if score else [])])


def stack(board: Board, y: float, lines: list[str], small: list[str]) -> None:
    """A name in bold with smaller lines below it, centred on the height of a tile."""
    top = y + TILE / 2 - (10.5 * (len(lines) - 1) + 9.5 * len(small)) / 2
    for number, line in enumerate(lines):
        board.words(MARGIN, top + 10.5 * number, line, size=8.2, weight="bold")
    for number, line in enumerate(small, start=1):
        board.words(MARGIN, top + 10.5 * (len(lines) - 1) + 9.5 * number, line, size=7.2, role="soft")


def draw_bar(board: Board, scale: Scale, x: float, y: float, title: str = LIFT_WORDS) -> None:
    """The sheet's colour bar, as high as a tile."""
    board.bar(x, y, TILE, scale, title)


def draw_foot(board: Board, text: str) -> None:
    """How to read the sheet, at its bottom."""
    board.words(MARGIN, board.size[1] - 9, text, size=6.8, role="soft")


def shortened(name: str, width: int = 14) -> str:
    """A class name that fits over a tile."""
    return name if len(name) <= width else f"{name[: width - 2]}.."


def _block_height(block: Sequence[ModelView]) -> float:
    return TILE + GAP + len(block) * (TILE + UNDER) + 14
