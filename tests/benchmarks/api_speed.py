"""Time of `import vitsweep`, and of the frames of a large study, each in a process of its own.

    python tests/benchmarks/api_speed.py [--arms 100] [--seeds 10] [--epochs 200] [--rounds 5]

Promised: 0.15 s for the import, its own time without the interpreter's start; 5 s for `cells` and `history` of 1,000
cells x 200 epochs, after the import of pandas and the rest. On a busy machine the CPU time says more than the wall's.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.report_speed import make  # noqa: E402 - found only after the line above

CLOCKS = "import time; wall, cpu = time.perf_counter(), time.process_time(); "
RESULT = "; import json; print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, {}]))"
IMPORT = CLOCKS + "import vitsweep" + RESULT.format(0)
FRAMES = (
    "import sys, vitsweep as vs; vs.load; "
    + CLOCKS
    + "study = vs.load(sys.argv[1]); rows = len(study.cells), len(study.history)"
    + RESULT.format("rows")
)
LIMITS = {"import": 0.15, "frames": 5.0}


def measure(code: str, *arguments: str) -> list:
    """Seconds of the wall, of the CPU, and what the program adds."""
    command = [sys.executable, "-c", code, *arguments]
    root = Path(__file__).resolve().parents[2]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)


def main() -> int:
    """Print medians; 1 if a limit is passed by the CPU time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("arms", 100), ("seeds", 10), ("epochs", 200), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    measure(IMPORT)  # writes the byte code
    found = {"import": [measure(IMPORT) for _ in range(given.rounds)]}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), given.arms, given.seeds, given.epochs, images=0)
        found["frames"] = [measure(FRAMES, folder) for _ in range(min(given.rounds, 3))]
    for name, rounds in found.items():
        wall, cpu = (statistics.median(one[i] for one in rounds) for i in (0, 1))
        rows = f"   {rounds[0][2][0]:,} cells, {rounds[0][2][1]:,} epochs" if rounds[0][2] else ""
        print(f"{name:8} {wall:7.3f} s wall {cpu:7.3f} s CPU   limit {LIMITS[name]:g}{rows}")
    return int(any(statistics.median(one[1] for one in found[name]) > LIMITS[name] for name in found))


if __name__ == "__main__":
    sys.exit(main())
