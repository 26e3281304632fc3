"""Records are written whole or not at all, read back equal, and refused with the right words."""

import json
import math
import os

import pytest

from vitsweep.files import finite, write_atomically
from vitsweep.study.record import Record, RecordError, append_row, drop_rows_after, read_record, read_rows, write_record


def test_record_survives_the_round_trip(tmp_path):
    record = Record(arm="patch_size=8", seed=3, status="done", metrics={"final": {"test/accuracy": 0.5}})
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record


def test_record_writes_nan_as_null(tmp_path):
    write_record(tmp_path, Record(metrics={"final": {"train/loss": math.nan, "val/loss": math.inf}}))
    assert read_record(tmp_path).metrics == {"final": {"train/loss": None, "val/loss": None}}


def test_record_write_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    write_record(tmp_path, Record(seed=1))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_record(tmp_path, Record(seed=2))
    assert read_record(tmp_path).seed == 1
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "is not a record"),
        ("[]", "is not a record of vitsweep"),
        ('{"schema": 99}', "has schema=99, this version reads 1"),
        ('{"schema": 1, "status": "done"}', "is damaged"),
    ],
)
def test_record_refuses_foreign_files(tmp_path, content, words):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(RecordError, match=words):
        read_record(tmp_path)


def test_record_refuses_an_unknown_status(tmp_path):
    write_record(tmp_path, Record())
    values = json.loads((tmp_path / "record.json").read_text()) | {"status": "finished"}
    (tmp_path / "record.json").write_text(json.dumps(values))
    with pytest.raises(RecordError, match="status=finished"):
        read_record(tmp_path)


def test_rows_leave_out_a_torn_last_line(tmp_path):
    append_row(tmp_path, {"epoch": 1})
    with open(tmp_path / "metrics.jsonl", "a") as stream:
        stream.write('{"epoch": 2, "val/l')
    assert read_rows(tmp_path) == [{"epoch": 1}]


def test_rows_after_the_saved_epoch_are_dropped(tmp_path):
    for epoch in (1, 2, 3):
        append_row(tmp_path, {"epoch": epoch})
    assert drop_rows_after(tmp_path, 2) == [{"epoch": 1}, {"epoch": 2}] == read_rows(tmp_path)


def test_finite_reaches_nested_values():
    assert finite({"a": [1.0, math.nan], "b": (math.inf,)}) == {"a": [1.0, None], "b": [None]}


def test_write_atomically_replaces(tmp_path):
    write_atomically(tmp_path / "x", b"old")
    write_atomically(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
