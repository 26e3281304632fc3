"""Import paths of version 0.1 give today's objects, from a checkout and from another folder."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLD = [
    ("vitsweep.record", "vitsweep.study.record", "read_record"),
    ("analysis.load", "vitsweep.analysis.records.load", "load"),
]
OLD_WITH_TORCH = [
    ("vitsweep.vit", "vitsweep.model.vit", "ViT"),
    ("vitsweep", "vitsweep.train.checkpoint", "load_model"),
    ("analysis.rollout", "vitsweep.analysis.attention.rollout", "rollout"),
]
CHECK = """
for old, new, name in {}:
    module = import_module(new)
    assert getattr(import_module(old), name) is getattr(module, name), old
    assert module.__spec__.name == new, module.__spec__
"""


def run(code: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)


def test_old_imports_give_todays_objects(tmp_path):
    done = run("import vitsweep; from importlib import import_module" + CHECK.format(OLD), tmp_path)
    assert done.returncode == 0, done.stderr


def test_old_imports_that_need_torch_give_todays_objects():
    """In this process, which has imported torch."""
    exec(CHECK.format(OLD_WITH_TORCH), {"import_module": import_module})


def test_script_in_a_checkout_needs_no_other_import():
    done = run("from analysis.load import load; from analysis.callback import ReportAtTheEnd", ROOT)
    assert done.returncode == 0, done.stderr


def test_users_own_module_of_that_name_wins(tmp_path):
    (tmp_path / "analysis.py").write_text("mine = 1")
    assert run("import vitsweep, analysis; assert analysis.mine == 1", tmp_path).returncode == 0


def test_unknown_name_is_an_import_error(tmp_path):
    done = run("import vitsweep.no_such_room", tmp_path)
    assert done.returncode == 1 and "No module named 'vitsweep.no_such_room'" in done.stderr
