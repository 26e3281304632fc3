"""Deletion, insertion, null maps and the pointing game: against models and maps whose answer is known.

Kinds: agrees with an independent reference, is deterministic, obeys a property, refuses with the right words.
Shapes: N images, P patches in reading order.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from vitsweep.analysis.attention import faithful

from vitsweep.config.schema import ModelConfig
from vitsweep.model.vit import ViT

PLAIN = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def tiny_vit(**changes):
    sizes = {"patch_size": 8, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    return ViT(ModelConfig(intermediate_size=32, **(sizes | changes)), seed=3).eval()


def some_images(count=4):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)


def normalised(image_NCHW):
    return (image_NCHW.float() / 255 - 0.5) / 0.25


def clean_probability(model, image_NCHW):
    with torch.no_grad():
        return model(normalised(image_NCHW)).softmax(-1).max(-1).values.numpy()


def reading_order(count=4, patches=16):
    return np.tile(np.arange(patches), (count, 1))


@pytest.mark.parametrize("missing", faithful.MISSING)
def test_curve_starts_or_ends_at_the_whole_image(missing):
    model, image_NCHW = tiny_vit(), some_images()
    whole = clean_probability(model, image_NCHW)
    for insert, end in ((False, 0), (True, -1)):
        share, heights = faithful.probability_curve(
            model, image_NCHW, PLAIN, reading_order(), insert=insert, missing=missing
        )
        assert (share[0], share[-1]) == (0, 1)
        assert heights[:, end] == pytest.approx(whole, abs=1e-6)


def test_curve_without_any_patch_is_the_same_for_every_image():
    _, heights = faithful.probability_curve(tiny_vit(), some_images(), PLAIN, reading_order(), insert=True)
    model = tiny_vit()
    with torch.no_grad():
        token_11D = model.class_token + model.position_1TD[:, :1]
        for block in model.blocks:
            token_11D = block(token_11D)
        probability_K = model.head(model.norm(token_11D[0, 0])).softmax(-1)
        predicted_N = model(normalised(some_images())).argmax(-1)
    assert heights[:, 0] == pytest.approx(probability_K[predicted_N].numpy(), abs=1e-6)


def test_curve_drops_the_tokens_that_the_order_names():
    # Two patches left: the same as a forward pass by hand over class token and those two.
    model, image_NCHW = tiny_vit(), some_images(1)
    order_NP = np.array([[3, 9, *(p for p in range(16) if p not in (3, 9))]])
    share, heights = faithful.probability_curve(model, image_NCHW, PLAIN, order_NP, insert=True)
    with torch.no_grad():
        patch_BPD = model.patchify(normalised(image_NCHW)) + model.position_1TD[:, 1:]
        token_BTD = torch.cat([model.class_token + model.position_1TD[:, :1], patch_BPD[:, [3, 9]]], dim=1)
        for block in model.blocks:
            token_BTD = block(token_BTD)
        by_hand = model.head(model.norm(token_BTD[:, 0])).softmax(-1)[0, model(normalised(image_NCHW)).argmax()]
    assert heights[0, list(share).index(2 / 16)] == pytest.approx(float(by_hand), abs=1e-6)


def test_curve_paints_missing_patches_in_the_mean_colour():
    model, image_NCHW = tiny_vit(), some_images(1)
    share, heights = faithful.probability_curve(
        model, image_NCHW, PLAIN, reading_order(1), insert=False, missing="mean colour"
    )
    painted = normalised(image_NCHW)
    painted[:, :, :8] = 0  # the first four patches in reading order are the top row of a 4 x 4 grid
    with torch.no_grad():
        by_hand = model(painted).softmax(-1)[0, model(normalised(image_NCHW)).argmax()]
    assert heights[0, list(share).index(4 / 16)] == pytest.approx(float(by_hand), abs=1e-6)


def test_curve_leaves_the_model_as_it_was():
    model = tiny_vit().train()
    faithful.probability_curve(model, some_images(1), PLAIN, reading_order(1), insert=True)
    assert model.training
    assert not model.embedding_dropout._forward_hooks


def test_curve_of_many_images_is_that_of_each():
    model, image_NCHW = tiny_vit(), some_images(3)
    order_NP = np.stack([np.random.default_rng(n).permutation(16) for n in range(3)])
    _, together = faithful.probability_curve(model, image_NCHW, PLAIN, order_NP, insert=False)
    for n in range(3):
        _, alone = faithful.probability_curve(model, image_NCHW[n : n + 1], PLAIN, order_NP[n : n + 1], insert=False)
        assert together[n] == pytest.approx(alone[0], abs=1e-6)


@pytest.mark.parametrize("num_steps", [4, 16, 256])
def test_area_of_a_straight_line_does_not_depend_on_the_steps(num_steps):
    share = np.linspace(0, 1, num_steps + 1)
    assert faithful.curve_area(share, (1 - 0.6 * share)[None]) == pytest.approx([0.7])


def test_area_counts_both_ends_half():
    assert faithful.curve_area(np.array([0, 0.5, 1]), np.array([[1.0, 0.0, 1.0]])).tolist() == [0.5]


def test_order_of_puts_the_largest_first_and_breaks_ties_by_chance():
    orders = [faithful.patch_order(np.array([[1.0, 3.0, 1.0, 0.0]]), np.random.default_rng(s))[0] for s in range(20)]
    assert {int(order[0]) for order in orders} == {1}
    assert {int(order[3]) for order in orders} == {3}
    assert {int(order[1]) for order in orders} == {0, 2}


def test_null_maps_are_centred_and_leave_the_image_itself_out():
    maps = faithful.null_maps(np.eye(4)[[0, 1, 1]], (2, 2), np.random.default_rng(0))
    assert list(maps) == list(faithful.NULL_MAPS)
    assert maps["mean map"].tolist() == [[0, 1, 0, 0], [0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0]]
    centre = faithful.null_maps(np.ones((1, 25)), (5, 5), np.random.default_rng(0))["centre"][0].reshape(5, 5)
    assert centre.argmax() == 12
    assert np.allclose(centre, centre.T) and np.allclose(centre, centre[::-1])


def evidence_vit():
    """A ViT that can only look at one patch: class 1 grows with the brightness of what the class token attends to."""
    model = tiny_vit(num_hidden_layers=1, num_attention_heads=1, num_classes=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.patchify.projection.weight[0] = 1.0 / 192  # channel 0 of a token: mean of its patch
        model.position_1TD[0, 0, 1] = 40.0  # channel 1: who the class token is
        block = model.blocks[0]
        block.attention_norm.weight.fill_(1.0)
        width = 24
        block.attention.qkv.weight[0, 1] = 4.0  # the class token asks ...
        block.attention.qkv.weight[width + 0, 0] = 4.0  # ... for bright patches
        block.attention.qkv.weight[2 * width + 0, 0] = 1.0
        block.attention.projection.weight[2, 0] = 1.0
        model.norm.weight.fill_(1.0)
        model.head.weight[1, 2] = 5.0
    return model


def test_judge_prefers_the_map_that_shows_the_evidence():
    model = evidence_vit()
    image_NCHW = torch.full((12, 3, 32, 32), 60, dtype=torch.uint8)
    index_N = np.random.default_rng(0).permutation(16)[:12]
    for n, place in enumerate(index_N):
        row, column = divmod(int(place), 4)
        image_NCHW[n, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 250
    evidence = np.eye(16)[index_N]
    judged = faithful.score_maps(model, image_NCHW, PLAIN, evidence, np.random.default_rng(0))
    found = faithful.compare_with_nulls(judged).set_index(["null", "metric"])
    for null in faithful.NULL_MAPS:
        assert found.loc[(null, "gap"), "low"] > 0
    opposite = faithful.score_maps(model, image_NCHW, PLAIN, 1 - evidence, np.random.default_rng(0))
    assert (faithful.compare_with_nulls(opposite).query("metric == 'gap'")["high"] < 0).all()


def test_judge_is_deterministic_for_a_seed():
    made = [
        faithful.score_maps(tiny_vit(), some_images(2), PLAIN, np.eye(16)[:2], np.random.default_rng(5))
        for _ in range(2)
    ]
    assert made[0].equals(made[1])


def test_against_nulls_pairs_by_image():
    values = {"map": [0.5, 0.9], "random": [0.4, 0.7], "centre": [0.5, 0.9], "mean map": [0.9, 0.5]}
    rows = [
        {"image": n, "map": name, "deletion": 0.0, "insertion": 0.0, "gap": height}
        for name, heights in values.items()
        for n, height in enumerate(heights)
    ]
    found = faithful.compare_with_nulls(pd.DataFrame(rows)).set_index(["null", "metric"])
    assert found.loc[("random", "gap"), "difference"] == pytest.approx(0.15)
    assert found.loc[("centre", "gap"), ["difference", "low", "high"]].tolist() == [0, 0, 0]
    # 12.706 is Student's t at 97.5 % with one degree of freedom; the two differences are 0.1 and 0.2.
    assert found.loc[("random", "gap"), "high"] == pytest.approx(0.15 + 12.706 * 0.05, abs=1e-3)


def test_touching_takes_bottom_and_right_as_exclusive():
    # A box of the pixels 8..15 in both directions is exactly the second patch of the second row.
    assert np.flatnonzero(faithful.touches_box((4, 4), 8, np.array([[8, 8, 16, 16]]))[0]).tolist() == [5]
    assert np.flatnonzero(faithful.touches_box((4, 4), 8, np.array([[7, 8, 17, 16]]))[0]).tolist() == [1, 5, 9]


def test_pointing_game_counts_what_the_strongest_patch_touches():
    box_N4 = np.array([[8, 8, 16, 16], [0, 0, 8, 8]])
    played = faithful.pointing_game(np.eye(16)[[5, 5]], (4, 4), 8, box_N4, np.random.default_rng(0))
    assert played["map"].tolist() == [True, False]
    assert played["chance"].tolist() == [1 / 16, 1 / 16]


def test_pointing_game_with_random_maps_hits_at_the_base_rate():
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 24, (4000, 2))
    played = faithful.pointing_game(rng.random((4000, 16)), (4, 4), 8, np.hstack([corner, corner + 8]), rng)
    assert played["map"].mean() == pytest.approx(played["chance"].mean(), abs=0.02)
    assert played["random"].mean() == pytest.approx(played["chance"].mean(), abs=0.02)
