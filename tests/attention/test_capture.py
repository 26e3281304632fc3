"""Captured attention is what the blocks really use, and capturing leaves no trace.

Kinds: agrees with an independent reference, is deterministic, obeys a property, refuses with the right words.
Shapes: B images, N heads, T tokens.
"""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from vitsweep.analysis.attention import maps
from vitsweep.analysis.attention.rollout import RolloutError, relevance, rollout

from vitsweep.config.schema import ModelConfig
from vitsweep.model.vit import ViT, capture_attention

PLAIN = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
READOUT_T = torch.eye(17)[0]  # of a class token before 16 patches


def tiny_vit(**changes):
    sizes = {"patch_size": 8, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}
    model = ViT(ModelConfig(intermediate_size=32, **(sizes | changes)), seed=3)
    # Larger queries and keys than at initialisation: attention that is far from uniform.
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight.mul_(20)
    return model


def some_images(count=5, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


def tapped(model, image_BCHW):
    """Queries, keys, values and the mixed values of each block, by hooks of our own, with captured
    attention."""
    wide, mixed, handles = [], [], []
    for block in model.blocks:
        handles.append(block.attention.qkv.register_forward_hook(lambda _, __, out: wide.append(out)))
        handles.append(block.attention.projection.register_forward_pre_hook(lambda _, ins: mixed.append(ins[0])))
    with torch.no_grad(), capture_attention(model) as attention:
        model(image_BCHW)
    for handle in handles:
        handle.remove()
    B, T, width = mixed[0].shape
    heads = model.config.num_attention_heads
    split = [w.view(B, T, 3, heads, width // heads).permute(2, 0, 3, 1, 4) for w in wide]  # 3BNTE
    return attention, split, mixed


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("method", ["conv", "linear"])
def test_captured_attention_times_values_is_the_block_s_own_output(dtype, tolerance, method):
    model = tiny_vit(patchify_method=method).to(dtype)
    attention, split, mixed = tapped(model, torch.randn(2, 3, 32, 32, dtype=dtype))
    for matrix, (_, _, value_BNTE), output_BTD in zip(attention, split, mixed, strict=True):
        recomputed_BTD = (matrix @ value_BNTE).transpose(1, 2).flatten(2)
        torch.testing.assert_close(recomputed_BTD, output_BTD, rtol=0, atol=tolerance)


def test_captured_attention_agrees_with_the_fused_kernel():
    # With the identity as values, scaled_dot_product_attention returns the attention itself.
    attention, split, _ = tapped(tiny_vit().double(), torch.randn(2, 3, 32, 32, dtype=torch.float64))
    for matrix, (query, key, _) in zip(attention, split, strict=True):
        eye = torch.eye(matrix.shape[-1], dtype=torch.float64).expand_as(matrix)
        fused = F.scaled_dot_product_attention(query, key, eye)
        torch.testing.assert_close(matrix, fused, rtol=0, atol=1e-12)


def test_captured_attention_is_fp32_also_when_the_model_runs_in_bf16():
    model = tiny_vit()
    with torch.no_grad(), capture_attention(model) as attention, torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(2, 3, 32, 32))
    for matrix in attention:
        assert matrix.dtype == torch.float32
        torch.testing.assert_close(matrix.sum(-1), torch.ones(matrix.shape[:-1]))


@pytest.mark.parametrize("autocast", [True, False])
def test_attention_and_rollout_of_a_bf16_model_are_exact_to_fp32(autocast):
    """Against fp64 arithmetic on the queries and keys that the bf16 model really has."""
    model = tiny_vit() if autocast else tiny_vit().bfloat16()
    image_BCHW = torch.randn(2, 3, 32, 32, dtype=torch.float32 if autocast else torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        attention, split, _ = tapped(model, image_BCHW)
    assert split[0].dtype == torch.bfloat16
    exact = []
    for q_BNTE, k_BNTE, _ in (parts.double() for parts in split):
        exact.append((q_BNTE @ k_BNTE.transpose(-2, -1) / q_BNTE.shape[-1] ** 0.5).softmax(-1))
    for matrix, expected in zip(attention, exact, strict=True):
        assert matrix.dtype == torch.float32
        torch.testing.assert_close(matrix.double(), expected, rtol=0, atol=1e-5)
    found, expected = rollout(attention, READOUT_T), rollout(exact, READOUT_T.double())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_capture_does_not_change_the_result():
    model, image = tiny_vit().eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = model(image)
        with capture_attention(model):
            during = model(image)
        torch.testing.assert_close(before, during)  # the last block answers all tokens when watched
        assert torch.equal(before, model(image))


def test_capture_reduces_each_block_at_once():
    model, image = tiny_vit(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        with capture_attention(model) as whole:
            model(image)
        with capture_attention(model, lambda attention: attention.mean(1)) as fused:
            model(image)
    for matrix, mean in zip(whole, fused, strict=True):
        assert torch.equal(matrix.mean(1), mean)


def test_capture_holds_one_pass_at_a_time():
    model = tiny_vit()
    with torch.no_grad(), capture_attention(model) as attention:
        model(torch.randn(2, 3, 32, 32))
        model(torch.randn(5, 3, 32, 32))
        assert [tuple(matrix.shape) for matrix in attention] == [(5, 4, 17, 17)] * 3


@pytest.mark.parametrize("leave", ["at the end", "by an exception"])
def test_capture_restores_modes_hooks_and_gradients(leave):
    model = tiny_vit().train()
    model.blocks[1].eval()
    model.head.weight.requires_grad_(False)
    before = state_of(model)
    try:
        with capture_attention(model), maps.alpha_hooks(model):
            assert not any(module.training for module in model.modules())
            if leave == "by an exception":
                raise KeyError
    except KeyError:
        pass
    assert state_of(model) == before


def state_of(model):
    return [
        (
            name,
            module.training,
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            vars(module).get("attention_hook"),
        )
        for name, module in model.named_modules()
    ] + [(name, parameter.requires_grad, parameter.grad is None) for name, parameter in model.named_parameters()]


@pytest.mark.parametrize("variant", maps.VARIANTS)
def test_look_leaves_the_model_alone_and_repeats_itself(variant):
    model = tiny_vit().train()
    before = state_of(model)
    first = maps.attention_maps(model, some_images(), PLAIN, variant=variant)
    second = maps.attention_maps(model, some_images(), PLAIN, variant=variant)
    assert state_of(model) == before
    assert (first.mass_NT == second.mass_NT).all()


@pytest.mark.parametrize("variant", maps.VARIANTS)
@pytest.mark.parametrize("count", [1, 17])  # 17 tokens: a batch as long as the sequence
def test_look_at_many_images_is_looking_at_each(variant, count):
    model, image_NCHW = tiny_vit(), some_images(count)
    together = maps.attention_maps(model, image_NCHW, PLAIN, variant=variant)
    for n in range(count):
        alone = maps.attention_maps(model, image_NCHW[n : n + 1], PLAIN, variant=variant)
        assert together.mass_NT[n] == pytest.approx(alone.mass_NT[0], abs=1e-6)
        assert together.logit_NK[n] == pytest.approx(alone.logit_NK[0], abs=1e-5)


def test_look_in_chunks_is_looking_at_once(monkeypatch):
    model, image_NCHW = tiny_vit(), some_images(7)
    whole = maps.attention_maps(model, image_NCHW, PLAIN)
    monkeypatch.setattr(maps, "CHUNK", 3)
    assert maps.attention_maps(model, image_NCHW, PLAIN).mass_NT == pytest.approx(whole.mass_NT, abs=1e-6)


def test_look_calibrated_weighs_each_token_s_residual_by_its_norm():
    model, image_NCHW = tiny_vit().double(), some_images(2)
    inputs, outputs = [], []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        block.attention.register_forward_hook(lambda _, __, out: outputs.append(out))
    with torch.no_grad(), capture_attention(model) as attention:
        model((image_NCHW.double() / 255 - 0.5) / 0.25)
        expected = READOUT_T.double().expand(2, -1).unsqueeze(1)
        for matrix, x, y in zip(attention[::-1], inputs[::-1], outputs[::-1], strict=True):
            x = x[:, : y.shape[1]]  # the last block answers only what the head reads
            alpha = (x.norm(dim=-1) / (x.norm(dim=-1) + y.norm(dim=-1))).expand(2, 17)
            alpha = torch.diag_embed(alpha)
            expected = expected @ (alpha + (torch.eye(17) - alpha) @ matrix.mean(1))
    found = maps.attention_maps(model.float(), image_NCHW, PLAIN, variant="calibrated")
    assert found.mass_NT == pytest.approx(expected.squeeze(1).numpy(), abs=1e-5)


def test_look_relevance_takes_each_image_s_own_gradient():
    model, image_NCHW = tiny_vit(), some_images(3)
    found = maps.attention_maps(model, image_NCHW, PLAIN, variant="relevance")
    with capture_attention(model) as attention:
        logit_BK = model((image_NCHW.float() / 255 - 0.5) / 0.25)
        for n in range(3):
            slopes = torch.autograd.grad(logit_BK[n].max(), attention, retain_graph=True)
            alone_BT = relevance(attention, slopes, READOUT_T)
            assert found.mass_NT[n] == pytest.approx(alone_BT[n].detach().numpy(), rel=1e-4, abs=1e-7)


def test_layer_rows_end_in_the_rollout():
    model, image_NCHW = tiny_vit(), some_images(2)
    found = maps.run_passes(model, image_NCHW, PLAIN, lambda seen: {"film": maps.layer_rows(seen)})
    assert found["film"][:, -1] == pytest.approx(maps.attention_maps(model, image_NCHW, PLAIN).mass_NT, abs=1e-6)


def test_head_rows_average_to_the_raw_last_layer():
    model, image_NCHW = tiny_vit(), some_images(2)
    found = maps.run_passes(model, image_NCHW, PLAIN, lambda seen: {"heads": maps.head_rows(seen)})
    last = maps.attention_maps(model, image_NCHW, PLAIN, variant="last").mass_NT
    assert found["heads"][:, -1].mean(1) == pytest.approx(last, abs=1e-6)


def test_attention_distance_of_uniform_attention_is_the_mean_over_pairs():
    model = tiny_vit(patch_size=16)  # four patches: distance 0 once, 16 twice, 16 * sqrt(2) once
    uniform = [torch.full((1, 4, 5, 5), 0.2)]
    expected = (0 + 16 + 16 + 16 * 2**0.5) / 4
    assert maps.attention_distance(uniform, model).tolist() == [[[pytest.approx(expected)] * 4]]


@pytest.mark.parametrize(("patch_size", "documented"), [(4, "16.55"), (8, "16.06")])
def test_attention_distance_of_uniform_attention_depends_on_the_grid_as_the_docs_say(patch_size, documented):
    model = tiny_vit(patch_size=patch_size)
    tokens = (32 // patch_size) ** 2 + 1
    uniform = torch.full((1, 4, tokens, tokens), 1 / tokens)
    assert f"{maps.attention_distance([uniform], model).mean().item():.2f}" == documented
    assert documented in (Path(__file__).parents[2] / "docs" / "rollout.md").read_text()


def test_attention_distance_of_patches_that_look_at_themselves_is_zero():
    assert maps.attention_distance([torch.eye(17).expand(1, 4, 17, 17)], tiny_vit()).abs().max() == 0


def test_rollout_of_a_readout_over_patches_differs_from_the_class_token_s():
    # A model that averages its patches needs no other code than another readout.
    model, image_NCHW = tiny_vit(), some_images(2)
    mean_T = torch.tensor([0.0] + [1 / 16] * 16)
    found = maps.run_passes(model, image_NCHW, PLAIN, lambda seen: {"mass": rollout(seen.attention, mean_T)})
    assert found["mass"].sum(1) == pytest.approx([1.0, 1.0], abs=1e-5)
    assert abs(found["mass"] - maps.attention_maps(model, image_NCHW, PLAIN).mass_NT).max() > 1e-3


@pytest.mark.parametrize(
    ("model", "size", "variant", "words"),
    [
        (torch.nn.Linear(3, 2), 32, "rollout", "model=Linear  has no attention blocks"),
        (tiny_vit(), 16, "rollout", r"images  have shape \(3, 16, 16\); this model takes \(3, 32, 32\)"),
        (tiny_vit(), 32, "gradcam", "variant='gradcam'  is unknown; allowed: calibrated, last, max"),
    ],
)
def test_look_refuses(model, size, variant, words):
    with pytest.raises(RolloutError, match=words):
        maps.attention_maps(model, some_images(size=size), PLAIN, variant=variant)


def test_look_refuses_attention_that_is_not_finite():
    model = tiny_vit()
    with torch.no_grad():
        model.blocks[0].attention.qkv.weight[0, 0] = torch.nan
    with pytest.raises(RolloutError, match="holds NaN"):
        maps.attention_maps(model, some_images(), PLAIN)
