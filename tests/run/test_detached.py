"""sweep.detach=true on a real Slurm: submit and leave; jobs are killed, requeued, preempted, cancelled.

Needs what test_slurm.py needs. Kinds: obeys a property (every cell done once, the report written by the last job),
refuses before anything is submitted.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.slurm_cluster import ROOT, SETTINGS, call, folder, found, needs_slurm, wait_for, wait_for_epochs
from vitsweep.run.cluster.book import Book, read_book
from vitsweep.run.workers import worker_environment
from vitsweep.study.locks import LOCK_NAME
from vitsweep.study.record import read_record, read_rows
from vitsweep.study.status import CellStatus

pytestmark = needs_slurm

CLUSTER = (["MaxArraySize=3"], {})
RUN = [sys.executable, str(ROOT / "run.py"), "-m", *SETTINGS, "hydra.launcher.cpus_per_task=1", "sweep.detach=true"]
FAKE = Path(__file__).parents[1] / "support" / "fake_node"
EPOCHS = 200


def fake(epoch_seconds: float = 0.05, mib: int = 0) -> str:
    """The setting by which a job's training only sleeps, an epoch for so many seconds, and takes so much memory."""
    values = f"NODE_EPOCH={epoch_seconds} NODE_MIB={mib}"
    return f"hydra.launcher.setup=['export PYTHONPATH={FAKE}:$PYTHONPATH {values}']"


def long_cells(*overrides: str) -> list[str]:
    """Overrides of cells that take some 10 s."""
    return [f"recipe.epochs={EPOCHS}", fake(), *overrides]


