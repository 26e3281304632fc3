"""Choice of the pack size on this machine: bounded by free memory and, with pack=auto, by measured speed.

Speed is measured by real steps on random images, for packs of growing size. On the CPU torch.compile is off in all of
them, since it takes minutes.
"""

import dataclasses
import logging
import re
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitsweep.config.convert import from_dict
from vitsweep.config.schema import Config
from vitsweep.model.cost import training_bytes
from vitsweep.run.packs import PackMeasurement, program_key, read_packs, save_measurement
from vitsweep.train.device import device_name, pick_device
from vitsweep.train.step import Step
from vitsweep.train.train_pack import PackedStep, is_out_of_memory
from vitsweep.train.trial.steps import trial_step

log = logging.getLogger(__name__)

NUM_STEPS = {"cpu": (1, 3), "cuda": (3, 30)}  # warm-up (memory, compiling, graphs), timed
MIN_GAIN = 1.05  # a larger pack must be faster by this factor; less may be chance
MEMORY_SHARE = 0.8  # of the free memory that a pack may take
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")  # Linux; control groups of version 2
OVERHEAD = 2.0  # memory of a process as a multiple of cost.training_bytes


def choose_size(directory: Path, configs: list[dict[str, Any]], pack: str, num_jobs: int = 1) -> int:
    """Return how many of these cells, which share a program, to train together now; log why not all.

    Args:
        directory: the sweep's, with packs.json.
        configs: the cells' resolved configurations, as the plan keeps them.
        pack: auto or a number, as configured.
        num_jobs: number of jobs that share the device's memory, this one included.

    Raises:
        ConfigError: the device is not available here.
    """
    typed = [from_dict(values) for values in configs]
    device = pick_device(typed[0].device)
    room = max(1, int(MEMORY_SHARE * free_bytes(device) / num_jobs // (OVERHEAD * max(map(cell_bytes, typed)))))
    most = min(len(typed), room)
    if most < len(typed):
        log.warning("pack=%s: the free memory holds %d of %d cells at a time", pack, most, len(typed))
    if pack != "auto" or most == 1:
        return most
    found = read_packs(directory).get(program_key(configs[0]))
    if found is None or found.device != device_name(device):
        found = measure(typed[:most], device)
        save_measurement(directory, configs[0], found)
    elif not found.is_limit and found.size < most:
        found = measure(typed[:most], device, found)
        save_measurement(directory, configs[0], found)
    return min(most, found.size)


def measure(configs: list[Config], device: torch.device, earlier: PackMeasurement | None = None) -> PackMeasurement:
    """Measure the speed of packs of doubling size, as long as it grows.

    Args:
        configs: of cells that could be trained together now.
        earlier: a measurement with fewer cells, which is continued.
    """
    size = earlier.size if earlier else 1
    speeds = {size: measure_speed(configs[:size], device)}
    reason = "there are no more cells, or no room for more"
    while size < len(configs):
        count = min(2 * size, len(configs))
        try:
            speeds[count] = measure_speed(configs[:count], device)
        except Exception as error:
            reason = f"{count} do not fit into memory" if is_out_of_memory(error) else f"{count} cannot: {error}"
            break
        if speeds[count] < MIN_GAIN * speeds[size]:
            reason = f"{count} are not faster"
            break
        size = count
    if device.type == "cuda":  # free the memory for other jobs, and do not count it as a cell's peak
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    tried = ", ".join(f"{number} at a time {found:,.0f}" for number, found in speeds.items())
    log.info("pack=auto: %d at a time, %s; images/s: %s", size, reason, tried)
    kept = (earlier.images_per_second if earlier else {}) | {str(n): round(found, 1) for n, found in speeds.items()}
    is_limit = size < len(configs)
    return PackMeasurement(
        size=size, device=device_name(device), images_per_second=kept, reason=reason, is_limit=is_limit
    )


def measure_speed(configs: list[Config], device: torch.device) -> float:
    """Return the training images per second of a pack of these configurations."""
    packed = PackedStep(len(configs), may_shrink=False)
    if device.type != "cuda":
        configs = [dataclasses.replace(config, compile="off") for config in configs]
    num_warm, num_timed = NUM_STEPS.get(device.type, NUM_STEPS["cpu"])
    steps = [trial_step(config, device) for config in configs]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        run_steps(packed, steps, num_warm)
        start = time.perf_counter()
        run_steps(packed, steps, num_timed)
        seconds = time.perf_counter() - start
    return len(steps) * len(steps[0].index_B) * num_timed / seconds


def run_steps(packed: PackedStep, steps: list[Step], count: int) -> None:
    """Run all steps `count` times and wait for the device; raise the error of any."""
    for _ in range(count):
        answers = packed.run_steps(steps)
        for error in (answer for answer in answers if isinstance(answer, Exception)):
            raise error
    for totals_2 in (answer for answer in answers if isinstance(answer, Tensor)):
        totals_2.tolist()


def cell_bytes(config: Config) -> int:
    """Return the memory of one cell in a pack by formula; it is proportional to the number of cells."""
    return training_bytes(config.model, config.recipe, config.recipe.batch_size)


def free_bytes(device: torch.device) -> int:
    """Return the free memory of the GPU, or of the machine within the limit of this process's control group."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min([free_machine_bytes(MEMINFO), *free_cgroup_bytes(CGROUP)])


def free_machine_bytes(meminfo: Path) -> int:
    """Return the available memory by the kernel, or 16 GiB where it reports none (macOS)."""
    text = meminfo.read_text(encoding="utf-8") if meminfo.exists() else ""
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 2**34


def free_cgroup_bytes(cgroup: Path) -> list[int]:
    """Return what the control group's limit (of a container, a Slurm job) leaves; an empty list without a limit.

    Cached files count as used, but the kernel drops those that have not been read recently.
    """
    try:
        limit, used, stat = ((cgroup / f"memory.{name}").read_text().strip() for name in ("max", "current", "stat"))
    except OSError:
        return []
    if not limit.isdigit():  # "max": no limit
        return []
    cached = re.search(r"^inactive_file (\d+)$", stat, re.MULTILINE)
    return [max(0, int(limit) - int(used) + int(cached[1] if cached else 0))]
