"""From the command to the first training step, stage by stage, each time in a new process; and what a save costs.

    python tests/benchmarks/startup.py [--data cifar10] [--rounds 5]

The data are read once before, so that what is timed is their cache. Nothing is compiled.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = r"""
import json, sys, time
began = float(sys.argv[1])
marks = {}
def mark(name):
    marks[name] = time.time() - began
from vitsweep.cli import set_wait_policy
set_wait_policy()
from vitsweep.config.convert import from_dict
config = from_dict({"data": {"name": sys.argv[2]}})
mark("configuration")
from vitsweep.train.step import epoch_order, prepare, train_step
from vitsweep.train.fit import TrainingProgress, training_state
from vitsweep.study.record import Record
mark("torch imported")
from vitsweep.data.load import load_data
started = time.time()
load_data(config)
load_seconds = time.time() - started
mark("data")
setup = prepare(config, lambda _: load_data(config))
mark("model and optimizer")
setup.model.train()
index_B = epoch_order(setup, 0, 1)[: setup.batch_size]
train_step(setup, config, index_B, 1, 0).tolist()
mark("first step")
started = time.time()
train_step(setup, config, index_B, 1, 1).tolist()
marks["a further step"] = time.time() - started
from pathlib import Path
from vitsweep.train.checkpoint import save_state
started = time.time()
save_state(Path(sys.argv[3]), training_state(setup, TrainingProgress(), Record()))
marks["a saved state"] = time.time() - started
marks["data from the cache"] = load_seconds
print(json.dumps(marks))
"""
ALONE = ("a further step", "a saved state", "data from the cache")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", default="shapes", choices=("shapes", "cifar10"))
    ask.add_argument("--rounds", type=int, default=5)
    asked = ask.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(asked.rounds + 1):
            command = [sys.executable, "-c", STAGES, str(time.time()), asked.data, folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(folder))
            rounds.append(json.loads(done.stdout.splitlines()[-1]))
    medians = {name: statistics.median(found[name] for found in rounds[1:]) for name in rounds[0]}
    for name, seconds in medians.items():
        what = "alone" if name in ALONE else "since the command"
        print(f"{name:22s} {seconds:6.2f} s {what}")


if __name__ == "__main__":
    main()
