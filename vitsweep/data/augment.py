"""Augmentation and normalization of whole batches, on any device.

Order: crop, flip, policy (AutoAugment and its relatives), normalization, erasing, mixing. Each part draws from a stream
of its own, so arms with and without a policy see the same crops. Crop and flip are one gather over computed pixel
indices, without a loop over images (128 CIFAR images: 0.25 ms on two CPU cores); the rest is in augmentation/.
"""

# Shape letters: B batch, C color channels, H W pixels, P all pixels of a padded image, O of an output image.

from collections.abc import Callable, Sequence
from functools import cache

import torch
import torch.nn.functional as F

from vitsweep.config.recipe.schema import RecipeConfig
from vitsweep.data.augmentation import crops, mixing

GRAY = 128.0
Stream = Callable[..., torch.Generator]
"""Names of a child of a step's stream, and `device` -> its generator."""


def augment_images(
    image_BCHW: torch.Tensor, recipe: RecipeConfig, stream: Stream, mean: Sequence[float]
) -> torch.Tensor:
    """Crop, flip and transform uint8 images as the recipe asks; return a new tensor of the same shape.

    Args:
        mean: per channel, of pixels scaled to 0..1; for augment_fill=mean.
    """
    padding = recipe.crop_padding
    if recipe.resized_crop_min_area is not None:
        interpolation = recipe.resized_crop_interpolation
        image_BCHW = crops.resized_crop(image_BCHW, recipe.resized_crop_min_area, interpolation, stream("resized crop"))
        padding = 0
    image_BCHW = augment(
        image_BCHW,
        stream(device=image_BCHW.device),
        crop_padding=padding,
        horizontal_flip=recipe.horizontal_flip,
        padding_mode=recipe.crop_padding_mode,
    )
    return image_BCHW if recipe.auto_augment == "none" else apply_policy(image_BCHW, recipe, stream("policy"), mean)


def apply_policy(
    image_BCHW: torch.Tensor, recipe: RecipeConfig, generator: torch.Generator, mean: Sequence[float]
) -> torch.Tensor:
    """Apply the recipe's policy; see augment_images."""
    from vitsweep.data.augmentation import policies  # late: imports torchvision, which takes a second
    from vitsweep.data.augmentation.operations import apply_operations

    count, side = len(image_BCHW), image_BCHW.shape[3]
    num_ops, magnitude, std = recipe.randaugment_num_ops, recipe.randaugment_magnitude, recipe.randaugment_magnitude_std
    rounds = {
        "autoaugment": lambda: policies.draw_autoaugment(count, side, generator),
        "randaugment": lambda: policies.draw_randaugment(count, side, num_ops, int(magnitude), generator),
        "trivialaugment": lambda: policies.draw_trivialaugment(count, side, generator),
        "timm_randaugment": lambda: policies.draw_timm_randaugment(count, side, num_ops, magnitude, std, generator),
    }[recipe.auto_augment]()
    colors = {"black": [0.0] * len(mean), "gray": [GRAY] * len(mean), "mean": [round(255 * value) for value in mean]}
    fill_C = torch.tensor(colors[recipe.augment_fill], device=image_BCHW.device)
    mode = "bilinear" if recipe.auto_augment == "timm_randaugment" else "nearest"
    for operation_B, argument_B in rounds:
        image_BCHW = apply_operations(image_BCHW, operation_B, argument_B, fill_C, mode)
    return image_BCHW


def erase_and_mix(
    image_BCHW: torch.Tensor, label_B: torch.Tensor, recipe: RecipeConfig, num_classes: int, epoch: int, stream: Stream
) -> tuple[torch.Tensor, torch.Tensor]:
    """Erase boxes of normalized images and mix the batch as the recipe asks.

    Returns:
        Images, and labels (B,) or, of a mixed batch, probabilities (B, K).
    """
    if recipe.random_erasing_prob > 0:
        image_BCHW = crops.erase(
            image_BCHW,
            recipe.random_erasing_prob,
            recipe.random_erasing_max_area,
            recipe.random_erasing_mode,
            stream("erasing"),
            stream("erasing noise", device=image_BCHW.device),
        )
    if not recipe.is_mixing or (recipe.mixup_off_epoch and epoch > recipe.mixup_off_epoch):
        return image_BCHW, label_B
    return mixing.mix(
        image_BCHW,
        label_B,
        num_classes,
        stream("mixing"),
        mixup_alpha=recipe.mixup_alpha,
        cutmix_alpha=recipe.cutmix_alpha,
        probability=recipe.mixup_prob,
        switch_probability=recipe.mixup_switch_prob,
    )


def augment(
    image_BCHW: torch.Tensor,
    generator: torch.Generator,
    *,
    crop_padding: int,
    horizontal_flip: bool,
    padding_mode: str = "constant",
) -> torch.Tensor:
    """Crop and flip each image at random.

    Each image draws the same three numbers for all settings, so arms with and without flips see the same crops.

    Args:
        image_BCHW: uint8 pixels.
        generator: random source on any device; a CPU generator gives the same images on every device.
        crop_padding: pixels added on each side before a crop of the old size; 0: no crop.
        horizontal_flip: whether each image is mirrored with probability one half.
        padding_mode: constant (black) or reflect (padding smaller than the image).

    Returns:
        A new uint8 tensor of the same shape and device.
    """
    b, c, h, w = image_BCHW.shape
    device, place = image_BCHW.device, generator.device
    offset_2B = torch.randint(0, 2 * crop_padding + 1, (2, b), generator=generator, device=place).to(device)
    flip_B = torch.randint(0, 2, (b,), generator=generator, device=place).to(device)
    padded_BCHW = pad(image_BCHW, crop_padding, padding_mode) if crop_padding else image_BCHW
    padded_w = w + 2 * crop_padding
    row_BH = offset_2B[0, :, None] + torch.arange(h, device=device)
    column_BW = torch.arange(w, device=device).expand(b, w)
    if horizontal_flip:
        column_BW = torch.where(flip_B[:, None] == 1, w - 1 - column_BW, column_BW)
    column_BW = column_BW + offset_2B[1, :, None]
    index_BHW = row_BH[:, :, None] * padded_w + column_BW[:, None, :]
    index_BCO = index_BHW.view(b, 1, h * w).expand(b, c, h * w)
    return padded_BCHW.reshape(b, c, -1).gather(2, index_BCO).view(b, c, h, w)  # BCP -> BCO -> BCHW


def pad(image_BCHW: torch.Tensor, padding: int, mode: str) -> torch.Tensor:
    """Return the images with `padding` pixels more on each side."""
    if mode == "constant":
        return F.pad(image_BCHW, (padding,) * 4)
    return F.pad(image_BCHW.float(), (padding,) * 4, mode=mode).to(image_BCHW.dtype)  # torch reflects no uint8


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
