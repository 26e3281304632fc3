"""Imports obey the rooms: a room imports only ground files and rooms that come before it; no circle, no side door."""

import ast
import subprocess
import sys

import pytest

from tests.support.imports import ROOT, imports_of, python_files, room_of

GROUND = {"added_fields", "errors", "files", "old_imports", "paths", "public", "seeding"}
ROOMS = ["config", "data", "model", "significance", "study", "tracking", "train", "run", "commands"]
STRANGERS = {("data", "model"), ("model", "data"), ("tracking", "model"), ("tracking", "data")}
"""Rooms that come one after the other and do not know each other all the same."""
ANALYSIS_GROUND = {"labels", "marks", "progress", "style", "text", "units"}
ANALYSIS_ROOMS = ["records", "attention", "statistics", "gallery", "report", "api"]
ANALYSIS_MAY_IMPORT = {"config", "significance", "study", "tracking", *GROUND}
TORCH_ROOMS = {"model", "data", "train"}
MAY_IMPORT = {"attention": TORCH_ROOMS, "gallery": TORCH_ROOMS, "api": TORCH_ROOMS | {"run", "cli"}}
"""Room of analysis -> what it may import of vitsweep beside ANALYSIS_MAY_IMPORT; the API is above the command line."""
LIGHT = [
    "vitsweep.cli",
    "vitsweep.commands.plan",
    "vitsweep.run.progress_table",
    "vitsweep.run.hydra_task",
    "vitsweep.config.composer",
    "vitsweep.significance.power",
    "vitsweep.analysis.records.load",
    "vitsweep.analysis.gallery.gallery",
]
FOLDERS = [*(f"vitsweep/{room}" for room in ROOMS), *(f"analysis/{room}" for room in ANALYSIS_ROOMS)]
MAX_FILES_IN_A_ROOM = 12
MAX_LINES_IN_A_FILE = 400
MAX_LINES_IN_A_FUNCTION = 60
LONG = {"vitsweep/train/fit.py:fit": 100}
"""The training loop, which is read from top to bottom."""


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_ground_and_earlier_rooms(room):
    allowed = GROUND | set(ROOMS[: ROOMS.index(room) + 1]) - {b for a, b in STRANGERS if a == room}
    found = {
        (path.name, target)
        for path in python_files(f"vitsweep/{room}")
        for target in (room_of(name) for name in imports_of(path))
        if target and target not in allowed
    }
    assert not found


def test_ground_files_import_only_ground():
    found = {
        (name, target)
        for name in GROUND
        for target in (room_of(module) for module in imports_of(ROOT / "vitsweep" / f"{name}.py"))
        if target and target not in GROUND
    }
    assert not found


def test_no_command_imports_another():
    modules = {
        path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in python_files("vitsweep/commands")
    }
    commands = {name for path, name in modules.items() if "def main(" in path.read_text()}
    found = {(name, target) for path, name in modules.items() for target in commands & imports_of(path) - {name}}
    assert commands and not found


def test_vitsweep_never_imports_analysis():
    """The package's own file names the public objects for type checkers; tests/api tests that it imports nothing."""
    files = set(python_files("vitsweep")) - {ROOT / "vitsweep/__init__.py"}
    imports = {(str(path.relative_to(ROOT)), name) for path in files for name in imports_of(path)}
    assert not {(path, name) for path, name in imports if name.removeprefix("vitsweep.").split(".")[0] == "analysis"}


@pytest.mark.parametrize("room", ANALYSIS_ROOMS)
def test_analysis_room_imports_only_earlier_rooms_and_what_it_may_of_vitsweep(room):
    earlier = ANALYSIS_GROUND | set(ANALYSIS_ROOMS[: ANALYSIS_ROOMS.index(room) + 1])
    ours = ANALYSIS_MAY_IMPORT | MAY_IMPORT.get(room, set())
    for path in python_files(f"analysis/{room}"):
        names = imports_of(path)
        inside = {name.split(".")[2] for name in names if name.startswith("vitsweep.analysis.")}
        assert inside <= earlier, path
        assert {room_of(name) for name in names} - {None, "analysis"} <= ours, path


@pytest.mark.parametrize(
    "folder", [*(f"vitsweep/{room}" for room in ROOMS), *(f"analysis/{r}" for r in ANALYSIS_ROOMS)]
)
def test_room_is_small_and_says_what_it_is_for(folder):
    files = [path for path in python_files(folder) if path.name != "__init__.py" and path.parent == ROOT / folder]
    assert len(files) <= MAX_FILES_IN_A_ROOM
    text = (ROOT / folder / "__init__.py").read_text()
    assert text.startswith('"""') and 2 <= len(text.strip().splitlines()) <= 8


def test_files_are_short():
    lines = {path: len(path.read_text().splitlines()) for path in python_files("vitsweep", "analysis")}
    assert not {str(path): count for path, count in lines.items() if count > MAX_LINES_IN_A_FILE}


def test_functions_are_short():
    lines = {
        f"{path.relative_to(ROOT)}:{f.name}": f.end_lineno - f.lineno + 1
        for path in python_files("vitsweep", "analysis")
        for f in ast.walk(ast.parse(path.read_text()))
        if isinstance(f, ast.FunctionDef)
    }
    assert not {name: n for name, n in lines.items() if n > LONG.get(name, MAX_LINES_IN_A_FUNCTION)}


def test_status_starts_without_numpy():
    check = "import sys, vitsweep.commands.status; assert 'numpy' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_light_modules_start_without_torch_and_wandb():
    """One after another in one process, which ends at the first that imports one of them."""
    check = (
        f"import importlib, sys\nfor name in {LIGHT}:\n    importlib.import_module(name)\n"
        "    heavy = {'torch', 'wandb'} & set(sys.modules)\n    assert not heavy, f'{name} imports {heavy}'"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
