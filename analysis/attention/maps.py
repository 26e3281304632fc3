"""Attention maps of images: forward pass and rollout together, a chunk of images at a time.

The only way from a model to the numbers that measures, galleries and comparisons use; from here on everything
is numpy. Attention of a chunk is consumed before the next forward pass, so memory does not grow with the
number of images.
Shapes: B images of a chunk, N images, S blocks, H heads, T tokens with the prefix first, P patches, K
classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from vitsweep.data.augment import normalize
from vitsweep.model.layers import Block
from vitsweep.model.vit import ViT, capture_attention, capture_readout

from .rollout import RolloutError, calibrated_alpha, fuse, relevance, rollout

KEPT_SHARE = 0.1  # of `topk`: what the most copied rollout code keeps by default, there over the whole matrix

CHUNK = 64  # images a pass: 8 blocks of 8 heads and 65 tokens are 69 MB of attention

VARIANTS = {
    "rollout": "attention rollout, heads averaged, alpha {alpha:g}, class-agnostic",
    "max": "attention rollout, strongest head, alpha {alpha:g}, class-agnostic",
    "min": "attention rollout, weakest head, alpha {alpha:g}, class-agnostic",
    "topk": "attention rollout, largest 10 % of each query's keys, alpha {alpha:g}, class-agnostic",
    "calibrated": "attention rollout, residual weighed by its norm, class-agnostic",
    "last": "attention of the last block, class-agnostic",
    "relevance": "relevance for the predicted class (Chefer et al. 2021)",
}


@dataclass(kw_only=True)
class AttentionMaps:
    """Token shares and logits of one model for N images.

    >>> maps = cell.attention([0, 7])
    >>> maps.heatmaps.shape, maps.patches.shape, maps.probabilities.shape
    ((2, 4, 4), (2, 16), (2, 10))
    """

    mass_NT: np.ndarray
    """Share of each token, prefix first; sums to 1, but for `relevance`, which has no scale."""
    logit_NK: np.ndarray
    """The model's logits."""
    grid: tuple[int, int]
    """Rows and columns of patches."""

    @property
    def patches(self) -> np.ndarray:
        """Return the mass of the patches, (N, P), in reading order."""
        return self.mass_NT[:, -self.grid[0] * self.grid[1] :]

    @property
    def heatmaps(self) -> np.ndarray:
        """Return the mass of the patches as pictures, (N, rows, columns)."""
        return self.patches.reshape(-1, *self.grid)

    @property
    def probabilities(self) -> np.ndarray:
        """Return the softmax of the logits, (N, K)."""
        power_NK = np.exp(self.logit_NK - self.logit_NK.max(1, keepdims=True))
        return power_NK / power_NK.sum(1, keepdims=True)


@dataclass(kw_only=True)
class ForwardPass:
    """Attention and logits of one forward pass; valid until the next one."""

    attention: list[Tensor]
    """(B, H, T, T) a block, first block first; (B, T, T) where `reduce` has fused the heads."""
    alphas: list[Tensor]
    """Each token's calibrated residual weight, (B, T) a block; empty unless asked for."""
    readout_BT: Tensor
    """Weights with which the classifier reads the tokens, of each image, sum 1."""
    logit_BK: Tensor
    """Logits of the chunk."""


