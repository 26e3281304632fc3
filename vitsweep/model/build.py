"""Which network a configuration asks for: the one place where a model is made."""

from vitsweep.config.schema import Config
from vitsweep.model.resnet import ResNet
from vitsweep.model.vit import ViT

MODEL_CLASSES = {"resnet": ResNet, "vit": ViT}


def make_model(config: Config) -> ResNet | ViT:
    """The network of a configuration, with the weights that its seed draws."""
    return MODEL_CLASSES[config.model.name](config.model, config.seed)
