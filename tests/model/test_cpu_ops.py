"""Our CPU operators agree with torch's own, values and gradients, in both precisions and also where they step aside."""

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from vitsweep.model import cpu_ops
from vitsweep.model.cpu_ops import LEVELS, apply_mask, attend, draw_levels, levels_to_mask, linear, random_mask


def with_gradients(function, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """The result and the gradients by all inputs, each output element weighted differently."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    result = function(*inputs)
    weight = torch.linspace(-1, 1, result.numel()).view(result.shape)
    return [result.detach(), *torch.autograd.grad((result.float() * weight).sum(), inputs)]


def assert_agree(ours, reference, inputs, **tolerance) -> None:
    for got, wanted in zip(with_gradients(ours, *inputs), with_gradients(reference, *inputs), strict=True):
        torch.testing.assert_close(got, wanted, **tolerance)


@pytest.fixture
def no_product_is_small(monkeypatch):
    monkeypatch.setattr(cpu_ops, "SMALL_PRODUCT", 0)


def linear_inputs() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 5, 16), torch.randn(24, 16), torch.randn(24)]


def test_linear_agrees_with_torch_in_fp32(no_product_is_small):
    assert_agree(linear, F.linear, linear_inputs())


def test_linear_agrees_with_torch_under_autocast(no_product_is_small):
    with torch.autocast("cpu", torch.bfloat16):
        assert_agree(linear, F.linear, linear_inputs(), rtol=0.02, atol=0.02)


def test_linear_steps_aside_for_fp64(no_product_is_small):
    assert_agree(linear, F.linear, [tensor.double() for tensor in linear_inputs()])


def test_linear_needs_no_bias(no_product_is_small):
    assert_agree(lambda x, w: linear(x, w, None), F.linear, linear_inputs()[:2])


def test_linear_runs_under_vmap(no_product_is_small):
    x, weight, bias = linear_inputs()
    stacked = torch.stack([weight, 2 * weight])
    got = torch.func.vmap(linear, in_dims=(None, 0, None))(x, stacked, bias)
    torch.testing.assert_close(got[1], F.linear(x, 2 * weight, bias))


@pytest.mark.parametrize(("rows", "calls"), [(1023, 0), (1024, 1)])
def test_linear_leaves_small_products_to_torch(monkeypatch, rows, calls):
    """2**25 multiply-adds are 1,024 rows of 128 inputs and 256 outputs."""
    made = []
    onednn = cpu_ops.onednn_linear
    monkeypatch.setattr(cpu_ops, "onednn_linear", lambda *inputs: made.append(1) or onednn(*inputs))
    x, weight = torch.randn(rows, 128), torch.randn(256, 128)
    torch.testing.assert_close(linear(x, weight, None), F.linear(x, weight))
    assert len(made) == calls


def attention_inputs(queries: int = 9) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 4, length, 8) for length in (queries, 9, 9)]


@pytest.mark.parametrize("queries", [1, 9])
def test_attend_agrees_with_torchs_fused_kernel(queries):
    inputs = attention_inputs(queries)
    assert_agree(lambda q, k, v: attend(q, k, v, 0.0), F.scaled_dot_product_attention, inputs)


def test_attend_agrees_with_torchs_fused_kernel_in_bf16():
    inputs = [tensor.bfloat16() for tensor in attention_inputs()]
    assert_agree(lambda q, k, v: attend(q, k, v, 0.0), F.scaled_dot_product_attention, inputs, rtol=0.05, atol=0.05)


def rms_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return (found.double() - exact).square().mean().sqrt().item()


@pytest.mark.parametrize("autocast", [True, False])
def test_attend_in_bf16_is_as_exact_as_torchs_fused_kernel(autocast):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 33, 16) for _ in range(3))
    inputs = [(9 * q).bfloat16(), k.bfloat16(), v.bfloat16()]  # scores with a standard deviation of 9
    exact = F.scaled_dot_product_attention(*(tensor.double() for tensor in inputs))
    fused = rms_error(F.scaled_dot_product_attention(*inputs), exact)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert rms_error(attend(*inputs, 0.0), exact) < 2 * fused


@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_attend_with_dropout_agrees_with_the_formula_under_the_same_mask(rate):
    num_dropped = round(rate * LEVELS)

    def formula(q, k, v):
        torch.manual_seed(3)
        prob = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)
        keep = -random_mask(prob, num_dropped).float() * LEVELS / (LEVELS - num_dropped)
        return (prob * keep) @ v

    def ours(q, k, v):
        torch.manual_seed(3)
        return attend(q, k, v, rate)

    assert_agree(ours, formula, attention_inputs())


def test_levels_fill_the_whole_range_evenly():
    torch.manual_seed(0)
    count = torch.bincount((draw_levels(160_000).int() + LEVELS // 2) >> 12, minlength=16)
    assert (count - 10_000).abs().max() < 4 * (160_000 * 15 / 256) ** 0.5


def test_levels_follow_the_generator():
    one, same, other = (draw_levels(100, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("num_dropped", [1, 100, LEVELS - 1])
def test_mask_drops_exactly_that_many_levels(num_dropped):
    every = torch.arange(-LEVELS // 2, LEVELS // 2).to(torch.int16)
    assert (levels_to_mask(every, num_dropped) == 0).sum() == num_dropped


def test_masking_keeps_bits_or_leaves_zero():
    x = torch.tensor([1.5, -2.25, float("inf")])
    assert apply_mask(x, torch.tensor([-1, 0, 0], dtype=torch.int32)).tolist() == [1.5, 0.0, 0.0]


PAGE_COUNTER = """
import resource, torch
from vitsweep.train.device import keep_freed_memory
keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow  # 7 s: a process of its own
@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_kept_memory_is_not_mapped_again():
    """In a process of its own: what other tests have left of the heap decides where 64 MiB fit."""
    pages = int(subprocess.run([sys.executable, "-c", PAGE_COUNTER], capture_output=True, check=True).stdout)
    assert pages < 2**24 * 4 / 4096, "64 MiB were mapped more than once"
