"""One command line: obeys (old spellings reach the same modules, nothing heavy is imported), refuses unknown names."""

import subprocess
import sys
from importlib import import_module

import pytest

import vitsweep
from vitsweep.__main__ import COMMANDS, TASKS, console, main, split_name

HEAVY = "{'torch', 'numpy', 'wandb', 'matplotlib', 'hydra'} & set(sys.modules)"


@pytest.fixture
def door(monkeypatch, capsys):
    """`vitsweep ...` in this process: exit code, output, error output."""

    def call(*words: str, start=main) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["vitsweep", *words])
        return start(), *capsys.readouterr()

    return call


@pytest.fixture
def called(monkeypatch):
    """Arguments with which modules of commands are called in place of their work."""
    calls: list = []
    for module in ("vitsweep.commands.status", "vitsweep.analysis.__main__", "vitsweep.commands.wandb.cell"):
        monkeypatch.setattr(f"{module}.main", lambda words, module=module: calls.append((module, words)) or 0)
    monkeypatch.setattr("vitsweep.cli.main", lambda: calls.append(("vitsweep.cli", sys.argv[1:])) or 0)
    return calls


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_a_module_with_main(name):
    assert callable(import_module(COMMANDS[name].module).main)


def test_help_has_one_line_for_each_command_and_fits_a_terminal(door):
    code, out, err = door("--help")
    lines = out.splitlines()
    names = [name for group in TASKS.values() for name in group]
    assert (code, err) == (0, "")
    assert [line.startswith(f"  {n} ") for n in names for line in lines].count(True) == len(names)
    assert max(map(len, lines)) <= 100


def test_version_is_vitsweeps_own(door):
    assert door("--version") == (0, f"vitsweep {vitsweep.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "module", "arguments"),
    [
        (["status", "DIR"], "vitsweep.commands.status", ["DIR"]),
        (["report", "DIR", "--gallery", "none"], "vitsweep.analysis.__main__", ["report", "DIR", "--gallery", "none"]),
        (["wandb", "cell", "--", "seed=1"], "vitsweep.commands.wandb.cell", ["--", "seed=1"]),
        (["run", "-m", "seed=0,1"], "vitsweep.cli", ["-m", "seed=0,1"]),
        (["-m", "model.patch_size=4,8"], "vitsweep.cli", ["-m", "model.patch_size=4,8"]),
        (["seed=1"], "vitsweep.cli", ["seed=1"]),
        (["~hydra.callbacks.report"], "vitsweep.cli", ["~hydra.callbacks.report"]),
        (["--cfg", "job"], "vitsweep.cli", ["--cfg", "job"]),
        (["run"], "vitsweep.cli", []),
    ],
)  # fmt: skip
def test_command_reaches_its_module_with_its_words(door, called, words, module, arguments):
    assert door(*words)[0] == 0
    assert called == [(module, arguments)]


def test_installed_program_without_words_trains_the_starting_configuration(door, called):
    door(start=console)
    assert called == [("vitsweep.cli", [])]


def test_module_without_words_prints_the_commands_and_is_an_error(door):
    code, out, err = door()
    assert (code, out) == (2, "") and "usage: vitsweep COMMAND" in err


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["statis"], "did you mean status?"),
        (["reprot", "DIR"], "did you mean report?"),
        (["wandb", "snyc"], "did you mean wandb sync?"),
        (["wandb"], "allowed: wandb sync, wandb sweep, wandb dashboard"),
        (["xyzzy"], "vitsweep --help lists the commands"),
    ],
)
def test_unknown_command_is_one_sentence_with_the_nearest_name(door, words, near):
    code, out, err = door(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert near in err


def test_error_of_the_analysis_is_one_sentence(door, tmp_path):
    code, _, err = door("report", str(tmp_path / "missing"))
    assert code == 2 and "missing" in err.splitlines()[-1] and "Traceback" not in err  # behind lines of progress


@pytest.mark.parametrize("name", ["status", "extend", "reset", "prune"])
def test_help_of_a_command_prints_its_usage(door, name):
    code, out, _ = door(name, "--help")
    assert code == 0 and out.startswith(f"usage: vitsweep {name} DIR")


def test_name_of_two_words_comes_before_one():
    assert split_name(["wandb", "sync", "DIR"]) == ("wandb sync", ["DIR"])


def test_help_and_unknown_names_import_nothing_heavy():
    code = (
        "import sys; from vitsweep.__main__ import main\n"
        "for words in (['--help'], ['statis'], ['--version']):\n"
        f"    sys.argv = ['vitsweep', *words]; main(); assert not {HEAVY}, {HEAVY}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_of_run_imports_neither_numpy_nor_torch():
    """scipy, with numpy, took half of the time of `run.py --help` for a table that it does not print."""
    code = (
        "import sys; sys.argv = ['run.py', '--help']; from vitsweep.cli import main; main()\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pandas', 'wandb'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
