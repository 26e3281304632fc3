"""A study on a real Ray of two nodes on this machine: a node that is killed, and Ctrl-C.

Everything is real but the second machine, so a dead owner of a lock is seen at once, not by its heartbeat. Kinds: obeys
a property (each epoch trained once, nothing left behind).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from vitsweep.run.workers import worker_environment
from vitsweep.study.locks import LOCK_NAME, LivenessCheck
from vitsweep.study.plan import read_plan
from vitsweep.study.record import read_record, read_rows
from vitsweep.study.status import CellStatus, cell_statuses

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # the warnings are of Ray's own tools

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 60
STUDY = f"""
    data=shapes data.shapes_train=200 data.shapes_test=50 model.num_hidden_layers=1 model.hidden_size=16
    model.num_attention_heads=2 model.intermediate_size=16 model.patch_size=16 tracker=none sweep.check=false
    device=cpu recipe.epochs={EPOCHS} recipe.lr=1e-3,2e-3 seed=0,1 checkpoint_seconds=0.1 hydra/launcher=ray
""".split()


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core each."""
    utils = pytest.importorskip("ray.cluster_utils", reason="needs the extra ray")
    options = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        found = utils.Cluster(initialize_head=True, head_node_args=options)
        found.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        yield found
        found.shutdown()


@pytest.fixture
def start(cluster, tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start the study's command; it is killed at the end."""
    started = []

    def call(*overrides: str) -> subprocess.Popen:
        place = [f"hydra.launcher.address={cluster.address}", f"hydra.sweep.dir={tmp_path / 'study'}"]
        command = [sys.executable, str(ROOT / "run.py"), "-m", *STUDY, *place, *overrides]
        with open(tmp_path / "said.txt", "ab") as said:
            environment = worker_environment() | {"RAY_AUTH_MODE": "disabled"}
            started.append(subprocess.Popen(command, stdout=said, stderr=said, env=environment))
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.wait()


def now(tmp_path: Path) -> list[CellStatus]:
    """Statuses of the planned cells; none before there is a plan."""
    plan = read_plan(tmp_path / "study")
    return cell_statuses(tmp_path / "study", plan.cells, LivenessCheck()) if plan else []


def wait_for_training(tmp_path: Path, process: subprocess.Popen, count: int) -> list[CellStatus]:
    """Wait until `count` cells at a time have trained and saved some epochs; return them."""
    deadline = time.monotonic() + 240
    while True:
        found = [cell for cell in now(tmp_path) if cell.status == "running" and cell.record and cell.record.epoch > 1]
        if len(found) == count:
            return found
        assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "said.txt").read_text()
        time.sleep(0.1)


def descendants(pid: int) -> list[int]:
    """Return the process and everything below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def kill_node(cluster) -> list[int]:
    """Kill everything on the second node at once, as a power cut does; return the processes."""
    (node,) = cluster.worker_nodes
    raylets = [info.process.pid for info in node.all_processes["raylet"]]
    killed = descendants(raylets[0])
    for pid in killed:
        os.kill(pid, signal.SIGSTOP)  # none of them may notice the others' deaths
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)
    return killed


def check_study(tmp_path: Path, attempts: dict[str, int]) -> None:
    """Check that every cell is done with each epoch trained once, and that nothing is left behind."""
    directory = tmp_path / "study"
    for cell in read_plan(directory).cells:
        record = read_record(directory / cell.id)
        assert (record.status, record.attempts) == ("done", attempts.get(cell.id, 1)), cell.id
        assert [row["epoch"] for row in read_rows(directory / cell.id)] == list(range(1, EPOCHS + 1))
        assert (directory / cell.id / "run.log").stat().st_size
    assert not list(directory.rglob(LOCK_NAME)) and not list(directory.glob(".ray-*"))
    assert (directory / "report" / "index.html").exists()


def test_study_is_complete_after_the_death_of_a_node(cluster, start, tmp_path):
    process = start()
    both = wait_for_training(tmp_path, process, 2)
    killed = kill_node(cluster)
    (victim,) = [cell for cell in both if cell.owner and cell.owner.pid in killed]
    assert process.wait(timeout=400) == 0, (tmp_path / "said.txt").read_text()
    check_study(tmp_path, {victim.cell.id: 2})
    assert "a task was lost: NodeDiedError" in (tmp_path / "said.txt").read_text()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_states_are_saved_after_a_signal_and_the_same_command_goes_on(start, tmp_path, signum):
    process = start()
    (victim,) = wait_for_training(tmp_path, process, 1)  # on the node that is left
    process.send_signal(signum)
    assert process.wait(timeout=120) == 128 + signum
    found = {cell.cell.id: cell for cell in now(tmp_path)}
    assert found[victim.cell.id].status == "interrupted" and not any(cell.is_locked for cell in found.values())
    assert start().wait(timeout=400) == 0, (tmp_path / "said.txt").read_text()
    check_study(tmp_path, {victim.cell.id: 2})
