"""wandb's temporary files: obeys (nothing stays, neither of a process that ends nor of one that is killed)."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.wandb_cells import make_record, run_cell
from tests.support.wandb_fixtures import no_account, own_server  # noqa: F401
from vitsweep.tracking.client import release_service
from vitsweep.tracking.sync import sync
from vitsweep.tracking.temporary import LONGEST_PATH, own_temporary_folder, remove_folder, remove_stale_folders

ROOT = Path(__file__).parents[2]


@pytest.fixture
def system(monkeypatch):
    """A system's temporary folder, short enough for the path of a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def run_process(cell: Path, end: str) -> None:
    """Play a cell in a process of its own."""
    command = [sys.executable, "-m", "tests.support.wandb_cells", str(cell), f'end="{end}"', "seconds=0.2"]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_a_process_that_ends_leaves_nothing(system, tmp_path):
    run_process(tmp_path / "cell", "done")
    assert list(system.iterdir()) == []


@pytest.mark.parametrize("home", [None, "/proc/nowhere"], ids=["unset", "unwritable"])
def test_a_missing_home_folder_is_no_noise_and_leaves_nothing(system, tmp_path, home):
    environment = {n: v for n, v in os.environ.items() if n not in ("HOME", "XDG_CACHE_HOME", "WANDB_CACHE_DIR")}
    environment |= {"PYTHONPATH": str(ROOT), "WANDB_DIR": str(tmp_path)} | ({"HOME": home} if home else {})
    command = [sys.executable, "-m", "tests.support.wandb_cells", str(tmp_path / "cell"), 'end="done"']
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(system.iterdir()) == [] and not (tmp_path / ".wandb_cache").exists()


def test_files_of_a_killed_process_are_in_one_folder_that_the_next_removes(system, tmp_path):
    run_process(tmp_path / "cell", "sigkill")
    left = list(system.iterdir())
    assert [path.name.startswith("vitsweep-wandb-") for path in left] == [True]
    assert any("wandb-media" in path.name for path in left[0].iterdir())
    remove_stale_folders()
    assert list(system.iterdir()) == []


def test_sync_leaves_nothing(server, system, tmp_path):
    run_cell(tmp_path / "cell", make_record())
    release_service()
    before = set(system.iterdir())
    assert sync(tmp_path) == 0
    assert set(system.iterdir()) == before


def test_folder_of_a_live_process_stays(system):
    with own_temporary_folder():
        folder = Path(tempfile.gettempdir())
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(system)
    remove_stale_folders()
    assert folder.exists()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # of Python 3.12, with wandb's threads
def test_a_fork_leaves_its_parents_folder(system):
    with own_temporary_folder():
        folder = Path(tempfile.gettempdir())
    if (child := os.fork()) == 0:
        remove_folder(os.getppid())
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.exists()
    remove_folder(os.getpid())
    assert not folder.exists()


def test_a_folder_too_deep_for_sockets_is_left_to_wandb(monkeypatch, tmp_path):
    from vitsweep.tracking import temporary

    deep = tmp_path / ("d" * LONGEST_PATH)
    deep.mkdir()
    monkeypatch.setattr(temporary, "_folders", {})
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with own_temporary_folder():
        assert tempfile.gettempdir() == str(deep)
    assert list(deep.iterdir()) == []
