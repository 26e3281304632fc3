"""Slots: the GPUs and threads that this machine divides among cells that run at a time."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, kw_only=True)
class Slot:
    """GPU and threads of one running cell."""

    gpu: str | None = None
    """Value of CUDA_VISIBLE_DEVICES; None: unchanged."""
    threads: int | None = None
    """Threads of torch; None: unchanged."""
    num_jobs: int = 1
    """Number of slots that share this one's GPU, or the machine's memory; itself included."""


def make_slots(jobs: str, num_cells: int, on_cpu: bool) -> list[Slot]:
    """Divide GPUs and cores into `jobs` slots.

    Args:
        jobs: a number, or `auto`: one per GPU, one in all without GPUs.
        num_cells: upper bound of the number of slots.
        on_cpu: whether all cells have device=cpu.
    """
    gpus = [] if on_cpu else visible_gpus()
    wanted = max(1, len(gpus)) if jobs == "auto" else int(jobs)
    count = max(1, min(wanted, num_cells))
    if count == 1:
        return [Slot(gpu=gpus[0] if len(gpus) > 1 else None)]
    threads = max(1, num_cores() // count)
    names = [gpus[i % len(gpus)] if gpus else None for i in range(count)]
    return [Slot(gpu=name, threads=threads, num_jobs=names.count(name)) for name in names]


def visible_gpus() -> list[str]:
    """Return the names of this process's GPUs for CUDA_VISIBLE_DEVICES, without initializing CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return answer.stdout.split() if answer.returncode == 0 else []


@cache
def gpu_names() -> tuple[str, ...]:
    """Return the models of this machine's GPUs as torch names them; () without any."""
    if not visible_gpus() or shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return tuple(answer.stdout.splitlines()) if answer.returncode == 0 else ()


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
