"""Imports obey the house: a module imports only from floors above its own, or on its floor from names to its left."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = [
    ["errors", "paths"],
    ["naming", "design", "config", "record", "study", "plan", "locks", "standing"]
    + ["convolutions", "cost", "power", "packs", "estimate", "stop"],
    ["device", "seeding", "augment", "posemb", "cpu_ops", "layers", "patchify"],
    ["images", "cache", "folders", "official", "sources", "shapes", "data", "vit", "resnet", "models"]
    + ["optim", "checkpoint", "progress"]
    + ["wandb_client", "wandb_file", "wandb_mode", "wandb_run", "wandb_back", "track", "wandb_piece", "wandb_sync"],
    ["evaluate", "compiled"],
    ["step", "train", "pack_dropout", "pack", "standins", "effects", "noop", "probe", "pack_size"],
    ["complaints", "study_file", "choices", "template", "compose", "planner", "work", "nursery", "isolate", "job"]
    + ["frozen", "board", "status", "reset", "prune", "extend", "cli", "price", "reproduce"]
    + ["wandb_study", "wandb_space", "wandb_sweep", "wandb_cell", "wandb_panels", "wandb_dashboard", "__main__"],
]
PLACE = {name: (floor, place) for floor, names in enumerate(FLOORS) for place, name in enumerate(names)}
MAY_ANALYSIS_IMPORT = {"record", "study", "cost", "power", "paths", "errors", "config", "wandb_back", "wandb_mode"}
ROLLOUT_SIDE = {"vit", "models", "checkpoint", "data", "augment", "seeding"}
LIGHT = [
    "vitsweep.cli",
    "vitsweep.commands.plan",
    "vitsweep.run.progress_table",
    "vitsweep.config.composer",
    "vitsweep.run.hydra_task",
    "vitsweep.study.power",
    "vitsweep.analysis.records.load",
]


def imported(path: Path, package: str) -> set[str]:
    """The modules of `package` that a file imports, anywhere in it, also under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            parts = node.module.split(".")
            if parts[0] == package:
                found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith(f"{package}.")}
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "vitsweep").glob("*.py")), ids=lambda p: p.stem)
def test_vitsweep_imports_only_upwards(path):
    if path.stem == "__init__":
        return
    assert path.stem in PLACE, f"give {path.name} a floor"
    lower = {name for name in imported(path, "vitsweep") if name in PLACE and PLACE[name] >= PLACE[path.stem]}
    # `train` and torch come late into cli, which is below everything anyway.
    assert not lower, f"{path.stem} imports {sorted(lower)}"


@pytest.mark.parametrize("path", sorted((ROOT / "vitsweep").rglob("*.py")), ids=lambda p: p.stem)
def test_vitsweep_never_imports_analysis(path):
    assert not imported(path, "analysis")


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").rglob("*.py")), ids=lambda p: p.stem)
def test_analysis_imports_records_and_nothing_that_trains(path):
    allowed = MAY_ANALYSIS_IMPORT | ROLLOUT_SIDE
    assert imported(path, "vitsweep") <= allowed


@pytest.mark.parametrize("module", LIGHT)
def test_module_starts_without_torch_and_wandb(module):
    check = f"import sys, {module}; sys.exit(bool({{'torch', 'wandb'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT).returncode == 0
