"""The convolutional arm: a ResNet for small images with the Vision Transformer's parameters, of torchvision's blocks.

He et al. 2016 (arXiv:1512.03385), in the form that is usual for CIFAR: a 3x3 stem of stride 1 and no max-pooling, since
a 32x32 image would be 8x8 before the first block. Four stages of three basic blocks at widths 32, 64, 128, 256: next to
the starting ViT that is 4.37 against 4.25 million parameters and 0.43 against 0.53 GFLOP an image, so that neither size
nor compute speaks for it. No dropout: batch normalisation stands in its place in this family.
Shapes: B batch, C colour channels, H W pixels, D width of the last stage, K classes.
"""

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from vitsweep.config.schema import ModelConfig
from vitsweep.model.resnet_shapes import blocks_per_stage, stage_widths
from vitsweep.seeding import make_generator

HEAD_STD = 0.02  # the Vision Transformer's, so that both classifiers start alike


class ResNet(nn.Module):
    """Image to logits.

    Args:
        config: checked values, of which RESNET_FIELDS are read.
        seed: draws the weights, each parameter from a stream of its own, so that arms share what they have in common.
    """

    has_attention = False

    def __init__(self, config: ModelConfig, seed: int = 0):
        super().__init__()
        widths = stage_widths(config)
        self.config = config
        self.stem = nn.Conv2d(config.num_channels, widths[0], kernel_size=3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        inputs = [widths[0], *widths]
        self.stages = nn.ModuleList(
            make_stage(before, width, blocks_per_stage(config)) for before, width in zip(inputs, widths, strict=False)
        )
        self.head = nn.Linear(widths[-1], config.num_classes)
        initialize(self, seed)
        # Channels last in memory: on a CPU a third faster in fp32, and what tensor cores want.
        self.to(memory_format=torch.channels_last)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Logits (B, K) of normalised images (B, C, H, W)."""
        x_BCHW = self.stem(image_BCHW.contiguous(memory_format=torch.channels_last))
        x_BCHW = self.stem_norm(x_BCHW).relu_()
        for stage in self.stages:
            x_BCHW = stage(x_BCHW)
        return self.head(x_BCHW.mean((2, 3)))


def make_stage(inputs: int, width: int, num_blocks: int) -> nn.Sequential:
    """Basic blocks of one width; where it differs from `inputs` the first one halves the image's side."""
    first = BasicBlock(inputs, width)
    if inputs != width:
        shortcut = nn.Sequential(nn.Conv2d(inputs, width, kernel_size=1, stride=2, bias=False), nn.BatchNorm2d(width))
        first = BasicBlock(inputs, width, stride=2, downsample=shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(num_blocks - 1)))


@torch.no_grad()
def initialize(model: ResNet, seed: int) -> None:
    """Draw all weights, each from a stream named after its parameter.

    Kernels as torchvision's ResNet: normal with variance 2 / (outputs x kernel area) (He et al. 2015); norms 1 and 0;
    the head as the Vision Transformer's.
    """
    for name, parameter in model.named_parameters():
        generator = make_generator(seed, "init", name)
        if parameter.dim() == 4:
            nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu", generator=generator)
        elif name == "head.weight":
            nn.init.trunc_normal_(parameter, std=HEAD_STD, generator=generator)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
