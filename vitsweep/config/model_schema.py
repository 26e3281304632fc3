"""Settings of the network, `model` in the configuration, and their rules."""

import dataclasses
import math
import operator
from dataclasses import dataclass
from functools import partial
from typing import Any

from vitsweep.added_fields import added_field
from vitsweep.config.checks import at_least, check, divisors, in_unit_interval, one_of, within

NETWORKS = ("resnet", "vit")
CHOICES = {
    "patchify_method": ("cct", "conv", "conv_stem", "linear", "linear_norm", "overlap", "spt"),
    "pos_embed": ("learned", "learned_rope2d", "none", "relative", "rope2d", "sincos1d", "sincos2d"),
    "rope_coords": ("index", "normalized"),
    "global_pool": ("avg", "map", "seqpool", "token"),
    "norm_place": ("cct", "post", "pre", "res_post"),
    "norm_layer": ("layernorm", "rmsnorm"),
    "hidden_act": ("gelu", "gelu_pytorch_tanh", "relu", "silu"),
    "drop_path_schedule": ("constant", "linear"),
    "weight_init": ("mimetic", "timm", "torch", "xavier"),
}
"""Field -> its words."""
RESNET_FIELDS = ("name", "image_size", "num_classes", "num_channels", "hidden_size", "num_hidden_layers")
DROPOUT_PLACES = ("embedding", "attention_probs", "attention_output", "mlp_hidden", "mlp_output", "head")
SIZES = ("image_size", "patch_size", "num_channels", "hidden_size")
MAX_SIZE = 1_000_000
COUNTS = ("num_hidden_layers", "num_attention_heads", "intermediate_size")


