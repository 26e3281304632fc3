"""Cells as Slurm jobs, or as submitit's local ones, with the settings of hydra/launcher=submitit_slurm or _local.

Hydra's own launcher waits for the jobs in order, gives up all results when a worker dies, leaves the jobs in the queue
after Ctrl-C, and calls a failed job COMPLETED. So its settings and submitit's executor are used, but the jobs are
watched here. Whether a job is over is asked of squeue, not of sacct, which many clusters lack.
"""

import getpass
import logging
import os
import signal
import subprocess
import time
from collections import Counter
from typing import Any

from omegaconf import OmegaConf

from vitsweep.run.deaths import Deaths
from vitsweep.run.hydra_task import CellTask
from vitsweep.run.launch import Sweep, is_left, make_launcher
from vitsweep.run.progress_table import LogProgress
from vitsweep.run.slots import Slot, make_slots
from vitsweep.run.slurm_job import ALL, CellJob
from vitsweep.run.worker import GRACE_SECONDS
from vitsweep.study.locks import start_time
from vitsweep.study.plan import Cell
from vitsweep.study.status import cell_status

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
OWN_LAUNCHER_KEYS = ("submitit_folder", "max_num_timeout")


class Jobs:
    """Cells that have been handed to submitit.

    Args:
        work: the sweep.
        slots: room for as many as may be under way; the rest waits here.
    """

    def __init__(self, work: Sweep, slots: list[Slot]):
        self.work, self.free = work, list(slots)
        launcher = make_launcher(work, CellTask(work.retry, isolate=False))  # for its settings alone
        self.cluster = launcher._EXECUTOR
        self.executor = make_executor(self.cluster, launcher.params)
        self.handed: dict[str, tuple[Cell, Any, Slot]] = {}
        self.missed: Counter[str] = Counter()

    def submit(self, cells: list[Cell]) -> None:
        """Hand over as many of the cells as there is room for, as one job array."""
        cells = cells[: len(self.free)]
        if not cells:
            return
        slots, self.free = self.free[: len(cells)], self.free[len(cells) :]
        sweep = (os.getpid(), start_time(os.getpid())) if self.cluster == "local" else None
        jobs = [
            CellJob(self.work.directory, c.id, self.work.retry, sweep, s) for c, s in zip(cells, slots, strict=True)
        ]
        handles = self.executor.submit_array(jobs) if len(jobs) > 1 else [self.executor.submit(jobs[0])]
        for cell, handle, slot in zip(cells, handles, slots, strict=True):
            self.handed[cell.id] = (cell, handle, slot)
            self.missed[cell.id] = 0
        log.info("submitted %d cells, %s", len(cells), ", ".join(h.job_id for h in handles[:3]))

    def over(self) -> list[Cell]:
        """The cells whose jobs have ended since the last time. A job is missed twice before that is believed."""
        there = self.in_queue()
        found = []
        for cell, handle, slot in list(self.handed.values()):
            if there is None or handle.job_id in there:
                self.missed[cell.id] = 0
                continue
            self.missed[cell.id] += 1
            if self.missed[cell.id] > 1:
                del self.handed[cell.id]
                self.free.append(slot)
                found.append(cell)
        return found

    def in_queue(self) -> set[str] | None:
        """Ids of the jobs that wait or run; None if Slurm does not answer."""
        if self.cluster == "local":
            return {handle.job_id for _, handle, _ in self.handed.values() if not handle.done()}
        command = ["squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i"]
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return set(told.stdout.split()) if told.returncode == 0 else None

    def cancel(self) -> None:
        """Take the jobs out of the queue; those that run save their state."""
        handles = [handle for _, handle, _ in self.handed.values()]
        if not handles:
            return
        if self.cluster == "slurm":
            subprocess.run(["scancel", *(handle.job_id for handle in handles)], timeout=60)
            log.info("cancelled %d jobs", len(handles))
            return
        time.sleep(1.5)  # after a Ctrl-C the jobs have got it too, and a second signal would cost them their state
        for handle in handles:
            if not handle.done():
                handle._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and not all(handle.done() for handle in handles):
            time.sleep(0.2)


def make_executor(cluster: str, params: dict[str, Any]) -> Any:
    """Submitit's executor with the launcher's settings, as Hydra's launcher makes it."""
    import submitit
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

    base = set(OmegaConf.structured(BaseQueueConf).keys())
    first = {f"{cluster}_max_num_timeout": params["max_num_timeout"]} if "max_num_timeout" in params else {}
    executor = submitit.AutoExecutor(folder=params["submitit_folder"], cluster=cluster, **first)
    rest = {key: value for key, value in params.items() if key not in OWN_LAUNCHER_KEYS}
    executor.update_parameters(**{key if key in base else f"{cluster}_{key}": value for key, value in rest.items()})
    return executor


def run_jobs(work: Sweep, cells: list[Cell], board: LogProgress) -> None:
    """Train the cells as jobs; returns when each has ended.

    Raises:
        KeyboardInterrupt: also as Interrupted; the jobs have been cancelled.
    """
    is_local = work.config.hydra.launcher._target_.endswith("LocalLauncher")
    on_cpu = all(cell.config["device"] == "cpu" for cell in cells)
    jobs = Jobs(work, make_slots(work.settings.jobs, len(cells), on_cpu) if is_local else [ALL] * len(cells))
    waiting, deaths = list(cells), Deaths()
    try:
        while waiting or jobs.handed:
            free = [c for c in waiting if not work.liveness.is_held(work.directory / c.id)]
            jobs.submit(free)
            waiting = [cell for cell in waiting if cell.id not in jobs.handed]
            time.sleep(POLL_SECONDS)
            waiting += [cell for cell in jobs.over() if is_left(work, cell, deaths, board)]
            for cell, _, _ in jobs.handed.values():
                board.tell(cell_status(work.directory, cell, work.liveness))
            board.tell(None)
    except BaseException:
        jobs.cancel()
        raise
