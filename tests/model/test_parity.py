"""With the same weights the ViT's logits are those of timm, vit-pytorch and Hugging Face, option by option, to 1e-5."""

from functools import partial

import pytest
import timm.layers
import torch
from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock, VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    ViTConfig,
    ViTForImageClassification,
)
from vit_pytorch import SimpleViT
from vit_pytorch.cct import CCT
from vit_pytorch.vit_for_small_dataset import LSA

from tests.support.model_options import SIZES, small_config
from vitsweep.config.schema import ModelConfig
from vitsweep.model.attention import Attention
from vitsweep.model.vit import ViT

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
HF_SIZES = {**SIZES, "image_size": 32}


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def perturbed(**changes) -> ViT:
    """A small model in eval mode whose every parameter is random: zeros and ones would hide a wrong name."""
    model, generator = ViT(small_config(**changes)), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def load(twin: nn.Module, state: dict[str, Tensor], ignored: tuple[str, ...] = ()) -> nn.Module:
    """Load all of a state; nothing may be missing or left over."""
    missing, unexpected = twin.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= set(ignored)
    return twin.eval()


def renamed(model: ViT, names: dict[str, str]) -> dict[str, Tensor]:
    """The state with each of the names in it replaced, in order."""
    state = {}
    for name, tensor in model.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[name] = tensor
    return state


TIMM_NAMES = {
    "class_token": "cls_token",
    "register_token": "reg_token",
    "position_1TD": "pos_embed",
    "patchify.projection": "patch_embed.proj",
    "pool.probe": "attn_pool.latent",
    "pool.query": "attn_pool.q",
    "pool.key_value": "attn_pool.kv",
    "pool.projection": "attn_pool.proj",
    "pool.norm": "attn_pool.norm",
    "pool.mlp": "attn_pool.mlp",
    "attention_norm": "norm1",
    "attention_scale": "ls1.gamma",
    "attention.qkv": "attn.qkv",
    "attention.q_norm": "attn.q_norm",
    "attention.k_norm": "attn.k_norm",
    "attention.projection": "attn.proj",
    "attention.relative_bias.table_NO": "attn.rel_pos.relative_position_bias_table",
    "mlp_norm": "norm2",
    "mlp_scale": "ls2.gamma",
    "mlp.hidden": "mlp.fc1",
    "mlp.output": "mlp.fc2",
}
RMS = partial(timm.layers.RmsNorm, eps=1e-6)
SWIGLU = {
    "mlp_layer": partial(timm.layers.GluMlp, gate_last=False),
    "act_layer": nn.SiLU,
    "mlp_ratio": 2 * 32 / 32,  # of both halves together: SwiGLU of 48 has 32
}
TIMM = {
    "base": ({}, {}),
    "no qkv bias": ({"qkv_bias": False}, {"qkv_bias": False}),
    "avg": ({"global_pool": "avg"}, {"global_pool": "avg", "class_token": False, "fc_norm": False}),
    "avg, fc_norm": (
        {"global_pool": "avg", "final_norm": False, "fc_norm": True},
        {"global_pool": "avg", "class_token": False},
    ),
    "map": ({"global_pool": "map"}, {"global_pool": "map", "class_token": False}),
    "no final norm": ({"final_norm": False}, {"final_norm": False}),
    "registers": ({"num_register_tokens": 4}, {"reg_tokens": 4, "no_embed_class": False}),
    "qk_norm": ({"qk_norm": True}, {"qk_norm": True}),
    "LayerScale": ({"layerscale_value": 0.1}, {"init_values": 0.1}),
    "RMSNorm": ({"norm_layer": "rmsnorm"}, {"norm_layer": RMS}),
    "RMSNorm, qk_norm": ({"norm_layer": "rmsnorm", "qk_norm": True}, {"norm_layer": RMS, "qk_norm": True}),
    "res-post": ({"norm_place": "res_post"}, {"block_fn": ResPostBlock}),
    "ReLU": ({"hidden_act": "relu"}, {"act_layer": nn.ReLU}),
    "SiLU": ({"hidden_act": "silu"}, {"act_layer": nn.SiLU}),
    "tanh GELU": ({"hidden_act": "gelu_pytorch_tanh"}, {"act_layer": partial(nn.GELU, approximate="tanh")}),
    "SwiGLU": ({"use_swiglu_ffn": True}, SWIGLU),
    "drop_path in eval": ({"drop_path_rate": 0.5}, {"drop_path_rate": 0.5}),
    "patch_drop in eval": ({"patch_drop_rate": 0.5}, {"patch_drop_rate": 0.5}),
    "all at once": (
        {"norm_layer": "rmsnorm", "qk_norm": True, "layerscale_value": 0.1, "num_register_tokens": 2},
        {"norm_layer": RMS, "qk_norm": True, "init_values": 0.1, "reg_tokens": 2},
    ),
}


