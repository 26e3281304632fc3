"""Our dropout keeps what it promises, bit by bit; attention agrees with torch's own."""

import pytest
import torch
from torch.nn import functional as F

from vitsweep.config.schema import ModelConfig
from vitsweep.model.attention import Attention
from vitsweep.model.layers import Dropout

NARROW = ModelConfig(hidden_size=32, num_attention_heads=4, hidden_dropout_prob=0.0)


def dropped(rate: float, count: int = 400_000, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return Dropout(rate).train()(torch.ones(count))


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.2, 0.5, 0.9])
def test_dropout_drops_the_share_asked_for(rate):
    kept = (dropped(rate) > 0).float().mean().item()
    four_sigma = 4 * (rate * (1 - rate) / 400_000) ** 0.5
    assert abs(kept - (1 - rate)) < four_sigma + 1 / 65_536


@pytest.mark.parametrize("lane", [0, 1, 2, 3])
def test_dropout_has_the_same_rate_in_each_of_a_words_four_lanes(lane):
    kept = (dropped(0.2)[lane::4] > 0).float().mean().item()
    assert abs(kept - 0.8) < 4 * (0.16 / 100_000) ** 0.5


def test_dropout_keeps_the_mean():
    assert dropped(0.2).mean().item() == pytest.approx(1.0, abs=4 * (0.25 / 400_000) ** 0.5)


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 64])
def test_dropout_elements_are_independent(lag):
    keep = (dropped(0.5) > 0).float()
    assert abs(torch.corrcoef(torch.stack([keep[:-lag], keep[lag:]]))[0, 1]) < 4 / len(keep) ** 0.5


def test_dropout_calls_are_independent():
    torch.manual_seed(0)
    layer = Dropout(0.5).train()
    first, second = (layer(torch.ones(400_000)) > 0).float(), (layer(torch.ones(400_000)) > 0).float()
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 4 / 400_000**0.5


def test_dropout_follows_the_seed():
    assert torch.equal(dropped(0.2, seed=3), dropped(0.2, seed=3))
    assert not torch.equal(dropped(0.2, seed=3), dropped(0.2, seed=4))


def test_dropout_gradient_has_the_forward_mask():
    torch.manual_seed(0)
    x = torch.ones(1000, requires_grad=True)
    y = Dropout(0.3).train()(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_dropout_handles_sizes_that_fill_no_word():
    torch.manual_seed(0)
    assert Dropout(0.5).train()(torch.ones(3, 7)).shape == (3, 7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_dropout_gives_zeros_and_scaled_values_in_every_precision(dtype):
    torch.manual_seed(0)
    y = Dropout(0.5).train()(torch.ones(1000, dtype=dtype))
    assert y.dtype == dtype and set(y.tolist()) == {0.0, 2.0}


def test_dropout_scales_by_the_rounded_rate():
    y = dropped(0.1, count=1000)
    assert y.max().item() == pytest.approx(65_536 / (65_536 - 6554))


def test_attention_answers_the_first_tokens_alone_as_it_does_among_all():
    torch.manual_seed(0)
    attention = Attention(NARROW).eval()
    token_BLD = torch.randn(2, 9, 32)
    torch.testing.assert_close(attention(token_BLD, num_queries=2), attention(token_BLD)[:, :2])


def test_dropout_is_the_identity_in_eval_mode():
    x = torch.ones(5)
    assert Dropout(0.9).eval()(x) is x


def test_attention_agrees_with_torchs_fused_kernel():
    torch.manual_seed(0)
    attention = Attention(NARROW).eval()
    q, k, v = torch.randn(3, 2, 4, 9, 8).unbind(0)
    torch.testing.assert_close(attention.dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_attention_with_a_mask_in_bf16_has_scores_in_fp32():
    """As in a pack, where the dropout masks of the attention are given."""
    torch.manual_seed(0)
    layer = Attention(ModelConfig(hidden_size=32, num_attention_heads=2, hidden_dropout_prob=0.1))
    layer.probs_dropout.mask = layer.probs_dropout.scale = torch.ones(1)
    q, k, v = (torch.randn(2, 2, 33, 16).bfloat16() for _ in range(3))
    exact = F.scaled_dot_product_attention((9 * q).double(), k.double(), v.double())
    with torch.autocast("cpu", torch.bfloat16):
        error = layer.dot_product_attention(9 * q, k, v).double() - exact
    fused = F.scaled_dot_product_attention(9 * q, k, v).double() - exact
    assert error.square().mean() < 4 * fused.square().mean()
