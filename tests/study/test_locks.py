"""Locks of cells: one owner at a time, dead owners are replaced, and no clock is believed.

Kinds: obeys a property (mutual exclusion, takeover, heartbeat), agrees with the kernel on who is alive.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitsweep.files import remove_temporaries, write_json
from vitsweep.run.workers import worker_environment
from vitsweep.study import locks
from vitsweep.study.locks import LOCK_NAME, CellLock, LivenessCheck, LockInfo, is_running, read_lock, start_time

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


def test_lock_of_an_owner_that_nobody_has_buried_is_taken_over(held):
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
def test_clock_that_jumps_kills_nobody(held, jump_seconds):
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


def test_owner_that_lost_its_lock_ends_before_it_writes_again(tmp_path, monkeypatch):
    left = []
    monkeypatch.setattr(locks.os, "_exit", left.append)
    with CellLock(tmp_path, heartbeat_seconds=0.01) as lock:
        lock.acquire()
        foreign(tmp_path)
        deadline = time.monotonic() + 10
        while not left and time.monotonic() < deadline:
            time.sleep(0.01)
    assert left[0] == locks.LOCK_LOST_EXIT_CODE


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
