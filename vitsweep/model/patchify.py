"""Patch embedding as a convolution or a linear layer: the same function, initialized differently (see vit.py).

Shapes: B batch, C color channels, H W pixels, L tokens, D width, P pixels of one patch times channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvPatchify(nn.Module):
    """Convolution with kernel and stride equal to the patch size (Dosovitskiy et al. 2021, section 3.1)."""

    def __init__(self, patch_size: int, num_channels: int, hidden_size: int):
        super().__init__()
        self.projection = nn.Conv2d(num_channels, hidden_size, patch_size, stride=patch_size)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        token_BDHW = self.projection(image_BCHW)
        return token_BDHW.flatten(2).transpose(1, 2)  # BDHW -> BLD, patches in reading order


class LinearPatchify(nn.Module):
    """Unfolded patches times one matrix, whose rows are flattened convolution kernels."""

    def __init__(self, patch_size: int, num_channels: int, hidden_size: int):
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Linear(num_channels * patch_size**2, hidden_size)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        patch_BPL = F.unfold(image_BCHW, self.patch_size, stride=self.patch_size)
        return self.projection(patch_BPL.transpose(1, 2))


def make_patchify(method: str, patch_size: int, num_channels: int, hidden_size: int) -> nn.Module:
    """Return the patch embedding for `model.patchify_method`."""
    kinds = {"conv": ConvPatchify, "linear": LinearPatchify}
    return kinds[method](patch_size, num_channels, hidden_size)


def conv_to_linear(weight_DCHW: Tensor) -> Tensor:
    """Return convolution kernels as the matrix with which LinearPatchify computes the same tokens."""
    return torch.flatten(weight_DCHW, 1)
