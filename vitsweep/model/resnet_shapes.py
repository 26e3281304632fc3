"""Sizes of the convolutions of model=resnet, and the parameters, FLOPs and activations that follow. Imports no torch.

He et al. 2016 (arXiv:1512.03385): a 3x3 stem, four stages of basic blocks (two 3x3 convolutions beside a shortcut),
each stage twice as wide as the one before at half its side; a 1x1 convolution in shortcuts that change width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from vitsweep.config.schema import ModelConfig

NUM_STAGES = 4


@dataclass(kw_only=True, frozen=True)
class Convolution:
    """Convolution without bias, followed by batch normalization."""

    inputs: int
    """Input channels."""
    outputs: int
    """Output channels."""
    kernel: int
    """Height and width of the kernel."""
    side: int
    """Height and width of the output, pixels."""

    @property
    def weights(self) -> int:
        """Return the number of weights in the kernel."""
        return self.inputs * self.outputs * self.kernel**2


def stage_widths(model: ModelConfig) -> list[int]:
    """Return the channels of each stage; the last has hidden_size."""
    return [model.hidden_size // 2**halvings for halvings in reversed(range(NUM_STAGES))]


def blocks_per_stage(model: ModelConfig) -> int:
    """Return the number of residual blocks per stage, equal in all stages."""
    return model.num_hidden_layers // NUM_STAGES


def convolutions(model: ModelConfig) -> Iterator[Convolution]:
    """Yield all convolutions, stem first."""
    inputs, side = stage_widths(model)[0], model.image_size
    yield Convolution(inputs=model.num_channels, outputs=inputs, kernel=3, side=side)
    for width in stage_widths(model):
        for block in range(blocks_per_stage(model)):
            if width != inputs and block == 0:
                side = (side + 1) // 2  # stride 2
                yield Convolution(inputs=inputs, outputs=width, kernel=1, side=side)
            yield Convolution(inputs=inputs, outputs=width, kernel=3, side=side)
            yield Convolution(inputs=width, outputs=width, kernel=3, side=side)
            inputs = width


def resnet_parameters(model: ModelConfig) -> int:
    """Return the number of trainable parameters: kernels, two per normalized channel, the head."""
    head = (model.hidden_size + 1) * model.num_classes
    return sum(each.weights + 2 * each.outputs for each in convolutions(model)) + head


def resnet_flops(model: ModelConfig) -> int:
    """Return the FLOPs of a forward pass of one image: convolutions and head, a multiply-add counted as 2."""
    products = sum(each.weights * each.side**2 for each in convolutions(model))
    return 2 * (products + model.hidden_size * model.num_classes)


def resnet_activations(model: ModelConfig) -> int:
    """Return the number of saved activations per image: the image, outputs of convolutions and ReLUs."""
    kept = sum((2 if each.kernel == 3 else 1) * each.outputs * each.side**2 for each in convolutions(model))
    return model.num_channels * model.image_size**2 + kept
