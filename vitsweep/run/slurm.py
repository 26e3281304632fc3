"""Cells as Slurm jobs, or as submitit's local ones, with the settings of hydra/launcher=submitit_slurm or _local.

Hydra's own launcher waits for the jobs in order, drops all results when a worker dies, leaves the jobs in the queue
after Ctrl-C, and calls a failed job COMPLETED. So only its settings and submitit's executor are used, and the jobs are
watched here. Whether a job has ended is asked of squeue, not of sacct, which many clusters lack.
"""

import getpass
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vitsweep.run.hydra_task import CellTask
from vitsweep.run.launchers import Sweep, make_launcher
from vitsweep.run.pool import CrashCounter
from vitsweep.run.slots import Slot, make_slots
from vitsweep.run.worker import (
    CODES,
    GRACE_SECONDS,
    LOG_FORMAT,
    LOG_NAME,
    NO_SPACE,
    NoSpace,
    stop_unless,
    train_cell,
)
from vitsweep.study.locks import is_running, start_time
from vitsweep.study.plan import Cell
from vitsweep.train.stop import Interrupted

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
STAY_SECONDS = 600.0
"""Time that a job which Slurm wants to end waits to be ended; longer than the grace time of most partitions."""
OWN_LAUNCHER_KEYS = ("submitit_folder", "max_num_timeout")
ANY = Slot()
"""The GPU and threads that the scheduler gives."""


class CellJob:
    """A submitit job that trains one cell and answers the scheduler's signals.

    It leaves by sys.exit: submitit then writes no result, which nothing reads, and the scheduler sees the exit code.

    Args:
        directory: the sweep's.
        cell_id: the cell's id in its plan.
        retry: whether a failed cell is trained again.
        sweep: process id and start time of the sweep, for jobs that must not outlive it; None for Slurm's.
        slot: the GPU and threads to use, where no scheduler gives them.
    """

    def __init__(
        self, directory: Path, cell_id: str, retry: bool, sweep: tuple[int, str] | None = None, slot: Slot = ANY
    ):
        self.directory, self.cell_id, self.retry, self.sweep, self.slot = directory, cell_id, retry, sweep, slot

    def __call__(self) -> None:
        """Train the cell and leave the process."""
        if (sweep := self.sweep) is not None:
            stop_unless(lambda: is_running(*sweep) is not False)
        if self.slot.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.slot.gpu
        if self.slot.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(self.slot.threads)  # torch is imported later and reads it
        self.start_log()
        try:
            code = CODES[train_cell(self.directory, self.cell_id, retry=self.retry, wait=True)]
        except NoSpace as error:
            log.error("%s", error)
            code = NO_SPACE
        except Interrupted as event:
            log.info("%s", event)
            answer_signal(event.signum)
            code = 128 + event.signum
        sys.exit(code)

    def checkpoint(self) -> Any:
        """Return what submitit runs when it requeues the job: the same, which resumes from its saved state."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def start_log(self) -> None:
        """Log to the cell's run.log and to the job's own error output."""
        folder = self.directory / self.cell_id
        folder.mkdir(parents=True, exist_ok=True)
        handlers: list[logging.Handler] = [logging.FileHandler(folder / LOG_NAME), logging.StreamHandler()]
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=handlers, force=True)


def answer_signal(signum: int) -> None:
    """Do what the sender of the signal expects once the state is saved.

    USR2 is passed on to submitit, whose handler is in force again: it requeues the job. SIGTERM comes from Slurm before
    it preempts or cancels; a job that ended by itself within the grace time would not be requeued, so it waits.
    """
    if signum == signal.SIGUSR2:
        os.kill(os.getpid(), signal.SIGUSR2)
    elif signum == signal.SIGTERM and "SLURM_JOB_ID" in os.environ:
        deadline = time.monotonic() + STAY_SECONDS
        while time.monotonic() < deadline and slurm_state() == "RUNNING":
            time.sleep(2)


def slurm_state() -> str:
    """Return Slurm's state of this job; RUNNING if squeue does not answer."""
    answer = squeue("-h", "-j", os.environ["SLURM_JOB_ID"], "-o", "%T", seconds=30)
    return "RUNNING" if answer is None else answer.strip()


