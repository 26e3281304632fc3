"""The report of a sweep directory: files that agree with the records, the same bytes twice, options and refusals.

Kinds: determinism (bytes), properties (one row an arm), refusals.
"""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from vitsweep.analysis.__main__ import main
from vitsweep.analysis.report.report import make_report

from tests.support.make_records import make_sweep
from tests.support.report_pages import ARMS, arms_csv, page_of


def test_report_writes_every_file_of_the_contract(sweep):
    found = {p.relative_to(sweep / "report").as_posix() for p in (sweep / "report").rglob("*") if p.is_file()}
    wanted = {"index.html", "report.md", "results.json", "tables/arms.csv", "tables/paper.tex", "figures/curves.svg"}
    assert wanted | {"figures/curves.png", "figures/curves-apart.png", "figures/effects.csv"} <= found


def test_arms_csv_has_one_row_an_arm_and_the_agreed_columns(sweep):
    rows = arms_csv(sweep)
    assert [row["arm"] for row in rows] == ["baseline", "patch_size=8"]
    agreed = "arm,n,mean_percent,sd_points,delta_points,ci_low_points,ci_high_points,p,p_holm,p_signflip,verdict"
    assert ",".join(rows[0]).startswith(agreed)
    assert rows[0]["verdict"] == "baseline" and rows[0]["delta_points"] == ""


def test_arms_csv_is_in_percent(sweep):
    row = arms_csv(sweep)[1]
    assert float(row["mean_percent"]) == pytest.approx(75.2333333333)
    assert float(row["delta_points"]) == pytest.approx(-5.1)


def test_report_gives_the_same_bytes_twice(sweep, tmp_path):
    again = make_report(sweep, out=tmp_path / "again", gallery="none").parent
    first = sweep / "report"
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert [f for f in files if (first / f).read_bytes() != (again / f).read_bytes()] == []


def test_report_of_a_copied_sweep_has_the_same_bytes(undrawn, tmp_path):
    one, other = (make_sweep(tmp_path / name, ARMS) for name in ("one", "other place"))
    pages = [make_report(d, gallery="none") for d in (one, other)]
    for name in ("index.html", "report.md", "results.json"):
        assert pages[0].with_name(name).read_bytes() == pages[1].with_name(name).read_bytes()


def test_results_carry_the_runs_of_every_arm(sweep):
    results = json.loads((sweep / "report/results.json").read_text())
    assert results["arms"][1]["runs"] == [1, 2, 3, 4, 5, 6]
    assert results["runs"]["4"].startswith("patch_size=8-") and len(results["inputs"]) == 6


def test_gallery_that_breaks_costs_one_sentence_only(undrawn, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vitsweep.analysis.gallery.gallery", None)
    directory = make_sweep(tmp_path, ARMS)
    assert page_of(directory, gallery="make").text.count("The rollout gallery could not be made") == 1
    assert len(arms_csv(directory)) == 2


def test_report_without_gallery_imports_neither_torch_nor_a_notebooks_backend(tmp_path):
    directory = make_sweep(tmp_path, {"baseline": [0.8, 0.81]}, epochs=2)
    code = (
        "import sys; from vitsweep.analysis.__main__ import main;"
        f"assert main(['report', {str(directory)!r}, '--gallery', 'none']) == 0;"
        "heavy = {'torch', 'matplotlib.pyplot'} & set(sys.modules); assert not heavy, heavy"
    )
    environment = os.environ | {"MPLBACKEND": "module://of_a_notebook.backend_inline"}  # which is not installed here
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
    assert (directory / "report/figures/curves.png").exists()


def test_missing_directory_is_refused_in_one_sentence(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "is not a directory; give a sweep's or a cell's directory" in capsys.readouterr().err


def test_unknown_metric_is_refused_with_what_is_allowed(tmp_path, capsys):
    make_sweep(tmp_path, ARMS)
    assert main(["report", str(tmp_path), "--gallery", "none", "--metric", "test/f1"]) == 2
    assert "--metric=test/f1  is unknown; allowed: train/loss, " in capsys.readouterr().err


def test_another_metric_is_judged_in_its_own_unit_and_direction(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS)
    page_of(directory, metric="test/loss")
    row = arms_csv(directory)[1]
    assert float(row["delta"]) == pytest.approx(2.3 * 0.051)
    assert row["verdict"] == "hurts"


def test_arms_can_be_sorted_by_effect(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS | {"patch_size=2": [0.83, 0.84, 0.82]})
    page_of(directory, sort="effect")
    assert [row["arm"] for row in arms_csv(directory)] == ["baseline", "patch_size=2", "patch_size=8"]


def test_stale_files_of_an_earlier_report_are_removed(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS, images=50)
    page_of(directory)
    assert (directory / "report/tables/images.csv").exists()
    for path in directory.glob("*/*/predictions.npz"):
        path.unlink()
    page_of(directory)
    assert not (directory / "report/tables/images.csv").exists()


def test_report_removes_and_overwrites_only_files_that_a_report_wrote(undrawn, tmp_path, capsys):
    directory, paper = make_sweep(tmp_path / "sweep", ARMS), tmp_path / "paper"
    (paper / "figures").mkdir(parents=True)
    (paper / "figures/own.pdf").write_text("mine")
    for _ in range(2):
        page_of(directory, out=paper)
    assert (paper / "figures/own.pdf").read_text() == "mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_text("mine")
    assert main(["report", str(directory), "--gallery", "none", "--out", str(other)]) == 2
    assert "index.html  was not written by a report; choose another folder" in capsys.readouterr().err
    assert [p.name for p in other.iterdir()] == ["index.html"] and (other / "index.html").read_text() == "mine"


def test_file_in_place_of_the_report_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys):
    def refuse(options) -> int:
        raise NotADirectoryError(20, "Not a directory", "/study/report/figures")

    options = SimpleNamespace(run=refuse)
    monkeypatch.setattr(
        "vitsweep.analysis.__main__.parser", lambda with_gallery: SimpleNamespace(parse_args=lambda words: options)
    )
    assert main(["report", str(tmp_path)]) == 2
    assert "/study/report/figures  Not a directory; check that path" in capsys.readouterr().err
