"""Colors, scales, enlargement and tiles of maps: tiny arrays whose result is seen at once."""

import matplotlib
import numpy as np
import pytest
from vitsweep.analysis.attention.measures import log2_lift
from vitsweep.analysis.gallery.overlay import MAP_WEIGHT, Scale, enlarge, luminance, overlay, shared_scale
from vitsweep.analysis.gallery.tiles import SIDE, TileCanvas
from vitsweep.analysis.style import theme
from vitsweep.analysis.text import wrap_name


def test_enlarged_repeats_pixels_and_invents_none():
    assert enlarge(np.array([[1, 2], [3, 4]]), 4).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


@pytest.mark.parametrize("grid", [(2, 2), (4, 4), (8, 8), (16, 16), (7, 7), (3, 5)])
def test_overlay_shows_each_patch_as_one_even_area(grid):
    values = np.linspace(-1, 1, grid[0] * grid[1])
    black = np.zeros((32, 32, 3), dtype=np.uint8)
    rgb = overlay(black, values, grid, Scale(reach=1.0))
    assert len(np.unique(rgb.reshape(-1, 3), axis=0)) == len(np.unique(Scale(reach=1.0).paint(values), axis=0))
    assert rgb[0, 0].tolist() == pytest.approx((MAP_WEIGHT * Scale(reach=1.0).paint(values[0])).tolist())


def test_overlay_keeps_the_image_visible_under_an_even_map():
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    image[:, 16:] = 255
    rgb = overlay(image, np.zeros(4), (2, 2), Scale(reach=1.0))
    assert (rgb[:, SIDE // 2] - rgb[:, SIDE // 2 - 1]) == pytest.approx(1 - MAP_WEIGHT)


def test_scale_paints_uniform_in_the_middle_and_clips_beyond_the_ends():
    scale, colors = Scale(reach=2.0), matplotlib.colormaps["cividis"]
    assert scale.paint(np.array(0.0)).tolist() == list(colors(0.5)[:3])
    assert scale.paint(np.array(2.0)).tolist() == scale.paint(np.array(9.0)).tolist() == list(colors(1.0)[:3])
    assert scale.paint(np.array(-np.inf)).tolist() == list(colors(0.0)[:3])


@pytest.mark.parametrize(
    ("reach", "words"),
    [
        (0.5, ["x0.71", "x1", "x1.4"]),
        (1.0, ["x1/2", "x1", "x2"]),
        (2.25, ["x1/4", "x1/2", "x1", "x2", "x4"]),
        (4.0, ["x1/16", "x1/4", "x1", "x4", "x16"]),
    ],
)
def test_scale_ticks_are_multiples_of_uniform(reach, words):
    assert Scale(reach=reach).ticks[1] == words


def test_shared_scale_covers_all_maps_and_is_never_tighter_than_noise():
    assert shared_scale([np.array([0.0]), np.full(50, -1.1)]).reach == 1.25
    assert shared_scale([np.zeros(4)]).reach == 0.25
    assert shared_scale([np.array([-np.inf, 40.0])]).reach == 4.0


def test_doublings_of_lifts():
    assert log2_lift(np.array([0.5, 1.0, 4.0, 0.0])).tolist() == [-1, 0, 2, -np.inf]


def test_luminance_takes_one_channel_as_grey():
    assert luminance(np.array([[[255]]], dtype=np.uint8)).tolist() == [[1.0]]
    assert luminance(np.array([[[255, 255, 255]]], dtype=np.uint8)) == pytest.approx(1)


def test_wrapped_breaks_after_a_plus_and_keeps_every_character():
    assert wrap_name("patch_size=8+lr=0.002", 14) == ["patch_size=8+", "lr=0.002"]
    assert "".join(wrap_name("a" * 40, 17)) == "a" * 40
    assert all(len(line) <= 17 for line in wrap_name("a" * 40, 17))


def test_canvas_places_tiles_pixel_by_pixel_and_repeats_itself(tmp_path):
    def draw(path):
        with theme("light") as color:
            canvas = TileCanvas(150, 96, color)
            canvas.tile(12, 12, np.array([[[1.0, 0, 0], [0, 1.0, 0]], [[0, 0, 1.0], [0, 0, 0]]]))
            canvas.text(12, 6, "a $name$ with_signs")
            canvas.color_bar(100, 12, Scale(reach=1.0), "title")
            return canvas.save(path)

    first, second = (draw(tmp_path / f"{n}.png") for n in range(2))
    assert first.read_bytes() == second.read_bytes()
    pixels = matplotlib.image.imread(first)[..., :3]
    inside = pixels[32 : 32 + SIDE, 32 : 32 + SIDE]
    assert inside[0, 0].tolist() == [1, 0, 0]
    assert inside[0, -1].tolist() == [0, 1, 0]
    assert inside[-1, 0].tolist() == [0, 0, 1]
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) == 4