def squeue(*arguments: str, seconds: float) -> str | None:
    """Return squeue's output, or None if it fails or takes longer than `seconds`."""
    try:
        done = subprocess.run(["squeue", *arguments], capture_output=True, text=True, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


class Jobs:
    """Cells that were submitted as jobs.

    Args:
        sweep: the sweep.
        slots: one for each job that may be submitted at a time.
    """

    def __init__(self, sweep: Sweep, slots: list[Slot]):
        self.sweep, self.free = sweep, list(slots)
        launcher: Any = make_launcher(sweep, CellTask(sweep.retry, isolate=False))  # submitit's, for its settings only
        self.cluster = launcher._EXECUTOR
        self.executor = make_executor(self.cluster, launcher.params)
        self.submitted: dict[str, tuple[Cell, Any, Slot]] = {}
        self.missed: Counter[str] = Counter()

    def submit(self, cells: list[Cell]) -> None:
        """Submit as many of the cells as there are free slots, as one job array."""
        cells = cells[: len(self.free)]
        if not cells:
            return
        slots, self.free = self.free[: len(cells)], self.free[len(cells) :]
        owner = (os.getpid(), start_time(os.getpid())) if self.cluster == "local" else None
        jobs = [
            CellJob(self.sweep.directory, cell.id, self.sweep.retry, owner, slot)
            for cell, slot in zip(cells, slots, strict=True)
        ]
        handles = self.executor.submit_array(jobs) if len(jobs) > 1 else [self.executor.submit(jobs[0])]
        for cell, handle, slot in zip(cells, handles, slots, strict=True):
            self.submitted[cell.id] = (cell, handle, slot)
            self.missed[cell.id] = 0
        log.info("submitted %d cells, %s", len(cells), ", ".join(h.job_id for h in handles[:3]))

    def pop_ended(self) -> list[Cell]:
        """Remove and return the cells whose jobs were missing from the queue twice in a row."""
        queued = self.in_queue()
        ended = []
        for cell, handle, slot in list(self.submitted.values()):
            if queued is None or handle.job_id in queued:
                self.missed[cell.id] = 0
                continue
            self.missed[cell.id] += 1
            if self.missed[cell.id] > 1:
                del self.submitted[cell.id]
                self.free.append(slot)
                ended.append(cell)
        return ended

    def in_queue(self) -> set[str] | None:
        """Return the ids of jobs that wait or run; None if Slurm does not answer."""
        if self.cluster == "local":
            return {handle.job_id for _, handle, _ in self.submitted.values() if not handle.done()}
        answer = squeue("-h", "-r", "-u", getpass.getuser(), "-o", "%i", seconds=60)
        return None if answer is None else set(answer.split())

    def cancel(self) -> None:
        """Cancel all jobs; those that run save their state."""
        handles = [handle for _, handle, _ in self.submitted.values()]
        if not handles:
            return
        if self.cluster == "slurm":
            subprocess.run(["scancel", *(handle.job_id for handle in handles)], timeout=60)
            log.info("cancelled %d jobs", len(handles))
            return
        time.sleep(1.5)  # after a Ctrl-C the jobs have received it too; a second signal would cost them their state
        for handle in handles:
            if not handle.done():
                handle._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and not all(handle.done() for handle in handles):
            time.sleep(0.2)


def make_executor(cluster: str, params: dict[str, Any]) -> Any:
    """Return submitit's executor with the launcher's settings, as Hydra's launcher makes it."""
    import submitit
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

    base = set(OmegaConf.structured(BaseQueueConf).keys())
    first = {f"{cluster}_max_num_timeout": params["max_num_timeout"]} if "max_num_timeout" in params else {}
    executor = submitit.AutoExecutor(folder=params["submitit_folder"], cluster=cluster, **first)
    rest = {key: value for key, value in params.items() if key not in OWN_LAUNCHER_KEYS}
    executor.update_parameters(**{key if key in base else f"{cluster}_{key}": value for key, value in rest.items()})
    return executor


def run_jobs(sweep: Sweep, cells: list[Cell]) -> None:
    """Train the cells as jobs; return when each has ended.

    Raises:
        KeyboardInterrupt: also as Interrupted; the jobs have been cancelled.
    """
    is_local = sweep.config.hydra.launcher._target_.endswith("LocalLauncher")
    on_cpu = all(cell.config["device"] == "cpu" for cell in cells)
    jobs = Jobs(sweep, make_slots(sweep.settings.jobs, len(cells), on_cpu) if is_local else [ANY] * len(cells))
    waiting, crashes = list(cells), CrashCounter()
    try:
        while waiting or jobs.submitted:
            jobs.submit([cell for cell in waiting if not sweep.is_held(cell)])
            waiting = [cell for cell in waiting if cell.id not in jobs.submitted]
            time.sleep(POLL_SECONDS)
            waiting += [cell for cell in jobs.pop_ended() if sweep.must_relaunch(cell, crashes)]
            for cell, _, _ in jobs.submitted.values():
                sweep.progress.update(sweep.status(cell))
            sweep.progress.update(None)
    except BaseException:
        jobs.cancel()
        raise
