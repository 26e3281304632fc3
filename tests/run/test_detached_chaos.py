"""sweep.detach=true under node deaths and through a small queue, on a Slurm whose nodes see only their own processes.

Killing the first process of a node's name space ends all of it at once, as a power cut does. One node's clock is ten
minutes ahead. Training only sleeps (fake_node); processes, locks, records and Slurm are real. Kinds: obeys a property
(every cell done, each epoch once).
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.slurm_cluster import HERE, ROOT, SETTINGS, call, folder, found, needs_slurm, wait_for
from vitsweep.run.cluster.book import read_book
from vitsweep.run.workers import worker_environment
from vitsweep.study.locks import LOCK_NAME
from vitsweep.study.record import read_record, read_rows

pytestmark = needs_slurm

CLUSTER = (["MaxArraySize=50"], {"isolated": True})
FAKE = Path(__file__).parents[1] / "support" / "fake_node"
NODE = f"export PYTHONPATH={FAKE}:$PYTHONPATH NODE_CLOCK=n2=600 NODE_STALE=20"
RUN = [sys.executable, str(ROOT / "run.py"), "-m", *SETTINGS, "hydra.launcher.cpus_per_task=1", "sweep.detach=true"]
NUM_DEATHS = 20


def submit(tmp_path: Path, epoch_seconds: float, *overrides: str) -> str:
    """Run the detached command and return what it prints."""
    setup = f"hydra.launcher.setup=['{NODE} NODE_EPOCH={epoch_seconds}']"
    done = subprocess.run(
        [*RUN, setup, *overrides], cwd=tmp_path, env=worker_environment(), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def kill_node(conf: str, node: str) -> None:
    """End a node with all its processes, then start it anew."""
    root = Path(conf).parent
    os.kill(int((root / "run" / f"node.{node}.pid").read_text()), signal.SIGKILL)
    time.sleep(1)
    environment = os.environ | {"SLURM_TEST_ISOLATED": "1"}
    subprocess.run(["bash", HERE / "node.sh", root, node], check=True, env=environment)


def check_all_once(tmp_path: Path, num_cells: int, epochs: int) -> None:
    """Every cell is done, each of its epochs was trained once, and attempts follow one another."""
    cells = found(tmp_path)
    assert [now.status for now in cells] == ["done"] * num_cells
    for now in cells:
        rows = read_rows(folder(tmp_path, now))
        assert [row["epoch"] for row in rows] == list(range(1, epochs + 1)), now.cell.id
        assert [row["attempt"] for row in rows] == sorted(row["attempt"] for row in rows)
        assert len({(row["attempt"], row["pid"]) for row in rows}) == len({row["attempt"] for row in rows})
    assert list(tmp_path.rglob(LOCK_NAME)) == []


def test_disk_that_the_nodes_do_not_see_is_refused(slurm, tmp_path):
    disk = tmp_path / "disk"  # mounted after the nodes have started, which do not see it
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "vitsweep-test", disk], check=True
    )  # after the nodes' start
    command = [*RUN, "seed=0,1", f"hydra.sweep.dir={disk / 'study'}"]
    try:
        done = subprocess.run(command, cwd=tmp_path, env=worker_environment(), capture_output=True, text=True)
        left = list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)
    assert done.returncode == 2 and "(tmpfs) that a node does not see" in done.stderr and not left
    assert call("squeue", "-h") == ""


def test_no_cell_is_trained_twice_under_node_deaths_and_a_wrong_clock(slurm, cluster, tmp_path):
    submit(tmp_path, 0.5, "recipe.epochs=60", "seed=range(0,20)")
    chance, finished, deaths = random.Random(0), {}, 0
    while deaths < NUM_DEATHS:
        time.sleep(chance.uniform(8, 16))
        for now in found(tmp_path):
            if now.cell.id in finished:
                assert (now.record.finished, now.record.attempts) == finished[now.cell.id]
            elif now.record is not None and now.record.status == "done":
                finished[now.cell.id] = (now.record.finished, now.record.attempts)
        if len(finished) == 20:
            break
        kill_node(cluster, chance.choice(["n1", "n2"]))
        deaths += 1
    wait_for(lambda: call("squeue", "-h") == "", 900)
    attempts = sum(read_record(folder(tmp_path, now)).attempts for now in found(tmp_path))
    print(f"{deaths} node deaths, {attempts} attempts at 20 cells")
    check_all_once(tmp_path, 20, 60)


@pytest.mark.hour  # 15 minutes on two cores
def test_400_cells_flow_through_a_small_queue_after_a_logout(slurm, tmp_path):
    start = time.monotonic()
    text = submit(tmp_path, 0.05, "recipe.epochs=2", "seed=range(0,200)", "recipe.lr=1e-3,2e-3", "sweep.max_queued=120")
    print(f"submitted in {time.monotonic() - start:.1f} s: {text}")
    assert "281 cells wait for room" in text
    most = 0

    def is_over() -> bool:
        nonlocal most
        most = max(most, len(call("squeue", "-h", "-r").splitlines()))
        time.sleep(2)
        return most > 0 and call("squeue", "-h") == ""

    wait_for(is_over, 3000)
    check_all_once(tmp_path, 400, 2)
    parts = read_book(next(tmp_path.glob("outputs/*"))).parts
    cells = [cell for part in parts for group in part.groups for cell in group]
    print(f"{len(parts)} arrays, at most {most} jobs queued, {time.monotonic() - start:.0f} s")
    assert len(cells) == len(set(cells)) == 400
    assert max(len(part.groups) for part in parts) <= 50 and most <= 120
    assert {read_record(folder(tmp_path, now)).attempts for now in found(tmp_path)} == {1}
