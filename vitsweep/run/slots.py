"""slots."""

import os
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Room for one running cell."""

    gpu: str | None = None
    """What CUDA_VISIBLE_DEVICES is set to; None leaves it as it is."""
    threads: int | None = None
    """Threads of torch; None leaves them as they are."""
    num_jobs: int = 1
    """How many slots share the memory that this one takes from, itself included."""


def make_slots(jobs: str, num_cells: int, on_cpu: bool) -> list[Slot]:
    """Room for `jobs` cells at a time; `auto` is one a GPU, and one at a time on a CPU.

    Args:
        jobs: `auto` or a number.
        num_cells: there are never more slots than cells.
        on_cpu: whether all cells ask for device=cpu.
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
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; asked without starting CUDA here."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [name for name in told.split(",") if name and name != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return answer.stdout.split() if answer.returncode == 0 else []


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
