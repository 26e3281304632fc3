"""Multi-head self-attention, its positions and its dropouts.

The starting configuration takes fused or explicit fast paths (cpu_ops.attend, torch's scaled_dot_product_attention);
what changes the scores (relative bias, LSA's mask, DropKey) is computed by plain products.
Shapes: B batch, L tokens, D width, N heads, E width of a head.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitsweep.config.model_schema import ModelConfig
from vitsweep.model.cpu_ops import attend, is_supported, linear
from vitsweep.model.layers import Dropout, Linear, make_norm
from vitsweep.model.positions import RelativeBias, Rope


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2) with one matrix for queries, keys and values.

    If `attention_hook` is set (see vit.capture_attention), it is called with the post-softmax attention (B, N, L, L) in
    fp32.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.num_heads, self.width = config.num_attention_heads, config.attention_width
        self.qkv = Linear(config.hidden_size, 3 * self.width, bias=config.has_qkv_bias)
        self.q_norm = make_norm(config, config.head_width) if config.qk_norm else nn.Identity()
        self.k_norm = make_norm(config, config.head_width) if config.qk_norm else nn.Identity()
        self.rope = Rope(config) if config.has_rope else None
        self.relative_bias = RelativeBias(config) if config.pos_embed == "relative" else None
        self.lsa = LocalitySelfAttention(config) if config.lsa else None
        self.key_dropout = Dropout(config.drop_key_rate)
        self.probs_dropout = Dropout(config.dropout_rate("attention_probs"))
        self.projection = Linear(self.width, config.hidden_size, bias=config.bias)
        self.output_dropout = Dropout(config.dropout_rate("attention_output"))
        self.attention_hook: Callable[[Tensor], None] | None = None

    def forward(self, token_BLD: Tensor, num_queries: int | None = None, place_BL: Tensor | None = None) -> Tensor:
        """Return the attention output (B, L, D), or that of the first `num_queries` tokens.

        Args:
            num_queries: None: all.
            place_BL: positions of the tokens in the whole sequence; None: they are the whole sequence.
        """
        if num_queries is None or self.attention_hook is not None:
            q_BNLE, k_BNLE, v_BNLE = self.split_heads(self.qkv(token_BLD), 3)
        else:
            q_BNLE, k_BNLE, v_BNLE = self.first_queries(token_BLD, num_queries)
        q_BNLE, k_BNLE = self.q_norm(q_BNLE), self.k_norm(k_BNLE)
        if self.rope is not None:
            q_BNLE, k_BNLE = self.rope(q_BNLE, place_BL), self.rope(k_BNLE, place_BL)
        bias = None if self.relative_bias is None else self.relative_bias(q_BNLE.shape[2], place_BL)
        if self.lsa is not None:
            q_BNLE, bias = self.lsa(q_BNLE, k_BNLE, bias)
        mixed_BLD = self.dot_product_attention(q_BNLE, k_BNLE, v_BNLE, bias).transpose(1, 2).flatten(2)
        return self.output_dropout(self.projection(mixed_BLD))[:, :num_queries]

    def split_heads(self, x_BLD: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Split the last dimension into `parts` tensors of shape (B, N, L, E)."""
        return x_BLD.unflatten(-1, (parts, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()

    def first_queries(self, token_BLD: Tensor, num_queries: int) -> tuple[Tensor, ...]:
        """Return queries of the first `num_queries` tokens, and keys and values of all."""
        sizes = [self.width, 2 * self.width]
        weight_q, weight_kv = self.qkv.weight.split(sizes)
        bias_q, bias_kv = (None, None) if self.qkv.bias is None else self.qkv.bias.split(sizes)
        q_BLD = linear(token_BLD[:, :num_queries], weight_q, bias_q)
        return *self.split_heads(q_BLD, 1), *self.split_heads(linear(token_BLD, weight_kv, bias_kv), 2)

    def dot_product_attention(
        self, q_BNLE: Tensor, k_BNLE: Tensor, v_BNLE: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Return the attention-weighted values (B, N, L, E), before the projection.

        Args:
            bias: summand of the scores, broadcast over (B, N, L, L); -inf excludes a key.
        """
        is_plain = bias is None and not self.key_dropout.is_active
        if is_plain and self.attention_hook is None and self.probs_dropout.mask is None:
            rate = self.probs_dropout.rate if self.training else 0.0
            if is_supported(q_BNLE, k_BNLE, v_BNLE):
                return attend(q_BNLE, k_BNLE, v_BNLE, rate)
            if q_BNLE.device.type != "cpu":  # on the CPU the fused kernel's backward pass is slow at these sizes
                return F.scaled_dot_product_attention(q_BNLE, k_BNLE, v_BNLE, dropout_p=rate)
        # With a hook or a mask: fused kernels neither return the probabilities nor take a mask of them.
        scale = q_BNLE.shape[-1] ** -0.5
        if is_plain and self.attention_hook is None and q_BNLE.device.type == "cuda":
            prob_BNLL = ((q_BNLE * scale) @ k_BNLE.transpose(-2, -1)).softmax(-1)  # scores in bf16 use the tensor cores
        else:
            # Scores and softmax in at least fp32, as in the fused kernels, also under autocast.
            wide = torch.promote_types(q_BNLE.dtype, torch.float32)
            with torch.autocast(q_BNLE.device.type, enabled=False):
                score_BNLL = (q_BNLE.to(wide) * scale) @ k_BNLE.to(wide).transpose(-2, -1)
                score_BNLL = score_BNLL if bias is None else score_BNLL + bias
                prob_BNLL = drop_keys(score_BNLL, self.key_dropout).softmax(-1)
        if self.attention_hook is not None:
            # The tensor that the output is computed from, so that gradients exist.
            self.attention_hook(prob_BNLL)
        return self.probs_dropout(prob_BNLL.to(v_BNLE.dtype)) @ v_BNLE


def drop_keys(score: Tensor, dropout: Dropout) -> Tensor:
    """Exclude random keys of each query (DropKey, Li et al. 2023, arXiv:2208.02646, algorithm 1).

    The lowest finite number takes their place, so that a query without any key attends to all alike.
    """
    if not dropout.is_active:
        return score
    return score.masked_fill(dropout(torch.ones_like(score)) == 0, torch.finfo(score.dtype).min)


class LocalitySelfAttention(nn.Module):
    """Learned temperature per head and excluded diagonal (Lee et al. 2021, arXiv:2112.13492, section 3.3)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        # Factor of the scores, as in the authors' code, where it replaces 1 / sqrt(E) and begins with it.
        self.temperature_N11 = nn.Parameter(torch.full((config.num_attention_heads, 1, 1), config.head_width**-0.5))

    def forward(self, q_BNLE: Tensor, k_BNLE: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the queries, times temperature and sqrt(E), and the bias, -inf on the diagonal."""
        num_queries, num_keys, E = q_BNLE.shape[2], k_BNLE.shape[2], q_BNLE.shape[3]
        diagonal_LL = torch.eye(num_queries, num_keys, dtype=torch.bool, device=q_BNLE.device)
        zero = torch.zeros((), device=q_BNLE.device) if bias is None else bias
        q_BNLE = q_BNLE * (self.temperature_N11 * E**0.5).to(q_BNLE.dtype)
        if num_keys == 1:  # of a class token whose patches are all left out
            return q_BNLE, zero
        return q_BNLE, torch.where(diagonal_LL, -torch.inf, zero)
