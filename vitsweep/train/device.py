"""Which device and precision a cell uses, and what they are called in the record."""

import ctypes
import os
import re
import resource
import sys
from pathlib import Path

import torch

from vitsweep.errors import ConfigError


def pick_device(wanted: str) -> torch.device:
    """The device for `device=`: auto takes cuda, then mps, then cpu.

    Raises:
        ConfigError: the device asked for is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, is_there in there.items() if is_there))
    if not there[wanted]:
        allowed = ", ".join(name for name, is_there in there.items() if is_there)
        raise ConfigError([f"device={wanted}  is not available here; allowed: auto, {allowed}"])
    return torch.device(wanted)


def pick_precision(wanted: str, device: torch.device) -> str:
    """bf16 or fp32: auto takes bf16 where the hardware multiplies it natively."""
    if wanted != "auto":
        return wanted
    return "bf16" if multiplies_bf16(device) else "fp32"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether matrix products in bf16 run on units made for it, rather than being emulated."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and Path("/proc/cpuinfo").exists():
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def device_name(device: torch.device) -> str:
    """cpu, mps, or the GPU's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def pick_kernels(device: torch.device, *, deterministic: bool) -> None:
    """Leave out kernels that would treat arms differently; on the CPU there is nothing to choose.

    cuDNN's attention is left out, since in some versions it rounds dropout rates to 1/16 (pytorch pull request 174245),
    and so are its convolutions in TF32, since products elsewhere are not in TF32.

    Args:
        deterministic: whether kernels that could differ between two equal runs are avoided as well. With `warn_only`
            the backward passes of fused attention would not be.
    """
    if device.type != "cuda":
        return
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cudnn.allow_tf32 = False
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads what it did not write
        torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, for the next step takes as much again; other C libraries are left as they are.

    Otherwise each large activation is handed back and faulted in anew, page by page, in every step
    (docs/results/speed/log.md). The numbers are those of glibc's malloc.h.
    """
    trim_threshold, mmap_max = -1, -4
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def peak_gib(device: torch.device) -> float:
    """Peak memory in GiB: of the GPU's allocator, else of this process since it started."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status")
    if status.exists():  # Linux; ru_maxrss would be inherited from the process that started this one
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # macOS, which counts bytes
