"""Time of a training step by kind of work, beside the least that each kind would take on this processor.

    OMP_NUM_THREADS=1 python tests/benchmarks/step_profile.py --precision bf16 --clock process
    OMP_NUM_THREADS=1 python tests/benchmarks/step_profile.py --precision fp32 --steps 5

The step is the one that trains (train_step: augmentation, both passes, AdamW), the starting model unless changed.
Times are shares of torch.profiler's times the seconds of the step, medians of `--steps` steps; on a machine that others
use, --clock process counts processor time (one thread). The floor of products is their FLOPs at the
fastest large matrix product of the same run, that of all other kinds the bytes that must be read and written, each
tensor once, at the speed of copying memory: what would remain if a kind were one loop over memory. Fused with what
stands before or behind it, a kind could go below its floor.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator

import torch
from throughput import CLOCKS, describe_machine, matrix_peak, time_steps
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from vitsweep.config.schema import Config, ModelConfig
from vitsweep.model.cost import count_parameters, flops_per_image, num_tokens
from vitsweep.train import step as training
from vitsweep.train.device import keep_freed_memory, pick_precision
from vitsweep.train.trial.steps import trial_step

KINDS = {
    "augmentation": ("training_batch",),
    "optimizer": ("update_weights", "Optimizer.zero_grad"),
    "attention": ("_Attend", "scaled_dot_product"),
    "dropout": ("_Dropout", "native_dropout"),
    "norms": ("native_layer_norm", "NativeLayerNorm", "rms_norm"),
    "activation": ("gelu", "Gelu", "silu", "relu"),
    "products": ("_Linear", "mkldnn", "addmm", "aten::mm", "aten::bmm", "convolution", "AddmmBackward", "MmBackward"),
    "additions": ("aten::add", "AddBackward"),
    "copies": ("aten::copy_", "aten::cat", "aten::clone", "aten::slice_backward", "aten::fill_", "CatBackward"),
}
"""Kind -> parts of the names of events; an event belongs to the kind of the outermost event that has one."""


def kind_of(event: FunctionEvent) -> str:
    """Return the kind of work of an event."""
    parents = [event]
    while parents[-1].cpu_parent is not None:
        parents.append(parents[-1].cpu_parent)
    for one in reversed(parents):
        for kind, names in KINDS.items():
            if any(name in one.name for name in names):
                return kind
    return "other"


def profile_step(step: training.Step, clock: str) -> dict[str, float]:
    """Return the milliseconds of one training step by kind."""
    began = CLOCKS[clock]()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        with record_function("step"):
            training.train_step(step.setup, step.config, step.index_B, 1, 0)
        milliseconds = 1000 * (CLOCKS[clock]() - began)
    found: dict[str, float] = defaultdict(float)
    for event in profiler.events():
        found[kind_of(event)] += event.self_cpu_time_total
    total = sum(found.values())
    return {kind: milliseconds * share / total for kind, share in found.items()}


def mark(name: str) -> None:
    """Wrap a function of train_step in an event of its name."""
    function = getattr(training, name)

    def marked(*arguments: object) -> object:
        with record_function(name):
            return function(*arguments)

    setattr(training, name, marked)


def floors(config: Config, precision: str, peak_tflops: float, bytes_per_ms: float) -> Iterator[tuple[str, float]]:
    """Yield each kind and its floor in milliseconds.

    Args:
        peak_tflops: of large matrix products.
        bytes_per_ms: of a copy, read and written bytes together.
    """
    model, batch = config.model, config.recipe.batch_size
    element = 2 if precision == "bf16" else 4
    tokens, depth = num_tokens(model) * batch, model.num_hidden_layers
    wide, hidden = tokens * model.hidden_size, tokens * model.intermediate_size
    attention_flops = 3 * 4 * depth * tokens * num_tokens(model) * model.hidden_size
    flops = 3 * flops_per_image(model) * batch
    yield "products", (flops - attention_flops) / peak_tflops / 1e9
    yield "attention", attention_flops / peak_tflops / 1e9
    dropped = (2 * depth + 1) * wide + depth * hidden if model.hidden_dropout_prob else 0
    yield "dropout", 4 * element * dropped / bytes_per_ms
    yield "norms", 5 * element * (2 * depth + 1) * wide / bytes_per_ms
    yield "activation", 5 * element * depth * hidden / bytes_per_ms
    yield "additions", 6 * element * 2 * depth * wide / bytes_per_ms
    yield "optimizer", 7 * 4 * count_parameters(model) / bytes_per_ms
    yield "augmentation", 5 * batch * model.num_channels * model.image_size**2 / bytes_per_ms


def copy_speed(clock: str) -> float:
    """Return the bytes that are read and written in a millisecond of copying 256 MiB."""
    source, target = torch.ones(2, 2**26)
    seconds = min(time_steps(lambda: target.copy_(source), 1, source.device, clock) for _ in range(7))
    return 2 * source.nbytes / seconds / 1000


def main() -> None:
    """Print a row a kind."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"))
    ask.add_argument("--dropout", type=float, default=0.2)
    ask.add_argument("--patch-size", type=int, default=4)
    ask.add_argument("--width", type=int, default=256)
    ask.add_argument("--steps", type=int, default=3)
    ask.add_argument("--clock", default="wall", choices=CLOCKS)
    asked = ask.parse_args()
    device = torch.device("cpu")
    precision = pick_precision(asked.precision, device)
    keep_freed_memory()
    model = ModelConfig(
        patch_size=asked.patch_size,
        hidden_dropout_prob=asked.dropout,
        hidden_size=asked.width,
        intermediate_size=2 * asked.width,
    )
    config = Config(model=model, device="cpu", precision=precision)
    step = trial_step(config, device)
    for name in ("training_batch", "update_weights"):
        mark(name)
    profile_step(step, asked.clock)
    rounds, peaks, speeds = [], [], []
    for _ in range(asked.steps):
        rounds.append(profile_step(step, asked.clock))
        peaks.append(matrix_peak(device, precision, asked.clock))
        speeds.append(copy_speed(asked.clock))
    peak, speed = max(peaks), max(speeds)
    least = dict(floors(config, precision, peak, speed))
    kinds = {kind for found in rounds for kind in found}
    times = {kind: statistics.median(found.get(kind, 0.0) for found in rounds) for kind in kinds}
    print(f"{describe_machine(device)}, {precision}, {asked}")
    print(f"matrix peak {peak:.3g} TFLOP/s, copies {speed / 1e6:.3g} GB/s")
    total = sum(times.values())
    for kind, milliseconds in sorted(times.items(), key=lambda item: -item[1]):
        floor = f"floor {least[kind]:7.1f} ms   {milliseconds / least[kind]:5.1f} x" if kind in least else ""
        print(f"{kind:14s} {milliseconds:8.1f} ms {milliseconds / total:6.1%}   {floor}")
    floor = sum(least.values())
    print(f"{'all':14s} {total:8.1f} ms          floor {floor:7.1f} ms   {total / floor:5.1f} x")


if __name__ == "__main__":
    main()
