"""Probe: measured time and memory of a plan's arms, by real training steps of each shape on random images.

A shape is everything that decides speed: network, batch, optimizer, device. Arms that differ only in learning rate or
weight decay are timed once. A quick probe takes a few steps of as many shapes as a number of seconds allows; it can
run as a process of its own, which keeps torch, memory and the GPU out of the caller's:
`python -m vitsweep.train.trial.probe SECONDS`, configurations as JSON on standard input, results on standard output.
"""

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from vitsweep.config.convert import from_dict
from vitsweep.config.schema import Config
from vitsweep.errors import NonFiniteLoss
from vitsweep.study.plan import Plan
from vitsweep.train.device import device_name, peak_gib, pick_device
from vitsweep.train.evaluate import evaluate
from vitsweep.train.step import Step, train_step
from vitsweep.train.trial.result import ProbeResult, shape_key
from vitsweep.train.trial.steps import trial_step

log = logging.getLogger(__name__)

NUM_STEPS = 20
WARMUP_STEPS = 3  # the first steps reserve memory, and compile where that pays
QUICK_STEPS = 10  # at most, of each shape
GIB = 2**30


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


def quick_probe(configs: dict[str, dict[str, Any]], seconds: float) -> dict[str, ProbeResult]:
    """Time a few steps of as many configurations as `seconds` allow; return key -> result, without those that diverge.

    torch.compile is left out, whose compilation alone would take longer.

    Args:
        configs: key -> resolved configuration, as a plan keeps it; the most important first.
    """
    began, longest = time.monotonic(), 0.0
    found: dict[str, ProbeResult] = {}
    for number, (key, values) in enumerate(configs.items()):
        start = time.monotonic()
        left = seconds - (start - began)
        if found and left < longest:
            break
        share = left / (len(configs) - number)
        config = dataclasses.replace(from_dict(values), compile="off")
        with suppress(NonFiniteLoss):  # a cell that diverges in its first steps has no time; its training records why
            found[key] = probe(config, partial(time_briefly, seconds=share))
        longest = max(longest, time.monotonic() - start)
        reset_peak(pick_device(config.device))  # the peak that a record states is that of its training
    return found


def probe(config: Config, time_steps: Callable[[Config, torch.device], ProbeResult] | None = None) -> ProbeResult:
    """Time training steps of a configuration on its device, on one batch of random images.

    Args:
        time_steps: times them; None: time_shape.

    Raises:
        ConfigError: the device is not available here.
    """
    device = pick_device(config.device)
    try:
        reset_peak(device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            return (time_steps or time_shape)(config, device)
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
        num_steps=NUM_STEPS,
        step_seconds=step_seconds,
        eval_seconds=(time.perf_counter() - began) / len(val),
        peak_bytes=round(peak_gib(device) * GIB),
    )


def time_briefly(config: Config, device: torch.device, seconds: float) -> ProbeResult:
    """Time up to QUICK_STEPS training steps, at least one, and scoring, in about `seconds`."""
    wanted = trial_step(config, device)
    setup = wanted.setup
    began = time.monotonic()
    seconds_of_steps(wanted, 1)  # reserves memory
    steps = [seconds_of_steps(wanted, 1)]
    while len(steps) < QUICK_STEPS and time.monotonic() - began + steps[-1] < seconds:
        steps.append(seconds_of_steps(wanted, 1))
    start = time.perf_counter()
    evaluate(setup.model, setup.data.val, setup.data, setup.precision, setup.evaluation_batch)
    return ProbeResult(
        device=device_name(device),
        step_seconds=median(steps),
        eval_seconds=(time.perf_counter() - start) / len(setup.data.val),
        num_steps=len(steps),
        fastest=min(steps),
        slowest=max(steps),
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


def main(seconds: float) -> None:
    """Probe the configurations on standard input and print the results, both as JSON."""
    found = quick_probe(json.load(sys.stdin), seconds)
    print(json.dumps({key: dataclasses.asdict(result) for key, result in found.items()}))


if __name__ == "__main__":
    main(float(sys.argv[1]))