def attention_maps(
    model: nn.Module,
    image_NCHW: Tensor,
    normalisation: Mapping[str, Sequence[float]],
    *,
    variant: str = "rollout",
    alpha: float = 0.5,
) -> AttentionMaps:
    """Compute the maps of uint8 images, on the device where model and images are.

    >>> model = vs.ViT(vs.ModelConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4))
    >>> images = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    >>> vs.attention_maps(model, images, {"mean": [0.5] * 3, "std": [0.25] * 3}).heatmaps.shape
    (3, 8, 8)

    Args:
        model: a ViT; its mode and hooks are left as they were.
        image_NCHW: uint8 pixels.
        normalisation: mean and std per channel, as in the record.
        variant: one of VARIANTS.
        alpha: weight of the residual path in the variants that name it.

    Raises:
        RolloutError: the model has no attention, the images do not fit it, or its attention is not finite.
    """
    if variant not in VARIANTS:
        raise RolloutError(f"variant={variant!r}  is unknown; allowed: {', '.join(sorted(VARIANTS))}")

    def use(seen: ForwardPass) -> dict[str, Tensor]:
        return {"mass": _ROW_OF[variant](seen, alpha=alpha), "logit": seen.logit_BK}

    # Heads are fused as soon as they are seen: an eighth of the memory, and no gradients are kept alive for nothing.
    fusion = {"max": "max", "min": "min", "relevance": None}.get(variant, "mean")
    reduce = None if fusion is None else partial(fuse, fusion=fusion)
    needs = {"calibrate": variant == "calibrated", "gradient": variant == "relevance"}
    vit = check_fits(model, image_NCHW)
    found = run_passes(vit, image_NCHW, normalisation, use, reduce=reduce, **needs)
    return AttentionMaps(mass_NT=found["mass"], logit_NK=found["logit"], grid=vit.grid)


def run_passes(
    model: nn.Module,
    image_NCHW: Tensor,
    normalisation: Mapping[str, Sequence[float]],
    use: Callable[[ForwardPass], dict[str, Tensor]],
    *,
    reduce: Callable[[Tensor], Tensor] | None = None,
    calibrate: bool = False,
    gradient: bool = False,
) -> dict[str, np.ndarray]:
    """Run the images through the model and join the results of `use` on each chunk's pass.

    Args:
        use: called with each chunk's Pass; its tensors begin with the chunk's images.
        reduce: as in capture_attention.
        calibrate: whether the pass measures the calibrated residual weights.
        gradient: whether the pass can be differentiated.
    """
    vit = check_fits(model, image_NCHW)
    parts: list[dict[str, np.ndarray]] = []
    mode: AbstractContextManager[None] = torch.enable_grad() if gradient else torch.no_grad()
    watch: AbstractContextManager[list[Tensor]] = alpha_hooks(vit) if calibrate else nullcontext([])
    with capture_attention(vit, reduce) as attention, capture_readout(vit) as readout, watch as alphas, mode:
        for image_BCHW in image_NCHW.split(CHUNK):
            input_BCHW = normalize(image_BCHW, normalisation["mean"], normalisation["std"])
            logit_BK = vit(input_BCHW.requires_grad_(gradient)).float()
            seen = ForwardPass(attention=attention, alphas=alphas, readout_BT=readout[0], logit_BK=logit_BK)
            parts.append({name: value.detach().cpu().numpy() for name, value in use(seen).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def has_attention(model: nn.Module) -> TypeGuard[ViT]:
    """Return True if the model has attention: the one rule, for galleries, measures and pictures."""
    return getattr(model, "has_attention", False)


def check_fits(model: nn.Module, image_NCHW: Tensor) -> ViT:
    """Return the model; raise RolloutError if it has no attention or takes images of another size."""
    if has_attention(model):
        needed = (model.config.num_channels, model.config.image_size, model.config.image_size)
        if tuple(image_NCHW.shape[1:]) == needed:
            return model
        raise RolloutError(f"images  have shape {tuple(image_NCHW.shape[1:])}; this model takes {needed}")
    raise RolloutError(f"model={type(model).__name__}  has no attention blocks, so there is no rollout of it")


@contextmanager
def alpha_hooks(model: ViT) -> Iterator[list[Tensor]]:
    """Yield a list that each forward pass fills with every block's calibrated residual weights, (B, T).

    The branch is that which is added: after LayerScale, and after the norm of norm_place=res_post. The last block may
    answer only the tokens that the head reads; the others carry no mass there, so its first token's weight in place of
    all of them changes nothing.
    """
    seen: list[Tensor] = []
    streams: list[Tensor] = []
    handles = [model.register_forward_pre_hook(lambda *_: seen.clear())]

    def finish(_module: nn.Module, _inputs: tuple, branch_BTD: Tensor) -> None:
        stream_BTD = streams.pop()[:, : branch_BTD.shape[1]]
        alpha_BT = calibrated_alpha(stream_BTD, branch_BTD)
        seen.append(alpha_BT if alpha_BT.shape[1] == num_tokens else alpha_BT[:, :1].expand(-1, num_tokens))

    num_tokens = model.num_prefix_tokens + model.config.num_patches
    try:
        for block in (module for module in model.modules() if isinstance(module, Block)):
            handles.append(block.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0])))
            handles.append(block.attention_drop_path.register_forward_hook(finish))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _rollout_row(seen: ForwardPass, *, alpha: float, **settings) -> Tensor:
    return rollout(seen.attention, seen.readout_BT, alpha=alpha, **settings)


