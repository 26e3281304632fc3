"""Hydra plugin for `hydra/sweeper=vitsweep`; thin, since Hydra imports it at every start (see run/sweep.py)."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class VitsweepSweeperConf:
    """Hydra's configuration node of the sweeper."""

    _target_: str = "hydra_plugins.vitsweep_sweeper.VitsweepSweeper"
    params: Any = None
    """Hydra's sweep of a configuration file: read only to answer with the command line to write."""


ConfigStore.instance().store(
    group="hydra/sweeper", name="vitsweep", node=VitsweepSweeperConf, provider="vitsweep_sweeper"
)


class VitsweepSweeper(Sweeper):
    """Sweeper that plans and checks all cells, trains what is missing and continues after failures."""

    def __init__(self, params: Any = None) -> None:
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra passes before it calls `sweep`."""
        self.config, self.hydra_context, self.task_function = config, hydra_context, task_function

    def sweep(self, arguments: list[str]) -> Any:
        """Train the cells that the overrides describe and return their statuses."""
        from vitsweep.run.sweep import run_sweep

        assert self.config is not None and self.hydra_context is not None and self.task_function is not None
        return run_sweep(self.config, self.hydra_context, self.task_function, arguments)
