"""Layers of a transformer block: dropout, attention, MLP, block.

On the CPU they use cpu_ops; torch's own dropout is slow there, since `bernoulli_` draws on one thread.
Shapes: B batch, L tokens, D width, N heads, E = D / N, F hidden width of the MLP.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitsweep.model.cpu_ops import attend, dropout, is_supported, linear


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

    def forward(self, x: Tensor) -> Tensor:
        if self.mask is not None:
            return (x * self.scale).to(x.dtype) * self.mask
        if not self.training or self.rate == 0:
            return x
        return dropout(x, self.rate) if is_supported(x) else F.dropout(x, self.rate, training=True)


class Linear(nn.Linear):
    """nn.Linear that uses cpu_ops.linear on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2) with one matrix for queries, keys and values.

    If `attention_hook` is set (see vit.capture_attention), it is called with the post-softmax attention (B, N, L, L) in
    fp32.
    """

    def __init__(self, hidden_size: int, num_heads: int, *, bias: bool, probs_dropout: float, output_dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Linear(hidden_size, 3 * hidden_size, bias=bias)
        self.probs_dropout = Dropout(probs_dropout)
        self.projection = Linear(hidden_size, hidden_size, bias=bias)
        self.output_dropout = Dropout(output_dropout)
        self.attention_hook: Callable[[Tensor], None] | None = None

    def forward(self, token_BLD: Tensor, num_queries: int | None = None) -> Tensor:
        """Return the attention output (B, L, D), or that of the first `num_queries` tokens."""
        if num_queries is None or self.attention_hook is not None:
            q_BNLE, k_BNLE, v_BNLE = self.split_heads(self.qkv(token_BLD), 3)
        else:
            q_BNLE, k_BNLE, v_BNLE = self.first_queries(token_BLD, num_queries)
        mixed_BLD = self.dot_product_attention(q_BNLE, k_BNLE, v_BNLE).transpose(1, 2).flatten(2)
        return self.output_dropout(self.projection(mixed_BLD))[:, :num_queries]

    def split_heads(self, x_BLD: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Split the last dimension into `parts` tensors of shape (B, N, L, E)."""
        return x_BLD.unflatten(-1, (parts, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()

    def first_queries(self, token_BLD: Tensor, num_queries: int) -> tuple[Tensor, ...]:
        """Return queries of the first `num_queries` tokens, and keys and values of all."""
        D = token_BLD.shape[-1]
        weight_q, weight_kv = self.qkv.weight.split([D, 2 * D])
        bias_q, bias_kv = (None, None) if self.qkv.bias is None else self.qkv.bias.split([D, 2 * D])
        q_BLD = linear(token_BLD[:, :num_queries], weight_q, bias_q)
        return *self.split_heads(q_BLD, 1), *self.split_heads(linear(token_BLD, weight_kv, bias_kv), 2)

    def dot_product_attention(self, q_BNLE: Tensor, k_BNLE: Tensor, v_BNLE: Tensor) -> Tensor:
        """Return the attention-weighted values (B, N, L, E), before the projection."""
        if self.attention_hook is None and self.probs_dropout.mask is None:
            rate = self.probs_dropout.rate if self.training else 0.0
            if is_supported(q_BNLE, k_BNLE, v_BNLE):
                return attend(q_BNLE, k_BNLE, v_BNLE, rate)
            if q_BNLE.device.type != "cpu":  # on the CPU the fused kernel's backward pass is slow at these sizes
                return F.scaled_dot_product_attention(q_BNLE, k_BNLE, v_BNLE, dropout_p=rate)
        # With a hook or a mask: fused kernels neither return the probabilities nor take a mask of them.
        scale = q_BNLE.shape[-1] ** -0.5
        if self.attention_hook is None and q_BNLE.device.type == "cuda":  # scores in bf16 use the tensor cores
            prob_BNLL = ((q_BNLE * scale) @ k_BNLE.transpose(-2, -1)).softmax(-1)
        else:
            # Scores and softmax in at least fp32, as in the fused kernels, also under autocast.
            wide = torch.promote_types(q_BNLE.dtype, torch.float32)
            with torch.autocast(q_BNLE.device.type, enabled=False):
                prob_BNLL = ((q_BNLE.to(wide) * scale) @ k_BNLE.to(wide).transpose(-2, -1)).softmax(-1)
        if self.attention_hook is not None:
            # The tensor that the output is computed from, so that gradients exist.
            self.attention_hook(prob_BNLL)
        return self.probs_dropout(prob_BNLL.to(v_BNLE.dtype)) @ v_BNLE


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        *,
        bias: bool,
        hidden_dropout: float,
        output_dropout: float,
    ):
        super().__init__()
        self.hidden = Linear(hidden_size, intermediate_size, bias=bias)
        self.hidden_dropout = Dropout(hidden_dropout)
        self.output = Linear(intermediate_size, hidden_size, bias=bias)
        self.output_dropout = Dropout(output_dropout)

    def forward(self, token_BLD: Tensor) -> Tensor:
        hidden_BLF = self.hidden_dropout(F.gelu(self.hidden(token_BLD)))
        return self.output_dropout(self.output(hidden_BLF))


class Block(nn.Module):
    """Pre-norm transformer block: residual attention, then residual MLP."""

    def __init__(self, attention: Attention, mlp: Mlp, hidden_size: int, norm_eps: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.attention = attention
        self.mlp_norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.mlp = mlp

    def forward(self, token_BLD: Tensor, num_queries: int | None = None) -> Tensor:
        """Return the residual stream (B, L, D) after this block, or its first `num_queries` tokens."""
        token_BLD = token_BLD[:, :num_queries] + self.attention(self.attention_norm(token_BLD), num_queries)
        return token_BLD + self.mlp(self.mlp_norm(token_BLD))
