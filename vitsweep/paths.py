"""Locations of the project's own files, in a checkout, an editable install or a wheel."""

import shlex
import shutil
import sys
from importlib import import_module
from importlib.util import find_spec
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


def install_command(extra: str) -> str:
    """Return the command that installs an extra of vitsweep here, from a checkout or beside an installed wheel."""
    if not (PACKAGE_DIR.parent / "pyproject.toml").is_file():
        return f"{pip_command()} install {shlex.quote(f'vitsweep[{extra}]')}"
    checkout = "." if Path.cwd() == PACKAGE_DIR.parent else str(PACKAGE_DIR.parent)
    return f"{pip_command()} install -e {shlex.quote(f'{checkout}[{extra}]')}"


def pip_command() -> str:
    """Return `pip` where that is this environment's, else the command that calls its pip, or uv for one without pip."""
    beside = Path(sys.executable).parent
    found = shutil.which("pip")
    if found and Path(found).parent == beside:
        return "pip"
    if find_spec("pip") is None and shutil.which("uv"):
        return "uv pip"
    return f"{shlex.quote(sys.executable)} -m pip"
