"""K cells of one shape: one after another, in processes at the same time, and packed into one program.

What is timed are training steps of vitsweep itself (augmentation, passes, optimizer) on made-up images, all ways in
turn in every round of one run; the figure that counts is the ratio to one after another. Beside them stands one model
with a batch as large as all cells' together, which is what packing can at best come near. `--memory` prints
instead the peak memory of a fresh process for each number of cells.

    python tests/benchmarks/sweep.py --model tiny small --cells 4 8 --precision fp32 bf16
    python tests/benchmarks/sweep.py --gpu
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.multiprocessing as multiprocessing

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vitsweep.config.schema import Config, ModelConfig, RecipeConfig
from vitsweep.errors import ConfigError
from vitsweep.model.cost import count_parameters, flops_per_image
from vitsweep.train.device import device_name, peak_gib, pick_device, pick_precision
from vitsweep.train.step import Step, train_step
from vitsweep.train.train_pack import PackedStep
from vitsweep.train.trial.steps import trial_step

MODELS = {
    "tiny": {"patch_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    | {"intermediate_size": 16},
    "small": {"patch_size": 8, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    | {"intermediate_size": 128},
    "start-p8": {"patch_size": 8},
    "start": {},
}
PATIENCE_SECONDS = 600.0  # for workers that start and compile; a dead one must not hold the others for ever
WAYS = ("one after another", "processes", "packed", "one large batch")


def make_config(asked: argparse.Namespace, model: str, precision: str, seed: int, batch_size: int) -> Config:
    """Return a cell that differs from the others in its seed only."""
    values = {"hidden_dropout_prob": asked.dropout} | MODELS[model]
    recipe = RecipeConfig(batch_size=batch_size)
    options = {"device": asked.device, "precision": precision, "compile": asked.compile}
    return Config(model=ModelConfig(**values), recipe=recipe, seed=seed, **options)


def train_alone(step: Step) -> None:
    train_step(step.setup, step.config, step.index_B, step.epoch, step.step)


def make_ways(configs: list[Config], device: torch.device) -> dict[str, Callable[[], None]]:
    """Each way's one step of all cells."""
    alone, packed = ([trial_step(config, device) for config in configs] for _ in range(2))
    recipe = replace(configs[0].recipe, batch_size=len(configs) * configs[0].recipe.batch_size)
    large = trial_step(replace(configs[0], recipe=recipe), device)
    program = PackedStep(len(configs), may_shrink=False)
    return {
        "one after another": lambda: [train_alone(step) for step in alone] and None,
        "packed": lambda: program.run_steps(packed) and None,
        "one large batch": lambda: train_alone(large),
    }


def timed(action: Callable[[], None], count: int, device: torch.device) -> float:
    """Seconds of so many calls."""
    began = time.perf_counter()
    for _ in range(count):
        action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def work(configs: list[Config], threads: int, count: int, rounds: int, gate: multiprocessing.Barrier) -> None:
    """A process with a share of the cells, which it takes through `count` steps one after another in each round."""
    torch.set_num_threads(threads)
    device = pick_device(configs[0].device)
    steps = [trial_step(config, device) for config in configs]

    def step_all() -> None:
        for step in steps:
            train_alone(step)

    timed(step_all, 2, device)
    for _ in range(rounds):
        gate.wait()
        timed(step_all, count, device)
        gate.wait()


