"""Locks of cells: one owner at a time, dead owners are replaced, and no clock is believed.

Kinds: obeys a property (mutual exclusion, takeover, heartbeat), agrees with the kernel on who is alive.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vitsweep.errors import LockLost
from vitsweep.files import remove_temporaries, write_atomically, write_json
from vitsweep.run.workers import worker_environment
from vitsweep.study import locks
from vitsweep.study.locks import (
    LOCK_NAME,
    CellLock,
    LivenessCheck,
    LockInfo,
    is_running,
    read_lock,
    remove_stale_lock_elsewhere,
    start_time,
)
from vitsweep.study.record import METRICS_NAME, Record, append_row, read_record, read_rows, write_record

HOLDER = """
import sys, time
from pathlib import Path
from vitsweep.study.locks import CellLock
assert CellLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""
RACER = """
import sys, time
from pathlib import Path
from vitsweep.study.locks import CellLock
lock = CellLock(Path(sys.argv[1]))
for _ in range(int(sys.argv[3])):
    while not lock.acquire():
        time.sleep(0.001)
    counter = Path(sys.argv[2])
    number = int(counter.read_text())
    time.sleep(0.001)
    counter.write_text(str(number + 1))
    lock.release()
"""


def start(code: str, *arguments: object) -> subprocess.Popen:
    """Another process that runs `code`."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=worker_environment())


@pytest.fixture
def held(tmp_path: Path):
    """A cell's directory whose lock a living process holds, and that process."""
    process = start(HOLDER, tmp_path)
    assert process.stdout.readline() == "held\n"
    yield tmp_path, process
    process.kill()
    process.wait()
    process.stdout.close()


def foreign(directory: Path) -> LockInfo:
    """Make the lock in `directory` one of another machine."""
    path = directory / LOCK_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere"}))
    return read_lock(directory)


def test_lock_is_exclusive_between_processes(held):
    directory, _ = held
    assert not CellLock(directory).acquire()


def test_lock_names_its_owner(held):
    directory, process = held
    assert read_lock(directory).owner.pid == process.pid


def test_lock_of_a_killed_owner_is_taken_over_at_once(held):
    directory, process = held
    process.kill()
    process.wait()
    with CellLock(directory) as lock:
        assert lock.acquire()


def test_lock_of_a_zombie_owner_is_taken_over(held):
    directory, process = held
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    with CellLock(directory) as lock:
        assert lock.acquire()


def test_release_leaves_nothing(tmp_path):
    with CellLock(tmp_path / "cell") as lock:
        assert lock.acquire()
    assert list((tmp_path / "cell").iterdir()) == []


