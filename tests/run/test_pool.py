"""The pool of worker processes: a crash of one cell disturbs no other and not the sweep, and nothing is left behind.

The processes, locks and signals are real; only the training inside a cell is replaced (fake_workers.py). Kinds: obeys a
property (isolation, exactly once, no orphans), says the right words.
"""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.made_plans import made_plan, made_record
from vitsweep.run import pool, slots, workers
from vitsweep.run.pool import Pool, modules_to_preload
from vitsweep.run.slots import Slot, make_slots, visible_gpus
from vitsweep.run.worker import NoSpace
from vitsweep.study.locks import LOCK_NAME, LivenessCheck, Owner, is_running
from vitsweep.study.plan import Plan
from vitsweep.study.record import code_identity
from vitsweep.study.status import CellStatus, cell_statuses

FAKE = (sys.executable, str(Path(__file__).parents[1] / "support" / "fake_workers.py"))


@pytest.fixture(autouse=True)
def fake_workers(monkeypatch):
    monkeypatch.setattr(workers, "COMMAND", FAKE)


def run(directory: Path, plan: Plan, slots: int = 1, retry: bool = False, pack: str = "off") -> list[CellStatus]:
    """Run all cells of the plan and return the statuses that the pool reported, in order."""
    seen: list[CellStatus] = []
    room = [Slot()] * slots
    with Pool(directory, room, retry, lambda now: seen.append(now) if now else None, LivenessCheck(), pack) as pool:
        pool.run(plan.cells)
    return seen


def statuses(directory: Path, plan: Plan) -> list[str]:
    """The statuses of the plan's cells, in order."""
    return [now.status for now in cell_statuses(directory, plan.cells, LivenessCheck())]


def trained(directory: Path) -> list[str]:
    """`arm seed` of each completed training, sorted."""
    path = directory / "trained.txt"
    return sorted(line.rpartition(" ")[0] for line in path.read_text().splitlines()) if path.exists() else []