class Workers:
    """Processes that share the cells; `with` starts and ends them."""

    def __init__(self, configs: list[Config], processes: int, count: int, rounds: int):
        spawned = multiprocessing.get_context("spawn")
        processes = min(processes, len(configs))
        threads = max(1, torch.get_num_threads() // processes)
        self.gate = spawned.Barrier(processes + 1, timeout=PATIENCE_SECONDS)
        shares = [configs[number::processes] for number in range(processes)]
        self.all = [
            spawned.Process(target=work, args=(share, threads, count, rounds, self.gate), daemon=True)
            for share in shares
        ]

    def __enter__(self) -> "Workers":
        for process in self.all:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.all:
            process.join(60)

    def seconds(self) -> float:
        """One round of all."""
        self.gate.wait()
        began = time.perf_counter()
        self.gate.wait()
        return time.perf_counter() - began


def compare(asked: argparse.Namespace, model: str, cells: int, precision: str, batch_size: int) -> None:
    """Print a line for each way."""
    device = pick_device(asked.device)
    configs = [make_config(asked, model, precision, seed, batch_size) for seed in range(cells)]
    ways = make_ways(configs, device)
    for step in ways.values():
        timed(step, 3, device)  # reserves memory, compiles, records graphs
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with Workers(configs, asked.processes, asked.steps, asked.rounds + 1) as workers:
        workers.seconds()  # all have started and compiled before anything is timed
        for _ in range(asked.rounds):
            for way, step in ways.items():
                seconds[way].append(timed(step, asked.steps, device))
            seconds["processes"].append(workers.seconds())
    images = cells * batch_size * asked.steps
    speeds = {way: [images / s for s in found] for way, found in seconds.items()}
    base = statistics.median(speeds["one after another"])
    flops = 3 * flops_per_image(configs[0].model)
    parameters = count_parameters(configs[0].model)
    print(
        f"{model} ({parameters:,} parameters), {cells} cells, batch {batch_size}, {precision}, dropout {asked.dropout}"
    )
    for way, found in speeds.items():
        middle = statistics.median(found)
        spread = f"{min(found):,.0f} .. {max(found):,.0f}"
        figures = f"{middle:10,.0f} images/s  ({spread})  {middle * flops / 1e12:6.2f} TFLOP/s"
        print(f"  {way:18s}{figures}  {middle / base:5.2f} x one after another", flush=True)


def print_memory(asked: argparse.Namespace, model: str, precision: str, batch_size: int) -> None:
    """Print the peak of a fresh process for each number of cells, by which it grows."""
    for cells in asked.cells:
        options = ["--model", model, "--cells", str(cells), "--precision", precision, "--batch-size", str(batch_size)]
        options += ["--dropout", str(asked.dropout), "--device", asked.device, "--compile", asked.compile, "--peak"]
        command = [sys.executable, __file__, *options]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def print_peak(asked: argparse.Namespace, model: str, cells: int, precision: str, batch_size: int) -> None:
    """Print this process's peak memory after some packed steps."""
    device = pick_device(asked.device)
    program = PackedStep(cells, may_shrink=False)
    configs = [make_config(asked, model, precision, seed, batch_size) for seed in range(cells)]
    steps = [trial_step(config, device) for config in configs]
    before = peak_gib(device)
    timed(lambda: program.run_steps(steps) and None, 3, device)
    after = 1024 * peak_gib(device)
    print(f"{model}, batch {batch_size}, {precision}: {cells} cells {after:,.0f} MiB ({1024 * before:,.0f} before)")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--model", nargs="+", default=["tiny", "small"], choices=MODELS)
    ask.add_argument("--cells", nargs="+", type=int, default=[4, 8])
    ask.add_argument("--batch-size", nargs="+", type=int, default=[32])
    ask.add_argument("--precision", nargs="+", default=["auto"], choices=("auto", "bf16", "fp32"))
    ask.add_argument("--dropout", type=float, default=0.2)
    ask.add_argument("--device", default="auto")
    ask.add_argument("--compile", default="auto", choices=("auto", "off", "on"))
    ask.add_argument("--processes", type=int, default=2)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--steps", type=int, default=5, help="steps of every cell in a round")
    ask.add_argument("--gpu", action="store_true", help="what docs/results/speed/packing.md asks of a GPU")
    ask.add_argument("--memory", action="store_true", help="peak memory instead of speed")
    ask.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.gpu:
        asked.device, asked.model, asked.cells, asked.batch_size = "cuda", ["small", "start-p8", "start"], [8], [128]
        asked.precision, asked.processes, asked.steps = ["bf16"], 8, 30
    try:
        device = pick_device(asked.device)
    except ConfigError as error:
        ask.error(str(error))
    precisions = [pick_precision(wanted, device) for wanted in asked.precision]
    if asked.memory:
        for model, precision, batch_size in itertools.product(asked.model, precisions, asked.batch_size):
            print_memory(asked, model, precision, batch_size)
        return
    if not asked.peak:
        threads = f"{torch.get_num_threads()} threads, {asked.processes} processes"
        print(
            f"{device_name(device)}, {threads}, torch {torch.__version__}, {asked.rounds} rounds of {asked.steps} steps"
        )
    measure = print_peak if asked.peak else compare
    for model, cells, precision, batch_size in itertools.product(
        asked.model, asked.cells, precisions, asked.batch_size
    ):
        measure(asked, model, cells, precision, batch_size)


if __name__ == "__main__":
    main()
