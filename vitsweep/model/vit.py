"""Vision Transformer; each ablation axis is one field of ModelConfig and one branch here.

Dosovitskiy et al. 2021 ("An Image is Worth 16x16 Words"), with the class token, learned positions and pre-norm blocks
of timm's VisionTransformer, against which the tests check the logits.
Shapes: B batch, C color channels, H W pixels, T tokens with the class token, L patch tokens, D width, K classes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vitsweep.config.schema import ModelConfig
from vitsweep.errors import ConfigError
from vitsweep.model.layers import Attention, Block, Dropout, Mlp
from vitsweep.model.patchify import make_patchify
from vitsweep.seeding import make_generator

NORM_EPS = 1e-6  # timm's; PyTorch's own default is 1e-5
# Of the normal distribution of every matrix, as in timm and the ViT paper's code; these truncate it at +-2, that is 100
# standard deviations. nn.init.trunc_normal_ draws other numbers in other torch versions, normal_ the same.
INIT_STD = 0.02


class ViT(nn.Module):
    """Vision Transformer image classifier.

    Args:
        config: validated values.
        seed: seeds one random stream per parameter, so that arms share what they have in common.
    """

    has_attention = True
    num_prefix_tokens = 1

    def __init__(self, config: ModelConfig, seed: int = 0):
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.patchify = make_patchify(config.patchify_method, config.patch_size, config.num_channels, width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_1TD = nn.Parameter(torch.zeros(1, self.num_prefix_tokens + config.num_patches, width))
        self.embedding_dropout = Dropout(config.dropout_rate("embedding"))
        self.blocks = nn.ModuleList(make_block(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head_dropout = Dropout(config.dropout_rate("head"))
        self.head = nn.Linear(width, config.num_classes)
        initialize(self, seed)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return logits (B, K) of normalized images (B, C, H, W)."""
        patch_BLD = self.patchify(image_BCHW)
        dtype = patch_BLD.dtype
        class_B1D = self.class_token.to(dtype).expand(len(patch_BLD), -1, -1)
        token_BTD = torch.cat([class_B1D, patch_BLD], dim=1) + self.position_1TD.to(dtype)
        token_BTD = self.embedding_dropout(token_BTD)
        for block in self.blocks[:-1]:
            token_BTD = block(token_BTD)
        # The head reads the class token alone, so the last block has one query: a tenth less work in 8 blocks.
        class_B1D = self.blocks[-1](token_BTD, num_queries=self.num_prefix_tokens)
        return self.head(self.head_dropout(self.norm(class_B1D[:, 0])))

    @property
    def grid(self) -> tuple[int, int]:
        """Return the number of rows and columns of patches."""
        side = self.config.image_size // self.config.patch_size
        return side, side

    def readout(self) -> Tensor:
        """Return the weights (T,), sum 1, of the tokens that the head reads: 1 for the class token."""
        weight_T = torch.zeros(self.position_1TD.shape[1])
        weight_T[0] = 1.0
        return weight_T


def make_block(config: ModelConfig) -> Block:
    """Return one block with the sizes and dropout rates of `config`."""
    attention = Attention(
        config.hidden_size,
        config.num_attention_heads,
        bias=config.bias,
        probs_dropout=config.dropout_rate("attention_probs"),
        output_dropout=config.dropout_rate("attention_output"),
    )
    mlp = Mlp(
        config.hidden_size,
        config.intermediate_size,
        bias=config.bias,
        hidden_dropout=config.dropout_rate("mlp_hidden"),
        output_dropout=config.dropout_rate("mlp_output"),
    )
    return Block(attention, mlp, config.hidden_size, NORM_EPS)


@torch.no_grad()
def initialize(model: nn.Module, seed: int) -> None:
    """Initialize each parameter from the random stream of its name.

    Matrices, class token and positions: normal, std 0.02; biases 0; norms 1 and 0. The convolution of
    `patchify_method=conv` keeps the uniform initialization of nn.Conv2d (Kaiming with a = sqrt(5), that is
    +-1/sqrt(inputs), weight and bias): its only difference from `linear`.
    """
    for name, parameter in model.named_parameters():
        generator = make_generator(seed, "init", name)
        module = model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            parameter.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.LayerNorm):
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        elif name.endswith("bias"):
            parameter.zero_()
        else:
            nn.init.normal_(parameter, std=INIT_STD, generator=generator)


@contextmanager
def capture_attention(model: ViT, reduce: Callable[[Tensor], Tensor] | None = None) -> Iterator[list[Tensor]]:
    """Yield a list that each forward pass of `model` clears and fills with its attention, one tensor per block.

    Tensors are (B, heads, T, T), post-softmax, fp32 (fp64 for a model in fp64), with gradients if the pass has them.
    The model is in eval mode inside the context; on exit hooks are removed and modes restored.

    Args:
        model: network whose outputs stay as they are.
        reduce: function applied to each block's attention at once, for instance a mean over heads, to save memory.

    Raises:
        ConfigError: the model has no attention.
    """
    if not model.has_attention:
        raise ConfigError([f"model={model.config.name}  has no attention; allowed: model=vit"])
    captured: list[Tensor] = []
    attentions: list[Attention] = [module for module in model.blocks.modules() if isinstance(module, Attention)]
    modes = [(module, module.training) for module in model.modules()]
    clear_hook = model.register_forward_pre_hook(lambda *_: captured.clear())
    model.eval()
    try:
        for attention in attentions:
            attention.attention_hook = (
                captured.append if reduce is None else lambda a_BNTT: captured.append(reduce(a_BNTT))
            )
        yield captured
    finally:
        for attention in attentions:
            attention.attention_hook = None
        clear_hook.remove()
        for module, mode in modes:
            module.training = mode
