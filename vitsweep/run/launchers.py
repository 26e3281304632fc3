"""Which engine runs the cells: Hydra's launchers by Hydra's spelling, or vitsweep's own processes.

The basic launcher with sweep.isolate=process stands for vitsweep's pool. Submitit's launchers lend their settings, but
the jobs are submitted and watched by _submit. Every other launcher is called as Hydra calls it.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from vitsweep.run.deaths import Deaths
from vitsweep.run.hydra_task import BETWEEN, CELL_KEY, CellTask
from vitsweep.run.launch import Sweep, is_left, make_launcher
from vitsweep.run.packs import Packs
from vitsweep.run.pool import LOOK_SECONDS, run_in_processes
from vitsweep.run.progress_table import LogProgress
from vitsweep.study.plan import Cell
from vitsweep.study.status import CellStatus, cell_status

log = logging.getLogger(__name__)

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
SUBMITIT = "hydra_plugins.hydra_submitit_launcher."


def run_cells(work: Sweep, cells: list[Cell], board: LogProgress) -> None:
    """Train the cells, here or elsewhere; returns when each has ended.

    Raises:
        NoSpace: the disk takes no more.
        KeyboardInterrupt: also as Interrupted; everything that was under way has been asked to stop.
    """
    target = work.config.hydra.launcher._target_
    if target.startswith(SUBMITIT):
        from vitsweep.run.slurm import run_jobs

        run_jobs(work, cells, board)
    elif target == BASIC and work.settings.isolate == "process":
        run_in_processes(work.directory, cells, work.settings, board.tell, work.liveness)
    else:
        run_through_hydra(work, cells, board)


def trains_packs(config: DictConfig) -> bool:
    """Whether the engine can train several cells as one program."""
    return config.hydra.launcher._target_ == BASIC


def run_through_hydra(work: Sweep, cells: list[Cell], board: LogProgress) -> None:
    """Call Hydra's launcher until every cell has ended.

    A launcher may lose jobs and results when a worker dies, so what came of each cell is read from the disk, and what
    is left over is launched again. The basic launcher gets the cells one by one: it keeps the configuration of each
    until it returns, and cells that somebody else is at can be put off. It alone trains packs.
    """
    task = CellTask(work.retry, work.settings.isolate == "process")
    launcher = make_launcher(work, task)
    is_basic = work.config.hydra.launcher._target_ == BASIC
    package = type(launcher).__module__.rpartition(".")[0]
    logging.getLogger(package).setLevel(logging.WARNING)  # the board says what is run
    packs = Packs(work.directory, cells[0].config.get("pack", "off") if is_basic else "off")
    waiting, deaths, number = list(cells), Deaths(), 0
    while waiting:
        batch = [cell for cell in waiting if not work.liveness.is_held(work.directory / cell.id)]
        batch = packs.group_with(batch[0], batch) if is_basic and batch else batch
        if not batch:
            time.sleep(LOOK_SECONDS)
        if is_basic:
            for cell in batch:
                board.tell(CellStatus(cell=cell, status="running"))
            call(launcher, [batch], number, is_basic)
        else:
            with watching(work, batch, board):
                call(launcher, [[cell] for cell in batch], number, is_basic)
        number += len(batch)
        if task.disk_full is not None:
            raise task.disk_full
        left = [cell for cell in batch if cell.id in task.left or is_left(work, cell, deaths, board)]
        task.left.clear()
        waiting = [cell for cell in waiting if cell not in batch or cell in left]


@contextmanager
def watching(work: Sweep, batch: list[Cell], board: LogProgress) -> Iterator[None]:
    """Keep the board up to date by looking at the disk, while a launcher is busy and tells nothing."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            for cell in batch:
                board.tell(cell_status(work.directory, cell, work.liveness))

    thread = threading.Thread(target=watch, name="board", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def call(launcher: Launcher, jobs: list[list[Cell]], number: int, is_basic: bool) -> None:
    """One call of the launcher, each job one cell or a pack; the records tell what came of each.

    A launcher that spreads jobs raises when a worker died.
    """
    try:
        named = [BETWEEN.join(cell.id for cell in job) for job in jobs if job]
        if named:
            launcher.launch([[f"+{CELL_KEY}={names}"] for names in named], initial_job_idx=number)
    except Exception as fault:
        if is_basic:
            raise
        log.warning("%s: %s: %s", type(launcher).__name__, type(fault).__name__, str(fault).partition("\n")[0])
