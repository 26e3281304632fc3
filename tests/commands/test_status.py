"""`vitsweep status`: prints every cell's status, writes nothing; refuses a directory that is no sweep."""

import dataclasses
import json
import os
import re
import time

import pytest

from tests.support.made_plans import made_plan, made_record
from vitsweep.commands import extend, prune, reset, status
from vitsweep.errors import RecordError, UserError
from vitsweep.study.locks import LOCK_NAME, CellLock
from vitsweep.study.plan import Cell


def row(text: str, cell: Cell) -> list[str]:
    """The columns of a cell's row in a printed table after its name and seed: status first."""
    (line,) = [line for line in text.splitlines() if line.split()[:2] == [cell.arm, str(cell.seed)]]
    return re.split(r"\s{2,}", line.strip())[2:]


def test_status_lists_every_cell(study, capsys):
    directory, plan = study
    assert status.main([str(directory)]) == 1
    text = capsys.readouterr().out
    assert row(text, plan.cells[0])[:5] == ["done", "50.00", "1/1", "7", "1"]
    assert row(text, plan.cells[1])[0] == "failed"
    assert row(text, plan.cells[1])[-1] == "RuntimeError: out of"
    assert row(text, plan.cells[2])[0] == "interrupted"
    assert row(text, plan.cells[3])[0] == "planned"
    assert "1 done, 1 failed, 1 interrupted, 1 planned of 4 cells" in text


@pytest.mark.parametrize("message", ["shape [batch, 3] of :smile:", "closing [/b]", "[red]stop[/red]"])
def test_status_shows_an_error_as_it_is(study, capsys, message):
    directory, plan = study
    error = {"type": "RuntimeError", "message": message, "traceback": ""}
    made_record(directory, plan, plan.cells[1], "failed", error=error)
    status.main([str(directory)])
    assert row(capsys.readouterr().out, plan.cells[1])[-1] == f"RuntimeError: {message}"


def test_status_shows_a_terminal_code_of_an_error_as_text(study, capsys):
    directory, plan = study
    error = {"type": "RuntimeError", "message": "a\x1b[2Jb", "traceback": ""}
    made_record(directory, plan, plan.cells[1], "failed", error=error)
    status.main([str(directory)])
    assert row(capsys.readouterr().out, plan.cells[1])[-1] == r"RuntimeError: a\x1b[2Jb"


def test_status_of_a_finished_sweep_is_success(tmp_path, capsys, metrics):
    plan = made_plan(tmp_path, ["a"], [0])
    made_record(tmp_path, plan, plan.cells[0], "done", metrics=metrics)
    assert status.main([str(tmp_path)]) == 0


def test_status_names_the_process_of_a_cell(study, capsys):
    directory, plan = study
    with CellLock(directory / plan.cells[3].id) as lock:
        lock.acquire()
        status.main([str(directory)])
    found = row(capsys.readouterr().out, plan.cells[3])
    assert (found[0], found[-1].split(" on ")[0]) == ("running", f"process {os.getpid()}")


def test_status_from_another_machine_says_that_a_heartbeat_is_missing(study, capsys):
    directory, plan = study
    with CellLock(directory / plan.cells[3].id, heartbeat_seconds=1000) as lock:
        lock.acquire()
        path = directory / plan.cells[3].id / LOCK_NAME
        path.write_text(json.dumps(dataclasses.asdict(lock.owner) | {"host": "elsewhere x y"}))
        os.utime(path, (time.time() - 500, time.time() - 500))
        status.main([str(directory)])
    found = row(capsys.readouterr().out, plan.cells[3])
    assert found[0] == "no heartbeat"
    assert "on elsewhere, no heartbeat for 8 min; if it is dead: python -m vitsweep reset" in found[-1]


def test_status_writes_nothing(study):
    directory, _ = study
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    status.main([str(directory)])
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


def test_status_of_no_sweep_is_refused(tmp_path):
    with pytest.raises(RecordError, match="has no plan.json; name the directory of a sweep"):
        status.main([str(tmp_path)])


@pytest.mark.parametrize("command", [status, reset, prune, extend])
def test_command_without_a_directory_prints_its_usage(command):
    with pytest.raises(UserError, match=r"usage: vitsweep \w+ DIR"):
        command.main([])
