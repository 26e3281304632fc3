"""CPU operators with fewer passes over memory than torch's: dropout, linear, attention, with gradients.

Measured against torch's own operators in docs/results/speed/log.md.

Shapes: B batch, N heads, L tokens, E = D / N, R rows (all leading dimensions as one), I inputs, O outputs.
"""

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LEVELS = 2**16  # a dropout rate is rounded to 1 / LEVELS
SMALL_PRODUCT = 2**25
"""Multiply-adds of a linear layer below which torch's own is faster: calls in Python cost more than they save."""
WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


def num_dropped_levels(rate: float) -> int:
    """Return how many of LEVELS are dropped at `rate` (0 .. 1): at least one is kept, and one dropped if rate > 0."""
    return min(max(round(rate * LEVELS), int(rate > 0)), LEVELS - 1)


def draw_levels(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw int16 numbers (count,), uniform over all LEVELS values, on the generator's device.

    Args:
        generator: random source; None: torch's global CPU generator.
    """
    if generator is not None and generator.device.type != "cpu":
        words = torch.empty((count + 3) // 4, dtype=torch.int64, device=generator.device)
        return words.random_(-(2**63), None, generator=generator).view(torch.int16)[:count]
    # numpy's generator takes half of torch's time; torch's generator seeds it.
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator))
    raw = np.random.PCG64DXSM(seed).random_raw((count + 3) // 4)
    return torch.from_numpy(raw.view(np.int16))[:count]


def levels_to_mask(level: Tensor, num_dropped: int | Tensor) -> Tensor:
    """Convert `level` (int16, overwritten) to a mask: -1 (all bits set) keeps an element, 0 drops it.

    Integer arithmetic avoids booleans, whose conversion alone takes longer.

    Args:
        num_dropped: number of highest levels to drop, 1 .. LEVELS - 1; a tensor (int32) is broadcast over `level`.
    """
    first_dropped = LEVELS // 2 - num_dropped
    if isinstance(first_dropped, Tensor):
        first_dropped = first_dropped.to(level.dtype)
    # torch's stubs take two integers or two tensors, not the union.
    return level.clamp_(first_dropped - 1, first_dropped).sub_(first_dropped)  # type: ignore[arg-type]


def random_mask(x: Tensor, num_dropped: int) -> Tensor:
    """Draw a mask for `x` (int16) from torch's global generator."""
    return levels_to_mask(draw_levels(x.numel()), num_dropped).view(x.shape)


def apply_mask(x: Tensor, keep: Tensor) -> Tensor:
    """Return a copy of `x` with zeros where `keep` is 0.

    Args:
        keep: from random_mask. For fp32 it is widened at each use, 0.6 % of a step's time; saved wide it would take 7 %
            of a step's memory.
    """
    words = WORDS[x.element_size()]
    return x.contiguous().view(words).bitwise_and(keep.to(words)).view(x.dtype)


def is_supported(*tensors: Tensor | None) -> bool:
    """Return True for CPU tensors outside torch.func.vmap and torch.compile (which fuses torch's own operators)."""
    if torch.compiler.is_compiling():
        return False
    given = [tensor for tensor in tensors if tensor is not None]
    return all(t.device.type == "cpu" and not torch._C._functorch.is_batchedtensor(t) for t in given)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, num_dropped: int) -> Tensor:
        keep = random_mask(x, num_dropped)
        ctx.save_for_backward(keep)
        ctx.scale = LEVELS / (LEVELS - num_dropped)
        return apply_mask(x, keep).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return apply_mask(gradient, keep).mul_(ctx.scale), None


