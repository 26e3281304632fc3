"""A sweep directory of an earlier version goes on working: nothing is trained again, every command reads it."""

import shutil
from pathlib import Path

import pytest
from vitsweep.analysis.__main__ import main as analysis_main

from tests.study.test_reference import CELLS, OVERRIDES, REFERENCE, SWEEP
from vitsweep.commands import extend, reproduce, status
from vitsweep.study.plan import read_plan
from vitsweep.study.record import read_record


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the earlier version's sweep directory."""
    return Path(shutil.copytree(SWEEP, tmp_path / "sweep"))


@pytest.mark.parametrize("place", ["sweep", "another place"])
def test_same_command_trains_nothing(old, tmp_path, vitsweep_main, place):
    old = old.rename(tmp_path / place)
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    words = ["--config-dir", str(REFERENCE / "conf"), "-m", *OVERRIDES, "~hydra.callbacks.report"]
    code, _, err = vitsweep_main(*words, f"hydra.sweep.dir='{old}'")
    assert code == 0, err
    after = {path: path.read_bytes() for path in old.rglob("*") if path.is_file() and path in before}
    assert after == before


def test_extend_adds_cells_of_further_seeds_only(old):
    assert extend.main([str(old), "seeds=3", "--plan"]) == 0
    plan = read_plan(old)
    assert len(plan.cells) == len(CELLS) * 3 // 2
    assert {cell.id for cell in plan.cells if (old / cell.id).exists()} == set(CELLS)


@pytest.mark.parametrize("cell", CELLS[:: len(CELLS) // 4])
def test_reproduce_prints_the_command(cell, capsys):
    assert reproduce.main([str(SWEEP / cell)]) == 0
    assert f"seed={read_record(SWEEP / cell).config['seed']}" in capsys.readouterr().out


def test_status_lists_all_cells_as_done(old, capsys):
    assert status.main([str(old)]) == 0
    assert f"{len(CELLS)} done" in capsys.readouterr().out


def test_report_is_made_and_verifies(old, capsys, monkeypatch):
    for name in ("report.report.save_figure", "verify.save_svg"):  # drawing takes most of the time
        monkeypatch.setattr(f"vitsweep.analysis.{name}", lambda figure, folder: "<svg></svg>")
    assert analysis_main(["report", str(old), "--gallery", "none"]) == 0
    assert analysis_main(["verify", str(old)]) == 0
    assert f"from {len(CELLS)} runs agree" in capsys.readouterr().out
