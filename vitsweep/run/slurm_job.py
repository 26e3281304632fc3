"""What a submitit worker runs: one planned cell, and the right answer to every signal that a scheduler sends.

Lies in the package, so that a worker on another machine needs no plugin folder to unpickle it. It leaves by sys.exit:
submitit then writes no result, which nobody reads, and the scheduler sees how the cell ended.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from vitsweep.run.slots import Slot
from vitsweep.run.worker import CODES, LOG_FORMAT, LOG_NAME, NO_SPACE, NoSpace, stop_unless, train_cell
from vitsweep.study.locks import is_running
from vitsweep.train.stop import Interrupted

log = logging.getLogger(__name__)

STAY_SECONDS = 600.0
"""How long a job that Slurm wants to end waits for its end; longer than the grace time of most partitions."""


ALL = Slot()
"""Whatever the scheduler gives."""


class CellJob:
    """A job that trains one cell.

    Args:
        directory: the sweep's.
        cell_id: the cell's id in its plan.
        retry: whether a cell that failed is trained again.
        sweep: pid and start of the process that submitted it, for jobs that must not outlive it; None for Slurm's.
        slot: the GPU and threads to use, where no scheduler gives them.
    """

    def __init__(
        self, directory: Path, cell_id: str, retry: bool, sweep: tuple[int, str] | None = None, slot: Slot = ALL
    ):
        self.directory, self.cell_id, self.retry, self.sweep, self.slot = directory, cell_id, retry, sweep, slot

    def __call__(self) -> None:
        """Train the cell and leave the process."""
        if self.sweep is not None:
            stop_unless(lambda: is_running(*self.sweep))
        if self.slot.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.slot.gpu
        if self.slot.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(self.slot.threads)  # torch comes later and reads it
        self.start_log()
        try:
            code = CODES[train_cell(self.directory, self.cell_id, retry=self.retry)]
        except NoSpace as fault:
            log.error("%s", fault)
            code = NO_SPACE
        except Interrupted as event:
            log.info("%s", event)
            answer(event.signum)
            code = 128 + event.signum
        sys.exit(code)

    def checkpoint(self) -> Any:
        """Submitit's question what to run when the job is requeued: the same, which goes on from its saved state."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def start_log(self) -> None:
        """Log into the cell's run.log, and to the job's own error output."""
        folder = self.directory / self.cell_id
        folder.mkdir(parents=True, exist_ok=True)
        handlers = [logging.FileHandler(folder / LOG_NAME), logging.StreamHandler()]
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=handlers, force=True)


def answer(signum: int) -> None:
    """With the state saved, do what the sender of the signal expects.

    USR2 is for submitit, whose handler is in force again: it requeues the job. SIGTERM comes from Slurm before it
    preempts or cancels; a job that ended by itself within the grace time would not be requeued, so it waits.
    """
    if signum == signal.SIGUSR2:
        os.kill(os.getpid(), signal.SIGUSR2)
    elif signum == signal.SIGTERM and "SLURM_JOB_ID" in os.environ:
        deadline = time.monotonic() + STAY_SECONDS
        while time.monotonic() < deadline and slurm_state() == "RUNNING":
            time.sleep(2)


def slurm_state() -> str:
    """What Slurm calls this job's state now; RUNNING too if it cannot be asked."""
    command = ["squeue", "-h", "-j", os.environ["SLURM_JOB_ID"], "-o", "%T"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "RUNNING"
    return told.stdout.strip() if told.returncode == 0 else "RUNNING"
