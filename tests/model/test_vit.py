"""The model agrees with timm's, is deterministic, and obeys what its parts promise."""

import dataclasses
import math

import pytest
import timm
import torch
from torch import Tensor

from vitsweep.config.schema import ModelConfig
from vitsweep.model.cost import count_parameters, flops_per_image
from vitsweep.model.patchify import conv_to_linear
from vitsweep.model.vit import ViT, capture_attention
from vitsweep.seeding import make_generator

SMALL = ModelConfig(patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
NO_DROPOUT = {"hidden_dropout_prob": 0.0}


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def small(**changes) -> ViT:
    return ViT(dataclasses.replace(SMALL, **changes), seed=0)


def timm_twin(model: ViT) -> torch.nn.Module:
    """timm's VisionTransformer with our weights."""
    config = model.config
    twin = timm.models.vision_transformer.VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        num_classes=config.num_classes,
        embed_dim=config.hidden_size,
        depth=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        mlp_ratio=config.intermediate_size / config.hidden_size,
        qkv_bias=config.bias,
        proj_bias=config.bias,
    )
    names = {
        "class_token": "cls_token",
        "position_1TD": "pos_embed",
        "patchify.projection": "patch_embed.proj",
        "attention_norm": "norm1",
        "attention.qkv": "attn.qkv",
        "attention.projection": "attn.proj",
        "mlp_norm": "norm2",
        "mlp.hidden": "mlp.fc1",
        "mlp.output": "mlp.fc2",
    }
    state = {}
    for name, tensor in model.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[name] = tensor
    missing, unexpected = twin.load_state_dict(state, strict=False)
    assert not unexpected
    # proj_bias also decides over timm's MLP biases, so that without bias nothing may be missing either.
    assert not missing
    return twin.eval()


def shaken(model: ViT) -> ViT:
    """Random biases and norms, which are 0 and 1 after initialisation and would hide a wrong name."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def test_vit_has_the_starting_configurations_parameters():
    assert sum(p.numel() for p in ViT(ModelConfig()).parameters()) == 4_249_354


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("depth", [2, 8])
@pytest.mark.parametrize("patch_size", [4, 8])
def test_vit_agrees_with_timm(patch_size, depth, bias):
    model = shaken(ViT(ModelConfig(patch_size=patch_size, num_hidden_layers=depth, bias=bias)))
    torch.testing.assert_close(model(images()), timm_twin(model)(images()), atol=1e-5, rtol=1e-5)


def test_vit_gradients_agree_with_timm():
    model = shaken(ViT(ModelConfig(num_hidden_layers=2)))
    twin = timm_twin(model)
    model(images()).square().sum().backward()
    twin(images()).square().sum().backward()
    ours, theirs = model.patchify.projection.weight.grad, twin.patch_embed.proj.weight.grad
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_patchify_conv_and_linear_are_one_function():
    conv = shaken(small())
    linear = small(patchify_method="linear").eval()
    state = conv.state_dict()
    state["patchify.projection.weight"] = conv_to_linear(state["patchify.projection.weight"])
    linear.load_state_dict(state)
    torch.testing.assert_close(conv(images()), linear(images()), atol=1e-5, rtol=1e-5)


def test_patchify_conv_and_linear_start_differently():
    conv, linear = small().state_dict(), small(patchify_method="linear").state_dict()
    name = "patchify.projection.weight"
    assert not torch.equal(conv_to_linear(conv[name]), linear[name])
    others = [n for n in conv if not n.startswith("patchify")]
    assert all(torch.equal(conv[n], linear[n]) for n in others)


def test_vit_seed_decides_the_weights():
    first, again, other = small(), small(), ViT(SMALL, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)


def test_vit_arms_share_the_weights_they_have_in_common():
    shallow, deep = small().state_dict(), small(num_hidden_layers=4).state_dict()
    assert all(torch.equal(shallow[name], deep[name]) for name in shallow)


@pytest.mark.parametrize("changes", [{}, {"bias": False}, {"patch_size": 4}, {"patchify_method": "linear"}])
def test_cost_counts_the_models_parameters(changes):
    model = small(**changes)
    assert count_parameters(model.config) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("changes", [{}, {"patch_size": 4}, {"num_hidden_layers": 3}])
def test_cost_agrees_with_torchs_flop_counter(changes):
    from torch.utils.flop_counter import FlopCounterMode

    def count_linear(x_shape, weight_shape, *_, **__) -> int:  # the one operator of ours that torch does not count
        return 2 * math.prod(x_shape) * weight_shape[0]

    model = small(**changes).eval()
    counted = {torch.ops.mkldnn._linear_pointwise: count_linear}
    with FlopCounterMode(display=False, custom_mapping=counted) as counter, torch.no_grad():
        model(images(1))
    assert flops_per_image(model.config) == counter.get_total_flops()


@pytest.mark.parametrize(
    "place", ["embedding", "attention_probs", "attention_output", "mlp_hidden", "mlp_output", "head"]
)
def test_dropout_at_each_place_changes_training_and_not_evaluation(place):
    plain = small(**NO_DROPOUT)
    dropped = small(**NO_DROPOUT, **{f"{place}_dropout_prob": 0.5})
    torch.manual_seed(0)
    assert not torch.equal(plain.train()(images()), dropped.train()(images()))
    assert torch.equal(plain.eval()(images()), dropped.eval()(images()))


def test_capture_restores_the_mode_and_the_watchers_after_an_exception():
    model = small().train()
    with pytest.raises(RuntimeError, match="stop"), capture_attention(model):
        assert not model.training
        raise RuntimeError("stop")
    assert model.training and all(block.attention.attention_hook is None for block in model.blocks)


def test_capture_sees_one_stochastic_matrix_a_block_and_the_last_pass_alone():
    model = small()
    with torch.no_grad(), capture_attention(model) as attention:
        model(images(3))
        model(images(2))
    assert [tuple(a.shape) for a in attention] == [(2, 4, 17, 17)] * 2
    torch.testing.assert_close(attention[0].sum(-1), torch.ones(2, 4, 17))


def test_capture_changes_no_logit():
    model = small().eval()
    plain = model(images())
    with capture_attention(model):
        watched = model(images())
    torch.testing.assert_close(plain, watched)  # the last block answers all tokens when watched


def test_matrices_start_normal_whatever_torch_draws_for_a_truncated_normal(monkeypatch):
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", None)  # its numbers differ between torch versions
    found = dict(ViT(ModelConfig(), seed=5).named_parameters())
    for name in ("class_token", "head.weight", "blocks.0.mlp.hidden.weight"):
        expected = 0.02 * torch.randn(found[name].shape, generator=make_generator(5, "init", name))
        torch.testing.assert_close(found[name].data, expected)
