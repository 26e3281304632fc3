"""Quick probe of training steps, in this process or in one of its own (vitsweep/train/trial/probe.py)."""

import json
import subprocess
import sys
from typing import Any

from vitsweep.run.slots import Slot, visible_gpus
from vitsweep.run.workers import worker_environment
from vitsweep.train.trial.result import ProbeResult

COMMAND = (sys.executable, "-m", "vitsweep.train.trial.probe")
PATIENCE_SECONDS = 120.0
"""Time beyond that of the steps, for importing torch and for a first step of unknown length."""


def measure_shapes(configs: dict[str, dict[str, Any]], seconds: float, slot: Slot) -> dict[str, ProbeResult]:
    """Time steps of configurations as quick_probe does, with the threads and the GPU of a slot.

    A process that has torch and no GPU times them itself. Any other starts one for it, since torch takes seconds and
    memory, and a GPU may admit one process only.

    Raises:
        RuntimeError: that process failed or took too long.
        ConfigError: the device is not available here.
    """
    on_gpu = any(config["device"] != "cpu" for config in configs.values()) and visible_gpus()
    if "torch" not in sys.modules or on_gpu:
        return measure_in_child(configs, seconds, slot)
    import torch

    from vitsweep.train.trial.probe import quick_probe

    threads = torch.get_num_threads()
    torch.set_num_threads(slot.threads or threads)
    try:
        return quick_probe(configs, seconds)
    finally:
        torch.set_num_threads(threads)


def measure_in_child(configs: dict[str, dict[str, Any]], seconds: float, slot: Slot) -> dict[str, ProbeResult]:
    """Time steps in a process of its own.

    Raises:
        RuntimeError: it failed, or took too long.
    """
    environment = worker_environment()
    if slot.threads is not None:
        environment["OMP_NUM_THREADS"] = str(slot.threads)
    if slot.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = slot.gpu
    command = [*COMMAND, str(seconds)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(configs),
            capture_output=True,
            text=True,
            env=environment,
            timeout=seconds + PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"timing steps took more than {seconds + PATIENCE_SECONDS:.0f} s") from error
    if done.returncode:
        raise RuntimeError(f"timing steps failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {key: ProbeResult(**values) for key, values in found.items()}
