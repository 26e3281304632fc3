"""The parts of a transformer block: dropout, attention, MLP, block.

Shapes: B batch, L tokens, D width, N heads, E = D / N, F hidden width of the MLP.
The unusual decision: dropout on the CPU is our own, since `bernoulli_` draws on one thread and takes long.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORD_BITS = 16
LEVELS = 2**WORD_BITS


class _WordDropout(torch.autograd.Function):
    """Dropout from raw random words: an element is kept where its 16 bits are at least the rate's share of 65,536."""

    @staticmethod
    def forward(ctx, x: Tensor, threshold: int) -> Tensor:
        # 64 random bits at once, read as four 16-bit words. The lower bound matters: without it `random_` leaves the
        # sign bit zero, and every fourth word would have 15 random bits.
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        keep = words.view(torch.int16)[: x.numel()].view(x.shape) >= threshold - LEVELS // 2
        ctx.save_for_backward(keep)
        ctx.scale = LEVELS / (LEVELS - threshold)
        return (x * keep).mul_(ctx.scale)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return (gradient * keep).mul_(ctx.scale), None


class Dropout(nn.Module):
    """Zeroes elements at `rate` and scales the others to keep the mean; does nothing in eval mode or at rate 0.

    On the CPU the rate is rounded to 1/65,536 and the scale follows the rounded rate, so the mean is kept exactly.

    Args:
        rate: share of elements dropped, in [0, 1).
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def extra_repr(self) -> str:
        return f"rate={self.rate}"

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.rate, training=True)
        return _WordDropout.apply(x, min(round(self.rate * LEVELS), LEVELS - 1))


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2), queries, keys and values from one matrix.

    `watch` is None, or is called with the post-softmax attention (B, N, L, L) in fp32; see vit.capture_attention.
    """

    def __init__(self, hidden_size: int, num_heads: int, *, bias: bool, probs_dropout: float, output_dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=bias)
        self.probs_dropout = Dropout(probs_dropout)
        self.projection = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.output_dropout = Dropout(output_dropout)
        self.watch = None

    def forward(self, token_BLD: Tensor) -> Tensor:
        B, L, D = token_BLD.shape
        E = D // self.num_heads
        qkv_3BNLE = self.qkv(token_BLD).view(B, L, 3, self.num_heads, E).permute(2, 0, 3, 1, 4)
        mixed_BNLE = self.mix(*qkv_3BNLE.unbind(0))
        mixed_BLD = mixed_BNLE.transpose(1, 2).reshape(B, L, D)
        return self.output_dropout(self.projection(mixed_BLD))

    def mix(self, q_BNLE: Tensor, k_BNLE: Tensor, v_BNLE: Tensor) -> Tensor:
        """Each query's average of the values, before the projection."""
        if q_BNLE.device.type != "cpu" and self.watch is None:
            rate = self.probs_dropout.rate if self.training else 0.0
            return F.scaled_dot_product_attention(q_BNLE, k_BNLE, v_BNLE, dropout_p=rate)
        # On the CPU, and whenever somebody watches, the products are explicit: the fused kernel's backward pass is
        # slower there at these sizes, and it never shows the probabilities.
        scale = q_BNLE.shape[-1] ** -0.5
        score_BNLL = (q_BNLE * scale) @ k_BNLE.transpose(-2, -1)
        if self.watch is None:
            prob_BNLL = score_BNLL.softmax(-1)
        else:
            # The very tensor that is used on, so that gradients by it exist, in no less than fp32.
            prob_BNLL = score_BNLL.softmax(-1, dtype=torch.promote_types(score_BNLL.dtype, torch.float32))
            self.watch(prob_BNLL)
        return self.probs_dropout(prob_BNLL.to(v_BNLE.dtype)) @ v_BNLE


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

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
        self.hidden = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.hidden_dropout = Dropout(hidden_dropout)
        self.output = nn.Linear(intermediate_size, hidden_size, bias=bias)
        self.output_dropout = Dropout(output_dropout)

    def forward(self, token_BLD: Tensor) -> Tensor:
        hidden_BLF = self.hidden_dropout(F.gelu(self.hidden(token_BLD)))
        return self.output_dropout(self.output(hidden_BLF))


class Block(nn.Module):
    """One pre-norm transformer block: attention, then MLP, each on the normalised stream and added to it."""

    def __init__(self, attention: Attention, mlp: Mlp, hidden_size: int, norm_eps: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.attention = attention
        self.mlp_norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.mlp = mlp

    def forward(self, token_BLD: Tensor) -> Tensor:
        token_BLD = token_BLD + self.attention(self.attention_norm(token_BLD))
        return token_BLD + self.mlp(self.mlp_norm(token_BLD))
