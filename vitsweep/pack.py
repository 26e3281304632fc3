"""Several cells of one shape trained as one program: one forward and one backward pass for all of them.

Each cell is trained by train.fit as it would be alone, with its own model, optimizer, schedule, random streams, record
and saved state; only the passes are shared. In them the cells' weights are stacked to a leading model dimension and
the model's own forward runs under torch.func.vmap; gradients come back through the stacking to each cell's weights.
So a cell may begin, end, diverge or go on from a saved state whenever it likes, and its neighbours do not notice.

Dropout masks are drawn outside, each cell's from its own stream and in the order of its own forward pass, so that on
the CPU they are bit by bit those of the same cell alone.
"""

# Shape letters: M models (cells of the pack), B batch, C colour channels, H W pixels, K classes, P places of dropout,
# R random levels.

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from math import ceil
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional as F

from vitsweep.config import Config
from vitsweep.cpu_ops import LEVELS, draw_levels, dropped_levels, mask_of_levels
from vitsweep.data import load_data
from vitsweep.device import pick_device
from vitsweep.layers import Dropout
from vitsweep.record import Record
from vitsweep.seeding import make_generator
from vitsweep.stop import Interrupted, StopSignals
from vitsweep.train import Step, Training, attempt, compiles, totals_of, train_step, training_batch, update

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Member:
    """One cell of a pack, on its way."""

    training: Training
    wanted: Step | None = None
    """The step that it waits for; None before it has begun and when it has ended."""
    fault: BaseException | None = None
    """What its training raised: it was interrupted, or refused."""

    def hear(self, answer: tuple[Tensor, float] | BaseException | None) -> None:
        """Pass on what came of the step, and take the next wish; a fault ends this cell as it would end one alone."""
        go_on = self.training.throw if isinstance(answer, BaseException) else self.training.send
        self.wanted = None
        try:
            self.wanted = go_on(answer)
        except StopIteration:
            pass
        except BaseException as fault:
            self.fault = fault


@dataclass(kw_only=True)
class Place:
    """Where a model drops: the name of its Dropout, and what that is given."""

    name: str
    shape: torch.Size
    dtype: torch.dtype


def run_pack(cells: list[tuple[Config, Record, Path]]) -> list[BaseException | None]:
    """Train cells of one shape together; each leaves its record, whatever happens to it or to the others.

    Args:
        cells: configuration, record and directory of each, as for train.run_cell.

    Returns:
        What the training of each cell raised, a UserError for instance; None for most, also if the cell failed.

    Raises:
        Interrupted: a signal asked for the end; every cell's state is saved.
    """
    load = cache(lambda: load_data(cells[0][0]).to(pick_device(cells[0][0].device)))  # the same images for all
    together = Together(len(cells))
    names = [f"{record.arm} seed={record.seed}" for _, record, _ in cells]
    log.info("%d cells in one program: %s", len(cells), ", ".join(names))
    members = []
    with StopSignals() as stop:
        for place, (config, record, directory) in enumerate(cells):
            record.pack = {"cells": names, "place": place}
            members.append(Member(training=attempt(config, record, directory, stop, lambda _: load())))
            members[-1].hear(None)
            if stop.requested or isinstance(members[-1].fault, KeyboardInterrupt):
                break
        while waiting := [member for member in members if member.wanted is not None]:
            request_stop(stop, members)
            began = time.monotonic()
            try:
                answers = together.take([member.wanted for member in waiting])
            except BaseException as fault:  # a second signal
                answers = [fault] * len(waiting)
            seconds = time.monotonic() - began
            for member, answer in zip(waiting, answers, strict=True):
                member.hear(answer if isinstance(answer, BaseException) else (answer, seconds))
    for member in members:
        if isinstance(member.fault, KeyboardInterrupt):
            raise member.fault
    return [member.fault for member in members]


def request_stop(stop: StopSignals, members: list[Member]) -> None:
    """Where one cell was interrupted (between two of its stretches of steps), the others are to stop as well."""
    for member in members:
        if isinstance(member.fault, Interrupted):
            stop.requested = stop.requested or member.fault.signum


