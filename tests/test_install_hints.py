"""Commands that install what is missing. Kinds: says the right words, agrees with pyproject.toml."""

import signal
import sys
import tomllib
from pathlib import Path

import pytest

from vitsweep import paths
from vitsweep.config.messages import EXTRAS
from vitsweep.config.schema import TRACKERS
from vitsweep.paths import install_command
from vitsweep.study.tuning.search import EXTRA
from vitsweep.train.stop import Interrupted

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def own_pip(monkeypatch):
    """This environment's pip comes first on the path."""
    monkeypatch.setattr("shutil.which", lambda name: str(Path(sys.executable).parent / name))


def test_hint_of_a_checkout_installs_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert install_command("slurm") == "pip install -e '.[slurm]'"


def test_hint_in_another_folder_names_the_checkout():
    assert install_command("slurm") == f"pip install -e '{ROOT}[slurm]'"


def test_hint_of_a_wheel_names_the_distribution(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "PACKAGE_DIR", tmp_path / "site-packages/vitsweep")
    assert install_command("slurm") == "pip install 'vitsweep[slurm]'"


def test_pip_of_another_environment_is_not_named(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/pip" if name == "pip" else None)
    assert install_command("slurm").startswith(f"{sys.executable} -m pip install")


def test_every_extra_that_a_message_names_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {*EXTRAS.values(), *(set(TRACKERS) - {"wandb"}), EXTRA, "schedulefree", "dashboards", "notebook"}
    assert named <= extras.keys()


def test_ctrl_c_is_an_interrupt_by_the_user():
    assert str(Interrupted(signal.SIGINT)) == "interrupted by the user (Ctrl-C)"
    assert str(Interrupted(signal.SIGTERM)) == "stopped by SIGTERM"