def test_only_one_of_many_gets_in_at_a_time(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    racers = [start(RACER, tmp_path / "cell", counter, 40) for _ in range(3)]
    assert [racer.wait(timeout=60) for racer in racers] == [0, 0, 0]
    for racer in racers:
        racer.stdout.close()
    assert counter.read_text() == "120"


def test_torn_lock_is_replaced(tmp_path):
    (tmp_path / LOCK_NAME).write_text('{"host": "x"')
    with CellLock(tmp_path) as lock:
        assert lock.acquire()


def test_owner_elsewhere_counts_as_alive_while_it_is_not_known_to_be_dead(held):
    directory, _ = held
    foreign(directory)
    assert LivenessCheck(stale_seconds=100).is_held(directory)


def test_owner_elsewhere_is_dead_when_its_heartbeat_stands_still(held):
    directory, _ = held
    hold = foreign(directory)
    liveness = LivenessCheck(stale_seconds=0.05)
    assert not liveness.is_dead(directory, hold)
    time.sleep(0.06)
    assert liveness.is_dead(directory, hold)


def test_owner_elsewhere_lives_on_with_every_beat(held):
    directory, _ = held
    foreign(directory)
    liveness = LivenessCheck(stale_seconds=0.2)
    for _ in range(6):
        os.utime(directory / LOCK_NAME)
        assert not liveness.is_dead(directory, read_lock(directory))
        time.sleep(0.06)


@pytest.mark.parametrize("jump_seconds", [-(10**8), 10**8])
def test_clock_that_jumps_costs_no_lock(held, jump_seconds):
    directory, _ = held
    foreign(directory)
    liveness = LivenessCheck(stale_seconds=100)
    assert liveness.is_held(directory)
    then = time.time() + jump_seconds
    os.utime(directory / LOCK_NAME, (then, then))
    assert liveness.is_held(directory)


def test_heartbeat_is_renewed(tmp_path):
    with CellLock(tmp_path, heartbeat_seconds=0.02) as lock:
        lock.acquire()
        first = read_lock(tmp_path).heartbeat
        deadline = time.monotonic() + 10
        while read_lock(tmp_path).heartbeat == first and time.monotonic() < deadline:
            time.sleep(0.02)
        assert read_lock(tmp_path).heartbeat != first


@pytest.mark.parametrize("lose", [foreign, lambda directory: (directory / LOCK_NAME).unlink()])
def test_owner_that_lost_its_lock_writes_nothing(tmp_path, lose):
    write_record(tmp_path, Record(status="done"))
    with CellLock(tmp_path, heartbeat_seconds=100) as lock:
        lock.acquire()
        lose(tmp_path)
        for write in (write_record, append_row):
            with pytest.raises(LockLost, match="writes nothing more there"):
                write(tmp_path, Record(status="running") if write is write_record else {"epoch": 1})
        (tmp_path / "checkpoints").mkdir()
        with pytest.raises(LockLost):
            write_atomically(tmp_path / "checkpoints" / "epoch-001.safetensors", b"")
    assert read_record(tmp_path).status == "done"
    assert read_rows(tmp_path) == []
    write_record(tmp_path, Record(status="failed"))  # without a lock of its own, a process may write


def test_heartbeat_leaves_the_lock_of_a_successor_alone(tmp_path):
    with CellLock(tmp_path, heartbeat_seconds=0.01) as lock:
        lock.acquire()
        successor = foreign(tmp_path)
        deadline = time.monotonic() + 10
        while not lock.is_lost and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock.is_lost
        os.utime(tmp_path / LOCK_NAME, ns=(successor.heartbeat, successor.heartbeat))
        time.sleep(0.05)
        assert read_lock(tmp_path) == successor


WRITER = """
import sys, time
from pathlib import Path
from vitsweep.study.locks import CellLock
from vitsweep.study.record import Record, append_row, write_record
directory = Path(sys.argv[1])
with CellLock(directory, heartbeat_seconds=0.05) as lock:
    assert lock.acquire()
    print("held", flush=True)
    for epoch in range(10**6):
        append_row(directory, {"epoch": epoch})
        write_record(directory, Record(status="running"))
"""


def test_suspended_owner_whose_cell_was_finished_meanwhile_changes_nothing(tmp_path):
    process = start(WRITER, tmp_path)
    assert process.stdout.readline() == "held\n"
    os.kill(process.pid, signal.SIGSTOP)
    foreign(tmp_path)  # so that its heartbeat decides
    with CellLock(tmp_path, LivenessCheck(stale_seconds=0.1)) as lock:
        assert lock.acquire_or_wait()
        write_record(tmp_path, Record(status="done"))
        (tmp_path / METRICS_NAME).write_text("")
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(timeout=30) == 1
    process.stdout.close()
    assert read_record(tmp_path).status == "done"
    assert read_rows(tmp_path) == []


def test_wait_for_a_heartbeat_ends_with_the_first_one(held, caplog):
    directory, _ = held
    foreign(directory)
    beat = threading.Timer(0.2, os.utime, [directory / LOCK_NAME])
    beat.start()
    with caplog.at_level(logging.INFO), CellLock(directory, LivenessCheck(stale_seconds=30)) as lock:
        assert not lock.acquire_or_wait()
    beat.join()
    (said,) = [text for text in caplog.messages if "waiting up to 30 s for its next heartbeat" in text]
    assert f"reset {directory.parent.parent} --stale" in said


def test_stale_lock_is_removed_on_request_only_if_its_heartbeat_is_old_and_none_comes(held, monkeypatch):
    directory, _ = held
    foreign(directory)
    monkeypatch.setattr(locks, "CONFIRM_SECONDS", 0.1)
    assert not remove_stale_lock_elsewhere(directory)  # young
    long_ago = time.time() - 1000
    os.utime(directory / LOCK_NAME, (long_ago, long_ago))
    monkeypatch.setattr(locks, "CONFIRM_SECONDS", 30)
    beat = threading.Timer(0.2, os.utime, [directory / LOCK_NAME])
    beat.start()
    assert not remove_stale_lock_elsewhere(directory)  # old, but alive
    beat.join()
    os.utime(directory / LOCK_NAME, (long_ago, long_ago))
    monkeypatch.setattr(locks, "CONFIRM_SECONDS", 0.1)
    assert remove_stale_lock_elsewhere(directory)
    assert read_lock(directory) is None


def test_process_that_the_system_hides_is_judged_by_its_heartbeat(held, monkeypatch):
    directory, process = held
    hidden = f"/proc/{process.pid}/stat"
    exists = os.path.exists
    monkeypatch.setattr(locks.os.path, "exists", lambda path: path != hidden and exists(path))

    def refuse(pid: int, signum: int) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(locks.os, "kill", refuse)
        liveness = LivenessCheck(stale_seconds=100)
        assert is_running(process.pid, "1") is None
        assert liveness.is_held(directory)
        with CellLock(directory, liveness) as lock:
            assert not lock.acquire()


def test_release_leaves_the_lock_of_a_successor(tmp_path):
    lock = CellLock(tmp_path, heartbeat_seconds=100)
    lock.acquire()
    successor = foreign(tmp_path)
    lock.release()
    assert read_lock(tmp_path) == successor


def test_process_number_given_out_again_is_another_process():
    assert is_running(os.getpid(), start_time(os.getpid()))
    assert not is_running(os.getpid(), "1")


def test_full_disk_leaves_no_lock(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(locks.os, "write", no_space)
    with pytest.raises(OSError, match="No space left"):
        CellLock(tmp_path).acquire()
    assert list(tmp_path.iterdir()) == []


def test_temporaries_of_killed_writers_are_swept_up_and_nothing_else(tmp_path):
    write_json(tmp_path / "record.json", {})
    (tmp_path / ".record.json.4711-0a1b2c3d").touch()
    (tmp_path / ".hidden").touch()
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "record.json"]
