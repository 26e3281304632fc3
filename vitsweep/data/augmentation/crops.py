"""Crops of random place or size: torchvision's RandomCrop with padding, RandomResizedCrop and RandomErasing's boxes."""

# Shape letters: B batch, A attempts, C color channels, H W pixels, O I output and input rows or columns.

import math

import torch
from torch import Generator, Tensor

NUM_ATTEMPTS = 10  # to draw a box that fits, as in torchvision
RATIOS = (3 / 4, 4 / 3)  # width to height of a resized crop, log-uniform
ERASING_RATIOS = (1 / 3.3, 1 / 0.3)  # width to height of an erased box, log-uniform
MIN_ERASED_AREA = 0.02
INTERPOLATIONS = ("bicubic", "bilinear", "random")


def draw_box(
    count: int,
    size: tuple[int, int],
    margin: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    generator: Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw heights and widths of boxes and whether one that fits was found in ten attempts, (B,) each.

    Args:
        size: height and width of the image.
        margin: by how many pixels a box must be smaller than the image, in height and in width.
        area: smallest and largest share of the image.
        ratio: smallest and largest width to height.
    """
    uniform_2BA = torch.rand(2, count, NUM_ATTEMPTS, generator=generator, dtype=torch.float64)
    area_BA = size[0] * size[1] * (area[0] + (area[1] - area[0]) * uniform_2BA[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratio_BA = torch.exp(low + (high - low) * uniform_2BA[1])
    width_BA, height_BA = (area_BA * ratio_BA).sqrt().round(), (area_BA / ratio_BA).sqrt().round()
    fits_BA = (0 < width_BA) & (width_BA <= size[1] - margin) & (0 < height_BA) & (height_BA <= size[0] - margin)
    first_B1 = fits_BA.int().argmax(1, keepdim=True)
    chosen = (values.gather(1, first_B1)[:, 0] for values in (height_BA, width_BA, fits_BA))
    height_B, width_B, fits_B = chosen
    return height_B, width_B, fits_B


def draw_offset(free_B: Tensor, generator: Generator) -> Tensor:
    """Draw whole numbers from 0 to `free_B`, both included, (B,) float64."""
    uniform_B = torch.rand(len(free_B), generator=generator, dtype=torch.float64)
    return (uniform_B * (free_B + 1)).floor().minimum(free_B)


def resized_crop(image_BCHW: Tensor, min_area: float, interpolation: str, generator: Generator) -> Tensor:
    """Cut a box of random area and aspect ratio out of each image and scale it to the old size.

    Args:
        image_BCHW: uint8 pixels.
        min_area: smallest share of the image in (0, 1]; the largest is 1.
        interpolation: bilinear, bicubic, or random (one of them for each image).
        generator: on the CPU.
    """
    b, _, h, w = image_BCHW.shape
    height_B, width_B, fits_B = draw_box(b, (h, w), 0, (min_area, 1.0), RATIOS, generator)
    # If none of ten boxes fits, the whole image is taken: torchvision's rule for square images.
    height_B, width_B = torch.where(fits_B, height_B, h), torch.where(fits_B, width_B, w)
    top_B, left_B = draw_offset(h - height_B, generator), draw_offset(w - width_B, generator)
    is_cubic_B = torch.rand(b, generator=generator) < {"bilinear": 0.0, "random": 0.5, "bicubic": 1.1}[interpolation]
    row_BOI = resizing_matrix(h, top_B, height_B, is_cubic_B).to(image_BCHW.device)
    column_BOI = resizing_matrix(w, left_B, width_B, is_cubic_B).to(image_BCHW.device)
    return resize(image_BCHW, row_BOI, column_BOI)


def resize(image_BCHW: Tensor, row_BOI: Tensor, column_BOI: Tensor) -> Tensor:
    """Return uint8 images as weighted sums of columns, then of rows; rounded after each, as PIL does."""
    wide_BCHW = (image_BCHW.float() @ column_BOI.transpose(1, 2)[:, None]).round_().clamp_(0, 255)
    return (row_BOI[:, None] @ wide_BCHW).round_().clamp_(0, 255).to(torch.uint8)


def resizing_matrix(size: int, start_B: Tensor, length_B: Tensor, is_cubic_B: Tensor) -> Tensor:
    """Return the weights (B, O, I) of input pixels in each output pixel, for a segment enlarged to `size` pixels.

    The kernels are PIL's (bilinear; bicubic with a = -0.5); weights outside of the segment are left out and the others
    scaled to the sum 1.
    """
    place_O = torch.arange(size, dtype=torch.float64) + 0.5
    center_BO1 = (start_B[:, None] + place_O * length_B[:, None] / size - 0.5)[:, :, None]
    input_I = torch.arange(size, dtype=torch.float64)
    distance_BOI = (input_I - center_BO1).abs()
    linear_BOI = (1 - distance_BOI).clamp_min(0)
    x, a = distance_BOI, -0.5
    near, far = ((a + 2) * x - (a + 3)) * x**2 + 1, ((x - 5) * x + 8) * a * x - 4 * a
    cubic_BOI = torch.where(x < 1, near, torch.where(x < 2, far, 0))
    weight_BOI = torch.where(is_cubic_B[:, None, None], cubic_BOI, linear_BOI)
    is_inside_BI = (input_I >= start_B[:, None]) & (input_I < (start_B + length_B)[:, None])
    weight_BOI = weight_BOI * is_inside_BI[:, None, :]
    return (weight_BOI / weight_BOI.sum(2, keepdim=True)).float()


def erase(
    image_BCHW: Tensor, probability: float, max_area: float, mode: str, generator: Generator, noise: Generator
) -> Tensor:
    """Replace a random box of each image, with some probability, in a normalized batch (Zhong et al. 2020).

    Args:
        image_BCHW: normalized pixels; changed in place.
        probability: of a box in an image.
        max_area: largest share of the image; the smallest is 0.02.
        mode: const (zero, the mean of the training images) or pixel (normal noise).
        generator: of the boxes, on the CPU.
        noise: of the noise, on any device.
    """
    b, _, h, w = image_BCHW.shape
    is_erased_B = torch.rand(b, generator=generator) < probability
    height_B, width_B, fits_B = draw_box(b, (h, w), 1, (MIN_ERASED_AREA, max_area), ERASING_RATIOS, generator)
    top_B, left_B = draw_offset(h - height_B, generator), draw_offset(w - width_B, generator)
    is_erased_B &= fits_B
    is_row_BH = is_within(h, top_B, height_B)
    is_column_BW = is_within(w, left_B, width_B)
    mask_BHW = is_erased_B[:, None, None] & is_row_BH[:, :, None] & is_column_BW[:, None, :]
    mask_B1HW = mask_BHW[:, None].to(image_BCHW.device)
    if mode == "const":
        return image_BCHW.masked_fill_(mask_B1HW, 0.0)
    noise_BCHW = torch.randn(image_BCHW.shape, generator=noise, device=noise.device).to(image_BCHW)
    return torch.where(mask_B1HW, noise_BCHW, image_BCHW)


def is_within(size: int, start_B: Tensor, length_B: Tensor) -> Tensor:
    """Return True (B, size) for the places of each segment."""
    place = torch.arange(size, dtype=torch.float64)
    return (place >= start_B[:, None]) & (place < (start_B + length_B)[:, None])
