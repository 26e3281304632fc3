"""The report that a sweep writes at its end: current by content, whole or not at all, never in the sweep's way.

Kinds: properties, what the log says of a report that fails.
"""

import json
import os
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from vitsweep.analysis.callback import ReportAtTheEnd
from vitsweep.analysis.report import report
from vitsweep.analysis.report.report import make_report

from tests.support.make_records import make_sweep
from tests.support.report_pages import ARMS
from vitsweep.files import write_json


def at_the_end(directory: Path) -> None:
    ReportAtTheEnd().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(directory)}}}))


@pytest.fixture
def current(undrawn, tmp_path, monkeypatch) -> Path:
    """A sweep with a report at its end, in an environment without a gallery."""
    monkeypatch.setitem(sys.modules, "vitsweep.analysis.gallery.gallery", None)
    directory = make_sweep(tmp_path, ARMS, epochs=1)
    at_the_end(directory)
    return directory


def test_report_at_the_end_is_current_until_a_record_changes_whatever_the_clock_says(current):
    page, record = current / "report/index.html", next(current.glob("patch*/seed=0/record.json"))
    before = page.stat().st_mtime_ns
    at_the_end(current)
    assert page.stat().st_mtime_ns == before
    values = json.loads(record.read_text())
    values["metrics"]["final"]["test/accuracy"] = 0.123
    write_json(record, values)
    os.utime(record, (0, 0))
    at_the_end(current)
    assert "| 12.30 |" in (current / "report/report.md").read_text()


@pytest.mark.parametrize("name", ["report.md", "tables/arms.csv", "files.json"])
def test_torn_report_is_made_again(current, name):
    path = current / "report" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    at_the_end(current)
    assert path.read_bytes() == whole


def test_report_that_cannot_be_written_leaves_the_old_one(current, monkeypatch):
    def fail(*arguments):
        raise OSError("no space left")

    before = {p: p.read_bytes() for p in current.rglob("*") if p.is_file()}
    monkeypatch.setattr(report, "to_html", fail)
    with pytest.raises(OSError, match="no space left"):
        make_report(current, gallery="none")
    assert before == {p: p.read_bytes() for p in current.rglob("*") if p.is_file()}


def test_callback_writes_the_report_of_the_sweep_directory(undrawn, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vitsweep.analysis.gallery.gallery", None)
    directory = make_sweep(tmp_path, ARMS, epochs=1)
    ReportAtTheEnd().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(directory)}}}))
    assert (directory / "report/index.html").exists()


def test_callback_survives_a_report_that_fails_and_names_the_command(tmp_path, caplog, monkeypatch):
    def fail(directory):
        raise OSError("no space left")

    monkeypatch.setattr(report, "make_report", fail)
    directory = make_sweep(tmp_path, ARMS, epochs=1)
    ReportAtTheEnd().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(directory)}}}))
    assert f"No report (OSError: no space left). Try: python -m vitsweep.analysis report {directory}" in caplog.text


def test_callback_writes_no_report_of_a_dry_run(tmp_path):
    ReportAtTheEnd().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert not (tmp_path / "report").exists()
