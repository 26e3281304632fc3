"""The whole chain against a known truth: a tiny ViT learns the built-in shapes, and its rollout must find the shape.

Kind: agrees with an independent reference, the place of the telling shape, which CIFAR-10 does not have.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from vitsweep.analysis.attention import faithful, maps

from vitsweep.config.schema import ModelConfig
from vitsweep.data.augment import augment, normalize
from vitsweep.data.shapes import make_shapes
from vitsweep.model.vit import ViT

pytestmark = pytest.mark.slow  # trains for 30 s; rollout and its measures have references of their own

HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
STEPS, BATCH, TEST_IMAGES = 320, 48, 500


@pytest.fixture(scope="module")
def planted():
    """A trained two-block ViT with the test images and the boxes of their shapes."""
    torch.set_num_threads(1)
    images = make_shapes(STEPS * BATCH, TEST_IMAGES, seed=0)  # every image is seen once
    image_NCHW, label_N = torch.from_numpy(images.image_NCHW), torch.from_numpy(images.label_N)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 8}
    model = ViT(ModelConfig(patch_size=4, hidden_dropout_prob=0.0, **sizes), seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    generator = torch.Generator().manual_seed(0)
    for step, index_B in enumerate(torch.randperm(STEPS * BATCH, generator=generator).view(STEPS, BATCH)):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 30, 1.1 * (1 - step / STEPS))
        seen_BCHW = augment(image_NCHW[index_B], generator, crop_padding=4, horizontal_flip=True)
        F.cross_entropy(model(normalize(seen_BCHW, **HALF)), label_N[index_B]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), image_NCHW[-TEST_IMAGES:], label_N[-TEST_IMAGES:], images.box_N4[-TEST_IMAGES:]


def played(planted, variant):
    model, image_NCHW, _, box_N4 = planted
    found = maps.attention_maps(model, image_NCHW, HALF, variant=variant)
    return faithful.pointing_game(found.patches, found.grid, 4, box_N4, np.random.default_rng(0)).mean()


def test_planted_model_has_learned_the_shapes(planted):
    model, image_NCHW, label_N, _ = planted
    assert (maps.attention_maps(model, image_NCHW, HALF).logit_NK.argmax(1) == label_N.numpy()).mean() >= 0.85


def test_rollout_points_at_the_planted_shape(planted):
    assert played(planted, "rollout")["map"] >= 0.9


def test_rollout_with_calibrated_residual_points_at_the_planted_shape(planted):
    assert played(planted, "calibrated")["map"] >= 0.9


def test_null_maps_hit_the_planted_shape_at_their_base_rates(planted):
    hits = played(planted, "rollout")
    assert hits["random"] == pytest.approx(hits["chance"], abs=0.05)
    assert max(hits[name] for name in faithful.NULL_MAPS) < 0.6  # the middle of the image is crossed often


def test_rollout_is_more_faithful_than_every_null_map(planted):
    model, image_NCHW, _, _ = planted
    patch_NP = maps.attention_maps(model, image_NCHW[:64], HALF).patches
    judged = faithful.score_maps(model, image_NCHW[:64], HALF, patch_NP, np.random.default_rng(0))
    gap = faithful.compare_with_nulls(judged).query("metric == 'gap'")
    assert (gap["low"] > 0).all()
