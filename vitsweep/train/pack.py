"""Several cells of one shape trained as one program: one forward and one backward pass for all of them.

Each cell is trained by train.fit as it would be alone, with its own model, optimizer, schedule, random streams, record
and saved state; only the passes are shared. In them the cells' weights are stacked to a leading model dimension and
the model's own forward runs under torch.func.vmap; gradients come back through the stacking to each cell's weights.
So a cell may begin, end, diverge or go on from a saved state whenever it likes, and its neighbours do not notice.

Dropout masks are drawn outside (pack_dropout.py).
"""

# Shape letters: M models (cells of the pack), B batch, K classes, P places of dropout.

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from math import ceil
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from vitsweep.config.schema import Config
from vitsweep.data.load import load_data
from vitsweep.study.record import Record
from vitsweep.train.device import compile_static, pick_device
from vitsweep.train.fit import run_attempt
from vitsweep.train.pack_dropout import Dropping, Place, make_dropping, masks_of, places_of
from vitsweep.train.step import Step, Training, batch_totals, should_compile, train_step, training_batch, update_weights
from vitsweep.train.stop import Interrupted, StopSignals

log = logging.getLogger(__name__)

# The fused attention kernels that keep, also under vmap, what their backward pass needs (in torch < 2.14 not all do).
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]


@dataclass(kw_only=True)
class Member:
    """One cell of a pack, on its way."""

    training: Training
    release: Callable[[], None] = lambda: None
    """Called when it has ended by itself, its record written."""
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
            self.release()
        except BaseException as fault:
            self.fault = fault


def run_pack(
    cells: list[tuple[Config, Record, Path]], release: Callable[[int], None] = lambda place: None
) -> list[BaseException | None]:
    """Train cells of one shape together; each leaves its record, whatever happens to it or to the others.

    Args:
        cells: configuration, record and directory of each, as for train.run_cell.
        release: called with a cell's place as soon as it is done, failed or diverged, while others may be under way.

    Returns:
        What the training of each cell raised, a UserError for instance; None for most, also if the cell failed.

    Raises:
        Interrupted: a signal asked for the end; every cell's state is saved.
    """
    load = cache(lambda: load_data(cells[0][0]).to(pick_device(cells[0][0].device)))  # the same images for all
    packed = PackedStep(len(cells))
    names = [f"{record.arm} seed={record.seed}" for _, record, _ in cells]
    log.info("%d cells in one program: %s", len(cells), ", ".join(names))
    members = []
    with StopSignals() as stop:
        for place, (config, record, directory) in enumerate(cells):
            record.pack = {"cells": names, "place": place}
            training = run_attempt(config, record, directory, stop, lambda _: load())
            members.append(Member(training=training, release=partial(release, place)))
            members[-1].hear(None)
            if stop.requested or isinstance(members[-1].fault, KeyboardInterrupt):
                break
        while waiting := [member for member in members if member.wanted is not None]:
            request_stop(stop, members)
            began = time.monotonic()
            try:
                answers = packed.run_steps([member.wanted for member in waiting])
            except BaseException as fault:  # a second signal
                answers = [fault] * len(waiting)
            seconds = time.monotonic() - began
            for member, answer in zip(waiting, answers, strict=True):
                member.hear(answer if isinstance(answer, BaseException) else (answer, seconds / len(waiting)))
    for member in members:
        if isinstance(member.fault, KeyboardInterrupt):
            raise member.fault
    return [member.fault for member in members]


def request_stop(stop: StopSignals, members: list[Member]) -> None:
    """Where one cell was interrupted (between two of its stretches of steps), the others are to stop as well."""
    for member in members:
        if isinstance(member.fault, Interrupted):
            stop.requested = stop.requested or member.fault.signum