def timm_sizes(config: ModelConfig) -> dict:
    return {
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "num_classes": config.num_classes,
        "embed_dim": config.hidden_size,
        "depth": config.num_hidden_layers,
        "num_heads": config.num_attention_heads,
        "mlp_ratio": config.intermediate_size / config.hidden_size,
    }


@pytest.mark.parametrize("option", TIMM)
def test_logits_agree_with_timm(option):
    changes, theirs = TIMM[option]
    model = perturbed(**changes)
    twin = VisionTransformer(**(timm_sizes(model.config) | theirs))
    state = renamed(model, TIMM_NAMES)
    if registers := model.config.num_register_tokens:  # timm's have positions, ours would be redundant
        class_11D, patch_1PD = state["pos_embed"].split([1, model.config.num_patches], dim=1)
        state["pos_embed"] = torch.cat([class_11D, torch.zeros(1, registers, 32), patch_1PD], dim=1)
    torch.testing.assert_close(model(images()), load(twin, state)(images()), **CLOSE)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_logits_with_relative_bias_agree_with_timm(pool):
    model = perturbed(pos_embed="relative", global_pool=pool)
    twin = VisionTransformerRelPos(
        **timm_sizes(model.config),
        global_pool=pool,
        class_token=pool == "token",
        fc_norm=False,
        rel_pos_type="bias",
        init_values=None,
    )
    state = {
        name: tensor.t() if name.endswith("bias_table") else tensor
        for name, tensor in renamed(model, TIMM_NAMES).items()
    }
    torch.testing.assert_close(model(images()), load(twin, state)(images()), **CLOSE)


PARALLEL_NAMES = TIMM_NAMES | {
    "attention_norm": "in_norm",
    "attention.q_norm": "q_norm",
    "attention.k_norm": "k_norm",
    "attention.projection": "attn_out_proj",
    "mlp.output": "mlp_out_proj",
    "attention_scale": "ls.gamma",
}


@pytest.mark.parametrize("option", ["base", "no qkv bias", "RMSNorm, qk_norm", "LayerScale"])
def test_logits_of_parallel_blocks_agree_with_timm(option):
    """Theirs have one matrix for queries, keys, values and the MLP's hidden layer, and one LayerScale."""
    changes, theirs = TIMM[option]
    model = perturbed(parallel_block=True, **changes)
    twin = VisionTransformer(**timm_sizes(model.config) | theirs, block_fn=ParallelScalingBlock)
    if option == "LayerScale":
        for block in model.blocks:
            block.mlp_scale.data.copy_(block.attention_scale)
    state = {n: t for n, t in renamed(model, PARALLEL_NAMES).items() if "ls2" not in n}
    for name in [name for name in state if "mlp.fc1" in name]:
        hidden, qkv = state.pop(name), state.pop(name.replace("mlp.fc1", "attn.qkv"), None)
        if qkv is None:
            state[name.replace("mlp.fc1.", "mlp_")] = hidden
        else:
            state[name.replace("mlp.fc1", "in_proj")] = torch.cat([hidden, qkv])
    torch.testing.assert_close(model(images()), load(twin, state)(images()), **CLOSE)


def with_eps(twin: nn.Module, eps: float = 1e-6) -> nn.Module:
    """Give the layer norms of the blocks our epsilon."""
    for name, module in twin.named_modules():
        if isinstance(module, nn.LayerNorm) and "patch_embedding" not in name:
            module.eps = eps
    return twin


