"""`vitsweep reset`: deletes the results of the named cells alone; refuses locked and unknown cells."""

import pytest

from vitsweep.commands import reset
from vitsweep.errors import UserError
from vitsweep.study.locks import CellLock, LivenessCheck
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
