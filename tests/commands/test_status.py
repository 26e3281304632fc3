"""The commands on a sweep's directory: status, reset, prune, extend.

Kinds: obeys a property (nothing is lost that was not named), says the right words, refuses with the right words.
"""

import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.support.made_plans import made_plan, made_record
from vitsweep.commands import extend, prune, reset, status
from vitsweep.errors import ConfigError, RecordError, UserError
from vitsweep.run import workers
from vitsweep.study.locks import LOCK_NAME, CellLock, LivenessCheck
from vitsweep.study.plan import PLACEBO_SEED_OFFSET, read_plan, write_plan
from vitsweep.study.record import METRIC_NAMES
from vitsweep.study.status import cell_statuses

METRICS = {"final": dict.fromkeys(METRIC_NAMES, 0.5), "best": {"epoch": 1} | dict.fromkeys(METRIC_NAMES, 0.5)}


@pytest.fixture
def study(tmp_path: Path):
    """A sweep of two arms and two seeds: done, failed, running without an owner, never started."""
    directory = tmp_path / "study"
    plan = made_plan(directory, ["a", "b"], [0, 1])
    made_record(directory, plan, plan.cells[0], "done", metrics=METRICS, epoch=1, attempts=1, time_seconds=7.0)
    error = {"type": "RuntimeError", "message": "out of\nmemory", "traceback": ""}
    made_record(directory, plan, plan.cells[1], "failed", error=error)
    made_record(directory, plan, plan.cells[2], "running")
    for name in ("last.safetensors", "best.safetensors"):
        (directory / plan.cells[0].id / name).write_bytes(b"x" * 1024)
    (directory / plan.cells[2].id / "state.pt").write_bytes(b"state")
    return directory, plan


def row(text: str, cell_id: str) -> list[str]:
    """The words of a cell's row in a printed table."""
    (line,) = [line for line in text.splitlines() if cell_id in line]
    return [part.strip() for part in line.strip("│ ").split("│")]


def test_status_lists_every_cell(study, capsys):
    directory, plan = study
    assert status.main([str(directory)]) == 1
    text = capsys.readouterr().out
    assert row(text, plan.cells[0].id)[1:6] == ["done", "1/1", "50.00", "7", "1"]
    assert row(text, plan.cells[1].id)[1] == "failed"
    assert row(text, plan.cells[1].id)[-1] == "RuntimeError: out of"
    assert row(text, plan.cells[2].id)[1] == "interrupted"
    assert row(text, plan.cells[3].id)[1] == "planned"
    assert "1 done, 1 failed, 1 interrupted, 1 planned of 4 cells" in text


def test_status_of_a_finished_sweep_is_success(tmp_path, capsys):
    plan = made_plan(tmp_path, ["a"], [0])
    made_record(tmp_path, plan, plan.cells[0], "done", metrics=METRICS)
    assert status.main([str(tmp_path)]) == 0


def test_status_names_the_process_of_a_cell(study, capsys):
    directory, plan = study
    with CellLock(directory / plan.cells[3].id) as lock:
        lock.acquire()
        status.main([str(directory)])
    found = row(capsys.readouterr().out, plan.cells[3].id)
    assert (found[1], found[-1].split(" on ")[0]) == ("running", f"process {os.getpid()}")


def test_status_from_another_machine_says_that_a_heartbeat_is_missing(study, capsys):
    directory, plan = study
    with CellLock(directory / plan.cells[3].id, heartbeat_seconds=1000) as lock:
        lock.acquire()
        path = directory / plan.cells[3].id / LOCK_NAME
        path.write_text(json.dumps(dataclasses.asdict(lock.owner) | {"host": "elsewhere x y"}))
        os.utime(path, (time.time() - 500, time.time() - 500))
        status.main([str(directory)])
    found = row(capsys.readouterr().out, plan.cells[3].id)
    assert found[1] == "running"
    assert "on elsewhere, no heartbeat for 50" in found[-1]


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
    with pytest.raises(UserError, match=r"usage: python -m vitsweep \w+ DIR"):
        command.main([])


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


