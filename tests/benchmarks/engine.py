"""Overhead of a sweep besides training: per cell in one process and in its own, and a thousand finished cells.

    python tests/benchmarks/engine.py [--cells 20]

Overhead of a cell: wall time of a sweep of that many more cells, less what their records say that they trained, per
cell; so Hydra's start and the first import of torch do not count. Wanted: 0.15 s in one process, 3 s in its own,
5 s for a thousand finished cells from the start of Python to the final table.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hydra import initialize_config_dir  # noqa: E402 - after the line above, as all that follow
from hydra.core.global_hydra import GlobalHydra  # noqa: E402

from vitsweep.config.composer import Composer  # noqa: E402
from vitsweep.config.hydra import VERSION_BASE, register  # noqa: E402
from vitsweep.paths import conf_dir  # noqa: E402
from vitsweep.study.plan_builder import build_plan  # noqa: E402
from vitsweep.study.record import read_record  # noqa: E402

RUN = Path(__file__).resolve().parents[2] / "run.py"
TINY = """
    -m data=shapes data.shapes_train=200 data.shapes_test=50 model.patch_size=16 model.hidden_size=16
    model.num_hidden_layers=1 model.num_attention_heads=2 model.intermediate_size=16 recipe.epochs=1
    recipe.batch_size=45 tracker=none ~hydra.callbacks.report
""".split()


def sweep(directory: Path, *overrides: str) -> float:
    """Run a sweep as a user would; returns its wall time, seconds."""
    began = time.perf_counter()
    command = [sys.executable, str(RUN), *TINY, f"hydra.sweep.dir={directory}", *overrides]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return time.perf_counter() - began


def overhead(folder: Path, cells: int, isolate: str) -> float:
    """Seconds a cell costs besides its training."""
    spent = []
    for number in (2, 2 + cells):
        directory = folder / f"{isolate}-{number}"
        wall = sweep(directory, f"seed=range({number})", f"sweep.isolate={isolate}", "sweep.jobs=1")
        trained = [read_record(path.parent).time_seconds for path in directory.rglob("record.json")]
        assert len(trained) == number
        spent.append(wall - sum(trained))
    return (spent[1] - spent[0]) / cells


def finished(folder: Path) -> float:
    """Seconds until a sweep of a thousand finished cells has seen that nothing is left to do."""
    sweep(folder / "one", "seed=0")
    done = dataclasses.asdict(read_record(next((folder / "one").rglob("record.json")).parent))
    directory, many = folder / "many", ["recipe.lr=range(0.001,0.1005,0.001)", "seed=range(0,10)"]
    register()
    with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
        composer = Composer(GlobalHydra.instance().config_loader(), "config")
        plan = build_plan([word for word in TINY if word[0] not in "-~"] + many, composer)
    for cell in plan.cells:
        own = {"arm": cell.arm, "seed": cell.seed, "config": cell.config, "config_hash": cell.config_hash}
        (directory / cell.id).mkdir(parents=True)
        (directory / cell.id / "record.json").write_text(json.dumps(done | own), encoding="utf-8")
    seconds = sweep(directory, *many)
    assert all(read_record(directory / cell.id).finished == done["finished"] for cell in plan.cells)
    return seconds


def main() -> int:
    """Print the figures beside what is wanted; 1 if one is above that."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=20)
    cells = parser.parse_args().cells
    with tempfile.TemporaryDirectory() as place:
        found = {
            "a cell in one process": (overhead(Path(place), cells, "none"), 0.15),
            "a cell in its own process": (overhead(Path(place), cells, "process"), 3.0),
            "a thousand finished cells": (finished(Path(place)), 5.0),
        }
    for name, (seconds, limit) in found.items():
        print(f"{name:28} {seconds:6.2f} s   wanted {limit:g} s")
    return int(any(seconds > limit for seconds, limit in found.values()))


if __name__ == "__main__":
    sys.exit(main())