@pytest.mark.parametrize("positions", ["learned", "sincos1d", "none"])
@pytest.mark.parametrize("num_blocks", [1, 2])
def test_logits_of_cct_agree_with_vit_pytorch(num_blocks, positions):
    model = perturbed(
        patchify_method="cct",
        patch_size=2**num_blocks,
        global_pool="seqpool",
        norm_place="cct",
        qkv_bias=False,
        pos_embed=positions,
        intermediate_size=64,
    )
    twin = CCT(
        img_size=32,
        embedding_dim=32,
        n_conv_layers=num_blocks,
        kernel_size=3,
        stride=1,
        padding=1,
        num_layers=2,
        num_heads=4,
        mlp_ratio=2,
        num_classes=10,
        positional_embedding={"learned": "learnable", "sincos1d": "sine", "none": "none"}[positions],
    )
    names = {
        "patchify.blocks.": "tokenizer.conv_layers.",
        "position_1TD": "classifier.positional_emb",
        "pool.score": "classifier.attention_pool",
        "blocks.": "classifier.blocks.",
        "tokenizer.conv_layers.classifier.blocks.": "tokenizer.conv_layers.",
        "attention_norm": "pre_norm",
        "attention.qkv": "self_attn.qkv",
        "attention.projection": "self_attn.proj",
        "mlp_norm": "norm1",
        "mlp.hidden": "linear1",
        "mlp.output": "linear2",
        "head.": "classifier.fc.",
    }
    state = {("classifier." + n if n.startswith("norm.") else n): t for n, t in renamed(model, names).items()}
    twin = load(with_eps(twin), state, ignored=("classifier.positional_emb",) * (positions == "sincos1d"))
    torch.testing.assert_close(model(images()), twin(images()), **CLOSE)


def test_logits_of_simple_vit_agree_with_vit_pytorch():
    model = perturbed(patchify_method="linear_norm", pos_embed="sincos2d", global_pool="avg", qkv_bias=False)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.projection.bias.zero_()  # theirs has none
    twin = SimpleViT(image_size=32, patch_size=8, num_classes=10, dim=32, depth=2, heads=4, mlp_dim=48, dim_head=8)
    names = {
        "patchify.patch_norm": "to_patch_embedding.1",
        "patchify.projection": "to_patch_embedding.2",
        "patchify.token_norm": "to_patch_embedding.3",
        "attention_norm": "0.norm",
        "attention.qkv": "0.to_qkv",
        "attention.projection": "0.to_out",
        "mlp_norm": "1.net.0",
        "mlp.hidden": "1.net.1",
        "mlp.output": "1.net.3",
        "blocks.": "transformer.layers.",
        "head.": "linear_head.",
    }
    state = {("transformer." + n if n.startswith("norm.") else n): t for n, t in renamed(model, names).items()}
    state = {name: tensor for name, tensor in state.items() if not name.endswith("to_out.bias")}
    order_P = torch.arange(3 * 64).view(3, 64).t().flatten()  # their patches have the color last
    for name in ("1.weight", "1.bias", "2.weight"):
        state[f"to_patch_embedding.{name}"] = state[f"to_patch_embedding.{name}"][..., order_P]
    torch.testing.assert_close(model(images()), load(with_eps(twin), state)(images()), **CLOSE)


def test_lsa_agrees_with_vit_pytorch_at_one_temperature_for_all_heads():
    torch.manual_seed(0)
    ours = Attention(small_config(lsa=True, qkv_bias=False)).eval()
    theirs = LSA(32, heads=4, dim_head=8).eval()
    theirs.norm = nn.Identity()
    with torch.no_grad():
        ours.lsa.temperature_N11.fill_(0.7)
        theirs.temperature.fill_(torch.tensor(0.7).log())
        theirs.to_qkv.weight.copy_(ours.qkv.weight)
        theirs.to_out[0].weight.copy_(ours.projection.weight)
        theirs.to_out[0].bias.copy_(ours.projection.bias)
    token_BLD = torch.randn(2, 17, 32)
    torch.testing.assert_close(ours(token_BLD), theirs(token_BLD), **CLOSE)