def test_prune_removes_the_last_checkpoint_of_finished_cells(study, capsys):
    directory, plan = study
    prune.main([str(directory)])
    assert not (directory / plan.cells[0].id / "last.safetensors").exists()
    assert (directory / plan.cells[0].id / "best.safetensors").exists()
    assert (directory / plan.cells[2].id / "state.pt").exists()
    assert "Removed 1 checkpoints of 1 finished cells" in capsys.readouterr().out


def test_prune_all_removes_the_best_checkpoint_too(study):
    directory, plan = study
    prune.main([str(directory), "--all"])
    assert sorted(path.name for path in (directory / plan.cells[0].id).iterdir()) == ["record.json"]


def test_prune_removes_the_weights_of_single_epochs_of_finished_cells_alone(study, capsys):
    directory, plan = study
    folders = [directory / cell.id / "checkpoints" for cell in (plan.cells[0], plan.cells[2])]
    for folder in folders:
        folder.mkdir()
        (folder / "epoch-001.safetensors").write_bytes(b"x")
    prune.main([str(directory)])
    assert [folder.exists() for folder in folders] == [False, True]
    assert "Removed 2 checkpoints of 1 finished cells" in capsys.readouterr().out


def test_extend_freezes_more_replicates_beside_the_old_ones(study):
    directory, plan = study
    assert extend.main([str(directory), "seeds=3", "--plan"]) == 0
    longer = read_plan(directory)
    assert longer.cells[:4] == plan.cells
    assert [(cell.arm, cell.seed, cell.config["seed"]) for cell in longer.cells[4:]] == [("a", 2, 2), ("b", 2, 2)]
    assert (longer.seeds, longer.cells[4].overrides) == ([0, 1, 2], ["seed=2"])


def test_extend_notes_each_time_that_seeds_are_added_after_a_result(tmp_path):
    plan = made_plan(tmp_path, ["a", "b"], [0, 1])
    extend.main([str(tmp_path), "seeds=3", "--plan"])
    made_record(tmp_path, plan, plan.cells[0], "done", metrics=METRICS)
    extend.main([str(tmp_path), "seeds=5", "--plan"])
    extend.main([str(tmp_path), "seeds=8", "--plan"])
    assert read_plan(tmp_path).seeds_before == [3, 5]


def test_extend_keeps_the_placebo_at_its_distance(tmp_path):
    plan = made_plan(tmp_path, ["a", "placebo"], [0])
    plan.cells[1].config["seed"] = PLACEBO_SEED_OFFSET
    write_plan(tmp_path, plan)
    extend.main([str(tmp_path), "seeds=[4]", "--plan"])
    assert [cell.config["seed"] for cell in read_plan(tmp_path).cells[2:]] == [4, 4 + PLACEBO_SEED_OFFSET]


def test_extend_by_nothing_changes_nothing(study):
    directory, _ = study
    before = (directory / "plan.json").read_bytes()
    extend.main([str(directory), "seeds=2", "--plan"])
    assert (directory / "plan.json").read_bytes() == before


def test_extend_trains_what_is_missing(tmp_path, monkeypatch, capsys):
    fake = Path(__file__).parents[1] / "support" / "fake_workers.py"
    monkeypatch.setattr(workers, "COMMAND", (sys.executable, str(fake)))
    plan = made_plan(tmp_path, ["a", "b"], [0])
    made_record(tmp_path, plan, plan.cells[0], "done", metrics=METRICS, params=1)
    assert extend.main([str(tmp_path), "seeds=2"]) == 0
    assert (tmp_path / "trained.txt").read_text().splitlines() == ["b 0 None", "a 1 None", "b 1 None"]


@pytest.mark.parametrize("word", ["seeds=", "seeds=two", "seeds=1.5", "seeds=-1"])
def test_extend_refuses_what_is_no_number_of_seeds(study, word):
    with pytest.raises(ConfigError, match="must be a number of seeds, or a list"):
        extend.main([str(study[0]), word, "--plan"])
