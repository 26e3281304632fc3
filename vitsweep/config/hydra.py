"""Registration of the schema with Hydra, and Hydra's configuration loader."""

from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from vitsweep.config.overrides import single_name, sweep_name
from vitsweep.config.schema import Config
from vitsweep.errors import ConfigError
from vitsweep.paths import add_plugin_path, conf_dir

SCHEMA = "vitsweep_schema"


def register() -> None:
    """Register schema, resolvers and plugin folder with Hydra and OmegaConf; a second call changes nothing."""
    add_plugin_path()
    ConfigStore.instance().store(name=SCHEMA, node=Config, provider="vitsweep")
    resolvers: dict[str, Any] = {
        "vitsweep.run_dir": lambda overrides: str(Path("outputs/single", single_name(list(overrides)))),
        "vitsweep.sweep_dir": lambda name, overrides: str(Path("outputs", name or sweep_name(list(overrides)))),
        "vitsweep.mode": lambda name: "MULTIRUN" if name else None,
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def make_loader(config_dir: str | None) -> ConfigLoader:
    """Make Hydra's configuration loader for conf/ and, if given, a folder of the user.

    Raises:
        ConfigError: the folder does not exist.
    """
    register()
    search_path = create_config_search_path(str(conf_dir()))
    if config_dir is not None:
        folder = Path(config_dir).absolute()
        if not folder.is_dir():
            raise ConfigError([f"--config-dir={config_dir}  is not a folder; name one that holds study/<name>.yaml"])
        search_path.append("command-line", f"file://{folder}", anchor="main")
    GlobalHydra.instance().clear()
    try:
        return Hydra.create_main_hydra2(task_name="plan", config_search_path=search_path).config_loader
    finally:
        GlobalHydra.instance().clear()
