"""torch.compile with a way back: where no compiler is to be had, training goes on without, and says so once."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

log = logging.getLogger(__name__)

MAX_RECOMPILES = 64  # of one function; torch gives up after 8


def compiled(network: Callable[[Tensor], Tensor], device: torch.device) -> Callable[[Tensor], Tensor]:
    """`network`, compiled at its first call.

    On cuda its kernels are replayed as one graph (mode "reduce-overhead"): at batch 128 the starting model's kernels
    are so short that launching them one by one would take as long as running them.
    """
    fast = static_compile(network, "reduce-overhead" if device.type == "cuda" else None)
    use_fast = True

    def forward(image_BCHW: Tensor) -> Tensor:
        nonlocal use_fast
        if use_fast:
            try:
                return fast(image_BCHW)
            except TorchDynamoException as fault:
                use_fast = False
                log.warning("not compiled, trained without: %s", f"{fault}".strip().partition("\n")[0])
        return network(image_BCHW)

    return forward


def static_compile(function: Callable, mode: str | None = None) -> Callable:
    """torch.compile for batches that are always full: every size is compiled for itself.

    Otherwise the second size in a process makes all later models slower ones of any size, and after eight kinds of
    model torch gives up compiling.
    """
    torch._dynamo.config.recompile_limit = MAX_RECOMPILES
    return torch.compile(function, mode=mode, dynamic=False)
