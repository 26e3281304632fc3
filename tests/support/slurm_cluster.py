"""A real Slurm of two nodes on this machine, for tests that submit jobs to it, and what they look at."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import read_plan
from vitsweep.study.status import CellStatus, cell_statuses

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent / "slurm"
SETTINGS = """
    data=shapes data.shapes_train=200 data.shapes_test=50 model.num_hidden_layers=1 model.hidden_size=16
    model.num_attention_heads=2 model.intermediate_size=16 model.patch_size=16 tracker=none sweep.check=false
    ~hydra.callbacks.report
    hydra/launcher=submitit_slurm hydra.launcher.partition=main hydra.launcher.timeout_min=60 hydra.launcher.mem_gb=1
""".split()
missing = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]
missing += [] if importlib.util.find_spec("submitit") else ["submitit"]
missing += [] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["root"]
needs_slurm = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}"),
]


@contextmanager
def slurm_cluster(*settings: str, isolated: bool = False) -> Iterator[str]:
    """SLURM_CONF of a cluster with the nodes n1 and n2 of two cores each.

    Args:
        settings: further lines of slurm.conf.
        isolated: whether each node has a name space of processes of its own, as a machine has.
    """
    root = Path(tempfile.mkdtemp(prefix="slurm-"))  # pytest's own folders are private, which munge refuses
    root.chmod(0o755)
    environment = os.environ | {"SLURM_TEST_SETTINGS": "\n".join(settings), "SLURM_TEST_ISOLATED": str(int(isolated))}
    subprocess.run(["bash", HERE / "start.sh", root], check=True, env=environment)
    try:
        yield str(root / "slurm.conf")
    finally:
        subprocess.run(["bash", HERE / "stop.sh", root], check=True)
        shutil.rmtree(root, ignore_errors=True)


def call(*words: str) -> str:
    """Call a Slurm command and return what it prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def found(tmp_path: Path) -> list[CellStatus]:
    """Return the statuses of all planned cells; none before there is a plan."""
    (directory,) = list(tmp_path.glob("outputs/*")) or [tmp_path]
    plan = read_plan(directory)
    return cell_statuses(directory, plan.cells, LivenessCheck()) if plan else []


def folder(tmp_path: Path, now: CellStatus) -> Path:
    """A cell's directory."""
    return next(tmp_path.glob("outputs/*")) / now.cell.id


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def wait_for_epochs(tmp_path: Path) -> CellStatus:
    """Wait until some cell has trained and saved some epochs, and return it."""
    begun: list[CellStatus] = []

    def has_begun() -> bool:
        begun[:] = [now for now in found(tmp_path) if now.status == "running" and now.record and now.record.epoch > 1]
        return bool(begun)

    wait_for(has_begun, 240)
    return begun[0]