def submit(tmp_path: Path, *overrides: str, code: int = 0) -> str:
    """Run the detached command and return what it prints."""
    done = subprocess.run(
        [*RUN, *overrides], cwd=tmp_path, env=worker_environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def vitsweep(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "vitsweep", *words]
    return subprocess.run(command, env=worker_environment(), capture_output=True, text=True, timeout=400)


def directory(tmp_path: Path) -> Path:
    return next(tmp_path.glob("outputs/*"))


def book(tmp_path: Path) -> Book:
    return read_book(directory(tmp_path))


def finish(tmp_path: Path, seconds: float = 400) -> list[str]:
    """Wait until no job is left; return the statuses of the cells. No lock is left."""
    wait_for(lambda: call("squeue", "-h") == "", seconds)
    assert list(tmp_path.rglob(LOCK_NAME)) == []
    return [now.status for now in found(tmp_path)]


def check_once(tmp_path: Path, cell: CellStatus, attempts: int = 2) -> None:
    """The cell is done in so many attempts, each of which went on where the one before had stopped."""
    where = folder(tmp_path, cell)
    assert (read_record(where).status, read_record(where).attempts) == ("done", attempts)
    assert [row["epoch"] for row in read_rows(where)] == list(range(1, EPOCHS + 1))
    assert all(int(epoch) > 1 for epoch in re.findall(r"resumes at epoch (\d+)", (where / "run.log").read_text()))


def test_logout_loses_nothing_and_the_same_command_submits_nothing_twice(slurm, tmp_path):
    words = ["recipe.epochs=300", "seed=0,1", "recipe.lr=1e-3,2e-3"]
    command = [word for word in RUN if word != "~hydra.callbacks.report"]
    shell = subprocess.Popen(
        ["bash", "-c", '"$@"; echo returned; sleep 100', "bash", *command, *words],
        cwd=tmp_path,
        env=worker_environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert shell.stdout is not None
    while shell.stdout.readline() != "returned\n":
        pass
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    shell.stdout.close()
    assert [len(part.groups) for part in book(tmp_path).parts] == [3, 1]  # MaxArraySize
    again = subprocess.run(
        [*command, *words], cwd=tmp_path, env=worker_environment(), capture_output=True, text=True, check=True
    )
    assert "0 to submit" in again.stdout + again.stderr
    more = [word.replace("seed=0,1", "seed=0,1,2") for word in words]
    subprocess.run([*command, *more], cwd=tmp_path, env=worker_environment(), check=True)
    assert sum(len(part.groups) for part in book(tmp_path).parts) == 6
    status = vitsweep("status", str(directory(tmp_path)))
    assert "queued" in status.stdout and "jobs run" in status.stdout
    attached = vitsweep("attach", str(directory(tmp_path)))
    assert attached.returncode == 0 and "3/3" in attached.stdout
    assert finish(tmp_path) == ["done"] * 6
    assert {read_record(folder(tmp_path, now)).attempts for now in found(tmp_path)} == {1}
    assert (directory(tmp_path) / "report" / "index.html").exists()


def test_killed_jobs_cells_go_on_in_a_new_job(slurm, tmp_path):
    submit(tmp_path, *long_cells("seed=0,1"))
    cell = wait_for_epochs(tmp_path)
    parent = Path(f"/proc/{cell.owner.pid}/stat").read_text().rpartition(")")[2].split()[1]
    job = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(job, signal.SIGKILL)
    assert finish(tmp_path) == ["done"] * 2
    check_once(tmp_path, cell)
    assert [len(part.groups) for part in book(tmp_path).parts] == [2, 1]
    assert "submitted again" in (directory(tmp_path) / "slurm" / "last.out").read_text()


@pytest.mark.parametrize("how", ["requeue", "usr2", "preempt"])
def test_stopped_job_goes_on_from_its_saved_state(slurm, tmp_path, how):
    submit(tmp_path, *long_cells("seed=0"))
    cell = wait_for_epochs(tmp_path)
    job = slurm("squeue", "-h", "-r", "-t", "R", "-o", "%i")
    if how == "preempt":
        slurm("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1")
    else:
        slurm(*(["scontrol", "requeue", job] if how == "requeue" else ["scancel", "--signal=USR2", job]))
    assert finish(tmp_path) == ["done"]
    check_once(tmp_path, cell)
    assert slurm("scontrol", "show", "job", "-o", job).count("Restarts=1") == 1
    assert len(book(tmp_path).parts) == 1


def test_cancelled_study_stays_cancelled_until_the_same_command(slurm, tmp_path):
    submit(tmp_path, *long_cells("seed=0,1,2"), "sweep.max_queued=3")
    cell = wait_for_epochs(tmp_path)
    done = vitsweep("cancel", str(directory(tmp_path)))
    assert done.returncode == 0 and "cancelled 3 jobs" in done.stdout, done.stdout + done.stderr
    assert set(finish(tmp_path, 60)) == {"interrupted", "planned"}
    assert "cancelled" in vitsweep("status", str(directory(tmp_path))).stdout
    submit(tmp_path, *long_cells("seed=0,1,2"))
    assert finish(tmp_path) == ["done"] * 3
    check_once(tmp_path, cell)


def test_job_that_an_admin_cancels_is_left_alone_and_named(slurm, tmp_path):
    submit(tmp_path, *long_cells("seed=0,1"))
    cell = wait_for_epochs(tmp_path)
    place, index = book(tmp_path).places()[cell.cell.id]
    slurm("scancel", f"{place.job_id}_{index}")
    assert sorted(finish(tmp_path)) == ["done", "interrupted"]
    assert len(book(tmp_path).parts) == 1
    text = vitsweep("status", str(directory(tmp_path))).stdout
    assert f"job {place.job_id}_{index} cancelled" in text
    submit(tmp_path, *long_cells("seed=0,1"))
    assert finish(tmp_path) == ["done"] * 2
    check_once(tmp_path, cell)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("hydra.launcher.partition=nix", "hydra.launcher.partition=nix  has no partition nix; allowed: main, high"),
        ("hydra.launcher.timeout_min=90", "timeout_min=90  is above the limit of partition short, 30 min"),
        ("hydra.launcher.mem_gb=9999", "hydra.launcher  asks for what Slurm refuses"),
        ("hydra.launcher.nodes=2", "hydra.launcher.nodes=2  must be 1"),
        ("hydra.launcher.max_num_timeout=2", "is read by sweep.detach=false only"),
    ],
)
def test_impossible_jobs_are_refused_and_nothing_is_submitted(slurm, tmp_path, override, words):
    if "timeout" in override and "max" not in override:
        slurm("scontrol", "create", "PartitionName=short", "Nodes=n1", "MaxTime=30")
        override = f"{override} hydra.launcher.partition=short"
    before = time.monotonic()
    try:
        text = submit(tmp_path, "seed=0", *override.split(), code=2)
    finally:
        if "short" in override:
            slurm("scontrol", "delete", "PartitionName=short")
    assert words in text and "Traceback" not in text, before
    assert slurm("squeue", "-h") == "" and not list(tmp_path.rglob("plan.json"))
