"""What the cells of a pack drop: masks drawn outside the shared forward pass, each cell's from its own stream.

On the CPU they are drawn in the order of the model's forward pass, so that they are bit by bit those of the same cell
alone. On a GPU, where a compiled cell's masks cannot be had outside of it, they have the same rates and are written in
one go.
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
    """Where a model drops: the name of its Dropout, and what that is given."""

    name: str
    shape: torch.Size
    dtype: torch.dtype


@dataclass(kw_only=True)
class Dropping:
    """What is dropped where in a set of cells: the places at which any of them drops, and how much each does there."""

    places: list[Place]
    counts: list[int]
    """Elements of each place."""
    is_dropping_MP: list[list[bool]]
    keep_MP: list[list[float]]
    """Share of elements that each cell keeps at each place."""
    dropped: list[Tensor]
    """Levels that are dropped at each place, int32, (M, 1, ...): as many dimensions as the mask."""
    scale_M1: list[Tensor]


@torch.no_grad()
def places_of(model: torch.nn.Module, image_BCHW: Tensor) -> list[Place]:
    """Every Dropout that a forward pass comes by, in that order."""
    found: list[Place] = []
    dropouts = {name: module for name, module in model.named_modules() if isinstance(module, Dropout)}
    handles = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: found.append(Place(name=name, shape=inputs[0].shape, dtype=inputs[0].dtype))
        )
        for name, module in dropouts.items()
    ]
    one = torch.ones(1, device=image_BCHW.device)
    nothing = {f"{name}.{what}": one for name in dropouts for what in ("mask", "scale")}
    try:
        functional_call(model, nothing, (image_BCHW,))
    finally:
        for handle in handles:
            handle.remove()
    return found


def make_dropping(places: list[Place], rate_MP: tuple[tuple[float, ...], ...], device: torch.device) -> Dropping:
    """What cells of these rates drop, on the device: a copy to it in every step would cost more than the masks."""
    dropping = [p for p in range(len(places)) if any(rate_P[p] for rate_P in rate_MP)]
    dropped_M = [
        torch.tensor([num_dropped_levels(rate_P[p]) for rate_P in rate_MP], dtype=torch.int32) for p in dropping
    ]
    return Dropping(
        places=[places[p] for p in dropping],
        counts=[places[p].shape.numel() for p in dropping],
        is_dropping_MP=[[rate_P[p] > 0 for p in dropping] for rate_P in rate_MP],
        keep_MP=[[1 - num_dropped_levels(rate_P[p]) / LEVELS for p in dropping] for rate_P in rate_MP],
        # Where a cell drops nothing its levels are all 0, less than any that is dropped.
        dropped=[
            found.clamp(min=1).view(-1, *[1] * len(places[p].shape)).to(device)
            for p, found in zip(dropping, dropped_M, strict=True)
        ],
        scale_M1=[(LEVELS / (LEVELS - found)).unsqueeze(1).to(device) for found in dropped_M],
    )


@torch.no_grad()
def masks_of(dropping: Dropping, steps: list[Step]) -> dict[str, Tensor]:
    """What every Dropout is given in this step: masks (M, ...) and scales (M, 1), each cell's from its own stream."""
    if not dropping.places:
        return {}
    on_cpu = steps[0].setup.device.type == "cpu"
    masks = masks_as_alone(dropping, steps) if on_cpu else masks_in_one_go(dropping, steps)
    found = {}
    for place, mask, scale_M1 in zip(dropping.places, masks, dropping.scale_M1, strict=True):
        found[f"{place.name}.mask"], found[f"{place.name}.scale"] = mask, scale_M1
    return found


def masks_as_alone(dropping: Dropping, steps: list[Step]) -> list[Tensor]:
    """A mask (M, ...) of each place, from the levels that each cell alone would draw."""
    level_MR = torch.stack(
        [
            random_levels(step, dropping.counts, is_dropping_P)
            for step, is_dropping_P in zip(steps, dropping.is_dropping_MP, strict=True)
        ]
    )
    parts = level_MR.split(dropping.counts, dim=1)
    return [
        levels_to_mask(part_MR.reshape(len(steps), *place.shape), dropped).neg_().to(place.dtype)
        for place, part_MR, dropped in zip(dropping.places, parts, dropping.dropped, strict=True)
    ]


def masks_in_one_go(dropping: Dropping, steps: list[Step]) -> list[Tensor]:
    """The same, each mask written once, in the type that it is used in; a cell that drops nothing draws nothing."""
    generators = [step_generator(step) for step in steps]
    found = []
    for p, place in enumerate(dropping.places):
        mask = torch.ones(len(steps), *place.shape, dtype=place.dtype, device=steps[0].setup.device)
        for m, generator in enumerate(generators):
            if dropping.is_dropping_MP[m][p]:
                mask[m].bernoulli_(dropping.keep_MP[m][p], generator=generator)
        found.append(mask)
    return found


def step_generator(step: Step) -> torch.Generator:
    """The dropout stream of a cell's step."""
    return make_generator(step.config.seed, "dropout", step.epoch, step.step, device=step.setup.device)


def random_levels(step: Step, counts: list[int], is_dropping: list[bool]) -> Tensor:
    """Random levels (R,), so many for each place; one that drops nothing takes none from the cell's stream."""
    device = step.setup.device
    generator = step_generator(step)
    zeros = partial(torch.zeros, dtype=torch.int16, device=device)
    wanted = zip(counts, is_dropping, strict=True)
    return torch.cat([draw_levels(count, generator) if drops else zeros(count) for count, drops in wanted])
