"""ResNet for small images, built from torchvision's basic blocks (He et al. 2016, arXiv:1512.03385).

As is usual for CIFAR: a 3x3 stem of stride 1 and no max-pooling, which would leave 8x8 of a 32x32 image before the
first block. Four stages of three blocks at widths 32, 64, 128, 256 match the starting ViT: 4.37 against 4.25 million
parameters, 0.43 against 0.53 GFLOP per image. Batch normalization replaces dropout.
Shapes: B batch, C color channels, H W pixels, K classes.
"""

import torch
from torch import Tensor, nn

from vitsweep.config.schema import ModelConfig
from vitsweep.model.resnet_shapes import blocks_per_stage, stage_widths
from vitsweep.seeding import make_generator

HEAD_STD = 0.02  # as in vit.py, so that both classifiers start alike
# torch 2.14.1 on AVX2: the weight gradient of a strided 1x1 convolution in channels-last format writes past its buffer
# (wrong gradients, deadlock, "double free or corruption") if the input has fewer channels than a vector block of 8.
# See github.com/uxlfoundation/oneDNN/issues/6035.
CHANNELS_LAST_BLOCK = 8


class ResNet(nn.Module):
    """ResNet image classifier.

    Args:
        config: validated values, of which RESNET_FIELDS are read.
        seed: seeds one random stream per parameter, so that arms share what they have in common.
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
        # Channels-last is a third faster on a CPU in fp32, and the format of tensor cores.
        is_safe = all(width % CHANNELS_LAST_BLOCK == 0 for width in widths)
        self.memory_format = torch.channels_last if is_safe else torch.contiguous_format
        self.to(memory_format=self.memory_format)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return logits (B, K) of normalized images (B, C, H, W)."""
        x_BCHW = self.stem(image_BCHW.contiguous(memory_format=self.memory_format))
        x_BCHW = self.stem_norm(x_BCHW).relu_()
        for stage in self.stages:
            x_BCHW = stage(x_BCHW)
        return self.head(x_BCHW.mean((2, 3)))


def make_stage(inputs: int, width: int, num_blocks: int) -> nn.Sequential:
    """Return `num_blocks` basic blocks; if `width` differs from `inputs`, the first halves height and width."""
    from torchvision.models.resnet import BasicBlock  # late: imports the compiler, sympy and triton, two seconds

    first = BasicBlock(inputs, width)
    if inputs != width:
        shortcut = nn.Sequential(nn.Conv2d(inputs, width, kernel_size=1, stride=2, bias=False), nn.BatchNorm2d(width))
        first = BasicBlock(inputs, width, stride=2, downsample=shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(num_blocks - 1)))


@torch.no_grad()
def initialize(model: ResNet, seed: int) -> None:
    """Initialize each parameter from the random stream of its name.

    Kernels as in torchvision's ResNet: normal with variance 2 / (outputs x kernel area) (He et al. 2015); norms 1
    and 0; the head as in the ViT.
    """
    for name, parameter in model.named_parameters():
        generator = make_generator(seed, "init", name)
        if parameter.dim() == 4:
            nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu", generator=generator)
        elif name == "head.weight":
            nn.init.normal_(parameter, std=HEAD_STD, generator=generator)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
