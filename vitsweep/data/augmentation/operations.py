"""Image operations of the AutoAugment family on a batch, each image with an operation and an argument of its own.

The images of one operation are transformed together, whatever their arguments; all geometric operations are one warp.
Formulas and rounding are those of torchvision.transforms.v2.functional; AutoContrast, Equalize and Invert are its own.
"""

# Shape letters: B batch, G images of one group, C color channels, H W pixels.

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
"""Arguments: shear factor; shift to the right or down, pixels; angle, degrees counter-clockwise."""
PHOTOMETRIC = (
    *("Brightness", "Color", "Contrast", "Sharpness"),  # factor; 1 leaves the image as it is
    *("Posterize", "Solarize", "SolarizeAdd"),  # bits kept; inverted from this value on; added below 128
    *("AutoContrast", "Equalize", "Invert"),  # no argument
)
OPERATIONS = ("Identity", *GEOMETRIC, *PHOTOMETRIC)
INDEX = {name: index for index, name in enumerate(OPERATIONS)}
GRAY_WEIGHTS = (0.2989, 0.587, 0.114)
BLUR_CENTER, BLUR_SUM = 5.0, 13.0  # 3x3 kernel of ones with this center


def apply_operations(
    image_BCHW: Tensor, operation_B: Tensor, argument_B: Tensor, fill_C: Tensor, mode: str = "nearest"
) -> Tensor:
    """Apply to each image its operation.

    Args:
        image_BCHW: uint8 pixels on any device.
        operation_B: indices of OPERATIONS, on the CPU, so that grouping does not wait for the device.
        argument_B: arguments, on the CPU.
        fill_C: value of pixels from outside of the image, 0 to 255, on the device.
        mode: interpolation of geometric operations, nearest or bilinear.

    Returns:
        A new uint8 tensor of the same shape and device.
    """
    out_BCHW = image_BCHW.clone()
    is_warped_B = (operation_B >= INDEX["ShearX"]) & (operation_B <= INDEX["Rotate"])
    groups: list[tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]] = [
        (operation_B == INDEX[name], KERNELS[name]) for name in PHOTOMETRIC
    ]
    for is_member_B, kernel in groups:
        place_G = is_member_B.nonzero()[:, 0]
        if len(place_G):
            argument_G = argument_B[place_G].to(image_BCHW.device, torch.float32).view(-1, 1, 1, 1)
            place_G = place_G.to(image_BCHW.device)
            out_BCHW[place_G] = kernel(image_BCHW[place_G], argument_G)
    place_G = is_warped_B.nonzero()[:, 0]
    if len(place_G):
        size = image_BCHW.shape[2:]
        matrix_G23 = inverse_matrices(operation_B[place_G], argument_B[place_G], int(size[0]), int(size[1]))
        place_G = place_G.to(image_BCHW.device)
        out_BCHW[place_G] = warp(image_BCHW[place_G], matrix_G23.to(image_BCHW.device), fill_C, mode)
    return out_BCHW


def inverse_matrices(operation_G: Tensor, argument_G: Tensor, height: int, width: int) -> Tensor:
    """Return the matrices (G, 2, 3) that map output to input pixels, both counted from the center of the image.

    Shear keeps the upper left corner fixed, as PIL's transform does; rotation keeps the center.
    """
    argument_G = argument_G.double()
    one_G, zero_G = torch.ones_like(argument_G), torch.zeros_like(argument_G)

    def where(name: str, value_G: Tensor, other_G: Tensor) -> Tensor:
        return torch.where(operation_G == INDEX[name], value_G, other_G)

    angle_G = where("Rotate", argument_G.deg2rad(), zero_G)
    shear_x_G, shear_y_G = where("ShearX", argument_G, zero_G), where("ShearY", argument_G, zero_G)
    right_G, down_G = where("TranslateX", argument_G, zero_G), where("TranslateY", argument_G, zero_G)
    sine_G, cosine_G = angle_G.sin(), angle_G.cos()
    rows = [
        [cosine_G, shear_x_G - sine_G, shear_x_G * height / 2 - right_G],
        [sine_G + shear_y_G, torch.where(angle_G == 0, one_G, cosine_G), shear_y_G * width / 2 - down_G],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1).float()