def dropout(x: Tensor, rate: float) -> Tensor:
    """Apply dropout with the rate rounded to 1 / LEVELS; the scale uses the rounded rate, so the mean is exact."""
    return _Dropout.apply(x, num_dropped_levels(rate))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, dtype: torch.dtype) -> Tensor:
        x, weight_OI = x.to(dtype), weight_OI.to(dtype)
        ctx.save_for_backward(x, weight_OI)
        return onednn_linear(x, weight_OI, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_OI = ctx.saved_tensors
        gradient_RO = gradient.flatten(0, -2).contiguous()
        needs = ctx.needs_input_grad
        gradient_x = onednn_linear(gradient_RO, weight_OI.t().contiguous()).view(x.shape) if needs[0] else None
        gradient_OI = (gradient_RO.t() @ x.flatten(0, -2)).float() if needs[1] else None
        gradient_O = gradient_RO.sum(0).float() if needs[2] else None
        return gradient_x, gradient_OI, gradient_O, None


def onednn_linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return `x @ weight.t() + bias` by oneDNN with fused bias; in fp32 faster than MKL on AMD processors."""
    bias_O = None if bias_O is None else bias_O.to(x.dtype)
    return torch.ops.mkldnn._linear_pointwise(x, weight_OI, bias_O, "none", [], "")


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """Return F.linear of fp32 weights, in the precision of autocast or of `x`."""
    if x.numel() * weight_OI.shape[0] < SMALL_PRODUCT:
        return F.linear(x, weight_OI, bias_O)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if weight_OI.dtype != torch.float32 or not is_supported(x, weight_OI, bias_O) or not _has_onednn(dtype):
        return F.linear(x, weight_OI, bias_O)
    return _Linear.apply(x, weight_OI, bias_O, dtype)


def _has_onednn(dtype: torch.dtype) -> bool:
    """Return True if oneDNN multiplies matrices of `dtype` here; bf16 needs AVX-512 or better."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def attention_probs(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Return softmax(scale * q @ k.T) of (B * N, L, E) queries and keys, in their precision.

    Scores and softmax are at least fp32, as in torch's fused kernels: a score of 30 rounded to bf16 is off by up to
    0.06, its probability by 6 %.
    """
    dtype, wide = q.dtype, torch.promote_types(q.dtype, torch.float32)
    if wide == dtype:
        return torch.baddbmm(q.new_empty(1), q, k.transpose(1, 2), beta=0, alpha=scale).softmax(-1)
    with torch.autocast("cpu", enabled=False):  # it would round the product
        q, k = q.to(wide), k.to(wide)
        score = torch.baddbmm(q.new_empty(1), q, k.transpose(1, 2), beta=0, alpha=scale)
        return score.softmax(-1).to(dtype)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q_BNLE: Tensor, k_BNLE: Tensor, v_BNLE: Tensor, num_dropped: int) -> Tensor:
        q, k, v = (x.flatten(0, 1).contiguous() for x in (q_BNLE, k_BNLE, v_BNLE))
        ctx.scale, ctx.keep_scale = q.shape[-1] ** -0.5, LEVELS / (LEVELS - num_dropped)
        prob = attention_probs(q, k, ctx.scale)
        keep = random_mask(prob, num_dropped) if num_dropped else None
        kept = prob if keep is None else apply_mask(prob, keep)
        ctx.save_for_backward(q, k, v, prob, keep)
        return torch.baddbmm(v.new_empty(1), kept, v, beta=0, alpha=ctx.keep_scale).view(q_BNLE.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient_BNLE: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, prob, keep = ctx.saved_tensors
        gradient = gradient_BNLE.flatten(0, 1).contiguous()
        zero = gradient.new_empty(1)
        wide = None if keep is None else keep.to(WORDS[prob.element_size()])
        kept = prob if wide is None else apply_mask(prob, wide)
        gradient_v = torch.baddbmm(zero, kept.transpose(1, 2), gradient, beta=0, alpha=ctx.keep_scale)
        gradient_prob = torch.baddbmm(zero, gradient, v.transpose(1, 2), beta=0, alpha=ctx.keep_scale)
        if wide is not None:
            gradient_prob.view(wide.dtype).bitwise_and_(wide)
        gradient_score = torch._softmax_backward_data(gradient_prob, prob, -1, prob.dtype)
        gradient_q = torch.baddbmm(zero, gradient_score, k, beta=0, alpha=ctx.scale)
        gradient_k = torch.baddbmm(zero, gradient_score.transpose(1, 2), q, beta=0, alpha=ctx.scale)
        shape = (*gradient_BNLE.shape[:2], -1, gradient_BNLE.shape[-1])
        return gradient_q.view(shape), gradient_k.view(shape), gradient_v.view(shape), None


def attend(q_BNLE: Tensor, k_BNLE: Tensor, v_BNLE: Tensor, rate: float) -> Tensor:
    """Return scaled dot-product attention with dropout at `rate`, computed by explicit products."""
    return _Attend.apply(q_BNLE, k_BNLE, v_BNLE, num_dropped_levels(rate))
