"""What Hydra's launchers get: in place of its configuration loader one that freezes, and the task that trains a cell.

Hydra's launchers compose each job anew, in the worker, from the YAML files as they are then. Here only the cell's id is
put in, and the cell itself is read from plan.json. Lies in the package, not beside the plugin, so that workers can
unpickle it.
"""

import copy
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from vitsweep.run.pool import Pool
from vitsweep.run.slots import Slot
from vitsweep.run.worker import NoSpace, train_cells, watch_parent
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import read_cell
from vitsweep.study.status import cell_status
from vitsweep.train.stop import Interrupted

CELL_KEY = "cell"
BETWEEN = ","  # the ids of cells that are one job; no id has it in it


class FrozenLoader(ConfigLoader):
    """A ConfigLoader whose only real method is load_sweep_config; the others ask the loader that it replaces.

    Args:
        loader: Hydra's own, kept for launchers that ask it for groups or search paths.
    """

    def __init__(self, loader: ConfigLoader):
        self.loader = loader

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The sweep's own configuration with the cell's id, `+cell=<id>`, and the cell's directory."""
        (override,) = sweep_overrides
        cell = override.partition("=")[2]
        config = copy.deepcopy(master_config)
        with open_dict(config):
            config[CELL_KEY] = cell
            config.hydra.sweep.subdir = cell.partition(BETWEEN)[0]
            config.hydra.overrides.task = [override]
            config.hydra.job.override_dirname = cell
        return config

    def load_configuration(self, *arguments: Any, **options: Any) -> DictConfig:
        return self.loader.load_configuration(*arguments, **options)

    def get_search_path(self) -> ConfigSearchPath:
        return self.loader.get_search_path()

    def get_sources(self) -> list:
        return self.loader.get_sources()

    def list_groups(self, parent_name: str) -> list[str]:
        return self.loader.list_groups(parent_name)

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        return self.loader.get_group_options(group_name, results_filter, config_name, overrides)

    def compute_defaults_list(self, config_name: str | None, overrides: list[str], run_mode: RunMode) -> Any:
        return self.loader.compute_defaults_list(config_name, overrides, run_mode)


@lru_cache(maxsize=1)
def worker_pool(directory: Path, retry: bool) -> Pool:
    """A worker's own room for one cell, kept for the next; its nursery ends with the worker."""
    return Pool(directory, [Slot()], retry, lambda now: None, LivenessCheck())


class CellTask:
    """What a launcher calls for each cell, in this process or in a worker of its own.

    What it returns and raises may be lost on the way; the sweep reads the records.

    Args:
        retry: whether cells that failed are trained again.
        isolate: whether each cell gets a process below the worker's.
    """

    def __init__(self, retry: bool, isolate: bool):
        self.retry, self.isolate = retry, isolate
        self.sweep = os.getpid()
        self.watching = 0
        self.disk_full: NoSpace | None = None
        self.left: set[str] = set()  # cells that were too many for their pack, if this task ran in the sweep's process

    def __call__(self, composed: DictConfig) -> str:
        """Train the cells that `+cell=<id>,<id>` names; returns how they ended."""
        if self.disk_full is not None:
            return "planned"
        self.watch_sweep()
        directory, cell_ids = Path(HydraConfig.get().sweep.dir), composed[CELL_KEY].split(BETWEEN)
        try:
            if not self.isolate:
                ends = train_cells(directory, cell_ids, retry=self.retry)
                self.left |= {cell_id for cell_id, end in ends.items() if end == "left"}
                return ", ".join(ends.values())
            return self.in_child(directory, cell_ids[0])
        except NoSpace as fault:
            self.disk_full = fault
            raise
        except Interrupted as event:
            if self.watching == os.getpid() and os.getppid() != self.sweep:
                os._exit(128 + event.signum)  # the launcher's worker would wait for more work, and nobody is there
            raise

    def in_child(self, directory: Path, cell_id: str) -> str:
        """Train the cell in a process below this one, unless somebody is at it."""
        pool, cell = worker_pool(directory, self.retry), read_cell(directory, cell_id)[1]
        if pool.liveness.is_held(directory / cell_id):
            return "busy"
        pool.run([cell])
        return cell_status(directory, cell, pool.liveness).status

    def watch_sweep(self) -> None:
        """End a worker whose sweep has died: some launchers' workers would go on with the queue for ever."""
        if os.getppid() == self.sweep and self.watching != os.getpid():
            self.watching = os.getpid()
            watch_parent(self.sweep)
