"""Loading: every readable cell once, everything else named, whatever lies in the folder.

Kinds: properties (one row a cell, units), refusals (damaged, foreign, too new records are left out with a sentence).
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.report.study_tables import run_table
from vitsweep.analysis.text import DASH

from tests.support.make_records import make_cell, make_plan, make_record, make_sweep
from vitsweep.errors import RecordError
from vitsweep.files import write_json

ARMS = {"baseline": [0.80, 0.81], "patch_size=8": [0.75, 0.76]}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return make_sweep(tmp_path / "sweep", ARMS, epochs=3)


def record_path(sweep: Path, seed: int = 0) -> Path:
    return next(sweep.glob(f"patch_size=8-*/seed={seed}/record.json"))


def test_load_gives_one_row_a_cell_and_one_a_cell_and_epoch(sweep):
    loaded = load(sweep)
    assert sorted(zip(loaded.cells["arm"], loaded.cells["seed"], strict=True)) == [
        ("baseline", 0),
        ("baseline", 1),
        ("patch_size=8", 0),
        ("patch_size=8", 1),
    ]
    assert loaded.history.groupby("cell")["epoch"].apply(list).tolist() == [[1.0, 2.0, 3.0]] * 4


def test_load_keeps_accuracy_a_fraction(sweep):
    assert load(sweep).cells["final/test/accuracy"].max() == 0.81


def test_load_of_a_cell_directory_gives_that_cell(sweep):
    loaded = load(record_path(sweep).parent)
    assert loaded.cells[["cell", "arm"]].to_numpy().tolist() == [["cell", "patch_size=8"]]


def test_load_of_several_directories_keeps_their_cells_apart(tmp_path):
    one, other = (make_sweep(tmp_path / name, ARMS, epochs=1) for name in ("one", "other"))
    cells = load(one, other).cells["cell"]
    assert len(cells) == len(set(cells)) == 8


def test_load_reads_no_record_inside_a_report(sweep):
    make_cell(sweep / "report", make_record("foreign", 0, 0.5))
    assert "foreign" not in set(load(sweep).cells["arm"])


def test_planned_cells_without_record_are_rows(sweep):
    record_path(sweep).unlink()
    cells = load(sweep).cells.set_index("cell")
    assert cells.loc[record_path(sweep, 1).parent.relative_to(sweep).as_posix(), "status"] == "done"
    assert sorted(cells["status"]) == ["done", "done", "done", "planned"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not a record"),
        ("[1]", "is not a record of vitsweep"),
        ('{"schema": 2}', "has schema=2, this version reads 1"),
        ('{"schema": 1, "status": "done"}', "is damaged"),
    ],
)
def test_unreadable_record_is_left_out_and_named(sweep, text, words):
    record_path(sweep).write_text(text)
    loaded = load(sweep)
    assert len(loaded.problems) == 1
    assert words in loaded.problems[0] and "patch_size=8" in loaded.problems[0]
    assert (loaded.cells["status"] == "done").sum() == 3


def test_problems_name_no_absolute_path(sweep):
    record_path(sweep).write_text("{")
    assert str(sweep) not in load(sweep).problems[0]


def test_record_with_fields_of_the_wrong_kind_is_left_out(sweep):
    values = json.loads(record_path(sweep).read_text())
    record_path(sweep).write_text(json.dumps(values | {"metrics": [1, 2]}))
    loaded = load(sweep)
    assert len(loaded.problems) == 1 and (loaded.cells["status"] == "done").sum() == 3


def test_null_metrics_are_missing_numbers(tmp_path):
    loaded = load(make_sweep(tmp_path, {"baseline": [0.8, None]}, plan=None))
    assert loaded.cells["final/test/accuracy"].isna().tolist() == [False, True]


def test_torn_last_line_of_epochs_is_left_out(sweep):
    path = record_path(sweep).with_name("metrics.jsonl")
    path.write_text(path.read_text()[:-20])
    loaded = load(sweep)
    assert loaded.problems == [f"{path.parent.relative_to(sweep)} states 3 epochs, its metrics.jsonl has 2."]
    assert len(loaded.history) == 11


def test_epochs_without_epoch_number_are_named(sweep):
    record_path(sweep).with_name("metrics.jsonl").write_text('{"val/loss": 1.0}\n')
    assert "rows without an epoch" in load(sweep).problems[0]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 9}', '{"schema": 1, "study": "x"}'])
def test_damaged_plan_is_named_and_the_cells_stay(sweep, text):
    (sweep / "plan.json").write_text(text)
    loaded = load(sweep)
    assert loaded.plans == [] and len(loaded.cells) == 4
    assert "plan.json" in loaded.problems[0]


def test_statuses_are_kept(tmp_path):
    records = [
        make_record("baseline", 0, 0.8),
        make_record("baseline", 1, None, status="failed", metrics={}, error={"type": "OSError", "message": "x"}),
        make_record("baseline", 2, None, status="diverged", metrics={}),
    ]
    for record in records:
        make_cell(tmp_path, record, epochs=2)
    write_json(tmp_path / "plan.json", make_plan([*records, dataclasses.replace(records[0], seed=3)]))
    assert load(tmp_path).cells["status"].tolist() == ["done", "failed", "diverged", "planned"]


def test_load_of_an_empty_folder_is_empty(tmp_path):
    loaded = load(tmp_path)
    assert loaded.cells.empty and loaded.history.empty and loaded.problems == []


def test_load_refuses_a_path_that_is_no_directory(tmp_path):
    with pytest.raises(RecordError, match="is not a directory"):
        load(tmp_path / "absent")


def test_epoch_columns_are_numbers_even_when_null(tmp_path):
    cell = make_cell(tmp_path, make_record("baseline", 0, 0.8), epochs=1)
    (cell / "metrics.jsonl").write_text('{"epoch": 1, "val/loss": null, "train/loss": "high"}\n')
    row = load(tmp_path).history.iloc[0]
    assert np.isnan(row["val/loss"]) and np.isnan(row["train/loss"]) and row["epoch"] == 1


def test_load_gives_the_averaged_weights_where_a_cell_has_them(sweep):
    assert not [name for name in load(sweep).cells.columns if name.startswith("ema/")]
    path = record_path(sweep)
    values = json.loads(path.read_text())
    values["metrics"]["ema"] = values["metrics"]["final"] | {"test/accuracy": 0.9}
    path.write_text(json.dumps(values))
    cells = load(sweep).cells.set_index("cell")["ema/test/accuracy"]
    assert cells.max() == 0.9 and cells.isna().sum() == 3


def test_runs_of_a_report_show_the_averaged_weights_in_a_column_of_their_own(sweep):
    path = record_path(sweep)
    values = json.loads(path.read_text())
    values["metrics"]["ema"] = values["metrics"]["final"] | {"test/accuracy": 0.9}
    path.write_text(json.dumps(values))
    shown = run_table(select(load(sweep)))
    (column,) = [column for column in shown.columns if column.title == "averaged weights, %"]
    assert sorted(column.show(row) for row in shown.frame.to_dict("records")) == ["90.00", DASH, DASH, DASH]