HOLDER = """
import sys, time
from pathlib import Path
from vitsweep.study.locks import CellLock
assert CellLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""
CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
"""A process name space of its own, as a container has."""


def can_unshare() -> bool:
    """Return whether this user may make process name spaces."""
    try:
        return subprocess.run([*CONTAINER, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def wait_for(condition, seconds: float = 30) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_every_cell_is_trained_once(tmp_path):
    plan = made_plan(tmp_path, ["a", "b"], [0, 1])
    run(tmp_path, plan, slots=2)
    assert trained(tmp_path) == ["a 0", "a 1", "b 0", "b 1"]
    assert statuses(tmp_path, plan) == ["done"] * 4


def test_cells_start_in_the_order_of_the_plan(tmp_path):
    plan = made_plan(tmp_path, ["a", "b"], [0, 1])
    begun = [now.cell.id for now in run(tmp_path, plan) if now.status == "running"]
    assert begun == [cell.id for cell in plan.cells]


def test_slots_run_at_the_same_time(tmp_path):
    plan = made_plan(tmp_path, ["work=3", "work=3.0"], [0])
    at_once, most = set(), 0
    for now in run(tmp_path, plan, slots=2):
        (at_once.add if now.status == "running" else at_once.discard)(now.cell.id)
        most = max(most, len(at_once))
    assert most == 2


def test_failed_cell_is_not_repeated_and_the_next_is_trained(tmp_path):
    plan = made_plan(tmp_path, ["fail", "a"], [0])
    seen = run(tmp_path, plan)
    assert [now.status for now in seen] == ["running", "failed", "running", "done"]


def test_cell_that_leaves_the_process_failed(tmp_path):
    plan = made_plan(tmp_path, ["exit", "a"], [0])
    seen = run(tmp_path, plan)
    assert statuses(tmp_path, plan) == ["failed", "done"]
    assert seen[1].record.error["type"] == "SystemExit"


def test_killed_cell_continues_in_a_new_process(tmp_path):
    plan = made_plan(tmp_path, ["once", "a"], [0])
    seen = run(tmp_path, plan)
    assert statuses(tmp_path, plan) == ["done", "done"]
    assert [now.record.attempts for now in seen if now.cell.arm == "once" and now.status == "done"] == [2]


def test_cell_that_always_crashes_fails_with_the_reason(tmp_path):
    plan = made_plan(tmp_path, ["die", "a"], [0])
    seen = run(tmp_path, plan)
    assert statuses(tmp_path, plan) == ["failed", "done"]
    (error,) = [now.record.error for now in seen if now.status == "failed"]
    assert error["message"] == "its process was ended by SIGKILL (out of memory?), 3 times"


def test_siblings_of_a_killed_cell_are_not_disturbed(tmp_path):
    plan = made_plan(tmp_path, ["work=1", "die"], [0])
    seen = run(tmp_path, plan, slots=2)
    assert [now.record.attempts for now in seen if now.status == "done"] == [1]


@pytest.mark.parametrize("slots", [1, 2])
def test_cell_that_always_crashes_is_the_only_one_of_its_pack_to_fail(tmp_path, slots):
    plan = made_plan(tmp_path, ["fifth"], list(range(32)))
    run(tmp_path, plan, slots, pack="32")
    assert statuses(tmp_path, plan) == ["done"] * 5 + ["failed"] + ["done"] * 26


def test_cells_go_together_again_when_the_one_that_dies_is_found(tmp_path):
    plan = made_plan(tmp_path, ["fifth"], list(range(12)))
    seen = run(tmp_path, plan, pack="12")
    after = seen[[now.status for now in seen].index("failed") + 1 :]
    assert [now.status for now in after] == ["running"] * 6 + ["done"] * 6


def test_failed_cells_that_their_pack_gave_back_are_trained_again_too(tmp_path):
    plan = made_plan(tmp_path, ["a"], [0, 1, 2, 3])
    for cell in plan.cells:
        made_record(tmp_path, plan, cell, "failed", attempts=1)
    (tmp_path / "together.txt").write_text("2")
    run(tmp_path, plan, retry=True, pack="4")
    assert trained(tmp_path) == ["a 0", "a 1", "a 2", "a 3"]


def test_cells_that_lack_the_same_data_are_not_all_tried(tmp_path):
    plan = made_plan(tmp_path, ["refuse"], [0, 1, 2])
    seen = run(tmp_path, plan)
    assert statuses(tmp_path, plan) == ["failed", "planned", "planned"]
    assert seen[1].refusal == "data.root=/nowhere  has no images"


def test_refused_cell_is_tried_again_at_the_next_start(tmp_path):
    plan = made_plan(tmp_path, ["a"], [0])
    error = {"type": "DataError", "message": "data.root=/nowhere  has no images", "traceback": ""}
    made_record(tmp_path, plan, plan.cells[0], "failed", error=error)
    run(tmp_path, plan)
    assert trained(tmp_path) == ["a 0"]


def test_failed_cell_is_not_trained_again(tmp_path):
    plan = made_plan(tmp_path, ["a"], [0])
    made_record(tmp_path, plan, plan.cells[0], "failed")
    run(tmp_path, plan)
    assert trained(tmp_path) == []


def test_failed_cell_is_trained_again_on_request(tmp_path):
    plan = made_plan(tmp_path, ["a"], [0])
    made_record(tmp_path, plan, plan.cells[0], "failed")
    run(tmp_path, plan, retry=True)
    assert statuses(tmp_path, plan) == ["done"]


def test_cell_whose_owner_died_is_taken_over(tmp_path):
    plan = made_plan(tmp_path, ["a"], [0])
    made_record(tmp_path, plan, plan.cells[0], "running", attempts=1)
    run(tmp_path, plan)
    assert statuses(tmp_path, plan) == ["done"]


def test_full_disk_stops_the_sweep_and_fails_no_cell(tmp_path):
    plan = made_plan(tmp_path, ["full", "a"], [0])
    with pytest.raises(NoSpace, match="free some space there and run the command again"):
        run(tmp_path, plan)
    assert statuses(tmp_path, plan) == ["interrupted", "planned"]


def test_sweep_continues_after_a_full_disk(tmp_path):
    plan = made_plan(tmp_path, ["full", "a"], [0])
    with pytest.raises(NoSpace):
        run(tmp_path, plan)
    (tmp_path / "room").touch()
    run(tmp_path, plan)
    assert trained(tmp_path) == ["a 0", "full 0"]


def test_two_starts_share_the_work(tmp_path):
    plan = made_plan(tmp_path, ["work=0.2", "work=0.20"], [0, 1, 2])
    other = threading.Thread(target=run, args=(tmp_path, plan))
    other.start()
    run(tmp_path, plan)
    other.join()
    assert len(trained(tmp_path)) == len(set(trained(tmp_path))) == 6


def test_death_of_the_fork_server_is_survived(tmp_path):
    plan = made_plan(tmp_path, ["work=1.5", "a"], [0])
    killed = []

    def on_status(now):
        if now is not None and now.status == "running" and not killed:
            lock = tmp_path / now.cell.id / LOCK_NAME
            threading.Thread(target=lambda: (wait_for(lock.exists), pool.server.process.kill())).start()
            killed.append(now)

    with Pool(tmp_path, [Slot()], False, on_status, LivenessCheck()) as pool:
        pool.run(plan.cells)
    assert trained(tmp_path) == ["a 0", "work=1.5 0"]


def test_fork_server_that_cannot_start_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
    plan = made_plan(tmp_path, ["a"], [0])
    with pytest.raises(RuntimeError, match="sweep.isolate=none"):
        run(tmp_path, plan)


PARENT = """
import sys
from pathlib import Path
from vitsweep.run import workers
from vitsweep.run.pool import Pool, Slot
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import read_plan
from vitsweep.train.stop import StopSignals
workers.COMMAND = tuple(sys.argv[2:])
directory = Path(sys.argv[1])
with StopSignals(), Pool(directory, [Slot(), Slot()], False, lambda now: None, LivenessCheck()) as pool:
    pool.run(read_plan(directory).cells)
