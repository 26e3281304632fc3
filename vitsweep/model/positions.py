"""Position embeddings: fixed tables, rotary embedding (RoPE) and relative bias.

Shapes: T tokens of the whole sequence (class token, registers, patches in reading order), B batch, N heads, L tokens
given, E width of a head, D width of a token.
"""

import math

import torch
from torch import Tensor, nn

from vitsweep.config.model_schema import ModelConfig

SINCOS_BASE = 10_000


def sincos1d(length: int, width: int) -> Tensor:
    """Return (length, width): sine and cosine alternate (Vaswani et al. 2017, section 3.5)."""
    frequency = SINCOS_BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(length, dtype=torch.float64).unsqueeze(1) * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()


def sincos2d(rows: int, columns: int, width: int) -> Tensor:
    """Return (rows * columns, width): sines and cosines of the column, then of the row (big_vision's vit.py)."""
    frequency = SINCOS_BASE ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4 - 1))
    row, column = grid_coordinates(rows, columns).double().unbind(1)
    angles = [place.unsqueeze(1) * frequency for place in (column, row)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()


def grid_coordinates(rows: int, columns: int) -> Tensor:
    """Return row and column of each cell in reading order, (rows * columns, 2)."""
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()


def fixed_positions(config: ModelConfig) -> Tensor:
    """Return the table (1, T', D) of sincos1d or sincos2d for class token, if there is one, and patches.

    In one dimension the class token is the first of the sequence, as in Compact-Transformers; in two it has no place in
    the grid and zeros, as in MAE.
    """
    side, width = config.image_size // config.patch_size, config.hidden_size
    if config.pos_embed == "sincos1d":
        return sincos1d(config.has_class_token + config.num_patches, width).unsqueeze(0)
    return torch.cat([torch.zeros(int(config.has_class_token), width), sincos2d(side, side, width)]).unsqueeze(0)


class Rope(nn.Module):
    """Axial rotary embedding: half of a head's channel pairs turn by the row, half by the column (Su et al. 2021).

    Scores of patches depend on their offset alone. Frequencies, coordinates and order of channels are those of Hugging
    Face's DINOv3ViTRopePositionEmbedding (rope_coords=normalized) or, up to the order, of ViT-5's rope.py (index). The
    class token is not rotated; registers neither (DINOv3), or on a square grid of their own (ViT-5).
    """

    cos_TE: Tensor
    sin_TE: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        side, width = config.image_size // config.patch_size, config.head_width
        place_P2 = grid_coordinates(side, side)
        if config.rope_coords == "normalized":
            place_P2 = 2 * math.pi * (2 * (place_P2 + 0.5) / side - 1)
        angles = [torch.zeros(int(config.has_class_token), width), register_angles(config)]
        angles.append(axial_angles(place_P2, config.rope_theta, width))
        angle_TE = torch.cat(angles)
        self.register_buffer("cos_TE", angle_TE.cos(), persistent=False)
        self.register_buffer("sin_TE", angle_TE.sin(), persistent=False)

    def forward(self, x_BNLE: Tensor, place_BL: Tensor | None = None) -> Tensor:
        """Return queries or keys, rotated; of the first L tokens, or of those at `place`."""
        L = x_BNLE.shape[2]
        tables = (self.cos_TE, self.sin_TE)
        if place_BL is None:
            cos, sin = (table_TE[:L] for table_TE in tables)
        else:
            cos, sin = (table_TE[place_BL[:, :L]].unsqueeze(1) for table_TE in tables)
        low, high = x_BNLE.chunk(2, dim=-1)
        return (x_BNLE * cos + torch.cat([-high, low], dim=-1) * sin).to(x_BNLE.dtype)


def axial_angles(place_P2: Tensor, theta: float, width: int) -> Tensor:
    """Return the angle (P, width) of each channel: pairs of the row, pairs of the column, and both again."""
    frequency = theta ** -torch.arange(0, 1, 4 / width)[: width // 4]
    return (place_P2.unsqueeze(-1) * frequency).flatten(1).tile(2)


def register_angles(config: ModelConfig) -> Tensor:
    """Return the angles of the registers, (number, E)."""
    number = config.num_register_tokens
    if config.register_rope_theta is None:
        return torch.zeros(number, config.head_width)
    side = math.isqrt(number)
    return axial_angles(grid_coordinates(side, side), config.register_rope_theta, config.head_width)


class RelativeBias(nn.Module):
    """Learned bias of the attention scores per head and offset in the grid (Swin, Liu et al. 2021, section 3.2).

    Three further entries per head for pairs with the class token or registers, as in BEiT: prefix to patch, patch to
    prefix, prefix to prefix.
    """

    index_TT: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        side, prefix = config.image_size // config.patch_size, config.num_prefix_tokens
        offsets = num_offsets(config)
        index_TT = torch.empty(prefix + side**2, prefix + side**2, dtype=torch.long)
        place_P2 = grid_coordinates(side, side).long()
        offset_PP2 = place_P2.unsqueeze(1) - place_P2.unsqueeze(0) + side - 1  # query minus key
        index_TT[prefix:, prefix:] = offset_PP2[..., 0] * (2 * side - 1) + offset_PP2[..., 1]
        if prefix:
            index_TT[:prefix, prefix:], index_TT[prefix:, :prefix] = offsets - 3, offsets - 2
            index_TT[:prefix, :prefix] = offsets - 1
        self.table_NO = nn.Parameter(torch.zeros(config.num_attention_heads, offsets))
        self.register_buffer("index_TT", index_TT, persistent=False)

    def forward(self, num_queries: int, place_BL: Tensor | None = None) -> Tensor:
        """Return the bias (N, queries, T), or (B, N, queries, L) of the tokens at `place`."""
        if place_BL is None:
            return self.table_NO[:, self.index_TT[:num_queries]]
        index_BLL = self.index_TT[place_BL[:, :num_queries, None], place_BL[:, None, :]]
        return self.table_NO[:, index_BLL].transpose(0, 1)


def num_offsets(config: ModelConfig) -> int:
    """Return the number of entries per head of RelativeBias."""
    side = config.image_size // config.patch_size
    return (2 * side - 1) ** 2 + (3 if config.num_prefix_tokens else 0)
