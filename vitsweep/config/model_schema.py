"""Settings of the network, `model` in the configuration, and their rules."""

import dataclasses
import operator
from dataclasses import dataclass
from functools import partial

from vitsweep.config.checks import check, divisors, in_unit_interval, one_of, within

NETWORKS = ("resnet", "vit")
PATCHIFY_METHODS = ("conv", "linear")
RESNET_FIELDS = ("name", "image_size", "num_classes", "num_channels", "hidden_size", "num_hidden_layers")
DROPOUT_PLACES = ("embedding", "attention_probs", "attention_output", "mlp_hidden", "mlp_output", "head")
SIZES = ("image_size", "patch_size", "num_channels", "hidden_size")
MAX_SIZE = 1_000_000
COUNTS = ("num_hidden_layers", "num_attention_heads", "intermediate_size")


@dataclass(kw_only=True)
class ModelConfig:
    """Settings of the network: defaults of the starting configuration, names of Hugging Face's ViTConfig.

    A resnet uses RESNET_FIELDS only; all other fields must then have their default values.
    """

    name: str = "vit"
    """Network: vit (Vision Transformer) or resnet (a convolutional network of equal size, for comparison)."""
    image_size: int = 32
    """Height and width of the square input, pixels."""
    patch_size: int = 4
    """Height and width of one square patch, pixels; divides image_size."""
    num_classes: int = 10
    """Number of classes; equals the number of classes in the data."""
    num_channels: int = 3
    """Color channels of the input: 3 or 1."""
    patchify_method: str = "conv"
    """Patch embedding: conv (kernel = stride = patch) or linear (unfold, then one matrix)."""
    hidden_size: int = 256
    """Width of a token, divisible by num_attention_heads; of a resnet's last stage, divisible by 8."""
    num_hidden_layers: int = 8
    """Number of transformer blocks; of a resnet's residual blocks, divisible by 4."""
    num_attention_heads: int = 8
    """Number of attention heads in each block."""
    intermediate_size: int = 512
    """Width of the hidden layer of each block's MLP."""
    hidden_dropout_prob: float = 0.2
    """Dropout rate, in [0, 1), of every place below that is null."""
    embedding_dropout_prob: float | None = None
    """Dropout rate after the addition of the position embedding; null: hidden_dropout_prob."""
    attention_probs_dropout_prob: float | None = None
    """Dropout rate on the attention probabilities, after the softmax; null: hidden_dropout_prob."""
    attention_output_dropout_prob: float | None = None
    """Dropout rate after the attention's output projection; null: hidden_dropout_prob."""
    mlp_hidden_dropout_prob: float | None = None
    """Dropout rate inside the MLP, after the GELU; null: hidden_dropout_prob."""
    mlp_output_dropout_prob: float | None = None
    """Dropout rate after the MLP's second layer; null: hidden_dropout_prob."""
    head_dropout_prob: float | None = None
    """Dropout rate on the class token before the classifier; null: hidden_dropout_prob."""
    bias: bool = True
    """Bias terms in the linear layers of the blocks."""

    def dropout_rate(self, place: str) -> float:
        """Return the dropout rate, in [0, 1), at one of DROPOUT_PLACES."""
        rate = getattr(self, f"{place}_dropout_prob")
        return self.hidden_dropout_prob if rate is None else rate

    @property
    def num_patches(self) -> int:
        """Number of patches of one image: its tokens without the class token."""
        return (self.image_size // self.patch_size) ** 2

    def errors(self) -> list[str]:
        """Return one message for each broken rule."""
        found = within(1, MAX_SIZE, "model", self, SIZES + COUNTS)
        found += within(2, MAX_SIZE, "model", self, ["num_classes"])
        found += one_of(NETWORKS, "model", self, "name")
        if found:  # the rules below divide by these
            return found
        return found + (self._resnet_errors() if self.name == "resnet" else self._vit_errors())

    def _vit_errors(self) -> list[str]:
        found = []
        if self.patch_size > 0 and self.image_size > 0 and self.image_size % self.patch_size:
            found.append(
                f"model.patch_size={self.patch_size}  does not divide model.image_size={self.image_size}; "
                f"allowed: {divisors(self.image_size)}"
            )
        if self.num_attention_heads > 0 and self.hidden_size > 0 and self.hidden_size % self.num_attention_heads:
            found.append(
                f"model.hidden_size={self.hidden_size}  is not divisible by "
                f"model.num_attention_heads={self.num_attention_heads}; allowed heads: {divisors(self.hidden_size)}"
            )
        found += one_of(PATCHIFY_METHODS, "model", self, "patchify_method")
        rates = [f"{place}_dropout_prob" for place in ("hidden", *DROPOUT_PLACES)]
        return found + check("model", self, rates, in_unit_interval, "must lie in [0, 1)")

    def _resnet_errors(self) -> list[str]:
        found = []
        for name, divisor in (("hidden_size", 8), ("num_hidden_layers", 4)):
            value = getattr(self, name)
            if value > 0 and value % divisor:
                found.append(f"model.{name}={value}  must be divisible by {divisor} for model=resnet")
        for unused in (field for field in dataclasses.fields(self) if field.name not in RESNET_FIELDS):
            default = "null" if unused.default is None else unused.default
            rule = f"is not read by model=resnet; leave it out, or set it back to {default} beside model=resnet"
            found += check("model", self, [unused.name], partial(operator.eq, unused.default), rule)
        return found
