"""Readouts: from the tokens after the last block to the vector that the classifier reads.

Each also returns the weights with which it read the tokens, for attention rollout.
Shapes: B batch, T tokens with P patches last, D width, N heads, E width of a head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitsweep.config.model_schema import ModelConfig
from vitsweep.model.layers import Linear, Mlp, make_norm


def make_pool(config: ModelConfig) -> nn.Module:
    """Return the readout of `model.global_pool`."""
    kinds = {"token": TokenPool, "avg": AveragePool, "seqpool": SequencePool, "map": MapPool}
    return kinds[config.global_pool](config)


class TokenPool(nn.Module):
    """Class token, the first of the sequence."""

    def __init__(self, config: ModelConfig):
        super().__init__()

    def forward(self, token_BTD: Tensor) -> Tensor:
        return token_BTD[:, 0]

    def weights(self, token_BTD: Tensor) -> Tensor:
        """Return the share of each token in the readout, (B, T), sum 1."""
        weight_BT = token_BTD.new_zeros(token_BTD.shape[:2])
        weight_BT[:, 0] = 1
        return weight_BT


class PatchPool(nn.Module):
    """Weighted mean of the patch tokens; registers are not read."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.num_prefix_tokens = config.num_prefix_tokens

    def patch_weights(self, patch_BPD: Tensor) -> Tensor:
        """Return the weight of each patch token, (B, P), sum 1."""
        raise NotImplementedError

    def weights(self, token_BTD: Tensor) -> Tensor:
        """Return the share of each token in the readout, (B, T), sum 1."""
        weight_BP = self.patch_weights(token_BTD[:, self.num_prefix_tokens :])
        return F.pad(weight_BP, (self.num_prefix_tokens, 0))

    def forward(self, token_BTD: Tensor) -> Tensor:
        patch_BPD = token_BTD[:, self.num_prefix_tokens :]
        return (self.patch_weights(patch_BPD).unsqueeze(1) @ patch_BPD).squeeze(1)


class AveragePool(PatchPool):
    """Mean of the patch tokens."""

    def forward(self, token_BTD: Tensor) -> Tensor:
        return token_BTD[:, self.num_prefix_tokens :].mean(1)

    def patch_weights(self, patch_BPD: Tensor) -> Tensor:
        return patch_BPD.new_full(patch_BPD.shape[:2], 1 / patch_BPD.shape[1])


class SequencePool(PatchPool):
    """SeqPool (Hassani et al. 2021, arXiv:2104.05704, section 3.3): weights are a softmax of one linear score."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.score = Linear(config.hidden_size, 1)

    def patch_weights(self, patch_BPD: Tensor) -> Tensor:
        return self.score(patch_BPD).squeeze(-1).softmax(-1).to(patch_BPD.dtype)


class MapPool(PatchPool):
    """Multihead attention pooling (Zhai et al. 2022, arXiv:2106.04560): a learned query, then a residual MLP.

    Parameters as in timm's AttentionPoolLatent. The share of a token in the readout is its attention, averaged over
    heads.
    """

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.probe = nn.Parameter(torch.zeros(1, 1, width))
        self.query = Linear(width, width)
        self.key_value = Linear(width, 2 * width)
        self.projection = Linear(width, width)
        self.norm = make_norm(config, width)
        self.mlp = Mlp(config, bias=True, dropout=False)

    def attend(self, patch_BPD: Tensor) -> tuple[Tensor, Tensor]:
        """Return attention (B, N, 1, P) of the query, and values (B, N, P, E)."""
        q_1N1E = self.query(self.probe.to(patch_BPD.dtype)).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k_BNPE, v_BNPE = (
            self.key_value(patch_BPD).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        )
        score_BN1P = (q_1N1E * q_1N1E.shape[-1] ** -0.5) @ k_BNPE.transpose(-2, -1)
        return score_BN1P.softmax(-1).to(v_BNPE.dtype), v_BNPE

    def patch_weights(self, patch_BPD: Tensor) -> Tensor:
        return self.attend(patch_BPD)[0].mean(1).squeeze(1)

    def forward(self, token_BTD: Tensor) -> Tensor:
        prob_BN1P, v_BNPE = self.attend(token_BTD[:, self.num_prefix_tokens :])
        pooled_BD = self.projection((prob_BN1P @ v_BNPE).flatten(1))
        return pooled_BD + self.mlp(self.norm(pooled_BD))
