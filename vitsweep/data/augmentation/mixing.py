"""Mixup and CutMix of a batch with itself, and the soft targets that go with them.

As torchvision.transforms.v2: one mixing weight and one box for the batch, each image with the one before it; chosen
between as in timm/data/mixup.py (probability of mixing, of CutMix among both, epoch of switching off).
"""

# Shape letters: B batch, C color channels, H W pixels, K classes.

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def draw_weight(alpha: float, generator: Generator) -> float:
    """Draw from Beta(alpha, alpha), by inversion: the same number in every version of torch."""
    from scipy.special import betaincinv  # late: takes half a second

    uniform = torch.rand((), generator=generator, dtype=torch.float64).item()
    return float(betaincinv(alpha, alpha, uniform))


def draw_cutmix_box(weight: float, height: int, width: int, generator: Generator) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a box of `1 - weight` of the image, cut off at its borders."""
    column, row = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    column, row = int(column * width), int(row * height)
    half_width = int(0.5 * math.sqrt(1 - weight) * width)
    half_height = int(0.5 * math.sqrt(1 - weight) * height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    return left, max(row - half_height, 0), right, min(row + half_height, height)


def mixup(image_BCHW: Tensor, weight: float) -> Tensor:
    """Return `weight * image + (1 - weight) * partner` (Zhang et al. 2018)."""
    return image_BCHW.roll(1, 0).mul_(1 - weight).add_(image_BCHW.mul(weight))


def cutmix(image_BCHW: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """Return the images with the partner's pixels inside of a box (Yun et al. 2019)."""
    left, top, right, bottom = box
    out_BCHW = image_BCHW.clone()
    out_BCHW[..., top:bottom, left:right] = image_BCHW.roll(1, 0)[..., top:bottom, left:right]
    return out_BCHW


def mix(
    image_BCHW: Tensor,
    label_B: Tensor,
    num_classes: int,
    generator: Generator,
    *,
    mixup_alpha: float,
    cutmix_alpha: float,
    probability: float,
    switch_probability: float,
) -> tuple[Tensor, Tensor]:
    """Mix a normalized batch with itself, or return it as it is.

    Args:
        generator: on the CPU; the same numbers are drawn whatever the settings.
        mixup_alpha: of the Beta distribution; 0: no mixup.
        cutmix_alpha: likewise; 0: no CutMix.
        probability: of mixing this batch.
        switch_probability: of CutMix where both are on.

    Returns:
        Images, and labels (B,) of a batch that is not mixed, else probabilities (B, K).
    """
    is_mixed, is_switched = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    if is_mixed >= probability:
        return image_BCHW, label_B
    height, width = image_BCHW.shape[2:]
    use_cutmix = cutmix_alpha > 0 and (mixup_alpha == 0 or is_switched < switch_probability)
    weight = draw_weight(cutmix_alpha if use_cutmix else mixup_alpha, generator)
    if use_cutmix:
        left, top, right, bottom = box = draw_cutmix_box(weight, height, width, generator)
        weight = 1 - (right - left) * (bottom - top) / (height * width)
        image_BCHW = cutmix(image_BCHW, box)
    else:
        image_BCHW = mixup(image_BCHW, weight)
    target_BK = F.one_hot(label_B, num_classes).to(image_BCHW.dtype)
    return image_BCHW, target_BK.roll(1, 0).mul_(1 - weight).add_(target_BK.mul(weight))
