"""Layers of a transformer block: dropout, norm, stochastic depth, MLP, block.

On the CPU they use cpu_ops; torch's own dropout is slow there, since `bernoulli_` draws on one thread.
Shapes: B batch, L tokens, D width, F hidden width of the MLP.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitsweep.config.model_schema import ModelConfig
from vitsweep.model.cpu_ops import dropout, is_supported, linear


class Dropout(nn.Module):
    """Dropout; on the CPU the rate is rounded to 1/65,536 and the scale follows, so the mean is exact.

    If the buffers `mask` and `scale` are set (by pack_dropout.py), they are applied and nothing is drawn: this makes
    several models, each with its own randomness, one program under torch.func.vmap (where cpu_ops is not used).

    Args:
        rate: share of elements dropped, in [0, 1).
    """

    mask: Tensor | None
    scale: Tensor  # set with `mask`

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate
        self.register_buffer("mask", None, persistent=False)
        self.register_buffer("scale", None, persistent=False)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"

    @property
    def is_active(self) -> bool:
        """True if a forward pass changes its input."""
        return self.mask is not None or (self.training and self.rate > 0)

    def forward(self, x: Tensor) -> Tensor:
        if self.mask is not None:
            return (x * self.scale).to(x.dtype) * self.mask
        if not self.is_active:
            return x
        return dropout(x, self.rate) if is_supported(x) else F.dropout(x, self.rate, training=True)


class Linear(nn.Linear):
    """nn.Linear that uses cpu_ops.linear on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


NORM_EPS = 1e-6  # timm's; PyTorch's own default is 1e-5
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}
"""Hugging Face's names."""


def make_norm(config: ModelConfig, width: int) -> nn.Module:
    """Return the norm of `model.norm_layer`."""
    kinds = {"layernorm": nn.LayerNorm, "rmsnorm": RMSNorm}
    return kinds[config.norm_layer](width, eps=NORM_EPS)


class RMSNorm(nn.RMSNorm):
    """nn.RMSNorm that computes in the precision of its weight, as autocast lets nn.LayerNorm do."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016, arXiv:1603.09382): drops the branch of whole images, scales the others."""

    def __init__(self, rate: float):
        super().__init__()
        self.dropout = Dropout(rate)

    def forward(self, branch_BLD: Tensor) -> Tensor:
        if not self.dropout.is_active:
            return branch_BLD
        return branch_BLD * self.dropout(branch_BLD.new_ones(len(branch_BLD), 1, 1))


class Mlp(nn.Module):
    """Two linear layers with an activation between them, or SwiGLU (Shazeer 2020, arXiv:2002.05202).

    Args:
        bias: None: as model.bias.
        dropout: False: without dropout.
    """

    def __init__(self, config: ModelConfig, bias: bool | None = None, dropout: bool = True):
        super().__init__()
        width, hidden = config.hidden_size, config.mlp_width
        bias = config.bias if bias is None else bias
        self.is_gated = config.use_swiglu_ffn
        self.activation = ACTIVATIONS["silu" if self.is_gated else config.hidden_act]
        self.hidden = Linear(width, 2 * hidden if self.is_gated else hidden, bias=bias)
        self.hidden_dropout = Dropout(config.dropout_rate("mlp_hidden") if dropout else 0.0)
        self.output = Linear(hidden, width, bias=bias)
        self.output_dropout = Dropout(config.dropout_rate("mlp_output") if dropout else 0.0)

    def forward(self, token_BLD: Tensor) -> Tensor:
        hidden_BLF = self.hidden(token_BLD)
        if self.is_gated:
            gate_BLF, value_BLF = hidden_BLF.chunk(2, dim=-1)
            hidden_BLF = self.activation(gate_BLF) * value_BLF
        else:
            hidden_BLF = self.activation(hidden_BLF)
        return self.output_dropout(self.output(self.hidden_dropout(hidden_BLF)))


class Block(nn.Module):
    """Transformer block: attention, then MLP, each added to the residual stream.

    norm_place: pre norms the input of each (ViT), post the sum (Vaswani et al. 2017), res_post the output of each (Swin
    V2); cct norms the input of the attention, and the stream itself before the MLP (Compact-Transformers).
    parallel_block: the MLP reads what the attention reads (Dehghani et al. 2023, arXiv:2302.05442, section 2.1).

    Args:
        attention: an Attention.
        drop_path: rate of both branches.
    """

    attention_scale: nn.Parameter | None
    mlp_scale: nn.Parameter | None

    def __init__(self, config: ModelConfig, attention: nn.Module, drop_path: float = 0.0):
        super().__init__()
        self.norm_place, self.is_parallel = config.norm_place, config.parallel_block
        self.attention_norm = make_norm(config, config.hidden_size)
        self.attention = attention
        self.register_parameter("attention_scale", make_layer_scale(config))
        self.attention_drop_path = DropPath(drop_path)
        self.mlp_norm = nn.Identity() if self.is_parallel else make_norm(config, config.hidden_size)
        self.mlp = Mlp(config)
        self.register_parameter("mlp_scale", make_layer_scale(config))
        self.mlp_drop_path = DropPath(drop_path)

    def forward(self, token_BLD: Tensor, num_queries: int | None = None, place_BL: Tensor | None = None) -> Tensor:
        """Return the residual stream (B, L, D) after this block, or its first `num_queries` tokens."""
        where = self.norm_place
        input_BLD = self.attention_norm(token_BLD) if where in ("pre", "cct") else token_BLD
        branch_BLD = self.attention(input_BLD, num_queries, place_BL)
        branch_BLD = self.attention_norm(branch_BLD) if where == "res_post" else branch_BLD
        token_BLD = token_BLD[:, :num_queries] + self.attention_drop_path(scaled(branch_BLD, self.attention_scale))
        if where == "post":
            token_BLD = self.attention_norm(token_BLD)
        if where == "cct":
            token_BLD = self.mlp_norm(token_BLD)
        if self.is_parallel:
            branch_BLD = self.mlp(input_BLD[:, :num_queries])
        else:
            branch_BLD = self.mlp(self.mlp_norm(token_BLD) if where == "pre" else token_BLD)
        branch_BLD = self.mlp_norm(branch_BLD) if where == "res_post" else branch_BLD
        token_BLD = token_BLD + self.mlp_drop_path(scaled(branch_BLD, self.mlp_scale))
        return self.mlp_norm(token_BLD) if where == "post" else token_BLD


def make_layer_scale(config: ModelConfig) -> nn.Parameter | None:
    """Return LayerScale's factor per channel (Touvron et al. 2021, arXiv:2103.17239), or None without it."""
    value = config.layerscale_value
    return None if value is None else nn.Parameter(torch.full((config.hidden_size,), value))


def scaled(branch_BLD: Tensor, scale_D: Tensor | None) -> Tensor:
    """Return the branch times LayerScale's factors, if there are any."""
    return branch_BLD if scale_D is None else branch_BLD * scale_D.to(branch_BLD.dtype)