class PackedStep:
    """Takes the steps of several cells at once.

    Args:
        size: most cells in one pass. More are taken in several passes; when memory runs out it is halved.
        may_shrink: whether it is; else the fault is raised.
    """

    def __init__(self, size: int, may_shrink: bool = True):
        self.size, self.may_shrink = size, may_shrink
        self.places: list[Place] | None = None
        self.rates: WeakKeyDictionary[torch.nn.Module, tuple[float, ...]] = WeakKeyDictionary()  # of each place
        self.droppings: dict[tuple[tuple[float, ...], ...], Dropping] = {}  # by the rates of the cells in a pass
        self.forward: Callable[[dict[str, Tensor], Tensor], Tensor] | None = None

    def run_steps(self, steps: list[Step]) -> list[Tensor | Exception]:
        """What train_step returns or raises for each of the steps, in their order."""
        answers: list[Tensor | Exception] = []
        while len(answers) < len(steps):
            left = steps[len(answers) :]
            part = left[: ceil(len(left) / ceil(len(left) / self.size))]
            if len(part) == 1:
                answers.append(alone(part[0]))
                continue
            try:
                losses, logits, labels = self.forward_backward(part)
            except Exception as fault:  # no weight has been touched, so these steps can be taken again
                self.shrink(len(part), fault)
                losses = None
            if losses is None:
                torch.cuda.empty_cache()  # here, where the fault no longer holds what the failed pass had made
                continue
            answers += [updated(*found) for found in zip(part, losses, logits, labels, strict=True)]
        return answers

    def shrink(self, size: int, fault: Exception) -> None:
        """Fewer than `size` cells in one pass: half as many if memory ran out, else one."""
        if not self.may_shrink:
            raise fault
        is_memory = is_out_of_memory(fault)
        self.size = ceil(size / 2) if is_memory else 1
        reason = "the memory does not suffice" if is_memory else f"{type(fault).__name__}: {fault}".partition("\n")[0]
        log.warning("%d cells cannot be one program (%s); now %d at a time", size, reason, self.size)

    def forward_backward(self, steps: list[Step]) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Forward and backward pass of all: losses, logits (M, B, K) and labels of each; weights get gradients."""
        setup = steps[0].setup
        for step in steps:
            step.setup.optimizer.zero_grad(set_to_none=True)
        if next(setup.model.buffers(), None) is not None:  # the attempt alone would change them
            raise ValueError("its running statistics belong to one model")
        images, labels = zip(
            *(training_batch(s.setup, s.config, s.index_B, s.epoch, s.step) for s in steps), strict=True
        )
        models = [step.setup.model for step in steps]
        weights = {
            name: torch.stack([model.get_parameter(name) for model in models])
            for name, _ in models[0].named_parameters()
        }
        on_bf16 = torch.autocast(setup.device.type, torch.bfloat16, enabled=setup.precision == "bf16")
        with on_bf16, sdpa_kernel(KERNELS):
            if self.places is None:
                self.places = places_of(models[0], images[0])
                self.forward = make_forward(steps[0])
            logit_MBK = self.forward(
                weights | masks_of(self.dropping(models, setup.device), steps), torch.stack(images)
            ).float()
        losses = [
            F.cross_entropy(logit_BK, label_B, label_smoothing=step.config.recipe.label_smoothing)
            for logit_BK, label_B, step in zip(logit_MBK, labels, steps, strict=True)
        ]
        torch.stack(losses).sum().backward()  # a loss depends on its own model alone, so no gradient mixes two cells
        return losses, logit_MBK, labels

    def dropping(self, models: list[torch.nn.Module], device: torch.device) -> Dropping:
        """What is dropped in these cells; made once for all steps that they take together."""
        for model in models:
            if model not in self.rates:
                self.rates[model] = tuple(model.get_submodule(place.name).rate for place in self.places)
        rate_MP = tuple(self.rates[model] for model in models)
        if rate_MP not in self.droppings:
            self.droppings[rate_MP] = make_dropping(self.places, rate_MP, device)
        return self.droppings[rate_MP]


def make_forward(step: Step) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """Logits (M, B, K) of stacked weights, masks and images; compiled where a cell alone would be."""
    model = step.setup.model
    forward = vmap(lambda given, image_BCHW: functional_call(model, given, (image_BCHW,)))
    return compile_static(forward) if should_compile(step.config, step.setup.device) else forward


def alone(step: Step) -> Tensor | Exception:
    """The step as a cell alone takes it, or what it raised."""
    try:
        return train_step(step.setup, step.config, step.index_B, step.epoch, step.step)
    except Exception as fault:
        return fault


def updated(step: Step, loss: Tensor, logit_BK: Tensor, label_B: Tensor) -> Tensor | Exception:
    """Change a cell's weights by the gradients that they have; its totals, or what was raised."""
    try:
        update_weights(step.setup, step.config, loss, step.epoch, step.step)
    except Exception as fault:
        return fault
    totals_2 = batch_totals(loss, logit_BK.detach(), label_B)
    if step.is_last:
        totals_2.tolist()  # waits for the GPU
    return totals_2


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether memory ran out, on the GPU or (told by a plain RuntimeError) on the CPU."""
    return isinstance(fault, torch.OutOfMemoryError | MemoryError) or any(
        words in str(fault) for words in ("allocate memory", "out of memory", "ALLOC_FAILED")
    )
