"""Contrasts of designs: main effects over matched pairs, variance of a contrast.

Kinds: agreement (least squares in a full grid, a sum by hand), properties (zero for what other factors add).
"""

import itertools

import numpy as np
import pytest

from vitsweep.significance.contrasts import main_contrasts, make_design, matched_contrasts

GRID = ["".join(bits) for bits in itertools.product("01", repeat=3)]
PAIRS = [arm for arm in GRID if arm.count("1") < 3]


def design(arms):
    return make_design({arm: dict(zip("abc", arm, strict=True)) for arm in arms}, dict.fromkeys("abc", "0"))


def test_matched_pairs_of_a_grid_give_its_main_effects():
    both = zip(matched_contrasts(design(GRID)), main_contrasts(design(GRID)), strict=True)
    assert all(one.levels == other.levels and one.weights == pytest.approx(other.weights) for one, other in both)


def test_main_effect_of_pairs_averages_the_settings_that_have_both_levels():
    first = matched_contrasts(design(PAIRS))[0]
    third = 1 / 3
    wanted = {"100": third, "000": -third, "110": third, "010": -third, "101": third, "001": -third}
    assert first.weights == pytest.approx(wanted)


@pytest.mark.parametrize("arms", [GRID, PAIRS])
def test_main_effect_of_matched_pairs_contains_nothing_of_other_factors(arms):
    b, c = (np.array([arm[place] == "1" for arm in arms], float) for place in (1, 2))
    weights = matched_contrasts(design(arms))[0].weights
    weight_A = np.array([weights.get(arm, 0.0) for arm in arms])
    for others in (b, c, b * c):
        assert weight_A @ others == pytest.approx(0)


def test_variance_ratio_of_a_grid_of_eight_is_a_quarter():
    assert [contrast.variance_ratio for contrast in main_contrasts(design(GRID))] == pytest.approx([0.25] * 3)
