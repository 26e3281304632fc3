"""How many cells are best trained as one program here: as many as memory holds and as a measurement finds worth it.

Measured by real steps on made-up images, packed against one after another, each as it would be trained. On the CPU
compiling is left out on both sides: it takes minutes.
"""

import dataclasses
import logging
import re
import time
from pathlib import Path
from typing import Any

import torch

from vitsweep.config.convert import from_dict
from vitsweep.config.schema import Config
from vitsweep.model.cost import training_bytes
from vitsweep.run.packs import PackMeasurement, program_key, read_packs, save_measurement
from vitsweep.train.device import device_name, pick_device
from vitsweep.train.pack import PackedStep, is_out_of_memory
from vitsweep.train.step import Step
from vitsweep.train.trial.steps import trial_step

log = logging.getLogger(__name__)

NUM_STEPS = {"cpu": (1, 3), "cuda": (3, 30)}  # before the clock is started (memory, compiling, graphs), and timed
MIN_GAIN = 1.05  # packing must be faster by this factor; less may be chance
MEMORY_SHARE = 0.8  # of the free memory that a pack may take
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")  # Linux; the second as version 2 shows a container
OVERHEAD = 2.0  # what a process takes, in multiples of the formula's figure (cost.training_bytes)


def choose_size(directory: Path, configs: list[dict[str, Any]], pack: str, num_jobs: int = 1) -> int:
    """How many of these cells, all of one program, to train together now; says why it is not all of them.

    Args:
        directory: the sweep's, where a measurement is kept.
        configs: resolved, as the plan keeps them.
        pack: auto or a number, as configured.
        num_jobs: how many jobs share the device's memory, this one included.

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
    """Double the cells at a time as long as images per second grow.

    Args:
        configs: of cells that could go together now.
        earlier: what was found when there were fewer of them; it is gone on from.
    """
    size = earlier.size if earlier else 1
    speeds = {size: measure_speed(configs[:size], device)}
    reason = "there are no more cells, or no room for more"
    while size < len(configs):
        count = min(2 * size, len(configs))
        try:
            speeds[count] = measure_speed(configs[:count], device)
        except Exception as fault:
            reason = f"{count} do not fit into memory" if is_out_of_memory(fault) else f"{count} cannot: {fault}"
            break
        if speeds[count] < MIN_GAIN * speeds[size]:
            reason = f"{count} are not faster"
            break
        size = count
    if device.type == "cuda":  # what was tried is neither kept from other jobs nor counted as a cell's peak
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    told = ", ".join(f"{number} at a time {found:,.0f}" for number, found in speeds.items())
    log.info("pack=auto: %d at a time, %s; images/s: %s", size, reason, told)
    kept = (earlier.images_per_second if earlier else {}) | {str(n): round(found, 1) for n, found in speeds.items()}
    is_limit = size < len(configs)
    return PackMeasurement(
        size=size, device=device_name(device), images_per_second=kept, reason=reason, is_limit=is_limit
    )


def measure_speed(configs: list[Config], device: torch.device) -> float:
    """Training images of all cells in a second."""
    packed = PackedStep(len(configs), may_shrink=False)
    if device.type != "cuda":
        configs = [dataclasses.replace(config, compile="off") for config in configs]
    num_warm, num_timed = NUM_STEPS.get(device.type, NUM_STEPS["cpu"])
    steps = [trial_step(config, device) for config in configs]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        run_steps(packed, steps, num_warm)
        began = time.perf_counter()
        run_steps(packed, steps, num_timed)
        seconds = time.perf_counter() - began
    return len(steps) * len(steps[0].index_B) * num_timed / seconds


def run_steps(packed: PackedStep, steps: list[Step], count: int) -> None:
    """Take the steps so many times and wait for the device at the end; a fault of one is raised."""
    for _ in range(count):
        answers = packed.run_steps(steps)
        for fault in (answer for answer in answers if isinstance(answer, Exception)):
            raise fault
    for answer in answers:
        answer.tolist()


def cell_bytes(config: Config) -> int:
    """What one cell takes in a pack, by the formula; it is tested to grow in proportion to their number."""
    return training_bytes(config.model, config.recipe, config.recipe.batch_size)


def free_bytes(device: torch.device) -> int:
    """Memory that is to be had now: of the GPU, else of the machine or of what this control group may have of it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min([free_machine_bytes(MEMINFO), *free_cgroup_bytes(CGROUP)])


def free_machine_bytes(meminfo: Path) -> int:
    """What the kernel says is available."""
    if not meminfo.exists():
        return 2**34  # macOS tells nobody; 16 GiB is what such machines have at least
    return int(re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text(encoding="utf-8"))[1]) * 1024


def free_cgroup_bytes(cgroup: Path) -> list[int]:
    """What the limit of the control group (a container's, a Slurm job's) leaves; empty where there is none.

    Cached files count as its use, but the kernel drops those that have not been read of late.
    """
    try:
        limit, used, stat = ((cgroup / f"memory.{name}").read_text().strip() for name in ("max", "current", "stat"))
    except OSError:
        return []
    if not limit.isdigit():  # "max": no limit
        return []
    cached = re.search(r"^inactive_file (\d+)$", stat, re.MULTILINE)
    return [max(0, int(limit) - int(used) + int(cached[1] if cached else 0))]