def _calibrated_row(seen: ForwardPass, *, alpha: float) -> Tensor:
    return rollout(seen.attention, seen.readout_BT, alpha=seen.alphas)


def _last_row(seen: ForwardPass, *, alpha: float) -> Tensor:
    return rollout(seen.attention, seen.readout_BT, alpha=0.0, layers=slice(-1, None))


def _relevance_row(seen: ForwardPass, *, alpha: float) -> Tensor:
    # Images do not touch each other in a ViT, so one backward pass of the summed logits gives each its own
    # gradient.
    total = seen.logit_BK.max(1).values.sum()
    gradient = torch.autograd.grad(total, seen.attention)
    return relevance(seen.attention, gradient, seen.readout_BT)


_ROW_OF: dict[str, Callable[..., Tensor]] = {
    "rollout": _rollout_row,
    "max": partial(_rollout_row, fusion="max"),
    "min": partial(_rollout_row, fusion="min"),
    "topk": partial(_rollout_row, keep=KEPT_SHARE),
    "calibrated": _calibrated_row,
    "last": _last_row,
    "relevance": _relevance_row,
}


def layer_rows(seen: ForwardPass, *, alpha: float = 0.5) -> Tensor:
    """Return (B, S, T), the rollout as if the head read after block 1, 2, ... S; the last is the rollout itself."""
    fused = [fuse(matrix) for matrix in seen.attention]
    depths = range(1, len(fused) + 1)
    return torch.stack([rollout(fused[:d], seen.readout_BT, alpha=alpha) for d in depths], dim=1)


def head_rows(seen: ForwardPass) -> Tensor:
    """Return (B, S, H, T), the attention of the tokens that the classifier reads, by block and head."""
    return torch.stack([torch.einsum("bt,bhtk->bhk", seen.readout_BT, a) for a in seen.attention], dim=1)


def measure_inputs(seen: ForwardPass, model: ViT, *, alpha: float = 0.5) -> dict[str, Tensor]:
    """Return the tensors that measures.measure needs: the head's row, the mean row, distances, logits."""
    fused = [fuse(matrix) for matrix in seen.attention]
    uniform_BT = torch.full_like(seen.readout_BT, 1 / seen.readout_BT.shape[1])
    return {
        "mass": rollout(fused, seen.readout_BT, alpha=alpha),
        "mean": rollout(fused, uniform_BT, alpha=alpha),
        "distance": attention_distance(seen.attention, model),
        "logit": seen.logit_BK,
    }


def attention_distance(attention: Sequence[Tensor], model: ViT) -> Tensor:
    """Return (B, S, H), the mean attention distance over all patch queries, pixels; prefix tokens left out.

    From centre to centre, so a patch is at no distance from itself and a coarser grid has smaller ones.

    Each query's distances are weighted with its attention, queries with their attention to patches.
    """
    rows, columns = model.grid
    place_P2 = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float() * model.config.patch_size
    T, prefix = attention[0].shape[-1], model.num_prefix_tokens
    weigh_TT2 = torch.zeros(T, T, 2)
    weigh_TT2[prefix:, prefix:, 0] = torch.cdist(place_P2, place_P2)
    weigh_TT2[prefix:, prefix:, 1] = 1
    weigh_X2 = weigh_TT2.view(T * T, 2).to(attention[0])
    sums = [matrix.flatten(2) @ weigh_X2 for matrix in attention]  # (B, H, 2): distance and mass
    return torch.stack([total[..., 0] / total[..., 1] for total in sums], dim=1)
