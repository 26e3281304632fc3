"""Sides are found by path or name, refused with the nearest name; equal sides differ in nothing, one key in one row."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.support.make_records import make_record, make_sweep
from vitsweep.errors import RecordError
from vitsweep.study.comparison.differences import Row, arm_pairs, changed_files, compare_sides, setting_rows
from vitsweep.study.comparison.sides import Side, read_side
from vitsweep.study.record import read_record, write_record


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three arms and two seeds, all finished."""
    arms = {"baseline": [0.7, 0.72], "patch_size=8": [0.6, 0.61], "dropout=none": [0.71, 0.7]}
    return make_sweep(tmp_path / "outputs" / "study", arms, epochs=2)


def rows(a: Path | str, b: Path | str) -> list[tuple]:
    """Return (section, key, A, B, arm) of each difference."""
    return [dataclasses.astuple(row) for row in compare_sides(read_side(str(a)), read_side(str(b)))]


def change(cell: Path, **values: object) -> None:
    """Rewrite fields of a cell's record."""
    write_record(cell, dataclasses.replace(read_record(cell), **values))


def cell_of(sweep: Path, arm: str, seed: int) -> Path:
    """Return the directory of a cell."""
    return next(sweep.glob(f"{arm}-*")) / f"seed={seed}"


@pytest.mark.parametrize(
    ("name", "size", "is_study"),
    [("", 6, True), ("patch_size=8", 2, False), ("patch_size=8/seed=1", 1, False), ("patch_size=8/1", 1, False)],
)
def test_side_is_a_study_an_arm_or_a_cell(sweep, name, size, is_study):
    side = read_side(str(sweep / name))
    assert (len(side.cells), side.is_study) == (size, is_study)


def test_side_is_found_by_its_folder_too(sweep):
    folder = cell_of(sweep, "patch_size=8", 0)
    assert read_side(str(folder)).cells == read_side(str(sweep / "patch_size=8" / "seed=0")).cells
    assert read_side(str(folder.parent)).arms == read_side(str(sweep / "patch_size=8")).arms


def test_side_includes_planned_cells_that_have_not_started(sweep):
    shutil.rmtree(cell_of(sweep, "baseline", 0))
    assert [cell.record.status for cell in read_side(str(sweep)).cells].count("planned") == 1
    assert read_side(str(sweep / "baseline" / "seed=0")).cells[0].record.status == "planned"


def test_side_of_a_folder_of_single_runs(tmp_path):
    for seed in (0, 1):
        (tmp_path / f"run{seed}").mkdir()
        write_record(tmp_path / f"run{seed}", make_record("baseline", seed, 0.5))
    assert len(read_side(str(tmp_path)).cells) == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "outputs/study/patch_size=16",
            "patch_size=16 is no arm of .*; did you mean patch_size=8\\?; allowed: baseline,",
        ),
        ("outputs/study/baseline/seed=9", "seed=9 is no seed of baseline; allowed: seed=0, seed=1"),
        ("outputs/studie", "does not exist; did you mean study\\?; give the directory of a sweep"),
        ("empty", "holds no record and no plan; give the directory"),
    ],
)
def test_what_is_not_there_is_refused_with_the_nearest_name(sweep, tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match=words):
        read_side(str(tmp_path / name))


def test_damaged_record_of_a_study_is_a_problem_and_alone_an_error(sweep):
    cell = cell_of(sweep, "baseline", 0)
    (cell / "record.json").write_text("{")
    assert "is not a record" in read_side(str(sweep)).problems[0]
    with pytest.raises(RecordError, match="is not a record"):
        read_side(str(cell))


@pytest.mark.parametrize("name", ["", "baseline", "baseline/seed=0"])
def test_equal_sides_differ_in_nothing(sweep, name):
    assert rows(sweep / name, sweep / name) == []


def test_cells_that_differ_in_one_key_give_one_row(sweep):
    expected = [("configuration", "model.patch_size", 4, 8, "")]
    assert [row[:4] + ("",) for row in rows(sweep / "baseline/seed=0", sweep / "patch_size=8/seed=0")] == expected


def test_seed_is_a_difference_of_cells_and_none_of_arms(sweep):
    change(cell_of(sweep, "baseline", 1), config=read_record(cell_of(sweep, "baseline", 1)).config | {"seed": 1})
    assert [row[1:4] for row in rows(sweep / "baseline/seed=0", sweep / "baseline/seed=1")] == [("seed", 0, 1)]


