"""Limits of jobs on a real Slurm that ends what uses too much memory: enough, lowered in the queue, once with more.

Needs what test_slurm.py needs. Kinds: obeys a property.
"""

import os
import signal
from pathlib import Path

import pytest

from tests.run.test_detached import book, directory, fake, finish, submit, vitsweep
from tests.support.slurm_cluster import call, found, needs_slurm, wait_for, wait_for_epochs
from vitsweep.run.cluster.book import jobs_folder

pytestmark = [*needs_slurm, pytest.mark.timeout(900)]

CLUSTER = (
    ["JobAcctGatherType=jobacct_gather/linux", "JobAcctGatherFrequency=task=1", "JobAcctGatherParams=OverMemoryKill"],
    {},
)
LIMITS = ["hydra.launcher.timeout_min=30", "hydra.launcher.mem_gb=3", "hydra.sweep.dir=outputs/sized"]
EPOCHS = "recipe.epochs=100"


def outputs(tmp_path: Path) -> str:
    """The output of all jobs of the study."""
    return "".join(path.read_text() for path in sorted(jobs_folder(directory(tmp_path)).rglob("*.out")))


def test_jobs_in_the_queue_are_lowered_after_the_first_cell(slurm, tmp_path):
    submit(tmp_path, *LIMITS, "recipe.epochs=20", "seed=0,1,2,3", "hydra.launcher.array_parallelism=1")
    assert call("squeue", "-h", "-r", "-n", book(tmp_path).part_name(1), "-o", "%l").split() == ["30:00"] * 4
    assert finish(tmp_path) == ["done"] * 4
    (part,) = book(tmp_path).parts
    assert part.size(0) == [] and part.size(3) == part.size(1) != []
    text = call("scontrol", "show", "job", "-o", f"{part.job_id}_3")
    assert f"TimeLimit=00:{part.size(3)[0]:02}:00" in text and part.size(3)[1] < 3072


def test_a_cell_without_enough_memory_comes_again_with_the_launchers(slurm, tmp_path):
    submit(tmp_path, *LIMITS, "recipe.epochs=20", fake(mib=100), "seed=0")
    assert finish(tmp_path) == ["done"]
    submit(tmp_path, *LIMITS, "recipe.epochs=20", fake(0.3, mib=1800), "seed=0,1")
    assert finish(tmp_path) == ["done"] * 2
    _, small, large = book(tmp_path).parts
    assert (small.size(0)[1], large.sizes, large.groups) == (896, [], small.groups)
    assert "out of memory" in outputs(tmp_path)
    assert "1 cell needed more than the job had asked for" in vitsweep("status", str(directory(tmp_path))).stdout


def test_a_cell_without_enough_time_goes_on_with_the_launchers(slurm, tmp_path):
    submit(tmp_path, *LIMITS, EPOCHS, fake(), "seed=0")
    assert finish(tmp_path) == ["done"]
    submit(tmp_path, *LIMITS, EPOCHS, fake(0.2), "seed=0,1")
    cell = wait_for_epochs(tmp_path)
    _, small = book(tmp_path).parts
    slurm("scancel", "--signal=USR2", f"{small.job_id}_0")
    assert finish(tmp_path) == ["done"] * 2
    assert book(tmp_path).parts[-1].sizes == [] and book(tmp_path).unsized == [cell.cell.id]
    assert f"{small.size(0)[0]} min of time did not suffice" in outputs(tmp_path)


def test_a_cell_whose_process_is_killed_has_more_memory_next(slurm, tmp_path):
    submit(tmp_path, *LIMITS, EPOCHS, fake(mib=100), "seed=0")
    assert finish(tmp_path) == ["done"]
    submit(tmp_path, *LIMITS, EPOCHS, fake(0.2), "seed=0,1")
    killed: set[int] = set()

    def kill_the_cells_process() -> bool:
        """As the kernel does, until the job gives the cell up."""
        for now in found(tmp_path):
            if now.status == "running" and now.owner and now.owner.pid not in killed and len(killed) < 3:
                killed.add(now.owner.pid)
                os.kill(now.owner.pid, signal.SIGKILL)
        return len(book(tmp_path).parts) > 2

    wait_for(kill_the_cells_process, 240)
    assert finish(tmp_path) == ["done"] * 2
    assert book(tmp_path).parts[-1].sizes == []
    assert "MB of memory did not suffice" in outputs(tmp_path)
