"""Time and memory of loading a large sweep and of its report, and the size of the page.

    python tests/benchmarks/report_speed.py [--arms 100] [--seeds 10] [--epochs 200] [--images 10000]

Writes a synthetic sweep into a temporary folder and measures in a process of its own, so that making the sweep counts
neither as time nor as memory. Promised for 1,000 cells x 200 epochs: load 5 s, report without gallery 30 s, 1 GB, 5 MB.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.make_records import make_sweep  # noqa: E402 - found only after the line above

LIMITS = {"load_seconds": 5.0, "report_seconds": 30.0, "peak_gib": 1.0, "page_mb": 5.0}


def measure(directory: Path) -> dict[str, float]:
    """Load and report times, peak memory and page size, in this process; imports count into neither time."""
    from vitsweep.analysis.records.load import load
    from vitsweep.analysis.report.report import make_report

    start, start_cpu = time.perf_counter(), time.process_time()
    load(directory)
    loaded, loaded_cpu = time.perf_counter(), time.process_time()
    page = make_report(directory, gallery="none")
    done, done_cpu = time.perf_counter(), time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "load_seconds": loaded - start,
        "report_seconds": done - loaded,
        "load_cpu_seconds": loaded_cpu - start_cpu,
        "report_cpu_seconds": done_cpu - loaded_cpu,
        "peak_gib": peak,
        "page_mb": page.stat().st_size / 1e6,
    }


def make(directory: Path, arms: int, seeds: int, epochs: int, images: int) -> None:
    """A sweep of that size: one baseline, the other arms a grid of two factors."""
    rng = np.random.default_rng(0)
    names = ["baseline", *(f"patch_size={2 + i // 10}+num_hidden_layers={1 + i % 10}" for i in range(arms - 1))]
    accuracies = {name: list(np.round(rng.normal(0.8 - 0.001 * i, 0.003, seeds), 4)) for i, name in enumerate(names)}
    make_sweep(directory, accuracies, epochs=epochs, images=images)


def main() -> int:
    """Print the figures as JSON; 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("arms", 100), ("seeds", 10), ("epochs", 200), ("images", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), given.arms, given.seeds, given.epochs, given.images)
        command = [sys.executable, __file__, "--measure", folder]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for name, value in found.items():
        # On a busy machine the wall time says little; the CPU time is then what an idle one would need at most.
        print(f"{name:20} {value:8.2f}   {f'limit {LIMITS[name]:g}' if name in LIMITS else ''}".rstrip())
    return int(any(found[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
