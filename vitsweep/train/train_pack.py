"""Packs: several cells of one shape trained as one program, with one forward and one backward pass for all.

Each cell is trained by fit.py as it would be alone, with its own model, optimizer, schedule, random streams, record
and saved state; only the passes are shared. There the cells' weights are stacked along a leading model dimension and
the model's forward runs under torch.func.vmap; gradients flow back through the stacking to each cell's weights.
So a cell can start, end, diverge or resume at any time without effect on the others, apart from rounding: the passes of
another number of cells sum in another order, so a cell that was killed in a pack does not end with the same bits.

Dropout masks are drawn outside of the passes (pack_dropout.py).
"""

# Shape letters: M models (cells of the pack), B batch, K classes, P places of dropout.

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import ceil
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from vitsweep.config.schema import Config
from vitsweep.data.load import load_data
from vitsweep.model.layers import Dropout
from vitsweep.study.record import Record, with_history
from vitsweep.train.device import compile_static, pick_device
from vitsweep.train.fit import changes_threads, run_attempt
from vitsweep.train.pack_dropout import PackDropout, Place, draw_masks, find_places, make_pack_dropout
from vitsweep.train.step import (
    Step,
    Training,
    batch_totals,
    should_compile,
    train_step,
    training_batch,
    training_loss,
    update_weights,
)
from vitsweep.train.stop import Interrupted, StopSignals

log = logging.getLogger(__name__)

# Attention kernels that save the tensors of their backward pass under vmap, too (in torch < 2.14 not all do).
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]


@dataclass(kw_only=True)
class Member:
    """One cell of a pack."""

    training: Training
    release: Callable[[], None] = lambda: None
    """Called when training has ended without an exception, its record written."""
    wanted: Step | None = None
    """Next step; None before the start and after the end."""
    error: BaseException | None = None
    """Exception of the training: interrupted or refused."""

    def resume(self, result: tuple[Tensor, float] | BaseException | None) -> None:
        """Send the result of its step to the training, or raise it there, and get the next step."""
        self.wanted = None
        try:
            if result is None:
                self.wanted = next(self.training)
            elif isinstance(result, BaseException):
                self.wanted = self.training.throw(result)
            else:
                self.wanted = self.training.send(result)
        except StopIteration:
            self.release()
        except BaseException as error:
            self.error = error


def run_pack(
    cells: list[tuple[Config, Record, Path]], release: Callable[[int], None] = lambda place: None
) -> list[BaseException | None]:
    """Train cells of one shape together; each writes its record, also if it or another cell fails.

    Args:
        cells: configuration, record and directory of each, as for fit.run_cell.
        release: called with a cell's index as soon as it is done, failed or diverged, while others may be training.

    Returns:
        The exception of each cell, e.g. a UserError; None if its end is in its record, also if it failed.

    Raises:
        Interrupted: a signal requested a stop; every cell's state is saved.
    """
    load = cache(lambda: load_data(cells[0][0]).to(pick_device(cells[0][0].device)))  # once for all cells
    packed = PackedStep(len(cells))
    names = [f"{record.arm} seed={record.seed}" for _, record, _ in cells]
    num_threads = torch.get_num_threads()
    log.info("%d cells in one program: %s", len(cells), ", ".join(names))
    members = []
    with StopSignals() as stop:
        for place, (config, record, directory) in enumerate(cells):
            record.pack = with_history({"cells": names, "place": place}, record.pack)
            if changes_threads(record, directory):
                log.warning("%s began with %d threads, its pack has %d", names[place], record.threads, num_threads)
            training = run_attempt(config, record, directory, stop, lambda _: load())
            members.append(Member(training=training, release=partial(release, place)))
            members[-1].resume(None)
            if stop.requested or isinstance(members[-1].error, KeyboardInterrupt):
                break
        while waiting := [(member, member.wanted) for member in members if member.wanted is not None]:
            request_stop(stop, members)
            began = time.monotonic()
            results: Sequence[Tensor | BaseException]
            try:
                results = packed.run_steps([step for _, step in waiting])
            except BaseException as error:  # a second signal
                results = [error] * len(waiting)
            seconds = (time.monotonic() - began) / len(waiting)
            for (member, _), result in zip(waiting, results, strict=True):
                member.resume(result if isinstance(result, BaseException) else (result, seconds))
    errors = [member.error for member in members]
    for raised in errors:
        if isinstance(raised, KeyboardInterrupt):
            raise raised
    return errors


def request_stop(stop: StopSignals, members: list[Member]) -> None:
    """Request a stop of all cells if one was interrupted outside of its deferring block."""
    for member in members:
        if isinstance(member.error, Interrupted):
            stop.requested = stop.requested or member.error.signum


