"""A study on a real Slurm of two nodes, started on this machine: jobs fail, are killed, requeued, preempted, cancelled.

Needs root and `apt-get install --no-install-recommends slurm-wlm munge`, and the extra `slurm`. There is no accounting,
so sacct does not work, as on many clusters. Kinds: obeys a property (complete in the end, going on where it stopped).
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.slurm_cluster import ROOT, SETTINGS, folder, found, needs_slurm, wait_for, wait_for_epochs
from vitsweep.run.workers import worker_environment
from vitsweep.study.locks import LOCK_NAME, read_lock
from vitsweep.study.record import read_record, read_rows
from vitsweep.study.status import CellStatus

pytestmark = needs_slurm

TINY = [*SETTINGS, "hydra.launcher.cpus_per_task=2"]
EPOCHS = 1000  # of a cell that is still at work when something happens to it: some 15 s


def start(tmp_path: Path, *overrides: str) -> subprocess.Popen:
    """Start `run.py -m` in the background."""
    command = [sys.executable, str(ROOT / "run.py"), "-m", *TINY, *overrides]
    with open(tmp_path / "out.txt", "ab") as out:
        return subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out, env=worker_environment())


def finish(sweep: subprocess.Popen, tmp_path: Path, code: int = 0) -> None:
    """Wait for the end of the sweep, which must leave with `code` and no lock."""
    assert sweep.wait(timeout=300) == code, (tmp_path / "out.txt").read_text()
    assert list(tmp_path.rglob(LOCK_NAME)) == []


def check_continued(tmp_path: Path, cell: CellStatus) -> None:
    """The cell is done in a second attempt that went on where the first had stopped, with each epoch once."""
    where = folder(tmp_path, cell)
    assert (read_record(where).status, read_record(where).attempts) == ("done", 2)
    assert [row["epoch"] for row in read_rows(where)] == list(range(1, EPOCHS + 1))
    went_on = re.findall(r"resumes at epoch (\d+)", (where / "run.log").read_text())
    assert len(went_on) == 1 and int(went_on[0]) > 1


def long_cell(*overrides: str) -> list[str]:
    """Overrides of cells that take a while and save their state every second."""
    return [f"recipe.epochs={EPOCHS}", "checkpoint_seconds=1", *overrides]


def test_study_is_complete_and_uses_both_nodes(slurm, tmp_path):
    finish(start(tmp_path, "recipe.epochs=100", "seed=0,1", "recipe.lr=1e-3,2e-3"), tmp_path)
    assert [now.status for now in found(tmp_path)] == ["done"] * 4
    jobs = [line for line in slurm("scontrol", "show", "job", "-o").splitlines() if "Partition=main" in line]
    nodes = {node for line in jobs for node in re.findall(r" NodeList=(\S+)", line)}
    assert nodes == {"n1", "n2"}


def test_cell_that_diverges_is_a_failed_job_and_the_others_go_on(slurm, tmp_path):
    finish(start(tmp_path, "recipe.epochs=2", "recipe.optimizer=sgd", "recipe.lr=1e-3,1e30"), tmp_path, code=1)
    assert [now.status for now in found(tmp_path)] == ["done", "diverged"]
    first = int((next(tmp_path.glob("outputs/*/.submitit/*_0"))).name.partition("_")[0])
    states = re.findall(r"JobState=(\w+)", slurm("scontrol", "show", "job", "-o", str(first)))
    assert sorted(states) == ["COMPLETED", "FAILED"]


def test_cell_whose_worker_is_killed_goes_on_in_another_job(slurm, tmp_path):
    sweep = start(tmp_path, *long_cell("seed=0,1"))
    cell = wait_for_epochs(tmp_path)
    os.kill(cell.owner.pid, signal.SIGKILL)
    finish(sweep, tmp_path)
    assert [now.status for now in found(tmp_path)] == ["done", "done"]
    check_continued(tmp_path, cell)


@pytest.mark.parametrize("how", ["requeue", "usr2"])
def test_requeued_job_goes_on_from_its_saved_state(slurm, tmp_path, how):
    sweep = start(tmp_path, *long_cell("seed=0"))
    cell = wait_for_epochs(tmp_path)
    job = slurm("squeue", "-h", "-r", "-o", "%i")
    slurm(*(["scontrol", "requeue", job] if how == "requeue" else ["scancel", "--signal=USR2", job]))
    finish(sweep, tmp_path)
    check_continued(tmp_path, cell)
    assert slurm("scontrol", "show", "job", "-o", job).count("Restarts=1") == 1


def test_preempted_job_goes_on_from_its_saved_state(slurm, tmp_path):
    sweep = start(tmp_path, *long_cell("seed=0"))
    cell = wait_for_epochs(tmp_path)
    slurm("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1")
    finish(sweep, tmp_path)
    check_continued(tmp_path, cell)


def test_ctrl_c_cancels_the_jobs_and_the_same_command_goes_on(slurm, tmp_path):
    sweep = start(tmp_path, *long_cell("seed=0,1,2"))
    cell = wait_for_epochs(tmp_path)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(timeout=60) == 130
    wait_for(lambda: slurm("squeue", "-h") == "", 60)
    wait_for(lambda: read_lock(folder(tmp_path, cell)) is None)
    assert {now.status for now in found(tmp_path)} == {"interrupted", "planned"}
    finish(start(tmp_path, *long_cell("seed=0,1,2")), tmp_path)
    assert [now.status for now in found(tmp_path)] == ["done"] * 3
    check_continued(tmp_path, cell)
