"""Vision Transformer; each ablation axis is one field of ModelConfig and one visible branch, here or in its own file.

Dosovitskiy et al. 2021 ("An Image is Worth 16x16 Words"), with the class token, learned positions and pre-norm blocks
of timm's VisionTransformer, against which the tests check the logits; that is what all axes at their defaults give.
Shapes: B batch, C color channels, H W pixels, T tokens (class token, registers, patches), L tokens given to a block,
X patches kept, R registers, P patches, D width, K classes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitsweep.config.model_schema import ModelConfig
from vitsweep.errors import ConfigError
from vitsweep.model.attention import Attention
from vitsweep.model.cost import num_tokens
from vitsweep.model.initialize import initialize
from vitsweep.model.layers import Block, Dropout, make_norm
from vitsweep.model.patchify import make_patchify
from vitsweep.model.pools import PatchPool, TokenPool, make_pool
from vitsweep.model.positions import fixed_positions

UNDECAYED = ("class_token", "position_1TD", "register_token", "table_NO", "probe", "temperature_N11")
"""Last parts of the names of parameters that are no matrices, whatever their dimensions: without weight decay."""


class ViT(nn.Module):
    """Vision Transformer image classifier, a module for any training loop.

    >>> model = vs.ViT(vs.ModelConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4), seed=1)
    >>> model(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 10])

    Args:
        config: the axes.
        seed: seeds one random stream per parameter, so that arms share what they have in common.

    Raises:
        ConfigError: the configuration breaks a rule.
    """

    has_attention = True

    def __init__(self, config: ModelConfig, seed: int = 0):
        super().__init__()
        if found := config.errors():
            raise ConfigError(found)
        width = config.hidden_size
        self.config = config
        self.num_prefix_tokens = config.num_prefix_tokens
        self.patchify = make_patchify(config)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width)) if config.has_class_token else None
        self.position_1TD: Tensor | None
        if config.has_learned_positions:
            num_positions = config.has_class_token + config.num_patches  # a register's would be part of the register
            self.position_1TD = nn.Parameter(torch.zeros(1, num_positions, width))
        elif config.pos_embed in ("sincos1d", "sincos2d"):
            self.register_buffer("position_1TD", fixed_positions(config), persistent=False)
        else:
            self.position_1TD = None
        registers = config.num_register_tokens
        self.register_token = nn.Parameter(torch.zeros(1, registers, width)) if registers else None
        self.embedding_dropout = Dropout(config.dropout_rate("embedding"))
        self.blocks = nn.ModuleList(Block(config, Attention(config), rate) for rate in config.drop_path_rates())
        self.norm = make_norm(config, width) if config.final_norm else nn.Identity()
        self.pool = make_pool(config)
        self.fc_norm = make_norm(config, width) if config.fc_norm else nn.Identity()
        self.head_dropout = Dropout(config.dropout_rate("head"))
        self.head = nn.Linear(width, config.num_classes)
        initialize(self, config, seed)

    def forward(self, image_BCHW: Tensor, kept_BX: Tensor | None = None) -> Tensor:
        """Return logits (B, K) of normalized images (B, C, H, W).

        Args:
            kept_BX: indices of the patches that the blocks are given, each with its own position; None: all, or in
                training a random choice at patch_drop_rate.
        """
        token_BTD = self.embed(image_BCHW)
        if kept_BX is None and self.training and self.config.patch_drop_rate > 0:
            kept_BX = self.draw_patches(len(token_BTD), token_BTD.device)
        place_BL = None if kept_BX is None else self.places(kept_BX)
        if place_BL is not None:
            token_BTD = token_BTD.gather(1, place_BL.unsqueeze(-1).expand(-1, -1, token_BTD.shape[-1]))
        for block in self.blocks[:-1]:
            token_BTD = block(token_BTD, place_BL=place_BL)
        # A head that reads the class token alone lets the last block have one query: a tenth less work in 8 blocks.
        num_queries = 1 if self.config.global_pool == "token" else None
        token_BTD = self.blocks[-1](token_BTD, num_queries=num_queries, place_BL=place_BL)
        return self.head(self.head_dropout(self.fc_norm(self.pool(self.norm(token_BTD)))))

    def embed(self, image_BCHW: Tensor) -> Tensor:
        """Return the tokens (B, T, D) that enter the first block."""
        token_BTD = self.patchify(image_BCHW)
        B, dtype = len(token_BTD), token_BTD.dtype
        if self.class_token is not None:
            token_BTD = torch.cat([self.class_token.to(dtype).expand(B, -1, -1), token_BTD], dim=1)
        if self.position_1TD is not None:
            token_BTD = token_BTD + self.position_1TD.to(dtype)
        if self.register_token is not None:
            place = int(self.config.has_class_token)
            register_BRD = self.register_token.to(dtype).expand(B, -1, -1)
            token_BTD = torch.cat([token_BTD[:, :place], register_BRD, token_BTD[:, place:]], dim=1)
        return self.embedding_dropout(token_BTD)

    def draw_patches(self, num_images: int, device: torch.device) -> Tensor:
        """Draw the indices of each image's patches that stay at patch_drop_rate (PatchDropout, Liu et al. 2022)."""
        order_BP = torch.rand(num_images, self.config.num_patches, device=device).argsort(dim=1)
        return order_BP[:, : self.config.num_kept_patches]

    def places(self, kept_BX: Tensor) -> Tensor:
        """Return the positions in the whole sequence of class token, registers and these patches."""
        prefix = torch.arange(self.num_prefix_tokens, device=kept_BX.device).expand(len(kept_BX), -1)
        return torch.cat([prefix, kept_BX + self.num_prefix_tokens], dim=1)

    @property
    def grid(self) -> tuple[int, int]:
        """Return the number of rows and columns of patches."""
        side = self.config.image_size // self.config.patch_size
        return side, side


@contextmanager
def capture_readout(model: ViT) -> Iterator[list[Tensor]]:
    """Yield a list that each forward pass fills with one tensor (B, T): the share of each token in the readout, sum 1.

    The shares have no gradient.
    """
    captured: list[Tensor] = []

    def keep(pool: nn.Module, inputs: tuple[Tensor, ...], _pooled: Tensor) -> None:
        with torch.no_grad():
            weight_BT = cast(TokenPool | PatchPool, pool).weights(inputs[0]).float()
        captured[:] = [F.pad(weight_BT, (0, num_tokens(model.config) - weight_BT.shape[1]))]  # of tokens not returned

    handle = model.pool.register_forward_hook(keep)
    try:
        yield captured
    finally:
        handle.remove()


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
