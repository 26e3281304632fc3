"""What a launcher gets in place of Hydra's configuration loader: a job gets what was composed at the start.

Hydra's launchers compose each job anew, in the worker, from the YAML files as they are then. Here only the cell's id is
put in, and the cell itself is read from plan.json. Lies in the package, not beside the plugin, so that workers can
unpickle it.
"""

import copy
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

CELL_KEY = "cell"


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
            config.hydra.sweep.subdir = cell
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
