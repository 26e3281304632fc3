"""A small configuration from words, for the no-op check."""

from vitsweep.config.schema import Config, DataConfig, ModelConfig, RecipeConfig


def make(base: str = "", changes: str = "") -> Config:
    """A configuration from words such as `recipe.momentum=0.5`; the network is small."""
    config = Config(
        model=ModelConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48),
        data=DataConfig(root="/nowhere"),
        recipe=RecipeConfig(epochs=20),
    )
    for word in f"{base} {changes}".split():
        (group, name), value = word.partition("=")[0].split("."), word.partition("=")[2]
        old = getattr(getattr(config, group), name)
        plain = {"null": None, "true": True, "false": False}.get(value, value)
        if isinstance(plain, str) and not isinstance(old, str):  # a number; where the default is null, too
            plain = float(value) if "." in value or "e" in value else int(value)
        setattr(getattr(config, group), name, plain)
    assert not config.errors()
    return config