def warp(image_GCHW: Tensor, matrix_G23: Tensor, fill_C: Tensor, mode: str) -> Tensor:
    """Return the images seen through inverse affine maps; pixels from outside have the value `fill_C`."""
    g, c, h, w = image_GCHW.shape
    device = image_GCHW.device
    x_W = torch.linspace((1 - w) / 2, (w - 1) / 2, w, device=device)
    y_H = torch.linspace((1 - h) / 2, (h - 1) / 2, h, device=device)
    base_HW3 = torch.stack([x_W.expand(h, w), y_H[:, None].expand(h, w), torch.ones(h, w, device=device)], dim=2)
    scaled_G32 = matrix_G23.transpose(1, 2) / torch.tensor([w / 2, h / 2], device=device)
    grid_GHW2 = base_HW3.view(1, h * w, 3).expand(g, -1, -1).bmm(scaled_G32).view(g, h, w, 2)
    inside_G1HW = image_GCHW.new_ones((g, 1, h, w))
    layers = torch.cat([image_GCHW, inside_G1HW], dim=1).float()
    layers = F.grid_sample(layers, grid_GHW2, mode=mode, padding_mode="zeros", align_corners=False)
    found_GCHW, share_G1HW = layers[:, :c], layers[:, c:]
    fill_C11 = fill_C.view(-1, 1, 1).to(found_GCHW)
    if mode == "nearest":
        return torch.where(share_G1HW < 0.5, fill_C11, found_GCHW).round_().to(torch.uint8)
    # The samples from outside count as zero; the share inside says how much of them the fill replaces.
    return (found_GCHW + (1 - share_G1HW) * fill_C11).round_().clamp_(0, 255).to(torch.uint8)


def to_gray(image_GCHW: Tensor) -> Tensor:
    """Return the luminance (G, 1, H, W), float32 rounded down to whole grey levels."""
    if image_GCHW.shape[1] == 1:
        return image_GCHW.float()
    red, green, blue = image_GCHW.unbind(1)
    return (red * GRAY_WEIGHTS[0] + green * GRAY_WEIGHTS[1] + blue * GRAY_WEIGHTS[2]).floor_().unsqueeze(1)


def blend(image_GCHW: Tensor, other: Tensor, factor_G111: Tensor) -> Tensor:
    """Return `factor * image + (1 - factor) * other`, uint8 rounded down."""
    return (image_GCHW * factor_G111 + other * (1 - factor_G111)).clamp_(0, 255).to(torch.uint8)


def adjust_brightness(image_GCHW: Tensor, factor_G111: Tensor) -> Tensor:
    """Scale all values."""
    return (image_GCHW * factor_G111).clamp_(0, 255).to(torch.uint8)


def adjust_color(image_GCHW: Tensor, factor_G111: Tensor) -> Tensor:
    """Scale the distance from the grey image; grey images stay as they are."""
    if image_GCHW.shape[1] == 1:
        return image_GCHW
    return blend(image_GCHW, to_gray(image_GCHW), factor_G111)


def adjust_contrast(image_GCHW: Tensor, factor_G111: Tensor) -> Tensor:
    """Scale the distance from the mean luminance."""
    return blend(image_GCHW, to_gray(image_GCHW).mean((1, 2, 3), keepdim=True), factor_G111)


def adjust_sharpness(image_GCHW: Tensor, factor_G111: Tensor) -> Tensor:
    """Scale the distance from the blurred image, border pixels excepted."""
    c, h, w = image_GCHW.shape[1:]
    if h <= 2 or w <= 2:
        return image_GCHW
    out_GCHW = image_GCHW.float()
    kernel_33 = torch.ones(3, 3, device=image_GCHW.device)
    kernel_33[1, 1] = BLUR_CENTER
    blurred = F.conv2d(out_GCHW, (kernel_33 / BLUR_SUM).expand(c, 1, 3, 3), groups=c).round_()
    inner = out_GCHW[..., 1:-1, 1:-1]
    inner += (blurred - inner) * (1 - factor_G111)
    return out_GCHW.clamp_(0, 255).to(torch.uint8)


def posterize(image_GCHW: Tensor, bits_G111: Tensor) -> Tensor:
    """Keep the highest bits of each value."""
    return image_GCHW & (256 - 2 ** (8 - bits_G111)).to(torch.uint8)


def solarize(image_GCHW: Tensor, threshold_G111: Tensor) -> Tensor:
    """Invert the values from a threshold on."""
    return torch.where(image_GCHW >= threshold_G111, 255 - image_GCHW, image_GCHW)


def solarize_add(image_GCHW: Tensor, addend_G111: Tensor) -> Tensor:
    """Brighten the values below 128 (timm)."""
    brighter = (image_GCHW + addend_G111).clamp_(0, 255).to(torch.uint8)
    return torch.where(image_GCHW < 128, brighter, image_GCHW)


KERNELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Brightness": adjust_brightness,
    "Color": adjust_color,
    "Contrast": adjust_contrast,
    "Sharpness": adjust_sharpness,
    "Posterize": posterize,
    "Solarize": solarize,
    "SolarizeAdd": solarize_add,
    "AutoContrast": lambda image_GCHW, _: tv.autocontrast(image_GCHW),
    "Equalize": lambda image_GCHW, _: tv.equalize(image_GCHW),
    "Invert": lambda image_GCHW, _: tv.invert(image_GCHW),
}
