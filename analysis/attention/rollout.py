"""Attention rollout, exact, batched, in vector form: shares of the input tokens in the head's row.

Abnar & Zuidema 2020 (arXiv 2005.00928, section 3; `compute_joint_attention` of their
attention_graph_util.py), with the residual weight, the head fusion and the readout made explicit:

    A^_l = alpha_l I + (1 - alpha_l) Norm(F(A_l))        r = w A^_L ... A^_2 A^_1

F fuses the heads, Norm makes rows sum to 1, w is what the head reads. Only this one row is ever shown, so a
row vector goes from the last layer down to the first and no T x T product is formed. A rollout is class-agnostic:
it shows where a prediction could have come from, not the evidence for it. `relevance` is the class-specific variant.
Shapes: B images, N heads, T tokens with the prefix first, R rows carried together.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vitsweep.errors import UserError

FUSIONS: dict[str, Callable[..., Tensor]] = {"mean": torch.mean, "max": torch.amax, "min": torch.amin}

Alpha = float | Sequence[float] | Sequence[Tensor]


class RolloutError(UserError):
    """Error for attention, readout or settings that have no rollout; the message gives the reason."""


def rollout(
    attention: Sequence[Tensor],
    readout: Tensor,
    *,
    alpha: Alpha = 0.5,
    fusion: str = "mean",
    keep: float = 1.0,
    layers: slice | None = None,
) -> Tensor:
    """Return the share of the readout that comes from each input token, (B, T), attention's dtype, summing to 1.

    >>> uniform = torch.full((1, 2, 4, 4), 0.25)  # one image, two heads, a class token and three patches
    >>> vs.rollout([uniform, uniform], torch.tensor([1.0, 0, 0, 0]))
    tensor([[0.4375, 0.1875, 0.1875, 0.1875]])

    Args:
        attention: one tensor a block, first block first, (B, N, T, T) or (B, T, T) when the heads are fused
            already; post-softmax, rows are queries.
        readout: weights of the tokens that the head reads, (T,) or (B, T), not negative, sum 1.
        alpha: weight of the identity, the residual path, in [0, 1]; one number, one a layer, or one (B, T)
            tensor a layer. The attention weighs 1 - alpha.
        fusion: mean (the paper), max or min over the heads; max and min are normalised by row before they are
            mixed.
        keep: share of the keys that each query keeps, the largest, at least one; the others become 0.
        layers: which blocks; None takes all, slice(-1, None) with alpha=0 is the raw last layer.

    Raises:
        RolloutError: shapes or settings that do not fit, NaN, or rows that are no distribution.
    """
    attention = list(attention)
    row_BT = _start(attention, readout)
    _check_settings(fusion, keep)
    chosen = layers or slice(None)
    alphas = _per_layer(alpha, len(attention), tuple(row_BT.shape))[chosen]
    is_half = row_BT.dtype not in (torch.float32, torch.float64)
    row_BRT = (row_BT.float() if is_half else row_BT).unsqueeze(1)
    for layer_attention, weight in zip(reversed(attention[chosen]), reversed(alphas), strict=True):
        row_BRT = _through(row_BRT, layer_attention, weight, fusion, keep)
    _check_mass(row_BRT, row_BT.dtype)
    return row_BRT.squeeze(1).to(row_BT.dtype)


def relevance(attention: Sequence[Tensor], gradient: Sequence[Tensor], readout: Tensor) -> Tensor:
    """Return class-specific relevance of each input token, (B, T), not normalized: w (I + E_L) ... (I + E_1) - w.

    Chefer et al. 2021 (arXiv 2103.15679, rules 5 and 6): E_l is the mean over heads of the positive part of
    attention times the gradient of the class's logit by it. The readout's own share is taken out, since it
    only passes through.

    Args:
        attention: one tensor (B, N, T, T) a block, first block first.
        gradient: the logit's gradient by each of them, same shapes.
        readout: as in `rollout`.
    """
    row_BT = _start(list(attention), readout)
    row_B1T = row_BT.unsqueeze(1)
    for layer_attention, layer_gradient in zip(reversed(attention), reversed(gradient), strict=True):
        evidence_BTT = (layer_gradient * layer_attention).clamp(min=0).mean(1)
        row_B1T = row_B1T + row_B1T @ evidence_BTT
    return row_B1T.squeeze(1) - row_BT


def fuse(attention: Tensor, fusion: str = "mean", keep: float = 1.0) -> Tensor:
    """Fuse heads and select keys, (B, T, T); rows sum to 1 only if fusion is mean and keep is 1."""
    if attention.ndim == 4:
        attention = FUSIONS[fusion](attention, 1)
    if keep == 1:
        return attention
    count = max(1, math.ceil(keep * attention.shape[-1] - 1e-9))  # 1e-9: 0.9 * 10 is a little above 9
    largest = attention.topk(count, dim=-1)
    return torch.zeros_like(attention).scatter(-1, largest.indices, largest.values)


def calibrated_alpha(residual_BTD: Tensor, branch_BTD: Tensor) -> Tensor:
    """Return each token's residual share, (B, T): ||x|| / (||x|| + ||branch||).

    The branch is the attention's output after its projection. After Kobayashi et al. 2021 and GlobEnc (arXiv
    2205.03286): with a branch much smaller than the stream, one half is plainly wrong.
    """
    residual_BT, branch_BT = residual_BTD.norm(dim=-1), branch_BTD.norm(dim=-1)
    # 0 / 0: nothing is mixed in, so the token stays itself.
    return torch.where(branch_BT == 0, torch.ones_like(residual_BT), residual_BT / (residual_BT + branch_BT))


def _through(row_BRT: Tensor, attention: Tensor, alpha: float | Tensor, fusion: str, keep: float) -> Tensor:
    """Multiply the rows by A^ of one layer."""
    fused_BTT = fuse(attention.to(row_BRT.dtype), fusion, keep)
    is_stochastic = fusion == "mean" and keep == 1
    if is_stochastic and isinstance(alpha, float):
        return torch.baddbmm(row_BRT, row_BRT, fused_BTT, beta=alpha, alpha=1 - alpha)
    if isinstance(alpha, Tensor):
        alpha = alpha.to(row_BRT).unsqueeze(1)  # (B, T) -> (B, 1, T), the query's own weight
    stays_BRT, moves_BRT = row_BRT * alpha, row_BRT * (1 - alpha)
    if is_stochastic:
        return torch.baddbmm(stays_BRT, moves_BRT, fused_BTT)
    # The row sums divide the carried mass, which is the same as dividing the matrix's rows and T times cheaper. A row
    # of zeros (min over heads that share no key) stands for the identity.
    sum_B1T = fused_BTT.sum(-1).unsqueeze(1)
    empty_B1T = sum_B1T == 0
    stays_BRT = stays_BRT + moves_BRT * empty_B1T
    return torch.baddbmm(stays_BRT, moves_BRT / sum_B1T.masked_fill(empty_B1T, torch.inf), fused_BTT)


def _start(attention: list[Tensor], readout: Tensor) -> Tensor:
    """Check all shapes and return the readout as one row an image, (B, T)."""
    if not attention:
        raise RolloutError("attention=[]  has no layer; a model without attention blocks has no rollout")
    B, T = attention[0].shape[0], attention[0].shape[-1]
    for number, matrix in enumerate(attention):
        if matrix.ndim not in (3, 4) or (matrix.shape[0], *matrix.shape[-2:]) != (B, T, T):
            needed = f"({B}, heads, {T}, {T}) or ({B}, {T}, {T})"
            raise RolloutError(f"attention[{number}]  has shape {tuple(matrix.shape)}; needed: {needed}")
    if tuple(readout.shape) not in ((T,), (B, T)):
        raise RolloutError(f"readout  has shape {tuple(readout.shape)}; needed: ({T},) or ({B}, {T})")
    if not (readout >= 0).all() or ((readout.double().sum(-1) - 1).abs() > 1e-5).any():
        raise RolloutError("readout  must not be negative and must sum to 1")
    return readout.to(attention[0]).expand(B, T)


def _per_layer(alpha: Alpha, num_layers: int, shape: tuple[int, ...]) -> list[float | Tensor]:
    """Return one alpha for each layer: a number, or a tensor of `shape` (B, T)."""
    if isinstance(alpha, int | float) and 0 <= alpha <= 1:
        return [float(alpha)] * num_layers
    alphas: list[float | Tensor] = [alpha] * num_layers if isinstance(alpha, int | float) else list(alpha)
    if len(alphas) != num_layers:
        raise RolloutError(f"alpha  has {len(alphas)} values; needed: one, or one for each of {num_layers} layers")
    for value in map(torch.as_tensor, alphas):
        if value.shape not in ((), shape):
            raise RolloutError(f"alpha  has shape {tuple(value.shape)} in a layer; needed: one number, or {shape}")
        if not ((value >= 0) & (value <= 1)).all():
            raise RolloutError(f"alpha={alpha if value.ndim == 0 else 'tensor'}  must lie in [0, 1]")
    return [value if torch.is_tensor(value) and value.ndim else float(value) for value in alphas]


def _check_settings(fusion: str, keep: float) -> None:
    if fusion not in FUSIONS:
        raise RolloutError(f"fusion={fusion!r}  is unknown; allowed: {', '.join(sorted(FUSIONS))}")
    if not 0 < keep <= 1:
        raise RolloutError(f"keep={keep}  must lie in (0, 1]")


def _check_mass(row_BRT: Tensor, dtype: torch.dtype) -> None:
    # Mass is kept exactly when the rows that carried it sum to 1: one cheap sum detects wrong attention.
    tolerance = min(1e3 * torch.finfo(dtype).eps, 0.05)
    mass_BR = row_BRT.sum(-1)
    if mass_BR.isnan().any():
        raise RolloutError("attention  holds NaN; the model's weights or images are not finite")
    worst = float((mass_BR - 1).abs().max()) if mass_BR.numel() else 0.0
    if worst > tolerance:
        raise RolloutError(
            f"attention  has rows that do not sum to 1 (the rollout's mass is off by {worst:.2g}); "
            "take it after the softmax and in eval mode"
        )
