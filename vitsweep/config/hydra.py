"""Registration of the schema with Hydra, and Hydra's configuration loader."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from vitsweep.config.overrides import (
    fixed_overrides,
    is_swept,
    override_key,
    single_name,
    sweep_name,
    swept_keys_name,
)
from vitsweep.config.schema import Config
from vitsweep.errors import ConfigError
from vitsweep.paths import PLAN_NAME, add_plugin_path, conf_dir

SCHEMA = "vitsweep_schema"
IS_HYDRA_13 = hydra.__version__.startswith("1.3.")
VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if IS_HYDRA_13 else {}  # 1.4 deprecates the argument


def main_options() -> dict[str, Any]:
    """Return the arguments of `hydra.main` that differ between Hydra 1.3 and 1.4.

    A configuration names callbacks, launchers and log handlers, and is as trusted as the code; 1.4 asks for that word.
    """
    if IS_HYDRA_13:
        return VERSION_BASE
    from hydra.utils import UNSAFE_DISABLE_EXECUTION_CHECKS  # type: ignore[attr-defined]  # new in 1.4

    return {"execution_whitelist": UNSAFE_DISABLE_EXECUTION_CHECKS}


def register() -> None:
    """Register schema, resolvers and plugin folder with Hydra and OmegaConf; a second call changes nothing."""
    add_plugin_path()
    store = ConfigStore.instance()
    if f"{SCHEMA}.yaml" not in store.list(""):  # Hydra 1.4 warns of a second registration
        store.store(name=SCHEMA, node=Config, provider="vitsweep")
    resolvers: dict[str, Any] = {
        "vitsweep.run_dir": lambda overrides: str(Path("outputs/single", single_name(list(overrides)))),
        "vitsweep.sweep_dir": sweep_dir,
    }
    register_resolver: Any = OmegaConf.register_new_resolver if IS_HYDRA_13 else OmegaConf.register_resolver
    for name, function in resolvers.items():
        register_resolver(name, function, replace=True)


def sweep_dir(name: str | None, overrides: Sequence[str], option: str | None = None) -> str:
    """Return the directory of a sweep: outputs/<its sweep_name>, or where an earlier version has begun it.

    Args:
        name: the study's, if there is one.
        overrides: of the command line.
        option: the study's file.
    """
    study, words = str(name or str(option or "").rpartition("/")[2]), list(overrides)
    own, earlier = (Path("outputs", text) for text in (sweep_name(words, study), study or swept_keys_name(words)))
    return str(earlier if own != earlier and not own.exists() and is_begun(earlier, words, bool(study)) else own)


def is_begun(directory: Path, overrides: Sequence[str], is_study: bool) -> bool:
    """Return whether a directory, named as earlier versions did, has the plan of the sweep with these overrides.

    Plans have the overrides of each cell: of a plain sweep those of the command line, of a study its file's too.
    """
    try:
        cell = json.loads((directory / PLAN_NAME).read_text(encoding="utf-8"))["cells"][0]
        swept = {override_key(o) for o in overrides if is_swept(o)}
        there = {o for o in fixed_overrides(cell["overrides"]) if override_key(o) not in swept}
    except (OSError, ValueError, LookupError, TypeError):
        return False
    now = {o for o in fixed_overrides(overrides) if override_key(o) not in swept}
    return now <= there if is_study else now == there


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
        search_path.append("command-line", f"file://{folder}", anchor=SearchPathQuery("main", None))
    GlobalHydra.instance().clear()
    try:
        return Hydra.create_main_hydra2(task_name="plan", config_search_path=search_path).config_loader
    finally:
        GlobalHydra.instance().clear()
