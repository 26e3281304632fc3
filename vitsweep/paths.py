"""Locations of the project's own files, in a checkout, an editable install or a wheel."""

import sys
from importlib import import_module
from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parent
PLAN_NAME = "plan.json"
"""File of a sweep's directory with its frozen study."""


def conf_dir() -> Path:
    """Return the folder of config groups: `vitsweep/conf` in a wheel, `conf` beside the package in a checkout.

    Raises:
        FileNotFoundError: neither exists; the installation is damaged.
    """
    for folder in (PACKAGE_DIR / "conf", PACKAGE_DIR.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no conf/config.yaml in or beside {PACKAGE_DIR}; reinstall vitsweep")


def add_plugin_path() -> None:
    """Append the folder that holds `hydra_plugins` to sys.path, so that Hydra finds the sweeper.

    Hydra 1.3 scans `hydra_plugins.__path__`, which editable installs hide; one path entry works in every install. The
    folder is also added to a `hydra_plugins` with an `__init__.py`, which other plugins may bring.
    """
    folder = str(PACKAGE_DIR / "_plugins")
    if folder not in sys.path:
        sys.path.append(folder)
    plugins = import_module("hydra_plugins")
    if str(PACKAGE_DIR / "_plugins/hydra_plugins") not in plugins.__path__:
        plugins.__path__.append(str(PACKAGE_DIR / "_plugins/hydra_plugins"))
