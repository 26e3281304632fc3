"""Time of a training step by batch size, tokens and depth, relative to the starting model at batch 128.

    python tests/benchmarks/scaling.py                 (minutes)
    python tests/benchmarks/scaling.py --device cuda --steps 50

`relative` is the time per image divided by the reference's in the same round; `by products` is the ratio of FLOPs.
"""

import argparse
import statistics

import torch
from throughput import CLOCKS, make_step, time_steps

from vitsweep.config.schema import ModelConfig
from vitsweep.model.cost import flops_per_image
from vitsweep.model.vit import ViT
from vitsweep.train.device import device_name, keep_freed_memory, pick_device, pick_precision

REFERENCE_BATCH = 128
CASES = {
    **{f"batch {size}": (size, {}) for size in (32, 64, 256, 512)},
    **{f"patch {size}": (128, {"patch_size": size}) for size in (8, 16)},
    **{f"layers {depth}": (128, {"num_hidden_layers": depth}) for depth in (1, 2, 4, 12)},
    "dropout 0": (128, {"hidden_dropout_prob": 0.0}),
    "width 128": (128, {"hidden_size": 128, "intermediate_size": 256}),
}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--device", default="auto")
    ask.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"))
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--steps", type=int, default=1)
    ask.add_argument("--clock", default="wall", choices=CLOCKS)
    asked = ask.parse_args()
    device = pick_device(asked.device)
    precision = pick_precision(asked.precision, device)
    keep_freed_memory()
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}, {precision}")

    reference = make_step(ViT(ModelConfig()), device, precision, REFERENCE_BATCH, compile=device.type == "cuda")
    time_steps(reference, 2, device)
    for name, (batch_size, changes) in CASES.items():
        config = ModelConfig(**changes)
        step = make_step(ViT(config), device, precision, batch_size, compile=device.type == "cuda")
        time_steps(step, 2, device)
        ratios, milliseconds = [], []
        for _ in range(asked.rounds):
            base = time_steps(reference, asked.steps, device, asked.clock) / REFERENCE_BATCH
            seconds = time_steps(step, asked.steps, device, asked.clock)
            ratios.append(seconds / batch_size / base)
            milliseconds.append(seconds / asked.steps * 1000)
        expected = flops_per_image(config) / flops_per_image(ModelConfig())
        print(
            f"{name:12s} {statistics.median(milliseconds):9.1f} ms a step   relative {statistics.median(ratios):5.2f}"
            f"   by products {expected:5.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
