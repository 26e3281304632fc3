"""The sweeper by its command line: found, in order, skipping, resuming, retrying, and its exit codes.

Most cells are trained by a stand-in that ends as the test says. Kinds: obeys a property, refuses with the right words,
keeps to a measured bound.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

from tests.support.fake_training import ALL, SWEEP, Training, statuses
from tests.support.made_plans import made_record
from vitsweep.errors import DataError
from vitsweep.paths import add_plugin_path
from vitsweep.study import locks
from vitsweep.study.locks import LOCK_NAME, CellLock, LivenessCheck
from vitsweep.study.plan import read_plan
from vitsweep.study.record import read_record
from vitsweep.train import fit as train
from vitsweep.train.stop import Interrupted


def test_sweeper_is_discovered():
    add_plugin_path()
    assert "VitsweepSweeper" in [found.__name__ for found in Plugins.instance().discover(Sweeper)]


def test_seeds_are_outermost(sweep, training):
    assert sweep()[0] == 0
    assert training.ran == ALL


def test_same_command_again_trains_nothing(sweep, training):
    sweep()
    before = {path: path.stat().st_mtime_ns for path in SWEEP.rglob("*.json")}
    assert sweep()[0] == 0
    assert training.ran == ALL
    assert {path: path.stat().st_mtime_ns for path in SWEEP.rglob("*.json")} == before


def test_more_seeds_train_only_the_new_cells(sweep, training):
    sweep()
    sweep(seed="0,1,2")
    assert training.ran[4:] == [("baseline", 2), ("lr=0.002", 2)]
    assert [cell.seed for cell in read_plan(SWEEP).cells] == [0, 0, 1, 1, 2, 2]


def test_narrower_command_keeps_the_plan_and_trains_its_own_cells(sweep, training):
    training.ends["lr=0.002", 1] = Interrupted()
    sweep()
    sweep(seed="0")
    assert len(training.ran) == 4 and len(read_plan(SWEEP).cells) == 4


def test_other_baseline_in_the_directory_is_refused_and_nothing_lost(sweep, training):
    sweep()
    code, _, err = sweep("model.bias=false", f"hydra.sweep.dir={SWEEP}")
    assert code == 2 and "model.bias: True there, False now" in err
    assert statuses() == ["done"] * 4


def test_sweep_continues_after_a_failure_and_reports_it(sweep, training):
    training.ends["lr=0.002", 0] = ValueError("broken")
    code, out, _ = sweep()
    assert code == 1 and training.ran == ALL
    assert "failed (ValueError: broken)" in out


def test_failed_cell_is_not_trained_again_unasked(sweep, training):
    training.ends["lr=0.002", 0] = ValueError("broken")
    sweep()
    assert sweep()[0] == 1
    assert training.ran == ALL


def test_failed_cell_is_trained_again_on_request(sweep, training):
    training.ends["lr=0.002", 0] = ValueError("broken")
    sweep()
    training.ends.clear()
    assert sweep("sweep.retry=failed")[0] == 0
    assert training.ran[4:] == [("lr=0.002", 0)]


def test_retried_cell_starts_from_the_beginning(sweep, training):
    training.ends["lr=0.002", 0] = ValueError("broken")
    sweep()
    (cell,) = [cell for cell in read_plan(SWEEP).cells if (cell.arm, cell.seed) == ("lr=0.002", 0)]
    (SWEEP / cell.id / "state.pt").touch()
    sweep("sweep.retry=failed")
    assert not (SWEEP / cell.id / "state.pt").exists()
    assert read_record(SWEEP / cell.id).attempts == 2


def test_cell_that_leaves_the_process_does_not_end_the_sweep(sweep, training):
    training.ends["baseline", 0] = SystemExit(3)
    assert sweep()[0] == 1
    assert statuses() == ["failed", "done", "done", "done"]


def test_interrupted_sweep_continues_where_it_stopped(sweep, training):
    training.ends["lr=0.002", 0] = Interrupted()
    code, _, err = sweep()
    assert code == 130 and "run the same command again to resume" in err
    assert training.ran == ALL[:2]
    training.ends.clear()
    assert sweep()[0] == 0
    assert training.ran[2:] == ALL[1:]


def test_missing_data_are_reported_once_and_the_cells_stay_planned(sweep, training):
    error = DataError("data.root=/nowhere  has no images; name another")
    training.ends |= dict.fromkeys(ALL, error)
    code, _, err = sweep()
    assert (code, err.count("has no images")) == (2, 1)
    training.ends.clear()
    assert sweep()[0] == 0


def test_cell_of_a_dead_owner_is_taken_over(sweep, training):
    training.ends["baseline", 0] = Interrupted()
    sweep()
    plan = read_plan(SWEEP)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    text = f'{{"host": "{LivenessCheck().machine}", "pid": {dead.pid}, "born": "1", "token": "x"}}'
    (SWEEP / plan.cells[0].id / LOCK_NAME).write_text(text)
    made_record(SWEEP, plan, plan.cells[0], "running")
    training.ends.clear()
    assert sweep()[0] == 0
    assert list(SWEEP.rglob(LOCK_NAME)) == []


def test_cell_whose_machine_died_is_taken_over_in_the_sweeps_own_process(sweep, training, monkeypatch):
    training.ends["baseline", 0] = Interrupted()
    sweep()
    plan = read_plan(SWEEP)
    (SWEEP / plan.cells[0].id / LOCK_NAME).write_text('{"host": "elsewhere", "pid": 1, "born": "1", "token": "x"}')
    training.ends.clear()
    monkeypatch.setattr(locks, "STALE_SECONDS", 1.2)
    assert sweep()[0] == 0
    assert training.ran.count(ALL[0]) == 2
    assert list(SWEEP.rglob(LOCK_NAME)) == []


def test_damaged_cell_is_named_and_the_others_are_trained(sweep, training):
    training.ends |= dict.fromkeys(ALL, Interrupted())
    sweep()
    training.ends.clear()
    training.ran.clear()
    folder = SWEEP / read_plan(SWEEP).cells[0].id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_bytes(b"\xff\xfe")
    code, _, err = sweep()
    assert code == 2 and "record.json  is not a record" in err and "Traceback" not in err
    assert training.ran == ALL[1:]
    assert (folder / "record.json").read_bytes() == b"\xff\xfe"


def test_cell_that_lacked_a_file_is_tried_again_and_one_that_failed_by_itself_is_named(sweep, training):
    training.ends["baseline", 0] = FileNotFoundError(2, "No such file or directory", "/images/z.png")
    training.ends["lr=0.002", 0] = RuntimeError("the fan fell off")
    code, out, err = sweep()
    assert code == 1 and "failed: 1 of 4 cells; sweep.retry=failed trains them again" in out + err
    training.ends.clear()
    training.ran.clear()
    assert sweep()[0] == 1
    assert training.ran == ALL[:1]
    assert statuses() == ["done", "failed", "done", "done"]


def test_sweep_directory_that_is_a_file_is_refused_in_one_sentence(sweep):
    SWEEP.parent.mkdir(parents=True, exist_ok=True)
    SWEEP.write_text("")
    code, _, err = sweep()
    assert code == 2 and "cannot be written (Not a directory); choose another" in err and "Traceback" not in err


def test_stale_lock_of_a_finished_cell_is_removed(sweep, training):
    sweep()
    folder = SWEEP / read_plan(SWEEP).cells[0].id
    (folder / LOCK_NAME).write_text("")
    (folder / "state.pt").touch()
    (folder / ".record.json.4711-0a1b2c3d").touch()
    assert sweep()[0] == 0
    assert [path.name for path in folder.iterdir() if path.name not in ("record.json", "run.log")] == []


def test_locked_cell_comes_last(sweep, training):
    training.ends["baseline", 0] = Interrupted()
    sweep()
    training.ends.clear()
    lock = CellLock(SWEEP / read_plan(SWEEP).cells[0].id)
    lock.acquire()
    real = Training.__call__

    def release_at_the_end(self, *arguments):
        if len(self.ran) == 3:
            lock.release()
        return real(self, *arguments)

    try:
        Training.__call__ = release_at_the_end
        assert sweep()[0] == 0
    finally:
        Training.__call__ = real
        lock.release()
    assert training.ran[1:] == [*ALL[1:], ALL[0]]


def test_dry_run_writes_and_trains_nothing(sweep, training):
    code, out, _ = sweep("sweep.dry_run=true")
    assert code == 0 and training.ran == [] and not SWEEP.exists()
    assert "lr=0.002" in out


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sweep.jobs=0", "sweep.jobs=0  must be auto or a number of at least 1"),
        ("sweep.jobs=many", "sweep.jobs=many  must be auto or a number of at least 1"),
        ("sweep.jobs=2", "sweep.jobs=2  needs a process for each cell; use sweep.isolate=process"),
        ("sweep.isolate=thread", "sweep.isolate=thread  is unknown; allowed: none, process"),
        ("sweep.retry=all", "sweep.retry=all  is unknown; allowed: failed, none"),
    ],
)
def test_impossible_settings_are_refused(sweep, override, words):
    code, _, err = sweep(override)
    assert code == 2 and words in err and not SWEEP.exists()


def test_read_only_directory_is_one_sentence(sweep, training, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system", str(SWEEP))

    monkeypatch.setattr("vitsweep.study.plan_builder.write_plan", refuse)
    code, _, err = sweep()
    assert code == 2 and "cannot be written (Read-only file system)" in err and "Traceback" not in err


def test_thousand_finished_cells_are_skipped(sweep, training):
    """Its time is measured by tests/benchmarks/engine.py."""
    many = {"lr": "range(0.001,0.1005,0.001)", "seed": "range(0,10)"}
    training.ends["lr=0.002", 0] = Interrupted()
    sweep(**many)
    plan = read_plan(SWEEP)
    assert len(plan.cells) == 1000
    done = dataclasses.asdict(read_record(SWEEP / plan.cells[0].id))
    for cell in plan.cells:
        own = {"arm": cell.arm, "seed": cell.seed, "config": cell.config, "config_hash": cell.config_hash}
        (SWEEP / cell.id).mkdir(parents=True, exist_ok=True)
        (SWEEP / cell.id / "record.json").write_text(json.dumps(done | own))
    assert sweep(**many)[0] == 0
    assert len(training.ran) == 2


@pytest.mark.slow
def test_memory_and_handles_stay_flat_over_many_cells(sweep, monkeypatch):
    seen: list[tuple[int, int]] = []
    real = train.run_cell

    def measured(*arguments):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        seen.append((pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))))
        return real(*arguments)

    monkeypatch.setattr(train, "run_cell", measured)
    assert sweep(seed="range(0,100)")[0] == 0
    assert len(seen) == 200
    assert max(handles for _, handles in seen[20:]) == min(handles for _, handles in seen[20:])
    assert seen[-1][0] - seen[50][0] < 10 * 2**20
