"""Shape and result of a probe; no torch here, so that a process without it can read what another has measured."""

import json
from dataclasses import dataclass
from typing import Any

from vitsweep.config.convert import from_dict, hashed_settings


@dataclass(kw_only=True)
class ProbeResult:
    """Measured time and memory of one shape."""

    device: str
    """Device: cpu, mps or the GPU's name."""
    step_seconds: float = 0.0
    """Seconds of a training step: mean of NUM_STEPS, of a quick probe the median."""
    eval_seconds: float = 0.0
    """Seconds of scoring one image."""
    peak_bytes: int = 0
    """Peak of the GPU's allocator, else of this process with Python and torch; without the data set."""
    error: str = ""
    """Message of the out-of-memory error, or empty."""
    num_steps: int = 0
    """Timed steps of a quick probe."""
    fastest: float = 0.0
    """Seconds of the fastest of them."""
    slowest: float = 0.0
    """Seconds of the slowest of them."""


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
