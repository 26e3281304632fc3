"""`hydra/sweeper=vitsweep`: a thin class, since Hydra imports it at every start. The work is in vitsweep.run.sweep."""

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


ConfigStore.instance().store(
    group="hydra/sweeper", name="vitsweep", node=VitsweepSweeperConf, provider="vitsweep_sweeper"
)


class VitsweepSweeper(Sweeper):
    """Plans, checks, runs what is missing, and goes on past failures."""

    def __init__(self) -> None:
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before `sweep`."""
        self.config, self.hydra_context, self.task_function = config, hydra_context, task_function

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep that the overrides describe."""
        from vitsweep.run.sweep import sweep

        assert self.config is not None and self.hydra_context is not None and self.task_function is not None
        return sweep(self.config, self.hydra_context, self.task_function, arguments)
