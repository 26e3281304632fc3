"""Dropout of a pack: masks drawn outside the shared forward pass, each cell's from its own stream.

On the CPU they are drawn in the order of the model's forward pass, so they are bit by bit those of the cell alone. On a
GPU, where the masks of a compiled cell are not accessible, they only have the same rates.
"""

# Shape letters: M models (cells of the pack), B batch, C colour channels, H W pixels, P places of dropout,
# R random levels.

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call

from vitsweep.model.cpu_ops import LEVELS, draw_levels, levels_to_mask, num_dropped_levels
from vitsweep.model.layers import Dropout
from vitsweep.seeding import make_generator
from vitsweep.train.step import Step


@dataclass(kw_only=True)
class Place:
    """A Dropout module in a model: its name, and shape and type of its input."""

    name: str
    shape: torch.Size
    dtype: torch.dtype


@dataclass(kw_only=True)
class PackDropout:
    """Dropout of a set of cells: the places with dropout in any of them, and each cell's rates there."""

    places: list[Place]
    counts: list[int]
    """Number of elements of each place."""
    is_dropping_MP: list[list[bool]]
    keep_MP: list[list[float]]
    """Probability of keeping an element, per cell and place."""
    dropped: list[Tensor]
    """Number of dropped levels at each place, int32, (M, 1, ...), broadcast against the mask."""
    scale_M1: list[Tensor]
    """Factor of the kept elements at each place."""


@torch.no_grad()
def find_places(model: torch.nn.Module, image_BCHW: Tensor) -> list[Place]:
    """Return the Dropout modules in the order of a forward pass."""
    found: list[Place] = []
    dropouts = {name: module for name, module in model.named_modules() if isinstance(module, Dropout)}
    handles = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: found.append(Place(name=name, shape=inputs[0].shape, dtype=inputs[0].dtype))
        )
        for name, module in dropouts.items()
    ]
    one = torch.ones(1, device=image_BCHW.device)
    no_dropout = {f"{name}.{what}": one for name in dropouts for what in ("mask", "scale")}
    try:
        functional_call(model, no_dropout, (image_BCHW,))
    finally:
        for handle in handles:
            handle.remove()
    return found


def make_pack_dropout(places: list[Place], rate_MP: tuple[tuple[float, ...], ...], device: torch.device) -> PackDropout:
    """Return the dropout of cells with these rates, on the device: copies in each step would cost more than masks."""
    used = [p for p in range(len(places)) if any(rate_P[p] for rate_P in rate_MP)]
    dropped_M = [torch.tensor([num_dropped_levels(rate_P[p]) for rate_P in rate_MP], dtype=torch.int32) for p in used]
    return PackDropout(
        places=[places[p] for p in used],
        counts=[places[p].shape.numel() for p in used],
        is_dropping_MP=[[rate_P[p] > 0 for p in used] for rate_P in rate_MP],
        keep_MP=[[1 - num_dropped_levels(rate_P[p]) / LEVELS for p in used] for rate_P in rate_MP],
        # At least 1: a cell without dropout has level 0 everywhere, which is below the dropped ones.
        dropped=[
            found.clamp(min=1).view(-1, *[1] * len(places[p].shape)).to(device)
            for p, found in zip(used, dropped_M, strict=True)
        ],
        scale_M1=[(LEVELS / (LEVELS - found)).unsqueeze(1).to(device) for found in dropped_M],
    )


@torch.no_grad()
def draw_masks(dropout: PackDropout, steps: list[Step]) -> dict[str, Tensor]:
    """Return masks (M, ...) and scales (M, 1) of every Dropout in this step, each cell's from its own stream."""
    if not dropout.places:
        return {}
    on_cpu = steps[0].setup.device.type == "cpu"
    masks = draw_exact_masks(dropout, steps) if on_cpu else draw_fast_masks(dropout, steps)
    found = {}
    for place, mask, scale_M1 in zip(dropout.places, masks, dropout.scale_M1, strict=True):
        found[f"{place.name}.mask"], found[f"{place.name}.scale"] = mask, scale_M1
    return found


def draw_exact_masks(dropout: PackDropout, steps: list[Step]) -> list[Tensor]:
    """Return a mask (M, ...) of each place, from the levels that each cell alone would draw."""
    level_MR = torch.stack(
        [
            random_levels(step, dropout.counts, is_dropping_P)
            for step, is_dropping_P in zip(steps, dropout.is_dropping_MP, strict=True)
        ]
    )
    parts = level_MR.split(dropout.counts, dim=1)
    return [
        levels_to_mask(part_MR.reshape(len(steps), *place.shape), dropped).neg_().to(place.dtype)
        for place, part_MR, dropped in zip(dropout.places, parts, dropout.dropped, strict=True)
    ]


def draw_fast_masks(dropout: PackDropout, steps: list[Step]) -> list[Tensor]:
    """Return a mask (M, ...) of each place, written once in its final type; a cell without dropout draws nothing."""
    generators = [step_generator(step) for step in steps]
    found = []
    for p, place in enumerate(dropout.places):
        mask = torch.ones(len(steps), *place.shape, dtype=place.dtype, device=steps[0].setup.device)
        for m, generator in enumerate(generators):
            if dropout.is_dropping_MP[m][p]:
                mask[m].bernoulli_(dropout.keep_MP[m][p], generator=generator)
        found.append(mask)
    return found


def step_generator(step: Step) -> torch.Generator:
    """Return the dropout stream of a cell's step."""
    return make_generator(step.config.seed, "dropout", step.epoch, step.step, device=step.setup.device)


def random_levels(step: Step, counts: list[int], is_dropping: list[bool]) -> Tensor:
    """Return random levels (R,) for all places; one without dropout gets zeros and takes none from the stream."""
    device = step.setup.device
    generator = step_generator(step)
    zeros = partial(torch.zeros, dtype=torch.int16, device=device)
    wanted = zip(counts, is_dropping, strict=True)
    return torch.cat([draw_levels(count, generator) if drops else zeros(count) for count, drops in wanted])
