"""Probe: measured time and memory of a plan's arms, by real training steps of each shape on random images.

A shape is everything that decides speed: network, batch, optimizer, device. Arms that differ only in learning rate or
weight decay are timed once.
"""

import json
import logging
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vitsweep.config.convert import from_dict, hashed_settings
from vitsweep.config.schema import Config
from vitsweep.study.plan import Plan
from vitsweep.train.device import device_name, peak_gib, pick_device
from vitsweep.train.evaluate import evaluate
from vitsweep.train.step import Step, train_step
from vitsweep.train.trial.steps import trial_step

log = logging.getLogger(__name__)

NUM_STEPS = 20
WARMUP_STEPS = 3  # the first steps reserve memory, and compile where that pays
GIB = 2**30


@dataclass(kw_only=True)
class ProbeResult:
    """Measured time and memory of one shape."""

    device: str
    """Device: cpu, mps or the GPU's name."""
    step_seconds: float = 0.0
    """Seconds of a training step, mean of NUM_STEPS."""
    eval_seconds: float = 0.0
    """Seconds of scoring one image."""
    peak_bytes: int = 0
    """Peak of the GPU's allocator, else of this process with Python and torch; without the data set."""
    error: str = ""
    """Message of the out-of-memory error, or empty."""


def probe_plan(plan: Plan) -> dict[str, ProbeResult]:
    """Return arm -> result; arms of one shape share it."""
    configs = {cell.arm: cell.config for cell in reversed(plan.cells)}
    shapes = {row["arm"]: shape_key(configs[row["arm"]]) for row in plan.arms if row["arm"] in configs}
    found: dict[str, ProbeResult] = {}
    for number, shape in enumerate(dict.fromkeys(shapes.values()), 1):
        arm = next(name for name, own in shapes.items() if own == shape)
        log.info("timing %d steps of shape %d of %d: %s", NUM_STEPS, number, len(set(shapes.values())), arm)
        found[shape] = probe(from_dict(configs[arm]))
    return {arm: found[shape] for arm, shape in shapes.items()}


def shape_key(values: dict[str, Any]) -> str:
    """Return a key that is equal for configurations whose steps take the same time and memory."""
    config = from_dict(values)
    recipe = config.recipe
    steps: tuple[Any, ...] = (
        recipe.batch_size,
        recipe.optimizer,
        recipe.momentum > 0,
        recipe.clip_norm is None,
        recipe.crop_padding,
    )
    steps += (recipe.auto_augment, recipe.randaugment_num_ops, recipe.resized_crop_min_area is None)
    steps += (recipe.random_erasing_prob > 0, recipe.is_mixing, recipe.loss, recipe.ema_decay is None)
    steps += (recipe.gradient_accumulation_steps, recipe.average_last > 0)
    resources = (config.device, config.precision, config.compile, config.deterministic, recipe.epochs >= 5)
    return json.dumps([hashed_settings(config)["model"], steps, resources], sort_keys=True)


def probe(config: Config) -> ProbeResult:
    """Time training steps of a configuration on its device, on one batch of random images.

    Raises:
        ConfigError: the device is not available here.
    """
    device = pick_device(config.device)
    try:
        reset_peak(device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            return time_shape(config, device)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if "memory" not in str(error):
            raise
        return ProbeResult(device=device_name(device), error=str(error).splitlines()[0])


def time_shape(config: Config, device: torch.device) -> ProbeResult:
    """Time training steps and scoring on an available device with enough memory."""
    wanted = trial_step(config, device)
    setup, val = wanted.setup, wanted.setup.data.val
    seconds_of_steps(wanted, WARMUP_STEPS)
    step_seconds = seconds_of_steps(wanted, NUM_STEPS) / NUM_STEPS
    evaluate(setup.model, val, setup.data, setup.precision, setup.evaluation_batch)
    began = time.perf_counter()
    evaluate(setup.model, val, setup.data, setup.precision, setup.evaluation_batch)
    return ProbeResult(
        device=device_name(device),
        step_seconds=step_seconds,
        eval_seconds=(time.perf_counter() - began) / len(val),
        peak_bytes=round(peak_gib(device) * GIB),
    )


def seconds_of_steps(wanted: Step, count: int) -> float:
    """Return the seconds that `count` training steps take."""
    began = time.perf_counter()
    for step in range(count):
        totals_2 = train_step(wanted.setup, wanted.config, wanted.index_B, wanted.epoch, step)
    totals_2.tolist()  # waits for the GPU
    return time.perf_counter() - began


def reset_peak(device: torch.device) -> None:
    """Reset the peak that peak_gib returns, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError):  # a container may forbid it: then the peak is that of the largest shape so far
            Path("/proc/self/clear_refs").write_text("5")