"""


def pids(owners: list[Owner]) -> list[int]:
    """The processes of the owners."""
    return [owner.pid for owner in owners]


@pytest.fixture
def parent(tmp_path: Path):
    """A sweep in another process with two long cells under way: its directory, plan, process, and the cells' owners."""
    plan = made_plan(tmp_path, ["work=60", "work=60.0"], [0])
    command = [sys.executable, "-c", PARENT, str(tmp_path), *FAKE]
    process = subprocess.Popen(command, env=workers.worker_environment(), stderr=subprocess.PIPE)
    wait_for(lambda: statuses(tmp_path, plan) == ["running"] * 2)
    wait_for(lambda: all(now.record for now in cell_statuses(tmp_path, plan.cells, LivenessCheck())))
    yield tmp_path, plan, process, [now.owner for now in cell_statuses(tmp_path, plan.cells, LivenessCheck())]
    process.kill()
    process.communicate()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_survives_the_sweep(parent, signum):
    directory, plan, process, owners = parent
    process.send_signal(signum)
    process.wait(timeout=30)
    wait_for(lambda: not any(is_running(owner.pid, owner.start_time) for owner in owners))
    assert statuses(directory, plan) == ["interrupted"] * 2


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="Linux's way to choose a victim")
def test_cell_is_the_kernels_first_choice_when_memory_runs_out(parent):
    _, _, process, owners = parent
    of_sweep, *of_cells = (int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in [process.pid, *pids(owners)])
    assert all(score > of_sweep for score in of_cells)


def test_stopped_sweep_leaves_no_lock(parent):
    directory, _, process, _ = parent
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert list(directory.rglob(LOCK_NAME)) == []


def test_each_process_gets_its_gpu(tmp_path):
    plan = made_plan(tmp_path, ["work=1", "work=1.0"], [0])
    with Pool(tmp_path, [Slot(gpu="3"), Slot(gpu="7")], False, lambda now: None, LivenessCheck()) as pool:
        pool.run(plan.cells)
    lines = (tmp_path / "trained.txt").read_text().splitlines()
    assert sorted(line.rpartition(" ")[2] for line in lines) == ["3", "7"]


