"""Rollout against closed forms, enumeration, autograd and a published implementation.

Kinds: agrees with an independent reference, is deterministic, obeys a property, refuses with the right words.
Everything in fp64 to 1e-10 where a closed form exists. Shapes: B images, N heads, T tokens.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from vitsweep.analysis.attention.rollout import RolloutError, calibrated_alpha, fuse, relevance, rollout

EXACT = {"rtol": 0, "atol": 1e-10}


def random_attention(*, layers=5, B=3, N=4, T=6, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(B, N, T, T, generator=generator, dtype=dtype).mul(2).softmax(-1) for _ in range(layers)]


def random_readout(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)


def all_rows(attention, **settings):
    """R of one image: its attention T times over, each time with another token as readout."""
    T = attention[0].shape[-1]
    many = [matrix.expand(T, *matrix.shape[1:]) for matrix in attention]
    return rollout(many, torch.eye(T, dtype=attention[0].dtype), **settings)


def product(attention, alpha=0.5):
    """R of one image by plain products of square matrices, first layer rightmost."""
    T = attention[0].shape[-1]
    joint = np.eye(T)
    for matrix in attention:
        joint = (alpha * np.eye(T) + (1 - alpha) * matrix[0].numpy().mean(0)) @ joint
    return torch.from_numpy(joint)


@pytest.mark.parametrize("settings", [{}, {"fusion": "max"}, {"fusion": "min"}, {"keep": 0.4}, {"alpha": 0.9}])
def test_rollout_rows_are_distributions(settings):
    row_BT = rollout(random_attention(), random_readout(3, 6), **settings)
    torch.testing.assert_close(row_BT.sum(-1), torch.ones(3, dtype=torch.float64), **EXACT)
    assert (row_BT >= 0).all()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
def test_rollout_of_uniform_attention_is_a_power_of_alpha_and_the_rest_spread(alpha, fusion):
    T, depth = 5, 4
    uniform = [torch.full((1, 2, T, T), 1 / T, dtype=torch.float64)] * depth
    expected = alpha**depth * torch.eye(T, dtype=torch.float64) + (1 - alpha**depth) / T
    torch.testing.assert_close(all_rows(uniform, alpha=alpha, fusion=fusion), expected, **EXACT)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
def test_rollout_of_identity_attention_is_the_identity(fusion):
    stays = [torch.eye(4, dtype=torch.float64).expand(1, 3, 4, 4)] * 6
    torch.testing.assert_close(all_rows(stays, fusion=fusion), torch.eye(4, dtype=torch.float64), **EXACT)


def test_rollout_of_no_layers_is_the_readout():
    readout_BT = random_readout(3, 6)
    torch.testing.assert_close(rollout(random_attention(), readout_BT, layers=slice(0, 0)), readout_BT, **EXACT)


def test_rollout_of_a_cyclic_shift_is_binomial():
    T, depth = 7, 5
    shift = torch.roll(torch.eye(T, dtype=torch.float64), 1, dims=1)
    expected = sum(math.comb(depth, k) / 2**depth * torch.linalg.matrix_power(shift, k) for k in range(depth + 1))
    torch.testing.assert_close(all_rows([shift.expand(1, 1, T, T)] * depth), expected, **EXACT)


def test_rollout_puts_later_layers_on_the_left():
    # Raw attention (alpha 0) that moves 0 <- 1 in the last layer and 1 <- 2 in the first: token 0 ends up
    # reading 2.
    first = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]], dtype=torch.float64).view(1, 1, 3, 3)
    last = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64).view(1, 1, 3, 3)
    reads_0 = torch.tensor([1.0, 0, 0])
    assert rollout([first, last], reads_0, alpha=0).tolist() == [[0, 0, 1]]
    assert rollout([last, first], reads_0, alpha=0).tolist() == [[0, 1, 0]]


def test_rollout_agrees_with_enumerating_every_path():
    attention, T = random_attention(layers=3, B=1, N=2, T=4), 4
    mixed = [0.5 * np.eye(T) + 0.5 * matrix[0].numpy().mean(0) for matrix in attention]
    expected = np.zeros((T, T))
    for end, second, first, start in itertools.product(range(T), repeat=4):
        expected[end, start] += mixed[2][end, second] * mixed[1][second, first] * mixed[0][first, start]
    torch.testing.assert_close(all_rows(attention), torch.from_numpy(expected), **EXACT)


@pytest.mark.parametrize("reads", ["class token", "mean of patches", "mean of all"])
def test_rollout_is_the_jacobian_of_the_network_with_frozen_attention(reads):
    attention, T = random_attention(B=2, T=6), 6
    readout_T = torch.zeros(T, dtype=torch.float64)
    readout_T[{"class token": slice(0, 1), "mean of patches": slice(1, T), "mean of all": slice(0, T)}[reads]] = 1
    readout_T /= readout_T.sum()
    x_BT = torch.zeros(2, T, dtype=torch.float64, requires_grad=True)
    y_BT = x_BT
    for matrix in attention:
        y_BT = 0.5 * y_BT + 0.5 * (matrix.mean(1) @ y_BT.unsqueeze(-1)).squeeze(-1)
    (y_BT @ readout_T).sum().backward()
    torch.testing.assert_close(rollout(attention, readout_T), x_BT.grad, **EXACT)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_rollout_agrees_with_the_full_product(alpha):
    attention = random_attention(B=1)
    torch.testing.assert_close(all_rows(attention, alpha=alpha), product(attention, alpha), **EXACT)


def test_rollout_agrees_with_the_published_implementation():
    # Made with compute_joint_attention of attention_graph_util.py (Abnar & Zuidema's repository), head means
    # of 1 head.
    counts = [
        [[1, 2, 3, 4], [4, 1, 1, 2], [1, 5, 3, 1], [2, 2, 1, 5]],
        [[3, 1, 4, 2], [1, 1, 7, 1], [2, 6, 1, 1], [5, 1, 2, 8]],
        [[1, 4, 1, 4], [2, 7, 1, 8], [3, 1, 4, 1], [5, 9, 2, 6]],
    ]
    published = [
        [0.2945, 0.206421875, 0.224359375, 0.27471875],
        [0.19458333333333333, 0.3275, 0.23583333333333328, 0.24208333333333334],
        [0.2023263888888889, 0.28701822916666664, 0.3445008680555556, 0.16615451388888891],
        [0.19943181818181818, 0.19402698863636364, 0.16615767045454546, 0.44038352272727277],
    ]
    attention = torch.tensor(counts, dtype=torch.float64).unsqueeze(1).unsqueeze(1)
    attention = attention / attention.sum(-1, keepdim=True)
    torch.testing.assert_close(all_rows(list(attention)), torch.tensor(published, dtype=torch.float64), **EXACT)


def test_rollout_follows_a_permutation_of_the_tokens():
    attention, readout_BT = random_attention(), random_readout(3, 6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = [matrix[..., order, :][..., order] for matrix in attention]
    torch.testing.assert_close(
        rollout(permuted, readout_BT[:, order]), rollout(attention, readout_BT)[:, order], **EXACT
    )


def test_rollout_composes_over_layers():
    attention, readout_BT = random_attention(), random_readout(3, 6)
    halfway_BT = rollout(attention, readout_BT, layers=slice(2, None))
    torch.testing.assert_close(
        rollout(attention, halfway_BT, layers=slice(0, 2)), rollout(attention, readout_BT), **EXACT
    )


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
def test_rollout_ignores_the_order_of_the_heads(fusion):
    attention, readout_T = random_attention(), random_readout(6)
    shuffled = [matrix[:, [2, 0, 3, 1]] for matrix in attention]
    torch.testing.assert_close(
        rollout(shuffled, readout_T, fusion=fusion), rollout(attention, readout_T, fusion=fusion), **EXACT
    )


@pytest.mark.parametrize("B", [1, 5, 6])  # 6 = T, which a division without keepdim would take in silence
@pytest.mark.parametrize("settings", [{}, {"fusion": "max"}, {"keep": 0.5}, {"fusion": "min", "alpha": 0.2}])
def test_rollout_of_a_batch_is_that_of_its_images(B, settings):
    attention, readout_BT = random_attention(B=B), random_readout(B, 6)
    singles = [rollout([m[b : b + 1] for m in attention], readout_BT[b], **settings) for b in range(B)]
    torch.testing.assert_close(rollout(attention, readout_BT, **settings), torch.cat(singles), **EXACT)


@pytest.mark.parametrize("fusion", ["max", "min"])
def test_rollout_normalises_rows_before_mixing(fusion):
    attention = random_attention(layers=2, B=1, T=4)
    joint = np.eye(4)
    for matrix in attention:
        fused = getattr(np, fusion)(matrix[0].numpy(), axis=0)
        joint = (0.3 * np.eye(4) + 0.7 * fused / fused.sum(1, keepdims=True)) @ joint
    torch.testing.assert_close(all_rows(attention, fusion=fusion, alpha=0.3), torch.from_numpy(joint), **EXACT)


def test_rollout_takes_a_row_without_attention_as_the_identity():
    # The two heads share no key in row 0, so their minimum is empty there: token 0 keeps itself.
    head_1 = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    head_2 = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    rows = all_rows([torch.stack([head_1, head_2]).double().unsqueeze(0)], fusion="min")
    assert rows.tolist() == [[1.0, 0.0], [0.25, 0.75]]


def test_fuse_keeps_the_largest_keys_of_each_row():
    matrix = torch.tensor([[[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.15, 0.05]]])
    expected = torch.tensor([[[0.0, 0.0, 0.3, 0.4], [0.7, 0.0, 0.15, 0.0]]])
    assert torch.equal(fuse(matrix, "mean", keep=0.5), expected)


def test_rollout_of_the_raw_last_layer_is_its_readout_row():
    attention = random_attention()
    reads_0 = torch.eye(6, dtype=torch.float64)[0]
    raw_BT = rollout(attention, reads_0, alpha=0, layers=slice(-1, None))
    torch.testing.assert_close(raw_BT, attention[-1].mean(1)[:, 0], **EXACT)


def test_rollout_takes_an_alpha_for_each_token():
    attention = random_attention(layers=2, B=1, T=3)
    alpha = [torch.tensor([[0.1, 0.5, 0.9]]).double(), torch.tensor([[0.3, 0.0, 1.0]]).double()]
    joint = np.eye(3)
    for matrix, weight in zip(attention, alpha, strict=True):
        stays = np.diag(weight[0].numpy())
        joint = (stays + (np.eye(3) - stays) @ matrix[0].numpy().mean(0)) @ joint
    many = [weight.expand(3, 3) for weight in alpha]
    torch.testing.assert_close(all_rows(attention, alpha=many), torch.from_numpy(joint), **EXACT)


def test_calibrated_alpha_is_the_share_of_the_residual():
    residual = torch.tensor([[[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]]])
    branch = torch.tensor([[[5.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    assert calibrated_alpha(residual, branch).tolist() == [[0.5, 1.0, 1.0]]


def test_relevance_agrees_with_the_full_product():
    attention = random_attention(layers=3, B=2)
    gradient = [matrix - 0.1 for matrix in random_attention(layers=3, B=2, seed=5)]
    readout_T = random_readout(6)
    expected = []
    for b in range(2):
        joint = torch.eye(6, dtype=torch.float64)
        for matrix, slope in zip(attention, gradient, strict=True):
            joint = joint + torch.relu(slope[b] * matrix[b]).mean(0) @ joint
        expected.append(readout_T @ joint - readout_T)
    torch.testing.assert_close(relevance(attention, gradient, readout_T), torch.stack(expected), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rollout_keeps_the_dtype(dtype):
    attention = [matrix.to(dtype) for matrix in random_attention()]
    row_BT = rollout(attention, torch.eye(6)[0])
    assert row_BT.dtype == dtype
    exact_BT = rollout(random_attention(), torch.eye(6)[0])
    torch.testing.assert_close(row_BT.double(), exact_BT, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_rollout_is_deterministic_and_leaves_its_input_alone():
    attention, readout_T = random_attention(), random_readout(6)
    before = [matrix.clone() for matrix in attention]
    assert torch.equal(rollout(attention, readout_T), rollout(attention, readout_T))
    assert all(map(torch.equal, attention, before))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alpha": 1.5}, "alpha=1.5  must lie in"),
        ({"alpha": [0.5]}, "alpha  has 1 values; needed: one, or one for each of 5 layers"),
        ({"fusion": "median"}, "fusion='median'  is unknown; allowed: max, mean, min"),
        ({"keep": 0.0}, "keep=0.0  must lie in"),
    ],
)
def test_rollout_refuses_impossible_settings(settings, words):
    with pytest.raises(RolloutError, match=words):
        rollout(random_attention(), random_readout(6), **settings)


@pytest.mark.parametrize(
    ("attention", "readout", "words"),
    [
        ([], torch.ones(1), "a model without attention blocks"),
        (
            [torch.eye(3).expand(2, 1, 3, 3), torch.eye(4).expand(2, 1, 4, 4)],
            torch.eye(3)[0],
            r"attention\[1\]",
        ),
        ([torch.eye(3).expand(2, 1, 3, 3)], torch.eye(4)[0], r"readout  has shape \(4,\)"),
        ([torch.eye(3).expand(2, 1, 3, 3)], torch.ones(3), "must sum to 1"),
        ([torch.eye(3).expand(2, 1, 3, 3)], torch.tensor([2.0, -1, 0]), "must not be negative"),
        ([torch.full((2, 1, 3, 3), torch.nan)], torch.eye(3)[0], "holds NaN"),
        ([torch.ones(2, 1, 3, 3)], torch.eye(3)[0], "rows that do not sum to 1"),
    ],
)
def test_rollout_refuses_what_is_no_attention(attention, readout, words):
    with pytest.raises(RolloutError, match=words):
        rollout(attention, readout)
