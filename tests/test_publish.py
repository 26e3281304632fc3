"""publish: a study in a few files that reads as its sweep's directory does.

Kinds: agreement (cells, epochs, right answers and results.json are the sweep's), determinism, properties (its files,
the note kept), refusals (of commands that change a study; a line that is no run).
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from vitsweep.analysis.publish import publish
from vitsweep.analysis.records.correct_images import examples_bytes, read_correct
from vitsweep.analysis.records.load import load
from vitsweep.analysis.report import report
from vitsweep.analysis.report.report import make_report

from tests.support.make_records import make_cell, make_record, make_sweep
from vitsweep.commands import extend, prune, reset, status
from vitsweep.errors import UserError
from vitsweep.study.record import read_record, read_rows

ARMS = {"baseline": [0.80, 0.81, 0.80], "patch_size=8": [0.75, 0.755, 0.75]}
NOTE = "# How it was made\n"


def write_empty(figure, folder: Path) -> str:
    """Write an empty picture in place of a drawn one."""
    (folder / f"{figure.name}.svg").write_text("<svg></svg>")
    return "<svg></svg>"


@pytest.fixture(autouse=True, scope="module")
def no_drawing():
    """Drawing takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((report, "save_figure"), (report, "save_svg")):
            patch.setattr(module, name, write_empty)
        yield


@pytest.fixture(scope="module")
def sweep(no_drawing, tmp_path_factory) -> Path:
    """A sweep with its report and a note."""
    directory = make_sweep(tmp_path_factory.mktemp("sweep"), ARMS, epochs=4, images=200)
    make_report(directory, gallery="none")
    (directory / "README.md").write_text(NOTE)
    return directory


