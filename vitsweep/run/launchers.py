"""Start of a sweep's cells through Hydra's launchers: basic, joblib and any other that Hydra knows."""

import dataclasses
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from vitsweep.config.overrides import override_key
from vitsweep.config.schema import SweepConfig
from vitsweep.run.hydra_task import CELL_KEY, SEPARATOR, CellLoader, CellTask
from vitsweep.run.packs import Packs
from vitsweep.run.pool import LOOK_SECONDS, MAX_CRASHES, CrashCounter
from vitsweep.run.progress_table import LogProgress
from vitsweep.run.ray_cluster.options import setting_errors
from vitsweep.run.worker import record_failure
from vitsweep.study.locks import LivenessCheck, remove_stale_lock
from vitsweep.study.plan import Cell
from vitsweep.study.status import CellStatus, cell_status

log = logging.getLogger(__name__)

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


RAY = "vitsweep.run.ray_cluster"
"""Named by conf/hydra/launcher/ray.yaml; it is no launcher of Hydra, and nothing instantiates it."""
SLURM = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
NOT_READ_BY_CELLS = ("hydra.job.chdir", "hydra.job.env_set", "hydra.job.env_copy", "hydra.output_subdir")


def launch_errors(config: DictConfig) -> list[str]:
    """Return a message for a launcher that this machine lacks, and for each setting that is not read or not allowed."""
    target = config.hydra.launcher._target_
    if target == SLURM and shutil.which("sbatch") is None:
        where = "start on a machine of the cluster, or use hydra/launcher=submitit_local"
        return [f"hydra/launcher=submitit_slurm  needs Slurm's sbatch, which is not on PATH; {where}"]
    if target == RAY:
        return setting_errors(config)
    return [
        f"{override}  is not read by the cells of a sweep; leave it out, or set it in the shell"
        for override in config.hydra.overrides.hydra
        if target == BASIC and override_key(override).startswith(NOT_READ_BY_CELLS)
    ]


@dataclass
class Sweep:
    """One start of a study, as the launchers need it."""

    config: DictConfig
    """Hydra's, with the launcher's settings."""
    context: HydraContext
    directory: Path
    settings: SweepConfig
    liveness: LivenessCheck
    progress: LogProgress

    @property
    def retry(self) -> bool:
        """Return whether failed cells are trained again."""
        return self.settings.retry == "failed"

    @property
    def is_basic(self) -> bool:
        """Return whether cells run on this machine without a launcher plugin; only then are packs trained."""
        return self.config.hydra.launcher._target_ == BASIC

    def status(self, cell: Cell) -> CellStatus:
        """Return the cell's status as it is on disk."""
        return cell_status(self.directory, cell, self.liveness)

    def is_held(self, cell: Cell) -> bool:
        """Return whether a process trains the cell; remove the lock of one that is dead."""
        folder = self.directory / cell.id
        if self.liveness.is_held(folder) or not remove_stale_lock(folder, self.liveness):
            self.liveness.announce(folder)
            return True
        return False

    def must_relaunch(self, cell: Cell, crashes: CrashCounter) -> bool:
        """Return whether a launched cell is not finished; record its failure after MAX_CRASHES. Call once a launch."""
        status = self.status(cell)
        if status.status in ("planned", "interrupted") and crashes.count(status) >= MAX_CRASHES:
            status = record_failure(self.directory, cell, f"its worker died {MAX_CRASHES} times")
        self.progress.update(status)
        return status.status in ("running", "planned", "interrupted")


def make_launcher(sweep: Sweep, task: CellTask) -> Launcher:
    """Return the configured launcher; its jobs read their cell from plan.json instead of composing it."""
    context = dataclasses.replace(sweep.context, config_loader=CellLoader(sweep.context.config_loader))
    return Plugins.instance().instantiate_launcher(config=sweep.config, task_function=task, hydra_context=context)


def run_through_hydra(sweep: Sweep, cells: list[Cell]) -> None:
    """Call Hydra's launcher until every cell has ended.

    A launcher may lose jobs and results when a worker dies, so outcomes are read from the disk and unfinished cells
    launched again. The basic launcher gets one cell or pack at a time: it keeps each configuration until it returns,
    and cells that another process trains can be put off.

    Raises:
        NoSpace: the disk is full.
    """
    task = CellTask(sweep.retry, sweep.settings.isolate == "process")
    launcher = make_launcher(sweep, task)
    package = type(launcher).__module__.rpartition(".")[0]
    logging.getLogger(package).setLevel(logging.WARNING)  # the progress table reports the jobs
    packs = Packs(sweep.directory, cells[0].config.get("pack", "off") if sweep.is_basic else "off")
    waiting, crashes, number = list(cells), CrashCounter(), 0
    while waiting:
        batch = [cell for cell in waiting if not sweep.is_held(cell)]
        if not batch:
            time.sleep(LOOK_SECONDS)
        elif sweep.is_basic:
            batch = packs.group_with(batch[0], batch)
            for cell in batch:
                sweep.progress.update(CellStatus(cell=cell, status="running"))
            launcher.launch([job_overrides(batch)], initial_job_idx=number)
        else:
            with watching(sweep, batch):
                launch_all(launcher, batch, number)
        number += len(batch)
        if task.disk_full is not None:
            raise task.disk_full
        left = [cell for cell in batch if cell.id in task.left or sweep.must_relaunch(cell, crashes)]
        task.left.clear()
        waiting = [cell for cell in waiting if cell not in batch or cell in left]


def launch_all(launcher: Launcher, cells: list[Cell], number: int) -> None:
    """Launch each cell as a job; log what a launcher raises when a worker died, since the records hold the outcome."""
    try:
        launcher.launch([job_overrides([cell]) for cell in cells], initial_job_idx=number)
    except Exception as error:
        log.warning("%s: %s: %s", type(launcher).__name__, type(error).__name__, str(error).partition("\n")[0])


def job_overrides(cells: list[Cell]) -> list[str]:
    """Return the override that names the cells of one job."""
    return [f"+{CELL_KEY}={SEPARATOR.join(cell.id for cell in cells)}"]


@contextmanager
def watching(sweep: Sweep, batch: list[Cell]) -> Iterator[None]:
    """Update the progress table from the disk while a launcher blocks."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            for cell in batch:
                sweep.progress.update(sweep.status(cell))

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
