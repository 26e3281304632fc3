"""Construction of networks: the only place that maps `model.name` to a class."""

from vitsweep.config.schema import Config
from vitsweep.model.resnet import ResNet
from vitsweep.model.vit import ViT

Network = ResNet | ViT
MODEL_CLASSES: dict[str, type[ResNet] | type[ViT]] = {"resnet": ResNet, "vit": ViT}


def make_model(config: Config) -> Network:
    """Return the network of `config`, its weights initialized from `config.seed`."""
    return MODEL_CLASSES[config.model.name](config.model, config.seed)
