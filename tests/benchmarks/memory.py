"""Peak memory of training steps above that of the libraries, each model in its own process.

python tests/benchmarks/memory.py --batch-size 128 --precision bf16
"""

import argparse
import subprocess
import sys

import torch
from throughput import PEERS, make_step, time_steps

from vitsweep.config.schema import ModelConfig
from vitsweep.train.device import device_name, keep_freed_memory, peak_gib, pick_device, pick_precision


def measure(name: str, asked: argparse.Namespace) -> float:
    """Return the peak GiB of three steps in this process minus that of one step of a tiny model."""
    device = pick_device(asked.device)
    precision = pick_precision(asked.precision, device)
    keep_freed_memory()
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    time_steps(make_step(PEERS[name](ModelConfig(**tiny)), device, precision, 2), 1, device)
    before = peak_gib(device)
    config = ModelConfig(hidden_dropout_prob=asked.dropout, patch_size=asked.patch_size)
    time_steps(make_step(PEERS[name](config), device, precision, asked.batch_size), 3, device)
    return peak_gib(device) - before


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--batch-size", type=int, default=128)
    ask.add_argument("--dropout", type=float, default=0.2)
    ask.add_argument("--patch-size", type=int, default=4)
    ask.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"))
    ask.add_argument("--device", default="auto")
    ask.add_argument("--measure", choices=PEERS, help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.measure:
        print(measure(asked.measure, asked))
        return
    device = pick_device(asked.device)
    print(f"{device_name(device)}, torch {torch.__version__}, {pick_precision(asked.precision, device)}, {asked}")
    command = [sys.executable, __file__, *sys.argv[1:], "--measure"]
    found = {}
    for name in PEERS:
        found[name] = float(subprocess.run([*command, name], check=True, capture_output=True, text=True).stdout)
        print(f"{name:14s} {found[name]:6.2f} GiB   {found[name] / found['vitsweep']:.2f} x vitsweep", flush=True)


if __name__ == "__main__":
    main()
