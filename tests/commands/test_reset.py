"""`vitsweep reset`: deletes the results of the named cells alone; refuses locked and unknown cells."""

import os

import pytest

from vitsweep.commands import reset
from vitsweep.errors import UserError
from vitsweep.study import locks
from vitsweep.study.locks import LOCK_NAME, CellLock, LivenessCheck
from vitsweep.study.status import cell_statuses


def test_reset_deletes_the_results_of_the_named_cell_alone(study, capsys):
    directory, plan = study
    assert reset.main([str(directory), plan.cells[0].id]) == 0
    found = [now.status for now in cell_statuses(directory, plan.cells, LivenessCheck())]
    assert found == ["planned", "failed", "interrupted", "planned"]
    assert list((directory / plan.cells[0].id).iterdir()) == []
    assert f"{plan.cells[0].id}: reset, was done" in capsys.readouterr().out


def test_reset_of_failed_cells_leaves_the_others(study):
    directory, plan = study
    reset.main([str(directory), "--failed"])
    found = [now.status for now in cell_statuses(directory, plan.cells, LivenessCheck())]
    assert found == ["done", "planned", "interrupted", "planned"]


def test_reset_refuses_a_cell_that_is_being_trained(study):
    directory, plan = study
    with CellLock(directory / plan.cells[0].id) as lock:
        lock.acquire()
        with pytest.raises(UserError, match="is being trained; stop that process"):
            reset.main([str(directory), plan.cells[0].id])
    assert (directory / plan.cells[0].id / "record.json").exists()


def test_reset_refuses_an_unknown_cell_and_deletes_nothing(study):
    directory, plan = study
    with pytest.raises(UserError, match="nonsense  is not a cell of this sweep; list its cells with"):
        reset.main([str(directory), plan.cells[0].id, "nonsense"])
    assert (directory / plan.cells[0].id / "record.json").exists()


def test_stale_locks_are_removed_and_results_kept(study, monkeypatch, capsys):
    directory, plan = study
    monkeypatch.setattr(locks, "CONFIRM_SECONDS", 0.1)
    folder = directory / plan.cells[2].id
    (folder / LOCK_NAME).write_text('{"host": "elsewhere", "pid": 1, "born": "1", "token": "x"}')
    os.utime(folder / LOCK_NAME, (0, 0))
    (folder / "state.pt").write_text("state")
    with CellLock(directory / plan.cells[0].id) as lock:
        lock.acquire()
        with pytest.raises(UserError, match=f"{plan.cells[0].id}  is being trained .last heartbeat 0 s ago"):
            reset.main([str(directory), "--stale"])
        assert lock.path.exists()
    assert f"{plan.cells[2].id}: lock removed" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["record.json", "state.pt"]


def test_reset_waits_for_the_heartbeat_of_another_machine(study, monkeypatch, capsys):
    directory, plan = study
    monkeypatch.setattr(locks, "STALE_SECONDS", 0.3)
    folder = directory / plan.cells[2].id
    (folder / LOCK_NAME).write_text('{"host": "elsewhere", "pid": 1, "born": "1", "token": "x"}')
    assert reset.main([str(directory), plan.cells[2].id]) == 0
    assert list(folder.iterdir()) == []
