"""Import paths of version 0.1 give today's objects, from a checkout and from another folder."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OLD = [
    ("from vitsweep.vit import ViT", "vitsweep.model.vit", "ViT"),
    ("from vitsweep import load_model", "vitsweep.train.checkpoint", "load_model"),
    ("from vitsweep.record import read_record", "vitsweep.study.record", "read_record"),
    ("from analysis.load import load", "vitsweep.analysis.records.load", "load"),
    ("from analysis.callback import ReportAtTheEnd", "vitsweep.analysis.callback", "ReportAtTheEnd"),
]


def run(code: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("line, module, name", OLD)
def test_old_import_gives_the_same_object(line, module, name, tmp_path):
    code = f"import vitsweep; {line}; import {module} as new; assert {name} is new.{name}; assert new.__spec__.name == {module!r}"
    for cwd in (ROOT, tmp_path):
        done = run(code, cwd)
        assert done.returncode == 0, done.stderr


def test_script_in_a_checkout_needs_no_other_import():
    assert run("from analysis.load import load; import analysis.rollout", ROOT).returncode == 0


def test_users_own_module_of_that_name_wins(tmp_path):
    (tmp_path / "analysis.py").write_text("mine = 1")
    assert run("import vitsweep, analysis; assert analysis.mine == 1", tmp_path).returncode == 0


def test_unknown_name_is_an_import_error(tmp_path):
    done = run("import vitsweep.no_such_room", tmp_path)
    assert done.returncode == 1 and "No module named 'vitsweep.no_such_room'" in done.stderr
