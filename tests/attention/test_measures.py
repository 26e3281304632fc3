"""Measures of maps: small maps whose numbers can be worked out by hand, and what must hold for every map.

Kinds: agrees with an independent reference, is deterministic, obeys a property, refuses with the right words.
"""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from vitsweep.analysis.attention import measures

from vitsweep.config.schema import ModelConfig
from vitsweep.model.vit import ViT

PLAIN = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
UNIFORM = np.full((1, 16), 1 / 16)
ONE_PATCH = np.eye(16)[[5]]  # row 1, column 1 of a 4 x 4 grid


def random_maps(count=6, patches=16, seed=0):
    return np.random.default_rng(seed).gamma(0.5, size=(count, patches))


def test_describe_a_uniform_map():
    row = measures.map_measures(UNIFORM, (4, 4), 8).iloc[0]
    assert row["entropy"] == pytest.approx(1)
    assert row["effective_patches"] == pytest.approx(16)
    assert row["max_lift"] == pytest.approx(1)
    assert (row["centre_row_px"], row["centre_column_px"]) == (16, 16)
    assert row["spread_px"] == pytest.approx(32 / math.sqrt(6))  # of a square of 32 pixels, both axes


def test_describe_a_map_on_one_patch():
    row = measures.map_measures(ONE_PATCH, (4, 4), 8).iloc[0]
    assert row["entropy"] == 0
    assert row["effective_patches"] == 1
    assert row["max_lift"] == 16
    assert (row["centre_row_px"], row["centre_column_px"]) == (12, 12)
    assert row["spread_px"] == pytest.approx(8 / math.sqrt(6))


@pytest.mark.parametrize("patch_size", [2, 4, 8, 16])
def test_centre_and_spread_of_a_uniform_map_are_those_of_every_grid(patch_size):
    side = 32 // patch_size
    centre, spread = measures.center_and_spread(np.full((1, side**2), 1 / side**2), (side, side), patch_size)
    assert centre.tolist() == [[16, 16]]
    assert spread == pytest.approx([32 / math.sqrt(6)])


def test_describe_ignores_the_scale_of_a_map():
    maps = random_maps()
    first, second = (measures.map_measures(m, (4, 4), 8) for m in (maps, 7 * maps))
    assert first.to_numpy() == pytest.approx(second.to_numpy())


def test_lift_of_two_patches():
    assert measures.lift(np.array([[3.0, 1.0]])).tolist() == [[1.5, 0.5]]


def test_density_of_a_map_without_mass_is_uniform():
    assert measures.density(np.zeros((1, 4))).tolist() == [[0.25] * 4]


def test_total_variation_is_the_mass_that_moves():
    a, b = np.array([[0.5, 0.5, 0.0]]), np.array([[0.2, 0.5, 0.3]])
    assert measures.total_variation(a, b) == pytest.approx([0.3])
    assert measures.total_variation(ONE_PATCH, np.eye(16)[[0]]) == pytest.approx([1])


def test_rank_correlation_agrees_with_scipy_also_with_ties():
    a, b = np.round(random_maps(), 1), np.round(random_maps(seed=1), 1)
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert measures.rank_correlation(a, b) == pytest.approx(expected)


def test_rank_correlation_with_a_constant_map_is_zero():
    assert measures.rank_correlation(random_maps(1), UNIFORM).tolist() == [0]


def test_mirrored_exchanges_left_and_right():
    assert measures.mirror_maps(np.arange(6.0)[None], (2, 3)).tolist() == [[2, 1, 0, 5, 4, 3]]


def test_coarser_sums_the_mass_of_what_it_joins():
    fine = np.arange(16.0)[None]
    assert measures.coarsen(fine, (4, 4), (2, 2)).tolist() == [[0 + 1 + 4 + 5, 2 + 3 + 6 + 7, 42, 50]]
    assert measures.coarsen(fine, (4, 4), (4, 4)).tolist() == fine.tolist()


def test_agreement_of_seeds_is_one_for_equal_maps_and_zero_for_disjoint_ones():
    assert measures.agreement([ONE_PATCH, ONE_PATCH]).tolist() == [1]
    assert measures.agreement([np.eye(16)[[0]], ONE_PATCH]).tolist() == [0]
    assert math.isnan(measures.agreement([ONE_PATCH])[0])


def sharp_vit():
    sizes = {"patch_size": 8, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = ViT(ModelConfig(intermediate_size=32, **sizes), seed=3).eval()
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight.mul_(20)
    return model


def images(count):
    return torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_measure_gives_every_column_in_its_range():
    frame, distance_SH, _ = measures.measure(sharp_vit(), images(6), PLAIN)
    assert [*frame.columns, "seed_agreement"] == list(measures.DESCRIPTIONS)
    shares = ["entropy", "prefix_mass", "mixing", "flip_consistency"]
    assert ((frame[shares] >= 0) & (frame[shares] <= 1)).all().all()
    assert (frame["max_lift"] >= 1).all()
    assert distance_SH.shape == (2, 4)
    assert (distance_SH > 0).all() and (distance_SH < 24 * math.sqrt(2)).all()


def test_measure_is_deterministic_and_its_summary_is_a_study_s_columns():
    first, second = (measures.measure(sharp_vit(), images(3), PLAIN)[0] for _ in range(2))
    assert first.equals(second)
    assert measures.summary(first)["rollout/max_lift"] == pytest.approx(first["max_lift"].mean())
    assert all(name.startswith("rollout/") for name in measures.summary(first))


def test_measure_finds_symmetric_images_consistent_for_a_model_without_positions():
    model = sharp_vit()
    with torch.no_grad():
        model.position_1TD.zero_()
        kernel = model.patchify.projection.weight
        kernel.copy_((kernel + kernel.flip(-1)) / 2)  # patches read the same from both sides
    frame, _, _ = measures.measure(model, images(3), PLAIN)
    assert frame["flip_consistency"].to_numpy() == pytest.approx(1, abs=1e-4)


def test_measure_finds_no_mixing_left_for_a_model_that_attends_uniformly():
    model = sharp_vit()
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight.zero_()
    frame, _, _ = measures.measure(model, images(2), PLAIN, alpha=0.0)
    assert frame["mixing"].to_numpy() == pytest.approx(0, abs=1e-6)
    assert frame["entropy"].to_numpy() == pytest.approx(1, abs=1e-6)
