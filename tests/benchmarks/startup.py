"""From the command to the first training step, stage by stage, each time in a new process; and what a save costs.

    python tests/benchmarks/startup.py [--data cifar10] [--rounds 5]
    python tests/benchmarks/startup.py --against ../older-checkout       (both in turn, in every round)

Seconds of the wall and, in brackets, of the CPU, which say more on a machine that others use. The data are read once
before, so that what is timed is their cache. Nothing is compiled.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "vitsweep --help": ["-m", "vitsweep", "--help"],
    "vitsweep status DIR": ["-m", "vitsweep", "status", str(ROOT / "docs/results/readme_small")],
    "run.py --help": ["-c", "import sys; sys.argv = ['run.py', '--help']; from vitsweep.cli import main; main()"],
    "import torch": ["-c", "import torch"],
}
STAGES = r"""
import json, sys, time
began = float(sys.argv[1])
marks = {}
def mark(name):
    marks[name] = time.time() - began, time.process_time()
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
started = time.time(), time.process_time()
load_data(config)
marks["data from the cache"] = time.time() - started[0], time.process_time() - started[1]
mark("data")
setup = prepare(config, lambda _: load_data(config))
mark("model and optimizer")
setup.model.train()
index_B = epoch_order(setup, 0, 1)[: setup.batch_size]
train_step(setup, config, index_B, 1, 0).tolist()
mark("first step")
started = time.time(), time.process_time()
train_step(setup, config, index_B, 1, 1).tolist()
marks["a further step"] = time.time() - started[0], time.process_time() - started[1]
from pathlib import Path
from vitsweep.train.checkpoint import save_state
started = time.time(), time.process_time()
save_state(Path(sys.argv[3]), training_state(setup, TrainingProgress(), Record()))
marks["a saved state"] = time.time() - started[0], time.process_time() - started[1]
print(json.dumps(marks))
"""
ALONE = ("a further step", "a saved state", "data from the cache", *COMMANDS)

Marks = dict[str, tuple[float, float]]
"""What -> seconds of the wall, of the CPU."""


def measure(checkout: Path, data: str, folder: str) -> Marks:
    """Return the times of each command and stage, each in a new process with `checkout`'s modules."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    found: Marks = {}
    for name, words in COMMANDS.items():
        began, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], capture_output=True, cwd=folder, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found[name] = time.time() - began, cpu
    command = [sys.executable, "-c", STAGES, str(time.time()), data, folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=environment)
    return found | json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print medians, a column a checkout."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", default="shapes", choices=("shapes", "cifar10"))
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--against", type=Path, help="another checkout")
    asked = ask.parse_args()
    checkouts = [ROOT, *([asked.against.resolve()] if asked.against else [])]
    rounds: list[list[Marks]] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(asked.rounds + 1):
            rounds.append([measure(checkout, asked.data, folder) for checkout in checkouts])
    print(f"median of {asked.rounds} rounds, load {os.getloadavg()[0]:.1f}: wall (CPU) seconds; {checkouts}")
    for name in rounds[0][0]:
        cells = [
            "{:6.2f} ({:.2f})".format(*(statistics.median(row[place][name][i] for row in rounds[1:]) for i in (0, 1)))
            for place in range(len(checkouts))
        ]
        print(f"{name:22s} {'   '.join(cells)}   {'alone' if name in ALONE else 'since the command'}")


if __name__ == "__main__":
    main()