def test_studies_are_compared_arm_by_arm_and_a_common_change_is_one_row(sweep, tmp_path):
    other = Path(shutil.copytree(sweep, tmp_path / "other"))
    for cell in read_side(str(other)).cells:
        config = read_record(cell.directory).config
        change(cell.directory, config=config | {"recipe": config["recipe"] | {"lr": 0.01}})
    arm = cell_of(other, "dropout=none", 0)
    change(
        arm, config=read_record(arm).config | {"model": {"patch_size": 2, "num_hidden_layers": 8, "dropout": "none"}}
    )
    found = [row for row in rows(sweep, other) if row[0] == "configuration"]
    assert found == [
        ("configuration", "recipe.lr", 0.001, 0.01, ""),
        ("configuration", "model.patch_size", 4, 2, "dropout=none"),
    ]


def test_arms_of_one_side_only_are_named(sweep, tmp_path):
    other = make_sweep(tmp_path / "other", {"baseline": [0.7, 0.72], "lr=0.1": [0.1, 0.1]}, epochs=2)
    found = {row[1]: row[2:4] for row in rows(sweep, other) if row[0] == "study"}
    assert found["arms of one side only"] == (["patch_size=8", "dropout=none"], ["lr=0.1"])


@pytest.mark.parametrize(
    ("section", "key", "field", "value"),
    [
        ("code", "commit", "code", {"version": "0.1.0", "commit": "5e6f", "dirty": False}),
        (
            "libraries",
            "torch",
            "versions",
            {"python": "3.11.9", "platform": "linux", "torch": "2.15", "numpy": "2.4.6"},
        ),
        ("data", "fingerprint", "data_fingerprint", "e" * 64),
        ("machine", "threads", "threads", 4),
        ("machine", "trained", "pack", {"cells": ["a", "b"], "place": 0}),
    ],
)
def test_fact_that_differs_is_one_row(sweep, section, key, field, value):
    change(cell_of(sweep, "baseline", 1), **{field: value})
    found = [row[:2] for row in rows(sweep / "baseline/seed=0", sweep / "baseline/seed=1") if row[1] != "seed"]
    assert found == [(section, key)]


def test_side_whose_cells_disagree_shows_all_values(sweep):
    change(cell_of(sweep, "baseline", 1), threads=4)
    found = [row for row in rows(sweep / "patch_size=8", sweep / "baseline") if row[0] == "machine"]
    assert found == [("machine", "threads", 2, "several: 2, 4", "")]


def test_packages_are_compared_where_both_sides_list_them(sweep):
    for seed, text in ((0, "a==1\nb==1\n"), (1, "a==1\nb==2\nc @ git+https://x/c@5e\n")):
        cell = cell_of(sweep, "baseline", seed)
        (sweep / "environment").mkdir(exist_ok=True)
        (sweep / "environment" / f"packages-{seed}.txt").write_text(text)
        change(cell, environment={"packages": f"packages-{seed}.txt"})
    found = [row[1:4] for row in rows(sweep / "baseline/seed=0", sweep / "baseline/seed=1") if row[0] == "libraries"]
    assert found == [("b", "1", "2"), ("c", None, "git+https://x/c@5e")]


def test_value_that_older_records_lack_is_neutral(sweep):
    cell = cell_of(sweep, "baseline", 1)
    config = read_record(cell).config
    change(cell, config=config | {"data": config["data"] | {"fingerprint": ""}, "sweep": {"until": "all"}})
    assert rows(sweep / "baseline/seed=0", cell) == []


def test_other_form_of_the_same_images_is_one_row(sweep):
    cell = cell_of(sweep, "baseline", 1)
    config = read_record(cell).config
    change(cell, config=config | {"data": config["data"] | {"val": "test", "fingerprint": "a" * 64}})
    assert [row[1] for row in rows(sweep / "baseline/seed=0", cell)] == ["data.val"]


def test_single_arm_is_paired_with_its_namesake_else_with_the_baseline(sweep):
    study, arm = read_side(str(sweep)), read_side(str(sweep / "dropout=none"))
    assert [pair.name for pair in arm_pairs(study, arm)] == ["dropout=none"]
    for cell in arm.cells:
        cell.record.arm = "new"
    assert [pair.name for pair in arm_pairs(study, arm)] == ["new against baseline"]


def test_rows_of_pairs_are_symmetric(sweep):
    a, b = read_side(str(sweep / "baseline")), read_side(str(sweep / "patch_size=8"))
    there, back = compare_sides(a, b), compare_sides(b, a)
    assert [(row.key, row.b, row.a) for row in there] == [(row.key, row.a, row.b) for row in back]


def test_no_pairs_give_no_rows():
    assert setting_rows([], "configuration", lambda cell: {}) == []
    assert Row(section="code", key="k", a=1, b=2).arm == "" and Side(name="x", cells=[]).arms == {}


def test_files_of_a_patch_are_named():
    assert changed_files("diff --git a/a b.py b/a b.py\n+x\ndiff --git a/c.py b/c.py\n") == ["a b.py", "c.py"]