@pytest.fixture(scope="module")
def published(sweep, tmp_path_factory) -> Path:
    """The same, published."""
    folder = tmp_path_factory.mktemp("published")
    publish(sweep, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_published_study_is_a_few_files_without_a_folder_for_each_cell(published):
    files = set(contents(published))
    assert {"README.md", "plan.json", "runs.jsonl", "examples.npz"} == {name for name in files if "/" not in name}
    below = {name.removeprefix("report/") for name in files if name.startswith("report/")}
    assert {"index.html", "report.md", "results.json", "gallery.json", "files.json"} == {
        n for n in below if "/" not in n
    }
    assert {Path(name).suffix for name in below if "/" in name} == {".svg", ".csv"}
    assert len(files) <= 25


def test_published_cells_and_epochs_are_those_of_the_sweep(sweep, published):
    one, other = load(sweep), load(published)
    pd.testing.assert_frame_equal(one.history, other.history)
    columns = ["directory", "record"]
    pd.testing.assert_frame_equal(one.cells.drop(columns=columns), other.cells.drop(columns=columns))
    assert one.problems == other.problems == []


def test_published_right_answers_are_those_of_the_sweep(sweep, published):
    for cell in load(sweep).cells["cell"]:
        for when in ("final", "best"):
            known, found = read_correct(sweep / cell, when), read_correct(published / cell, when)
            assert all(np.array_equal(a, b) for a, b in zip(known, found, strict=True))


def test_published_results_are_those_of_the_report(sweep, published):
    # Paths in the configurations are hidden, so the hashes of the records are others.
    one, other = (json.loads((place / "report/results.json").read_text()) for place in (sweep, published))
    assert {k: v for k, v in one.items() if k != "inputs"} == {k: v for k, v in other.items() if k != "inputs"}


def test_publishing_again_gives_the_same_bytes_and_keeps_the_note_of_the_destination(published, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    publish(published, tmp_path)
    assert contents(tmp_path) == contents(published) | {"README.md": b"mine"}


def test_report_of_a_published_study_is_made_again_with_the_same_bytes(published, tmp_path):
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    make_report(copy, gallery="keep")
    assert contents(copy) == contents(published)


def test_report_of_a_published_study_elsewhere_is_whole(published, tmp_path):
    make_report(published, gallery="keep", out=tmp_path)
    assert (tmp_path / "tables/paper.tex").exists() and (tmp_path / "figures/effects.csv").exists()


def test_published_studies_are_pooled(published, tmp_path):
    other = Path(shutil.copytree(published, tmp_path / "other"))
    cells = load(published, other).cells
    assert len(cells) == 2 * 6 and set(cells["status"]) == {"done"}


def test_status_of_a_published_study_is_that_of_its_records(published, capsys):
    assert status.main([str(published)]) == 0
    assert "6 done of 6 cells" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words"), [(reset, ["--all"]), (prune, ["--all"]), (extend, ["seeds=9", "--plan"])]
)
def test_command_that_changes_a_study_refuses_a_published_one(published, command, words):
    with pytest.raises(UserError, match="is a published study, which is only read"):
        command.main([str(published), *words])


def test_line_that_is_no_run_is_named_and_the_others_are_read(published, tmp_path):
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    lines = (copy / "runs.jsonl").read_text().splitlines()
    (copy / "runs.jsonl").write_text("\n".join([lines[0][:100], *lines[1:]]) + "\n")
    loaded = load(copy)
    assert "Left out line 1 of runs.jsonl: it is not a run of vitsweep." in loaded.problems
    assert sorted(loaded.cells["status"]) == ["done"] * 5 + ["planned"]


def test_record_of_another_schema_is_left_out_by_its_cell(published, tmp_path):
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    text = (copy / "runs.jsonl").read_text()
    (copy / "runs.jsonl").write_text(text.replace('"schema": 1', '"schema": 9', 1))
    (problem, *_) = load(copy).problems
    assert problem.startswith("Left out baseline-") and "has schema=9, this version reads 1" in problem


def test_cell_trained_in_a_published_study_counts_instead_of_its_line(published, tmp_path):
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    record = read_record(copy / load(copy).cells["cell"][0])
    record.metrics["final"]["test/accuracy"] = 0.5
    cell = make_cell(copy, record, epochs=2)
    assert len(read_rows(cell)) == 2
    assert load(copy).cells["final/test/accuracy"][0] == 0.5


def test_published_form_of_earlier_versions_is_read(sweep, tmp_path):
    old = tmp_path / "old"
    for cell in load(sweep).cells["cell"]:
        (old / cell).mkdir(parents=True)
        for name in ("record.json", "metrics.jsonl"):
            shutil.copyfile(sweep / cell / name, old / cell / name)
        id_N, label_N, final_N = read_correct(sweep / cell)
        bits = {"final_correct": final_N, "best_correct": read_correct(sweep / cell, "best")[2]}
        packed = {name: np.packbits(values) for name, values in bits.items()}
        np.savez(old / cell / "examples.npz", id_step=np.diff(id_N, prepend=0), label=label_N, **packed)
    shutil.copyfile(sweep / "plan.json", old / "plan.json")
    assert len(load(old).cells) == 6
    for cell in load(old).cells["cell"]:
        for when in ("final", "best"):
            known, found = read_correct(sweep / cell, when), read_correct(old / cell, when)
            assert all(np.array_equal(a, b) for a, b in zip(known, found, strict=True))


def test_right_answers_on_different_test_images_are_kept_apart(tmp_path):
    cells = {}
    for number, images in enumerate([200, 300]):
        record = make_record("baseline", number, 0.8)
        cells[f"seed={number}"] = make_cell(tmp_path / str(images), record, images=images)
    (tmp_path / "examples.npz").write_bytes(examples_bytes(cells)[0])
    for cell, directory in cells.items():
        known, found = read_correct(directory), read_correct(tmp_path / cell)
        assert all(np.array_equal(a, b) for a, b in zip(known, found, strict=True))


def test_right_answers_on_ten_thousand_images_take_few_bytes_a_run(tmp_path):
    cells = {str(n): make_cell(tmp_path, make_record("baseline", n, 0.8), epochs=1, images=10_000) for n in range(2)}
    one, both = (len(examples_bytes(dict(list(cells.items())[:n]))[0]) for n in (1, 2))
    assert one < 8192 and both - one < 2600