def split_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values as three matrices."""
    found = {}
    for name, tensor in state.items():
        if ".qkv." in name:
            found |= {name.replace(".qkv.", f".{p}_proj."): x for p, x in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            found[name] = tensor
    return found


HF_NAMES = {"attention.projection": "attention.o_proj", "class_token": "embeddings.cls_token"}


def hf_vit_twin(model: ViT) -> nn.Module:
    sizes = {name: getattr(model.config, name) for name in HF_SIZES}
    twin = ViTForImageClassification(ViTConfig(**sizes, num_labels=10, layer_norm_eps=1e-6))
    names = {
        "position_1TD": "embeddings.position_embeddings",
        "patchify.": "embeddings.patch_embeddings.",
        "attention_norm": "layernorm_before",
        "mlp_norm": "layernorm_after",
        "mlp.hidden": "mlp.fc1",
        "mlp.output": "mlp.fc2",
        "blocks.": "layers.",
        **HF_NAMES,
    }
    state = {f"vit.{n}": t for n, t in split_qkv(renamed(model, names)).items() if not n.startswith(("head", "norm."))}
    state |= {f"vit.layernorm.{n}": t for n, t in model.norm.state_dict().items()}
    state |= {f"classifier.{n}": t for n, t in model.head.state_dict().items()}
    return load(twin, state)


def test_logits_agree_with_hugging_face():
    model = perturbed()
    torch.testing.assert_close(model(images()), hf_vit_twin(model)(images()).logits, **CLOSE)


def test_gradients_agree_with_hugging_face():
    model = perturbed()
    twin = hf_vit_twin(model)
    model(images()).square().sum().backward()
    twin(images()).logits.square().sum().backward()
    ours, theirs = model.patchify.projection.weight.grad, twin.vit.embeddings.patch_embeddings.projection.weight.grad
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    ours, theirs = model.blocks[1].mlp.output.weight.grad, twin.vit.layers[1].mlp.fc2.weight.grad
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_registers_and_layer_scale_agree_with_dinov2():
    model = perturbed(num_register_tokens=4, layerscale_value=0.1, intermediate_size=64)
    sizes = {name: value for name, value in HF_SIZES.items() if name != "intermediate_size"}
    config = Dinov2WithRegistersConfig(**sizes, mlp_ratio=2, num_register_tokens=4, layer_norm_eps=1e-6)
    names = {
        "position_1TD": "embeddings.position_embeddings",
        "register_token": "embeddings.register_tokens",
        "patchify.": "embeddings.patch_embeddings.",
        "attention_norm": "norm1",
        "attention_scale": "layer_scale1.lambda1",
        "mlp_norm": "norm2",
        "mlp_scale": "layer_scale2.lambda1",
        "mlp.hidden": "mlp.fc1",
        "mlp.output": "mlp.fc2",
        "blocks.": "encoder.layer.",
        **HF_NAMES,
    }
    state = split_qkv(renamed(model, names))
    state = {("layer" + n if n.startswith("norm.") else n): t for n, t in state.items() if not n.startswith("head")}
    twin = load(Dinov2WithRegistersModel(config), state, ignored=("embeddings.mask_token",))
    theirs = model.head(twin(images()).last_hidden_state[:, 0])
    torch.testing.assert_close(model(images()), theirs, **CLOSE)


@pytest.mark.parametrize("num_registers", [0, 4])
def test_rope_agrees_with_dinov3(num_registers):
    model = perturbed(pos_embed="rope2d", num_register_tokens=num_registers, layerscale_value=0.1)
    config = DINOv3ViTConfig(**HF_SIZES, num_register_tokens=num_registers, key_bias=True, layer_norm_eps=1e-6)
    names = {
        "register_token": "embeddings.register_tokens",
        "patchify.projection": "embeddings.patch_embeddings",
        "attention_norm": "norm1",
        "attention_scale": "layer_scale1.lambda1",
        "mlp_norm": "norm2",
        "mlp_scale": "layer_scale2.lambda1",
        "mlp.hidden": "mlp.up_proj",
        "mlp.output": "mlp.down_proj",
        "blocks.": "model.layer.",
        **HF_NAMES,
    }
    state = {n: t for n, t in split_qkv(renamed(model, names)).items() if not n.startswith("head")}
    ignored = ("embeddings.mask_token", "embeddings.register_tokens")
    twin = load(DINOv3ViTModel(config), state, ignored=ignored)
    theirs = model.head(twin(images()).last_hidden_state[:, 0])
    torch.testing.assert_close(model(images()), theirs, **CLOSE)