class PackedStep:
    """One training step of several cells in shared passes.

    Args:
        size: maximum number of cells in one pass; halved when memory runs out.
        may_shrink: if False, errors of a pass are raised and `size` is kept.
    """

    def __init__(self, size: int, may_shrink: bool = True):
        self.size, self.may_shrink = size, may_shrink
        self.places: list[Place] = []
        self.rates: WeakKeyDictionary[torch.nn.Module, tuple[float, ...]] = WeakKeyDictionary()  # of each place
        self.dropouts: dict[tuple[tuple[float, ...], ...], PackDropout] = {}  # by the rates of the cells in a pass
        self.forward: Callable[[dict[str, Tensor], Tensor], Tensor] | None = None

    def run_steps(self, steps: list[Step]) -> list[Tensor | Exception]:
        """Return for each step, in order, what train_step would return or raise."""
        results: list[Tensor | Exception] = []
        while len(results) < len(steps):
            left = steps[len(results) :]
            part = left[: ceil(len(left) / ceil(len(left) / self.size))]
            if len(part) == 1:
                results.append(run_alone(part[0]))
                continue
            try:
                passed = self.forward_backward(part)
            except Exception as error:  # the weights are unchanged, so these steps can be repeated
                self.shrink(len(part), error)
                passed = None
            if passed is None:
                torch.cuda.empty_cache()  # here, where the exception no longer references the tensors of the pass
                continue
            results += [finish_step(*found) for found in zip(part, *passed, strict=True)]
        return results

    def shrink(self, size: int, error: Exception) -> None:
        """Reduce the cells of a pass after `size` failed: to half if memory ran out, else to one.

        Raises:
            Exception: `error`, if the pack may not shrink.
        """
        if not self.may_shrink:
            raise error
        is_memory = is_out_of_memory(error)
        self.size = ceil(size / 2) if is_memory else 1
        reason = "out of memory" if is_memory else f"{type(error).__name__}: {error}".partition("\n")[0]
        log.warning("%d cells cannot be one program (%s); now %d at a time", size, reason, self.size)

    def forward_backward(self, steps: list[Step]) -> tuple[list[Tensor], Tensor, tuple[Tensor, ...]]:
        """Run both passes of all cells, which sets their gradients; return losses, logits (M, B, K) and targets."""
        setup = steps[0].setup
        for step in steps:
            step.setup.optimizer.zero_grad(set_to_none=True)
        if has_running_statistics(setup.model):  # the forward pass changes them
            raise ValueError("its running statistics belong to one model")
        images, targets = zip(
            *(training_batch(s.setup, s.config, s.index_B, s.epoch, s.step) for s in steps), strict=True
        )
        models = [step.setup.model for step in steps]
        weights = {
            name: torch.stack([model.get_parameter(name) for model in models])
            for name, _ in models[0].named_parameters()
        }
        on_bf16 = torch.autocast(setup.device.type, torch.bfloat16, enabled=setup.precision == "bf16")
        with on_bf16, sdpa_kernel(KERNELS):
            if self.forward is None:
                self.places = find_places(models[0], images[0])
                self.forward = make_forward(steps[0])
            logit_MBK = self.forward(
                weights | draw_masks(self.dropout(models, setup.device), steps), torch.stack(images)
            ).float()
        losses = [
            training_loss(logit_BK, target, step.config.recipe)
            for logit_BK, target, step in zip(logit_MBK, targets, steps, strict=True)
        ]
        torch.stack(losses).sum().backward()  # a loss depends on its own model alone, so no gradient mixes two cells
        return losses, logit_MBK, targets

    def dropout(self, models: list[torch.nn.Module], device: torch.device) -> PackDropout:
        """Return the dropout settings of these cells, made once for all their common steps."""
        for model in models:
            if model not in self.rates:
                rates = {name: module.rate for name, module in model.named_modules() if isinstance(module, Dropout)}
                self.rates[model] = tuple(rates[place.name] for place in self.places)
        rate_MP = tuple(self.rates[model] for model in models)
        if rate_MP not in self.dropouts:
            self.dropouts[rate_MP] = make_pack_dropout(self.places, rate_MP, device)
        return self.dropouts[rate_MP]


def has_running_statistics(model: torch.nn.Module) -> bool:
    """Return True if the model has persistent buffers; others (tables of positions) are constant."""
    return len(model.state_dict()) > len(dict(model.named_parameters()))


def make_forward(step: Step) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """Return the forward pass, (stacked weights and masks, images) -> logits (M, B, K); compiled if a cell alone is."""
    model = step.setup.model
    forward = vmap(lambda given, image_BCHW: functional_call(model, given, (image_BCHW,)))
    return compile_static(forward) if should_compile(step.config, step.setup.device) else forward


def run_alone(step: Step) -> Tensor | Exception:
    """Take the step of a single cell; return its totals or exception."""
    try:
        return train_step(step.setup, step.config, step.index_B, step.epoch, step.step)
    except Exception as error:
        return error


def finish_step(step: Step, loss: Tensor, logit_BK: Tensor, target: Tensor) -> Tensor | Exception:
    """Update a cell's weights from their gradients; return its totals or exception."""
    try:
        update_weights(step.setup, step.config, loss, step.epoch, step.step)
    except Exception as error:
        return error
    totals_2 = batch_totals(loss, logit_BK.detach(), target)
    if step.is_last:
        totals_2.tolist()  # waits for the GPU
    return totals_2


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if memory ran out, on the GPU or on the CPU (there torch raises a plain RuntimeError)."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in ("allocate memory", "out of memory", "ALLOC_FAILED")
    )
