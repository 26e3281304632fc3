"""The wheel carries what a sweep needs and runs from any folder; the checkout's door does too."""

import os
import runpy
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """A folder with the source distribution, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def wheel(dist) -> Path:
    (built,) = dist.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel's content in a folder of its own, which comes before the checkout on the path."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(command: list[str], cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_wheel_has_every_config_file_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    ours = {f"vitsweep/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert ours <= set(names)
    assert "vitsweep/run/sweep.py" in names
    assert not [name for name in names if name.startswith("tests/")]


def test_source_distribution_has_what_the_tests_read(dist):
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    folders = (".ci", "analysis", "conf", "docs", "tests", "vitsweep")
    files = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    ours = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert ours | {"run.py", "pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= names


def test_wheel_has_the_analysis_templates(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    folder = ROOT / "analysis" / "report" / "templates"
    ours = {f"vitsweep/{path.relative_to(ROOT)}" for path in folder.rglob("*") if path.is_file()}
    assert ours and ours <= set(names)


def test_entry_point_gives_the_sweeper_in_any_program(installed, tmp_path):
    code = (
        "from importlib.metadata import distributions\n"
        f"(ours,) = distributions(name='vitsweep', path=[{str(installed)!r}])\n"
        "(point,) = ours.entry_points.select(group='hydra.plugins')\n"
        "loaded = point.load()\n"
        "print(loaded.__module__, loaded.__qualname__)"
    )
    done = run([sys.executable, "-W", "error", "-c", code], tmp_path, installed)
    assert done.stdout.split() == ["hydra_plugins.vitsweep_sweeper", "VitsweepSweeper"], done.stderr


@pytest.mark.parametrize("names", [["neighbor.py"], ["neighbor.py", "__init__.py"]], ids=["namespace", "package"])
def test_sweeper_is_found_beside_another_plugin(tmp_path, names):
    (tmp_path / "site/hydra_plugins").mkdir(parents=True)
    for name in names:
        (tmp_path / "site/hydra_plugins" / name).touch()
    (tmp_path / "site/hydra_plugins/neighbor.py").write_text(
        "from hydra.core.config_store import ConfigStore\n"
        "ConfigStore.instance().store(group='hydra/launcher', name='neighbor', node={'_target_': 'neighbor'})\n"
    )
    done = run([sys.executable, str(ROOT / "run.py"), "--hydra-help"], tmp_path, tmp_path / "site")
    groups = {line.split(": ")[0]: line.split(": ")[1] for line in done.stdout.splitlines() if ": " in line}
    assert "neighbor" in groups["hydra/launcher"] and "vitsweep" in groups["hydra/sweeper"]


def test_checkout_runs_from_another_folder(tmp_path, tiny, monkeypatch):
    """In this process; tests/train/test_fit.py starts run.py in others."""
    monkeypatch.setattr(sys, "argv", ["run.py", *tiny, "recipe.epochs=1"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    assert ended.value.code == 0
    assert list(tmp_path.glob("outputs/single/*/record.json"))


@pytest.fixture
def crowded(tmp_path) -> Path:
    """A working folder of a user whose own modules and folders have our names and print when they are imported."""
    for name in ("analysis", "tests", "conf"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"print('imported: {name}')\n")
    (tmp_path / "conf/config.yaml").write_text("mine: true\n")
    (tmp_path / "run.py").write_text("print('imported: run')\n")
    return tmp_path


@pytest.mark.parametrize("place", [pytest.param("checkout", marks=pytest.mark.slow), "wheel"])  # 36 s each
def test_sweep_report_and_verify_run_beside_a_users_own_analysis_tests_and_conf(crowded, installed, tiny, place):
    path = installed if place == "wheel" else ROOT
    code = "import vitsweep.cli as c; print(c.__file__, c.conf_dir())"
    places = f"{path}/vitsweep/cli.py {path}/{'vitsweep/' if place == 'wheel' else ''}conf\n"
    assert run([sys.executable, "-c", code], crowded, path).stdout == places
    commands = [
        ["-m", "vitsweep", "run", "-m", "seed=0,1", *tiny, "recipe.epochs=1", "hydra.sweep.dir=outputs/seed"],
        ["-m", "vitsweep.analysis", "report", "outputs/seed", "--gallery", "none"],
        ["-m", "vitsweep.analysis", "verify", "outputs/seed"],
    ]
    for command in commands if place == "wheel" else commands[::2]:  # verify makes the report again, too
        done = run([sys.executable, *command], crowded, path)
        assert done.returncode == 0, done.stderr
        assert "imported:" not in done.stdout + done.stderr
    assert (crowded / "outputs/seed/report/index.html").exists()


def test_help_needs_neither_torch_nor_wandb(tmp_path):
    code = (
        "import sys; from vitsweep.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'wandb', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    assert run([sys.executable, "-c", code, "--help"], tmp_path).returncode == 0
    assert run([sys.executable, "-c", code, "--cfg", "job"], tmp_path).returncode == 0


def test_readme_commands_are_the_ones_that_ci_runs():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci/run").read_text()
    assert "<!-- the test command -->" in readme and "<!-- the test command -->" in ci
