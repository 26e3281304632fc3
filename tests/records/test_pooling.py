"""One report of several directories: copies of a study that were continued apart, and what cannot be pooled.

Kinds: properties (each result counts once, all plans are one family), refusals (no directory is dropped in silence).
"""

import json
import shutil
from pathlib import Path

import pytest
from vitsweep.analysis.__main__ import main
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.report import report
from vitsweep.analysis.report.findings import findings
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import cell_id, make_cell, make_record, make_sweep

ARMS = {"baseline": [0.80, 0.81, 0.80], "patch_size=8": [0.75, 0.755, 0.752]}


def make_half(tmp_path: Path) -> Path:
    """A study whose last seed has not started."""
    sweep = make_sweep(tmp_path / "one" / "study", ARMS, epochs=2)
    for cell in sweep.glob("*/seed=2"):
        shutil.rmtree(cell)
    return sweep


def go_on(sweep: Path, shift: float) -> None:
    """Train its last seed."""
    for arm, values in ARMS.items():
        make_cell(sweep, make_record(arm, 2, values[2] + shift), epochs=2)


@pytest.fixture
def copies(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A study and its copy, both continued, with different results."""
    monkeypatch.setattr(report, "save_figure", lambda figure, folder: "<svg></svg>")
    monkeypatch.setattr("vitsweep.analysis.verify.save_svg", lambda figure, folder: "<svg></svg>")
    one = make_half(tmp_path)
    other = Path(shutil.copytree(one, tmp_path / "other" / "study"))
    go_on(one, 0.0)
    go_on(other, 0.01)
    return one, other


def test_copies_that_were_continued_apart_are_noticed_and_the_first_counts(copies):
    judgement = judge(load(*copies))
    alone = judge(load(copies[0]))
    assert judgement.effects["mean"].tolist() == alone.effects["mean"].tolist()
    assert judgement.saturation["n"].tolist() == alone.saturation["n"].tolist()
    assert (
        "Left out: 4 runs that repeat an arm and seed with the same result, "
        "2 runs that repeat an arm and seed with another result (see Health)" in " ".join(findings(judgement))
    )
    cell = cell_id(make_record("baseline", 2, 0.8))
    assert (
        f"Left out other/study/{cell}: the same arm and seed are there twice, with different results "
        f"(81.00 % and 80.00 %); one/study/{cell} is used." in judgement.selection.notes
    )


def test_result_that_only_the_copy_has_is_used(tmp_path):
    one = make_half(tmp_path)
    other = Path(shutil.copytree(one, tmp_path / "other" / "study"))
    go_on(other, 0.0)
    selection = select(load(one, other))
    assert selection.done()["seed"].tolist() == [0, 1, 2] * 2
    assert not any("seed=2" in note for note in selection.notes)


def test_plans_of_one_study_are_one_family(tmp_path):
    one = make_sweep(tmp_path / "one", ARMS, epochs=1)
    other = make_sweep(tmp_path / "other", {"baseline": ARMS["baseline"], "lr=0.1": [0.7, 0.71, 0.72]}, epochs=1)
    selection = select(load(one, other))
    assert selection.family() == ["patch_size=8", "lr=0.1"] and selection.unplanned() == []


def test_plans_that_state_different_claims_are_named(copies):
    plan = json.loads((copies[1] / "plan.json").read_text())
    (copies[1] / "plan.json").write_text(json.dumps(plan | {"claims": [{"claim": "x", "arm": "patch_size=8"}]}))
    assert "The plans of study differ in claims; the first one counts." in findings(judge(load(*copies)))


def test_report_of_several_directories_verifies_with_all_of_them_only(copies, tmp_path, capsys):
    one, other = map(str, copies)
    assert main(["report", one, other, "--gallery", "none"]) == 0
    assert main(["verify", one]) == 2
    assert f"{one}/report  was made of one/study other/study; give the same ones" in capsys.readouterr().err
    assert main(["publish", one, str(tmp_path / "published")]) == 2
    assert "was made of one/study other/study; make one of" in capsys.readouterr().err
    assert main(["verify", one, other]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all("there twice" in line for line in lines)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("one/study", "{second}  is given twice; give each directory once"),
        ("one/study/../study", "{second}  is given twice; give each directory once"),
        ("one", "{one}  lies in {second}, which is given too; give each cell once"),
        ("empty", "{second}  holds no record and no plan; leave it out"),
    ],
)
def test_directory_that_cannot_be_pooled_is_refused(copies, tmp_path, capsys, second, words):
    (tmp_path / "empty").mkdir()
    one, other = str(copies[0]), str(tmp_path / second)
    assert main(["report", one, other, "--gallery", "none"]) == 2
    assert words.format(one=one, second=other) in capsys.readouterr().err
    assert not (Path(one) / "report").exists()
