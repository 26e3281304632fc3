"""Device, precision, kernels and compiler of a cell, and the names that its record gives them."""

import ctypes
import logging
import os
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitsweep.errors import ConfigError

log = logging.getLogger(__name__)

MAX_RECOMPILES = 64  # of one function; torch gives up after 8
STATUS = Path("/proc/self/status")
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of mallopt, from glibc's malloc.h


def pick_device(wanted: str) -> torch.device:
    """Return the device that `device=` asks for; auto takes cuda, then mps, then cpu.

    Raises:
        ConfigError: the device is not available.
    """
    is_available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    available = [name for name, found in is_available.items() if found]
    if wanted != "auto" and wanted not in available:
        raise ConfigError([f"device={wanted}  is not available here; allowed: auto, {', '.join(available)}"])
    return torch.device(available[0] if wanted == "auto" else wanted)


def pick_precision(wanted: str, device: torch.device) -> str:
    """Return bf16 or fp32; auto takes bf16 where the hardware multiplies it natively."""
    if wanted != "auto":
        return wanted
    return "bf16" if has_native_bf16(device) else "fp32"


def has_native_bf16(device: torch.device) -> bool:
    """Return True if the device multiplies bf16 matrices in hardware instead of emulating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and Path("/proc/cpuinfo").exists():
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def device_name(device: torch.device) -> str:
    """Return cpu, mps, or the GPU's model name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def machine_facts(device: torch.device) -> dict[str, Any]:
    """Return what decides the last bits of a result: the CPU's instruction set; on cuda its and cuDNN's version."""
    facts: dict[str, Any] = {"instructions": torch.backends.cpu.get_cpu_capability()}
    if device.type == "cuda":
        facts |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return facts


def pick_kernels(device: torch.device, *, deterministic: bool) -> None:
    """Disable CUDA kernels that would treat arms differently; do nothing on other devices.

    cuDNN's attention is disabled because some versions round dropout rates to 1/16 (pytorch pull request 174245), and
    its TF32 convolutions because other products are not in TF32.

    Args:
        deterministic: also avoid kernels that can differ between two equal runs. `warn_only` would leave the backward
            passes of fused attention nondeterministic.
    """
    if device.type != "cuda":
        return
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cudnn.allow_tf32 = False
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        # Nothing here reads uninitialized memory. The stubs lack this name, a property of the module.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step, which needs as much again; do nothing with other C libraries.

    By default glibc returns each large activation to the kernel and maps it again, page by page, in every step
    (docs/results/speed/log.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
        mallopt(MMAP_MAX, 0)


def peak_gib(device: torch.device) -> float:
    """Return the peak memory in GiB: of the GPU's allocator, else of this process since it started."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    # ru_maxrss would include the parent process; some sandboxes have no VmHWM.
    text = STATUS.read_text(encoding="utf-8") if STATUS.exists() else ""
    if found := re.search(r"VmHWM:\s+(\d+) kB", text):
        return int(found[1]) / 2**20
    units_of_gib = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_of_gib


def compile_network(network: Callable[[Tensor], Tensor], device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return `network` compiled at its first call; where no compiler is found, warn once and run it uncompiled.

    On cuda its kernels are replayed as one graph (mode "reduce-overhead"): at batch 128 the starting model's kernels
    are so short that launching them one by one would take as long as running them.
    """
    from torch._dynamo.exc import TorchDynamoException  # late: takes two seconds to import

    fast = compile_static(network, "reduce-overhead" if device.type == "cuda" else None)
    use_fast = True

    def forward(image_BCHW: Tensor) -> Tensor:
        nonlocal use_fast
        if use_fast:
            try:
                return fast(image_BCHW)
            except TorchDynamoException as error:
                use_fast = False
                log.warning("not compiled, trained without: %s", f"{error}".strip().partition("\n")[0])
        return network(image_BCHW)

    return forward


def compile_static(function: Callable, mode: str | None = None) -> Callable:
    """Compile `function` for batches of constant size: every size is compiled separately.

    Otherwise the second size in a process makes all later models slower ones of any size, and after eight kinds of
    model torch gives up compiling.
    """
    import torch._dynamo.config

    torch._dynamo.config.recompile_limit = MAX_RECOMPILES
    return torch.compile(function, mode=mode, dynamic=False)
