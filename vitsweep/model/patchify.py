"""Patch embeddings: from an image to one token per patch_size x patch_size pixels, in reading order.

Shapes: B batch, C color channels, H W pixels, L tokens, D width, P pixels of one patch times channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitsweep.config.model_schema import ModelConfig
from vitsweep.model.cost import stem_layers


class ConvPatchify(nn.Module):
    """Convolution with kernel and stride equal to the patch size (Dosovitskiy et al. 2021, section 3.1)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        patch = config.patch_size
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, patch, stride=patch)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return to_tokens(self.projection(image_BCHW))


class LinearPatchify(nn.Module):
    """Unfolded patches times one matrix, whose rows are flattened convolution kernels."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.patch_size = config.patch_size
        self.projection = nn.Linear(config.num_channels * config.patch_size**2, config.hidden_size)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        patch_BPL = F.unfold(image_BCHW, self.patch_size, stride=self.patch_size)
        return self.projection(patch_BPL.transpose(1, 2))


class LinearNormPatchify(nn.Module):
    """Layer norm, matrix, layer norm (dual PatchNorm, Kumar et al. 2023, arXiv:2302.01327; vit-pytorch)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.patch_size, patch_inputs = config.patch_size, config.num_channels * config.patch_size**2
        self.patch_norm = nn.LayerNorm(patch_inputs)
        self.projection = nn.Linear(patch_inputs, config.hidden_size)
        self.token_norm = nn.LayerNorm(config.hidden_size)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        patch_BPL = F.unfold(image_BCHW, self.patch_size, stride=self.patch_size)
        return self.token_norm(self.projection(self.patch_norm(patch_BPL.transpose(1, 2))))


class OverlapPatchify(nn.Module):
    """Convolution whose kernel is larger than its stride (T2T-ViT, CvT, PVTv2), padded to one token per patch."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        kernel, patch = config.patch_kernel, config.patch_size
        padding = (kernel - patch + 1) // 2
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, kernel, stride=patch, padding=padding)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return to_tokens(self.projection(image_BCHW))


class ConvStem(nn.Module):
    """Stacked 3x3 convolutions of stride 2 with BatchNorm and ReLU, then 1x1 (Xiao et al. 2021, arXiv:2106.14881).

    Channels double with each halving of the image and end at the width. The authors leave out one transformer block in
    return.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(layer.outputs),
                    nn.ReLU(),
                )
                for layer in stem_layers(config)
            )
        )
        self.projection = nn.Conv2d(config.hidden_size, config.hidden_size, 1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return to_tokens(self.projection(self.stages(image_BCHW)))


class CctTokenizer(nn.Module):
    """One block (convolution of stride 1, ReLU, 3x3 max-pooling of stride 2) per halving (Hassani et al. 2021)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, padding=layer.kernel // 2, bias=False),
                    nn.ReLU(),
                    nn.MaxPool2d(3, stride=2, padding=1),
                )
                for layer in stem_layers(config)
            )
        )

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return to_tokens(self.blocks(image_BCHW))


class ShiftedPatchify(nn.Module):
    """Shifted patch tokenization (SPT, Lee et al. 2021, arXiv:2112.13492, section 3.2): layer norm, then one matrix.

    Patches are cut out of the image and four copies, shifted by half a patch along the diagonals, zeros outside.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.patch_size, patch_inputs = config.patch_size, 5 * config.num_channels * config.patch_size**2
        self.patch_norm = nn.LayerNorm(patch_inputs)
        self.projection = nn.Linear(patch_inputs, config.hidden_size)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        patch_BPL = F.unfold(shifted_copies(image_BCHW, self.patch_size // 2), self.patch_size, stride=self.patch_size)
        return self.projection(self.patch_norm(patch_BPL.transpose(1, 2)))


def shifted_copies(image_BCHW: Tensor, shift: int) -> Tensor:
    """Return (B, 5 C, H, W): the image, and its copies shifted to right and down, left and down, right and up, left and
    up."""
    H, W = image_BCHW.shape[-2:]
    padded = F.pad(image_BCHW, [shift] * 4)
    starts = [(top, left) for top in (0, 2 * shift) for left in (0, 2 * shift)]
    return torch.cat([image_BCHW, *(padded[..., top : top + H, left : left + W] for top, left in starts)], dim=1)


PATCHIFY = {
    "cct": CctTokenizer,
    "conv": ConvPatchify,
    "conv_stem": ConvStem,
    "linear": LinearPatchify,
    "linear_norm": LinearNormPatchify,
    "overlap": OverlapPatchify,
    "spt": ShiftedPatchify,
}


def make_patchify(config: ModelConfig) -> nn.Module:
    """Return the patch embedding of `model.patchify_method`."""
    return PATCHIFY[config.patchify_method](config)


def to_tokens(token_BDHW: Tensor) -> Tensor:
    """Return the tokens (B, L, D) of a grid, in reading order."""
    return token_BDHW.flatten(2).transpose(1, 2)


def conv_to_linear(weight_DCHW: Tensor) -> Tensor:
    """Return convolution kernels as the matrix with which LinearPatchify computes the same tokens."""
    return torch.flatten(weight_DCHW, 1)
