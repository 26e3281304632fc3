"""W&B beside real training: whatever ends a cell at a random epoch, the run agrees with the record after sync."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.wandb_fixtures import no_account, own_server  # noqa: F401
from vitsweep.study.record import read_record, read_rows
from vitsweep.tracking.sync import sync

pytestmark = pytest.mark.slow

ROOT, EPOCHS = Path(__file__).parents[2], 8
TINY = (
    ["data=shapes", "data.shapes_train=200", "data.shapes_test=40", "model.hidden_size=16", "model.num_hidden_layers=1"]
    + ["model.num_attention_heads=2", "model.intermediate_size=16", "model.patch_size=8", "device=cpu"]
    + [f"recipe.epochs={EPOCHS}", "checkpoint_seconds=0", "compile=off"]
)


def start(directory: Path, *overrides: str) -> subprocess.Popen:
    """Train the tiny cell in a process of its own."""
    command = [sys.executable, str(ROOT / "run.py"), *TINY, f"hydra.run.dir={directory}", *overrides]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_epoch(directory: Path, epoch: int) -> None:
    """Wait until metrics.jsonl has this epoch's row."""
    deadline = time.monotonic() + 120
    while len(read_rows(directory)) < epoch and time.monotonic() < deadline:
        time.sleep(0.02)


def logged_rows(directory: Path) -> list[dict]:
    """Return the rows without unknown values, such as the speed of an epoch that was nearly finished before a stop."""
    return [{key: value for key, value in row.items() if value is not None} for row in read_rows(directory)]


@pytest.mark.parametrize(("signum", "mode"), [(signal.SIGKILL, "online"), (signal.SIGTERM, "offline")], ids=str)
def test_a_cell_that_is_stopped_and_goes_on_is_one_whole_run(server, tmp_path, signum, mode):
    cell, epoch = tmp_path / "cell", random.Random(f"{signum} {mode}").randrange(1, EPOCHS - 1)
    process = start(cell, f"tracker.mode={mode}")
    wait_for_epoch(cell, epoch)
    process.send_signal(signum)
    process.wait(60)
    assert start(cell, f"tracker.mode={mode}").wait(120) == 0
    assert sync(tmp_path) == 0
    (run,) = server.runs.values()
    assert (read_record(cell).attempts, run.state) == (2, "finished")
    assert run.rows() == logged_rows(cell) and len(run.rows()) == EPOCHS
    assert {"training", "rollout", "test/confusion", "test/predictions"} <= set(run.history[-1])


def test_a_cell_that_stays_dead_arrives_as_far_as_it_came(server, tmp_path):
    cell = tmp_path / "cell"
    process = start(cell, "tracker.mode=offline")
    wait_for_epoch(cell, 2)
    process.kill()
    process.wait(60)
    assert sync(tmp_path) == 0
    (run,) = server.runs.values()
    assert run.rows() == logged_rows(cell) and len(run.rows()) >= 2
    assert (run.state, run.summary["status"]) == ("failed", "interrupted")


def test_a_diverged_cell_arrives_as_failed(server, tmp_path):
    start(tmp_path / "cell", "tracker.mode=online", "recipe.lr=1e38", "recipe.optimizer=sgd").wait(120)
    (run,) = server.runs.values()
    assert (read_record(tmp_path / "cell").status, run.summary["status"]) == ("diverged", "diverged")
    assert run.state == "failed" and run.rows() == logged_rows(tmp_path / "cell")