@dataclass(kw_only=True)
class ModelConfig:
    """Settings of the network: defaults of the starting configuration, names of Hugging Face's ViTConfig.

    A resnet uses RESNET_FIELDS only; all other fields must then have their default values.

    >>> vs.ModelConfig(patch_size=8).num_patches
    16
    >>> vs.ModelConfig(patch_size=5).errors()
    ['model.patch_size=5  does not divide model.image_size=32; allowed: 1, 2, 4, 8, 16, 32']
    """

    name: str = "vit"
    """Network: vit (Vision Transformer) or resnet (a convolutional network of equal size, for comparison)."""
    image_size: int = 32
    """Height and width of the square input, pixels."""
    patch_size: int = 4
    """Height and width of one square patch, pixels; divides image_size."""
    num_classes: int = 10
    """Number of classes of the data; 0: as many as the class folders of data=image_folder."""
    num_channels: int = 3
    """Color channels of the input: 3 or 1."""
    patchify_method: str = "conv"
    """Patch embedding: conv (kernel = stride = patch), linear (unfold, then one matrix), linear_norm (layer norms
    before and after it), overlap (kernel > stride), conv_stem (3x3 convolutions of stride 2), cct (3x3 convolutions
    with max-pooling) or spt (image and four shifted copies)."""
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
    patch_kernel_size: int | None = added_field(None)
    """Kernel of patchify_method overlap (odd, above patch_size; null: 2 patch_size - 1) and cct (odd; null: 3)."""
    pos_embed: str = added_field("learned")
    """Position: none, learned, sincos1d and sincos2d (fixed), rope2d (rotated queries and keys), learned_rope2d (both),
    relative (a bias per head and offset on the attention scores)."""
    pos_embed_std: float = added_field(0.02)
    """Standard deviation of learned positions before training."""
    rope_theta: float = added_field(100.0)
    """Ratio, nearly, of RoPE's fastest to its slowest frequency."""
    rope_coords: str = added_field("normalized")
    """Angles of RoPE's fastest frequency: normalized (patch centers in -1 .. 1, times 2 pi: DINOv3) or index (0, 1, 2,
    ...: ViT-5)."""
    register_rope_theta: float | None = added_field(None)
    """rope_theta of the registers on a square grid of their own (ViT-5); null: they are not rotated (DINOv3)."""
    global_pool: str = added_field("token")
    """Readout: token (a class token), avg (mean of the patch tokens), seqpool (their mean weighted by a linear score)
    or map (one attention block with a learned query); only token has a class token."""
    num_register_tokens: int = added_field(0)
    """Number of learned tokens beside the patches that no readout reads."""
    fc_norm: bool = added_field(False)
    """Norm between the pooling and the classifier; needs another pooling than token."""
    final_norm: bool = added_field(True)
    """Norm of the tokens after the last block."""
    norm_place: str = added_field("pre")
    """Norms of a block: pre (before attention and MLP), post (after each addition), res_post (after attention and MLP,
    before the addition) or cct (pre, but the MLP's norm is applied to the residual stream itself)."""
    parallel_block: bool = added_field(False)
    """Attention and MLP of a block side by side, both on the block's normed input, so with one norm (ViT-22B)."""
    norm_layer: str = added_field("layernorm")
    """Norm: layernorm or rmsnorm."""
    qk_norm: bool = added_field(False)
    """Norms of the queries and keys of each head."""
    layerscale_value: float | None = added_field(None)
    """First value of a learned factor per channel on the output of attention and MLP; null: no such factor."""
    hidden_act: str = added_field("gelu")
    """Activation of the MLP: gelu, gelu_pytorch_tanh, relu or silu."""
    use_swiglu_ffn: bool = added_field(False)
    """SwiGLU in place of the MLP: two thirds of the hidden width, rounded up to a multiple of 8, so as many weights."""
    qkv_bias: bool | None = added_field(None)
    """Bias of queries, keys and values; null: as bias."""
    head_dim: int | None = added_field(None)
    """Width of an attention head; null: hidden_size / num_attention_heads."""
    lsa: bool = added_field(False)
    """Locality self-attention: a learned temperature per head, and no attention of a token to itself."""
    drop_path_rate: float = added_field(0.0)
    """Rate, in [0, 1), at which an image skips attention or MLP of a block in training (stochastic depth)."""
    drop_path_schedule: str = added_field("linear")
    """drop_path_rate over depth: linear (0 in the first block, the rate in the last) or constant."""
    patch_drop_rate: float = added_field(0.0)
    """Fraction, in [0, 1), of an image's patch tokens left out in training."""
    drop_key_rate: float = added_field(0.0)
    """Rate, in [0, 1), at which a query leaves out a key, before the softmax, in training."""
    weight_init: str = added_field("timm")
    """Initialization: timm (normal, std 0.02), xavier (uniform, head zero: big_vision), torch (nn.Linear's default) or
    mimetic (products of attention matrices near multiples of the identity)."""

    def dropout_rate(self, place: str) -> float:
        """Return the dropout rate, in [0, 1), at one of DROPOUT_PLACES."""
        rate = getattr(self, f"{place}_dropout_prob")
        return self.hidden_dropout_prob if rate is None else rate

    @property
    def num_patches(self) -> int:
        """Number of patches of one image: its tokens without class token and registers."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def num_kept_patches(self) -> int:
        """Number of patches of one image in training: fewer at patch_drop_rate, rounded as in timm."""
        return max(1, int(self.num_patches * (1 - self.patch_drop_rate)))

    @property
    def has_class_token(self) -> bool:
        """True if the first token is a class token."""
        return self.global_pool == "token"

    @property
    def num_prefix_tokens(self) -> int:
        """Number of tokens before the patches: class token and registers."""
        return self.has_class_token + self.num_register_tokens

    @property
    def has_rope(self) -> bool:
        """True if queries and keys are rotated by position."""
        return self.pos_embed in ("rope2d", "learned_rope2d")

    @property
    def has_learned_positions(self) -> bool:
        """True if a learned vector per position is added to the tokens."""
        return self.pos_embed in ("learned", "learned_rope2d")

    @property
    def head_width(self) -> int:
        """Width of an attention head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def attention_width(self) -> int:
        """Width of queries, keys and values, all heads together."""
        return self.num_attention_heads * self.head_width

    @property
    def has_qkv_bias(self) -> bool:
        """True if queries, keys and values have biases."""
        return self.bias if self.qkv_bias is None else self.qkv_bias

    @property
    def mlp_width(self) -> int:
        """Width of the MLP's hidden layer; of SwiGLU's, as in Hugging Face's Dinov2SwiGLUFFN."""
        return (2 * self.intermediate_size // 3 + 7) // 8 * 8 if self.use_swiglu_ffn else self.intermediate_size

    @property
    def patch_kernel(self) -> int:
        """Kernel of patchify_method overlap or cct."""
        return self.patch_kernel_size or self.default_patch_kernel

    @property
    def default_patch_kernel(self) -> int:
        """Kernel of patchify_method overlap or cct where patch_kernel_size is null."""
        return 3 if self.patchify_method == "cct" else 2 * self.patch_size - 1

    @property
    def num_halvings(self) -> int:
        """Number of layers that halve the image in patchify_method conv_stem and cct."""
        return self.patch_size.bit_length() - 1

    def drop_path_rates(self) -> list[float]:
        """Return the rate of each block; linear is timm's, from 0 to drop_path_rate."""
        last = self.num_hidden_layers - 1
        if self.drop_path_schedule == "constant":
            return [self.drop_path_rate] * (last + 1)
        return [self.drop_path_rate * block / max(last, 1) for block in range(last + 1)]

    def implied_values(self) -> dict[str, Any]:
        """Return the values for which null stands, of fields where both mean the same network."""
        return {
            "qkv_bias": self.bias,
            "head_dim": self.hidden_size / self.num_attention_heads,
            "patch_kernel_size": self.default_patch_kernel,
        }

    def errors(self) -> list[str]:
        """Return one message for each broken rule."""
        found = within(1, MAX_SIZE, "model", self, SIZES + COUNTS)
        found += within(2, MAX_SIZE, "model", self, ["num_classes"]) if self.num_classes else []  # 0: see its docstring
        found += one_of(NETWORKS, "model", self, "name")
        if found:  # the rules below divide by these
            return found
        return found + (self._resnet_errors() if self.name == "resnet" else self._vit_errors())

    def _vit_errors(self) -> list[str]:
        found = []
        if self.image_size % self.patch_size:
            found.append(
                f"model.patch_size={self.patch_size}  does not divide model.image_size={self.image_size}; "
                f"allowed: {divisors(self.image_size)}"
            )
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            found.append(
                f"model.hidden_size={self.hidden_size}  is not divisible by "
                f"model.num_attention_heads={self.num_attention_heads}; allowed heads: {divisors(self.hidden_size)}"
            )
        for name, words in CHOICES.items():
            found += one_of(words, "model", self, name)
        rates = [f"{place}_dropout_prob" for place in ("hidden", *DROPOUT_PLACES)]
        rates += ["drop_path_rate", "patch_drop_rate", "drop_key_rate"]
        found += check("model", self, rates, in_unit_interval, "must lie in [0, 1)")
        found += at_least(0, "model", self, ["num_register_tokens"])
        found += check("model", self, ["pos_embed_std", "rope_theta"], is_positive, "must be positive and finite")
        optional = ["layerscale_value", "register_rope_theta", "head_dim", "patch_kernel_size"]
        found += check("model", self, optional, lambda v: v is None or is_positive(v), POSITIVE_OR_NULL)
        # The rules below rely on these.
        return found or self._patch_errors() + self._position_errors() + self._block_errors()

    def _patch_errors(self) -> list[str]:
        method, patch, kernel = self.patchify_method, self.patch_size, self.patch_kernel
        where, found = f"model.patchify_method={method}", []
        if method in ("cct", "conv_stem") and (patch < 2 or patch & (patch - 1)):
            found.append(
                f"model.patch_size={patch}  must be a power of 2 from 2 on for {where}, which halves the image"
            )
        if method == "spt" and patch % 2:
            found.append(f"model.patch_size={patch}  must be even for {where}, which shifts by half a patch")
        if method == "overlap" and not (patch < kernel <= self.image_size and kernel % 2):
            rule = f"must be odd, above model.patch_size={patch} and at most model.image_size={self.image_size}"
            found.append(f"model.patch_kernel_size={kernel}  {rule} for {where}")
        if method == "cct" and not (kernel <= self.image_size and kernel % 2):
            rule = f"must be odd and at most model.image_size={self.image_size}"
            found.append(f"model.patch_kernel_size={kernel}  {rule} for {where}")
        if method not in ("cct", "overlap"):
            found += self._unread("patch_kernel_size", where, "model.patchify_method=overlap or cct")
        if self.patch_drop_rate and self.num_patches == 1:
            found.append(
                f"model.patch_drop_rate={self.patch_drop_rate}  needs several patches; use a smaller patch_size"
            )
        if self.patch_drop_rate and self.global_pool == "seqpool":
            rule = "leaves out tokens that model.global_pool=seqpool weighs; use another pooling, or set it to 0"
            found.append(f"model.patch_drop_rate={self.patch_drop_rate}  {rule}")
        return found

    def _position_errors(self) -> list[str]:
        where, found = f"model.pos_embed={self.pos_embed}", []
        if self.num_patches == 1 and (self.has_rope or self.pos_embed == "relative"):
            found.append(f"{where}  needs a grid of patches, not one patch; use a smaller model.patch_size")
        if self.has_rope and self.head_width % 4:
            rule = "needs heads whose width is divisible by 4 (rows and columns, sine and cosine)"
            found.append(
                f"{where}  {rule}; here it is {self.head_width}, see model.num_attention_heads, model.head_dim"
            )
        if self.pos_embed == "sincos1d" and self.hidden_size % 2:
            found.append(f"model.hidden_size={self.hidden_size}  must be even for {where}")
        if self.pos_embed == "sincos2d" and (self.hidden_size % 4 or self.hidden_size < 8):
            found.append(f"model.hidden_size={self.hidden_size}  must be divisible by 4, and at least 8, for {where}")
        if not self.has_learned_positions:
            found += self._unread("pos_embed_std", where, "model.pos_embed=learned")
        if not self.has_rope:
            for name in ("rope_theta", "rope_coords", "register_rope_theta"):
                found += self._unread(name, where, "model.pos_embed=rope2d or learned_rope2d")
        if self.register_rope_theta is not None and not is_positive_square(self.num_register_tokens):
            rule = f"needs a square number of registers, here model.num_register_tokens={self.num_register_tokens}"
            found.append(f"model.register_rope_theta={self.register_rope_theta}  {rule}; use 1, 4 or 9, or null")
        return found

    def _block_errors(self) -> list[str]:
        found = []
        if self.use_swiglu_ffn:
            found += self._unread(
                "hidden_act", "model.use_swiglu_ffn=true, which has SiLU", "model.use_swiglu_ffn=false"
            )
        if self.drop_path_rate == 0:
            found += self._unread("drop_path_schedule", "model.drop_path_rate=0", "a rate above 0")
        if self.parallel_block and self.norm_place != "pre":
            rule = f"has one norm, before both branches, not model.norm_place={self.norm_place}; use pre, or false"
            found.append(f"model.parallel_block=true  {rule}")
        if self.fc_norm and self.global_pool == "token":
            rule = "would norm the class token a second time; use model.global_pool=avg, map or seqpool, or false"
            found.append(f"model.fc_norm=true  {rule}")
        if self.lsa and self.num_prefix_tokens + self.num_patches == 1:
            found.append("model.lsa=true  leaves a lone token nothing to attend to; use a smaller model.patch_size")
        if self.weight_init == "mimetic" and self.attention_width != self.hidden_size:
            rule = f"needs heads that together have model.hidden_size={self.hidden_size}, here {self.attention_width}"
            found.append(f"model.weight_init=mimetic  {rule}; set model.head_dim=null")
        if self.global_pool == "map" and self.hidden_size % self.num_attention_heads:
            rule = f"needs model.hidden_size={self.hidden_size} divisible by model.num_attention_heads"
            found.append(f"model.global_pool=map  {rule}; allowed heads: {divisors(self.hidden_size)}")
        return found

    def _unread(self, name: str, where: str, needed: str) -> list[str]:
        """Require the default of a field that nothing reads."""
        default = next(field.default for field in dataclasses.fields(self) if field.name == name)
        rule = f"is not read with {where}; set it back to {'null' if default is None else default}, or use {needed}"
        return check("model", self, [name], partial(operator.eq, default), rule)

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


POSITIVE_OR_NULL = "must be positive and finite, or null"


def is_positive(value: float) -> bool:
    """Return True for a number in (0, inf); False for nan."""
    return 0 < value < math.inf


def is_positive_square(number: int) -> bool:
    """Return True for 1, 4, 9, ..."""
    return number > 0 and math.isqrt(number) ** 2 == number