class Together:
    """Takes the steps of several cells at once.

    Args:
        size: most cells in one pass. More are taken in several passes; when memory runs out it is halved.
        may_give_way: whether it is; else the fault is raised.
    """

    def __init__(self, size: int, may_give_way: bool = True):
        self.size, self.may_give_way = size, may_give_way
        self.places: list[Place] | None = None
        self.forward: Callable[[dict[str, Tensor], Tensor], Tensor] | None = None

    def take(self, steps: list[Step]) -> list[Tensor | Exception]:
        """What train_step returns or raises for each of the steps, in their order."""
        answers: list[Tensor | Exception] = []
        while len(answers) < len(steps):
            left = steps[len(answers) :]
            part = left[: ceil(len(left) / ceil(len(left) / self.size))]
            if len(part) == 1:
                answers.append(alone(part[0]))
                continue
            try:
                losses, logits, labels = self.passes(part)
            except Exception as fault:  # no weight has been touched, so these steps can be taken again
                self.give_way(len(part), fault)
                continue
            answers += [updated(*found) for found in zip(part, losses, logits, labels, strict=True)]
        return answers

    def give_way(self, size: int, fault: Exception) -> None:
        """Fewer than `size` cells in one pass: half as many if memory ran out, else one."""
        if not self.may_give_way:
            raise fault
        is_memory = is_out_of_memory(fault)
        self.size = ceil(size / 2) if is_memory else 1
        reason = "the memory does not suffice" if is_memory else f"{type(fault).__name__}: {fault}".partition("\n")[0]
        log.warning("%d cells cannot be one program (%s); now %d at a time", size, reason, self.size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def passes(self, steps: list[Step]) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Forward and backward pass of all: losses, logits (M, B, K) and labels of each; weights get gradients."""
        setup = steps[0].setup
        if next(setup.model.buffers(), None) is not None:  # the attempt alone would change them
            raise NotImplementedError("its running statistics belong to one model")
        images, labels = zip(
            *(training_batch(s.setup, s.config, s.index_B, s.epoch, s.step) for s in steps), strict=True
        )
        models = [step.setup.model for step in steps]
        weights = {
            name: torch.stack([model.get_parameter(name) for model in models])
            for name, _ in models[0].named_parameters()
        }
        with torch.autocast(setup.device.type, torch.bfloat16, enabled=setup.precision == "bf16"):
            if self.places is None:
                self.places = places_of(models[0], images[0])
                self.forward = make_forward(steps[0])
            logit_MBK = self.forward(weights | masks_of(self.places, steps), torch.stack(images)).float()
        losses = [
            F.cross_entropy(logit_BK, label_B, label_smoothing=step.config.recipe.label_smoothing)
            for logit_BK, label_B, step in zip(logit_MBK, labels, steps, strict=True)
        ]
        for step in steps:
            step.setup.optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()  # a loss depends on its own model alone, so no gradient mixes two cells
        return losses, logit_MBK, labels


def make_forward(step: Step) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """Logits (M, B, K) of stacked weights, masks and images; compiled where a cell alone would be."""
    model = step.setup.model
    forward = vmap(lambda given, image_BCHW: functional_call(model, given, (image_BCHW,)))
    return torch.compile(forward) if compiles(step.config, step.setup.device) else forward


def alone(step: Step) -> Tensor | Exception:
    """The step as a cell alone takes it, or what it raised."""
    try:
        return train_step(step.setup, step.config, step.index_B, step.epoch, step.step)
    except Exception as fault:
        return fault


def updated(step: Step, loss: Tensor, logit_BK: Tensor, label_B: Tensor) -> Tensor | Exception:
    """Change a cell's weights by the gradients that they have; its totals, or what was raised."""
    try:
        update(step.setup, step.config, loss, step.epoch, step.step)
    except Exception as fault:
        return fault
    totals_2 = totals_of(loss, logit_BK.detach(), label_B)
    if step.is_last:
        totals_2.tolist()  # waits for the GPU
    return totals_2


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


@torch.no_grad()
def masks_of(places: list[Place], steps: list[Step]) -> dict[str, Tensor]:
    """What every Dropout is given in this step: masks (M, ...) and scales (M, 1), each cell's from its own stream."""
    rates = [[step.setup.model.get_submodule(place.name).rate for step in steps] for place in places]
    dropping = [(place, rate_M) for place, rate_M in zip(places, rates, strict=True) if any(rate_M)]
    if not dropping:
        return {}
    device = steps[0].setup.device
    counts = [place.shape.numel() for place, _ in dropping]
    level_MR = torch.stack(
        [random_levels(step, counts, [rate_M[m] > 0 for _, rate_M in dropping]) for m, step in enumerate(steps)]
    )
    # One copy to the device for all places: the host must not wait for each.
    dropped_PM = torch.tensor([[dropped_levels(rate) for rate in rate_M] for _, rate_M in dropping], dtype=torch.int32)
    dropped_PM = dropped_PM.to(device, non_blocking=True)
    found = {}
    for (place, _), dropped_M, part_MR in zip(dropping, dropped_PM, level_MR.split(counts, dim=1), strict=True):
        level = part_MR.reshape(len(steps), *place.shape)
        # Where a cell drops nothing its levels are all 0, less than any that is dropped.
        keep = mask_of_levels(level, dropped_M.clamp(min=1).view(-1, *[1] * len(place.shape)))
        found[f"{place.name}.mask"] = keep.neg_().to(place.dtype)
        found[f"{place.name}.scale"] = (LEVELS / (LEVELS - dropped_M)).unsqueeze(1)
    return found


def random_levels(step: Step, counts: list[int], is_dropping: list[bool]) -> Tensor:
    """Random levels (R,), so many for each place; one that drops nothing takes none from the cell's stream."""
    device = step.setup.device
    generator = make_generator(step.config.seed, "dropout", step.epoch, step.step, device=device)
    zeros = partial(torch.zeros, dtype=torch.int16, device=device)
    wanted = zip(counts, is_dropping, strict=True)
    return torch.cat([draw_levels(count, generator) if drops else zeros(count) for count, drops in wanted])


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether memory ran out, on the GPU or (told by a plain RuntimeError) on the CPU."""
    return isinstance(fault, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(fault)
