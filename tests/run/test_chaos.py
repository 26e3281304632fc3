"""A study of 40 cells under 30 kill -9, a full disk, a clock that jumps and two starts at once: complete in the end.

Everything is real: `run.py`, its processes, training, a small disk of its own. Needs root, to mount that disk. Kinds:
obeys a property (each cell done exactly once, nothing left behind), agrees with an undisturbed run.
"""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from vitsweep.run.workers import worker_environment
from vitsweep.study.locks import LOCK_NAME, LivenessCheck
from vitsweep.study.plan import read_plan
from vitsweep.study.record import Record, read_record, read_rows
from vitsweep.study.status import cell_statuses

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to mount a small disk"),
]

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, NUM_CELLS = 150, 40
VICTIMS = ["cell"] * 18 + ["parent"] * 8 + ["server"] * 4  # 30 in all
OVERRIDES = f"""
    data=shapes data.shapes_train=200 data.shapes_test=50 model.num_hidden_layers=1 model.hidden_size=16
    model.num_attention_heads=2 model.intermediate_size=16 model.patch_size=16 tracker=none sweep.check=false
    ~hydra.callbacks.report
    recipe.epochs={EPOCHS} recipe.lr=1e-3,2e-3,3e-3,4e-3 checkpoint_seconds=0.1 device=cpu
    sweep.jobs=2 sweep.retry=failed
""".split()
SEEDS = "seed=range(0,10)"


@pytest.fixture
def disk(tmp_path: Path):
    """A disk of 16 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "vitsweep-test", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


class Storm:
    """Starts of one study, and everything that happens to them."""

    def __init__(self, directory: Path, log: Path):
        self.directory, self.log = directory, log
        self.chance = random.Random(0)
        self.starts: list[subprocess.Popen] = []
        self.finished: dict[str, tuple[str, int]] = {}
        self.mark = f"VITSWEEP_STORM={os.getpid()}-{id(self)}"

    def start(self) -> subprocess.Popen:
        """Start the study's command."""
        command = [sys.executable, str(ROOT / "run.py"), "-m", *OVERRIDES, SEEDS, f"hydra.sweep.dir={self.directory}"]
        name, _, value = self.mark.partition("=")
        environment = worker_environment() | {name: value, "OMP_NUM_THREADS": "1"}
        with open(self.log, "ab") as log:
            self.starts.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        return self.starts[-1]

    def processes(self) -> dict[int, str]:
        """Every process that stems from the starts, with its command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if self.mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def victims(self, kind: str) -> list[int]:
        """Return the processes of a kind: `parent` (the command), `server` (of forks) or `cell` (while it trains)."""
        if kind == "cell":
            plan = read_plan(self.directory)
            found = cell_statuses(self.directory, plan.cells, LivenessCheck()) if plan else []
            running = [now for now in found if now.status == "running" and now.owner and now.record]
            return [now.owner.pid for now in running if now.record.status == "running" and now.record.epoch > 0]
        word = {"parent": "run.py", "server": "vitsweep.run.workers"}[kind]
        found = self.processes()
        forked = {pid for pid in found if "vitsweep.run.workers" in found.get(parent_of(pid), "")}
        return [pid for pid, command in found.items() if word in command and pid not in forked]

    def strike(self, kind: str) -> bool:
        """Kill a random process of a kind; whether there was one."""
        pids = self.victims(kind)
        if not pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.chance.choice(pids), signal.SIGKILL)
            return True
        return False

    def look(self) -> int:
        """Check that no cell that was done is anything else now; returns how many are done."""
        plan = read_plan(self.directory)
        for cell in plan.cells if plan else []:
            with suppress(FileNotFoundError):
                record = read_record(self.directory / cell.id)
                if record.status == "done":
                    seen = (record.finished, record.attempts)
                    assert self.finished.setdefault(cell.id, seen) == seen, f"{cell.id} was trained again"
                else:
                    assert cell.id not in self.finished, f"{cell.id} was done and is {record.status}"
        return len(self.finished)

    def end(self) -> int:
        """Start the command until one start comes to its own end; returns its exit code."""
        for process in self.starts:
            process.wait(timeout=300)
        return self.start().wait(timeout=600)


def parent_of(pid: int) -> int:
    """The process that started another; 0 if that has ended."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def jump_clock(directory: Path, seconds: float) -> None:
    """Shift all times that are on the disk, as if the clock had been set."""
    then = time.time() + seconds
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            os.utime(path, (then, then))


def fill(disk: Path, storm: Storm) -> None:
    """Fill the disk under a running study until it has stopped for that, then make room again."""
    filler = disk / "filler"
    storm.start()
    with open(filler, "wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(65536))
    with open(filler, "ab", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(b"0")
    codes = [process.wait(timeout=300) for process in storm.starts]
    filler.unlink()
    assert codes[-1] == 2
    assert "cannot be written" in storm.log.read_text()


def outcome(record: Record) -> tuple:
    """Return the part of a record that must not depend on how often a cell was disturbed."""
    return record.metrics, record.epoch, record.config_hash, record.seed, record.data_fingerprint


def test_study_survives_everything(disk, tmp_path):
    storm = Storm(disk / "study", tmp_path / "log.txt")
    victims = storm.chance.sample(VICTIMS, len(VICTIMS))
    for number, kind in enumerate(victims):
        time.sleep(storm.chance.uniform(0.2, 1.0))  # the last victim must be gone, or it would be hit twice
        while not storm.strike(kind):
            if sum(process.poll() is None for process in storm.starts) < (2 if number % 10 == 5 else 1):
                storm.start()
            time.sleep(0.1)
            assert storm.look() < NUM_CELLS, f"done after only {number} kills; more epochs are needed"
        if number == len(VICTIMS) // 2:
            jump_clock(disk / "study", storm.chance.choice([-1e8, 1e8]))
    for process in storm.starts:
        process.send_signal(signal.SIGKILL)
    fill(disk, storm)
    code = storm.end()
    assert (code, storm.look()) == (0, NUM_CELLS), storm.log.read_text()[-3000:]

    plan = read_plan(disk / "study")
    records = [read_record(disk / "study" / cell.id) for cell in plan.cells]
    assert [(r.arm, r.seed, r.status, r.error) for r in records] == [(c.arm, c.seed, "done", None) for c in plan.cells]
    for cell in plan.cells:
        rows = read_rows(disk / "study" / cell.id)
        assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))
        assert sorted(path.name for path in (disk / "study" / cell.id).iterdir()) == [
            "best.safetensors",
            "final.pt",
            "last.safetensors",
            "metrics.jsonl",
            "predictions.npz",
            "record.json",
            "run.log",
        ]
    assert list(disk.rglob(LOCK_NAME)) == []
    assert sum(record.attempts for record in records) >= NUM_CELLS + len(VICTIMS) // 2
    deadline = time.monotonic() + 10
    while storm.processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert storm.processes() == {}

    calm = Storm(tmp_path / "calm", tmp_path / "calm.txt")
    command = [sys.executable, str(ROOT / "run.py"), "-m", *OVERRIDES, "seed=3", f"hydra.sweep.dir={calm.directory}"]
    subprocess.run(command, check=True, env=worker_environment() | {"OMP_NUM_THREADS": "1"}, capture_output=True)
    for cell in read_plan(calm.directory).cells:
        undisturbed = read_record(calm.directory / cell.id)
        assert outcome(read_record(disk / "study" / cell.id)) == outcome(undisturbed)
