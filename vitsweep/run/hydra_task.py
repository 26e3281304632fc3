"""Arguments of Hydra's launchers: a config loader that composes nothing, and the task that trains a cell.

Hydra's launchers compose each job again, in the worker, from the YAML files as they are then. Here a job's
configuration holds only the cell's id, and the cell is read from plan.json. This module lies in the package, not beside
the plugin, so that workers can unpickle it.
"""

import copy
import os
from functools import lru_cache
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from vitsweep.run.pool import Pool
from vitsweep.run.slots import Slot
from vitsweep.run.worker import NoSpace, train_cells, watch_parent
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import read_cell
from vitsweep.study.status import cell_status
from vitsweep.train.stop import Interrupted

CELL_KEY = "cell"
SEPARATOR = ","  # between the ids of cells in one job; no id contains it


class CellLoader(ConfigLoaderImpl):
    """Hydra's config loader, except that a job's configuration is not composed.

    Args:
        loader: Hydra's own, whose search path is kept for launchers that ask for it.
    """

    def __init__(self, loader: ConfigLoader):
        super().__init__(loader.get_search_path())

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the sweep's own configuration with the job's only override, `+cell=<ids>`, and its directory."""
        (override,) = sweep_overrides
        cell_ids = override.partition("=")[2]
        config = copy.deepcopy(master_config)
        OmegaConf.set_readonly(config.hydra, False)  # Hydra 1.4 locks it, and its launchers expect it open
        with open_dict(config):
            config[CELL_KEY] = cell_ids
            config.hydra.sweep.subdir = cell_ids.partition(SEPARATOR)[0]
            config.hydra.overrides.task = [override]
            config.hydra.job.override_dirname = cell_ids
        return config


@lru_cache(maxsize=1)
def worker_pool(directory: Path, retry: bool) -> Pool:
    """Return a pool of one slot, kept for this process's next cell; its fork server exits with this process."""
    return Pool(directory, [Slot()], retry, lambda status: None, LivenessCheck())


class CellTask:
    """Hydra's task function for a cell, called in this process or in a launcher's worker.

    Its results and exceptions may be lost on the way, so the sweep reads the records instead.

    Args:
        retry: whether failed cells are trained again.
        isolate: whether each cell gets a process below the launcher's worker.
    """

    def __init__(self, retry: bool, isolate: bool):
        self.retry, self.isolate = retry, isolate
        self.sweep = os.getpid()
        self.watching = 0  # process id of the worker that watches the sweep
        self.disk_full: NoSpace | None = None
        self.left: set[str] = set()  # cells that were too many for their pack, if this ran in the sweep's process

    def __call__(self, composed: DictConfig) -> str:
        """Train the cells that `+cell=<id>,<id>` names; return their outcomes."""
        if self.disk_full is not None:
            return "planned"
        self.watch_sweep()
        directory, cell_ids = Path(HydraConfig.get().sweep.dir), composed[CELL_KEY].split(SEPARATOR)
        try:
            if self.isolate:
                return self.train_in_child(directory, cell_ids[0])
            outcomes = train_cells(directory, cell_ids, retry=self.retry)
            self.left |= {cell_id for cell_id, outcome in outcomes.items() if outcome == "left"}
            return ", ".join(outcomes.values())
        except NoSpace as error:
            self.disk_full = error
            raise
        except Interrupted as event:
            if self.watching == os.getpid() and os.getppid() != self.sweep:
                os._exit(128 + event.signum)  # the sweep is dead, and the launcher's worker would wait for more work
            raise

    def train_in_child(self, directory: Path, cell_id: str) -> str:
        """Train the cell in a process below this one, unless it is locked."""
        pool, cell = worker_pool(directory, self.retry), read_cell(directory, cell_id)[1]
        if pool.liveness.is_held(directory / cell_id):
            return "busy"
        pool.run([cell])
        return cell_status(directory, cell, pool.liveness).status

    def watch_sweep(self) -> None:
        """Stop a launcher's worker when the sweep dies; some launchers' workers would run the rest of the queue."""
        if os.getppid() == self.sweep and self.watching != os.getpid():
            self.watching = os.getpid()
            watch_parent(self.sweep)