def test_output_of_a_cell_goes_to_its_log(tmp_path):
    plan = made_plan(tmp_path, ["refuse"], [0])
    run(tmp_path, plan)
    assert "data.root=/nowhere  has no images" in (tmp_path / plan.cells[0].id / "run.log").read_text()


@pytest.mark.parametrize(
    ("jobs", "gpus", "expected"),
    [
        ("auto", [], [(None, None)]),
        ("auto", ["0"], [(None, None)]),
        ("auto", ["2", "5"], [("2", 2), ("5", 2)]),
        ("4", ["0"], [("0", 1)] * 4),
        ("3", ["0", "1"], [("0", 1), ("1", 1), ("0", 1)]),
        ("2", [], [(None, 2), (None, 2)]),
    ],
)
def test_slots_share_gpus_and_threads(monkeypatch, jobs, gpus, expected):
    monkeypatch.setattr(slots, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(slots, "num_cores", lambda: 4)
    assert [(slot.gpu, slot.threads) for slot in make_slots(jobs, 10, on_cpu=False)] == expected


def test_slots_know_how_many_share_their_memory(monkeypatch):
    monkeypatch.setattr(slots, "visible_gpus", lambda: ["0", "1"])
    assert [slot.num_jobs for slot in make_slots("3", 10, on_cpu=False)] == [2, 1, 2]
    assert [slot.num_jobs for slot in make_slots("3", 10, on_cpu=True)] == [3, 3, 3]


def test_slots_are_never_more_than_cells(monkeypatch):
    monkeypatch.setattr(slots, "visible_gpus", lambda: [])
    assert len(make_slots("8", 2, on_cpu=True)) == 2


def test_gpus_of_the_environment_are_the_visible_ones(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,MIG-1")
    assert visible_gpus() == ["4", "MIG-1"]


@pytest.mark.skipif(not can_unshare(), reason="needs the right to make process name spaces")
def test_cell_of_a_dead_container_is_taken_over_by_one_worker(tmp_path, caplog):
    plan = made_plan(tmp_path, ["a"], [0])
    command = [*CONTAINER, sys.executable, "-c", HOLDER, str(tmp_path / plan.cells[0].id)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=workers.worker_environment()) as container:
        assert container.stdout.readline() == "held\n"
        container.kill()
    assert (tmp_path / plan.cells[0].id / LOCK_NAME).exists()
    with caplog.at_level("INFO"), Pool(tmp_path, [Slot()], False, lambda now: None, LivenessCheck(2.5)) as pool:
        pool.run(plan.cells)
        assert pool.num_started == 1
    assert statuses(tmp_path, plan) == ["done"]
    assert sum("waiting up to 2 s for its next heartbeat" in text for text in caplog.messages) == 1


def test_fork_server_knows_its_code_before_it_forks(monkeypatch):
    found = []
    monkeypatch.setattr(workers, "PRELOAD", ())
    monkeypatch.setattr(workers, "Connection", lambda handle: handle)
    monkeypatch.setattr(workers, "serve", lambda connection: found.append(code_identity.cache_info().currsize))
    monkeypatch.setattr(sys, "argv", ["workers", "3"])
    code_identity.cache_clear()
    workers.main()
    assert found == [1]


@pytest.mark.parametrize(
    ("changes", "gpus", "expected"),
    [
        ({}, [], []),
        ({"model": {"name": "resnet"}}, [], ["torchvision.models.resnet"]),
        ({"recipe": {"auto_augment": "randaugment"}}, [], ["vitsweep.data.augmentation.policies"]),
        ({"compile": "auto"}, ["0"], ["torch._dynamo"]),
        ({"compile": "on"}, [], ["torch._dynamo"]),
    ],
)
def test_server_imports_for_all_workers_what_a_cell_uses_and_is_slow_to_import(
    tmp_path, monkeypatch, changes, gpus, expected
):
    monkeypatch.setattr(pool, "visible_gpus", lambda: gpus)
    cells = made_plan(tmp_path, ["baseline", "arm"], [0]).cells
    config = cells[1].config
    for name, value in changes.items():
        config[name] = config[name] | value if isinstance(value, dict) else value
    assert modules_to_preload(cells) == expected
