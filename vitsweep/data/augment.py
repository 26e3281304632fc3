"""Augmentation and normalization of whole batches, on any device.

Crop and flip are one gather over computed pixel indices, without a loop over images (128 CIFAR images: 0.25 ms on two
CPU cores).
"""

# Shape letters: B batch, C color channels, H W pixels, P all pixels of a padded image, O of an output image.

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F


def augment(
    image_BCHW: torch.Tensor, generator: torch.Generator, *, crop_padding: int, horizontal_flip: bool
) -> torch.Tensor:
    """Crop and flip each image at random.

    Each image draws the same three numbers for all settings, so arms with and without flips see the same crops.

    Args:
        image_BCHW: uint8 pixels.
        generator: random source on any device; a CPU generator gives the same images on every device.
        crop_padding: black pixels added on each side before a crop of the old size; 0: no crop.
        horizontal_flip: whether each image is mirrored with probability one half.

    Returns:
        A new uint8 tensor of the same shape and device.
    """
    b, c, h, w = image_BCHW.shape
    device, place = image_BCHW.device, generator.device
    offset_2B = torch.randint(0, 2 * crop_padding + 1, (2, b), generator=generator, device=place).to(device)
    flip_B = torch.randint(0, 2, (b,), generator=generator, device=place).to(device)
    padded_BCHW = F.pad(image_BCHW, (crop_padding,) * 4) if crop_padding else image_BCHW
    padded_w = w + 2 * crop_padding
    row_BH = offset_2B[0, :, None] + torch.arange(h, device=device)
    column_BW = torch.arange(w, device=device).expand(b, w)
    if horizontal_flip:
        column_BW = torch.where(flip_B[:, None] == 1, w - 1 - column_BW, column_BW)
    column_BW = column_BW + offset_2B[1, :, None]
    index_BHW = row_BH[:, :, None] * padded_w + column_BW[:, None, :]
    index_BCO = index_BHW.view(b, 1, h * w).expand(b, c, h * w)
    return padded_BCHW.reshape(b, c, -1).gather(2, index_BCO).view(b, c, h, w)  # BCP -> BCO -> BCHW


def normalize(
    image_BCHW: torch.Tensor, mean: Sequence[float] | torch.Tensor, std: Sequence[float] | torch.Tensor
) -> torch.Tensor:
    """Return float32 `(image / 255 - mean) / std`, per channel.

    Args:
        image_BCHW: uint8 pixels.
        mean: per channel, of pixels scaled to 0..1.
        std: per channel, likewise.
    """
    factor_C11, shift_C11 = factor_and_shift(tuple(map(float, mean)), tuple(map(float, std)), image_BCHW.device)
    # One multiplication and one addition, in place: a third of the time of the formula above.
    return image_BCHW.float().mul_(factor_C11).add_(shift_C11)


@cache  # kept on the device: a copy to a GPU in every step would make the host wait
def factor_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `normalize` multiplies by and adds, (C, 1, 1) each."""
    mean_C11, std_C11 = (
        torch.tensor(value, dtype=torch.float32, device=device).view(-1, 1, 1) for value in (mean, std)
    )
    return 1 / (255 * std_C11), -mean_C11 / std_C11
