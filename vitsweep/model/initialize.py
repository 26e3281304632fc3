"""Initialization of the ViT: each parameter from the random stream of its name, so that arms share what they share."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitsweep.config.model_schema import ModelConfig
from vitsweep.model.attention import Attention
from vitsweep.seeding import make_generator

# Of the normal distribution of every matrix, as in timm and the ViT paper's code; these truncate it at +-2, that is 100
# standard deviations. nn.init.trunc_normal_ draws other numbers in other torch versions, normal_ the same.
INIT_STD = 0.02
CONSTANT = ("attention_scale", "mlp_scale", "temperature_N11")
"""Parameters whose modules set their first values."""
NORMS = (nn.LayerNorm, nn.RMSNorm, _BatchNorm)
MLP_BIAS_STD = 1e-6  # of xavier, as in big_vision
# Mimetic initialization (Trockman & Kolter 2023, arXiv:2305.09828, section 4): W_q W_k' = 0.7 Z + 0.7 I per head and
# W_v W_p = 0.4 Z - 0.4 I, Z normal with variance 1 / D.
MIMETIC_QUERY_KEY, MIMETIC_VALUE = (0.7, 0.7), (0.4, -0.4)


@torch.no_grad()
def initialize(model: nn.Module, config: ModelConfig, seed: int) -> None:
    """Initialize each parameter from the random stream of its name.

    Matrices, class token, registers: normal, std 0.02; positions: pos_embed_std; biases 0; norms 1 and 0. Convolutions
    keep the uniform initialization of nn.Conv2d (Kaiming with a = sqrt(5), that is +-1/sqrt(inputs), weight and bias):
    the only difference of `patchify_method=conv` from `linear`; those of `cct` are normal (Kaiming), as the authors'.
    weight_init changes the matrices: see xavier_, torch_ and mimetic_.
    """
    for name, parameter in model.named_parameters():
        generator = make_generator(seed, "init", name)
        module = model.get_submodule(name.rpartition(".")[0])
        leaf = name.rpartition(".")[2]
        if leaf in CONSTANT:
            continue
        if isinstance(module, nn.Conv2d) and config.patchify_method == "cct":
            nn.init.kaiming_normal_(parameter, generator=generator)
        elif isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            parameter.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, NORMS):
            parameter.fill_(1.0 if leaf == "weight" else 0.0)
        elif isinstance(module, nn.Linear) and config.weight_init == "xavier":
            xavier_(name, parameter, generator)
        elif isinstance(module, nn.Linear) and config.weight_init == "torch":
            bound = module.in_features**-0.5
            parameter.uniform_(-bound, bound, generator=generator)
        elif leaf == "bias":
            parameter.zero_()
        else:
            std = config.pos_embed_std if leaf == "position_1TD" else INIT_STD
            nn.init.normal_(parameter, std=std, generator=generator)
    if config.weight_init == "mimetic":
        for name, attention in model.named_modules():
            if isinstance(attention, Attention):
                mimetic_(attention, make_generator(seed, "init", name))


def xavier_(name: str, parameter: Tensor, generator: torch.Generator) -> None:
    """Initialize a linear layer as big_vision's ViT: Glorot uniform, the classifier zero, MLP biases nearly zero.

    Queries, keys and values are three matrices there, here the thirds of one.
    """
    if name.startswith("head."):
        parameter.zero_()
    elif name.endswith(("mlp.hidden.bias", "mlp.output.bias")):
        nn.init.normal_(parameter, std=MLP_BIAS_STD, generator=generator)
    elif parameter.dim() == 1:
        parameter.zero_()
    else:
        parts = {"qkv.weight": 3, "key_value.weight": 2}.get(".".join(name.split(".")[-2:]), 1)
        outputs, inputs = parameter.shape
        bound = math.sqrt(6 / (inputs + outputs / parts))
        parameter.uniform_(-bound, bound, generator=generator)


def mimetic_(attention: Attention, generator: torch.Generator) -> None:
    """Initialize an attention's matrices as those of trained ViTs look: products near multiples of the identity."""
    num_heads, inner = attention.num_heads, attention.width
    D, E = attention.projection.out_features, inner // num_heads
    query, key, value = attention.qkv.weight.chunk(3)
    for head in range(num_heads):
        left_DE, right_DE = near_identity(D, E, *MIMETIC_QUERY_KEY, generator)
        rows = slice(head * E, (head + 1) * E)
        query[rows], key[rows] = left_DE.t(), right_DE.t()
    left_DD, right_DD = near_identity(D, inner, *MIMETIC_VALUE, generator)
    value.copy_(left_DD.t())
    attention.projection.weight.copy_(right_DD)


def near_identity(
    width: int, rank: int, noise: float, identity: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return factors (width, rank), left @ right.t() being the best approximation of noise Z + identity I."""
    noise_DD = torch.randn(width, width, dtype=torch.float64, generator=generator) / math.sqrt(width)
    target_DD = noise * noise_DD + identity * torch.eye(width, dtype=torch.float64)
    left_DD, value_D, right_DD = torch.linalg.svd(target_DD)
    root = value_D[:rank].sqrt()
    return (left_DD[:, :rank] * root).float(), (right_DD[:rank].t() * root).float()
