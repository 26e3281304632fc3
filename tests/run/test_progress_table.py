"""Progress of a sweep and its final table. Kinds: says the right words, obeys a property (the time left)."""

import logging
import time

import pytest
from rich.console import Console
from rich.table import Table

from tests.support.made_plans import made_plan
from vitsweep.run import progress_table
from vitsweep.run.progress_table import LiveProgress, LogProgress, duration, final_table, make_progress, table_console
from vitsweep.study.plan import new_record
from vitsweep.study.record import METRIC_NAMES, append_row
from vitsweep.study.status import CellStatus
from vitsweep.train.epoch_progress import BarProgress

METRICS = {"final": dict.fromkeys(METRIC_NAMES, 0.25)}


@pytest.fixture
def plan(tmp_path):
    return made_plan(tmp_path, ["a", "b"], [0, 1])


def ended(plan, number: int, status: str = "done", **values: object) -> CellStatus:
    """A cell of the plan that has ended."""
    record = new_record(plan, plan.cells[number], None)
    record.status, record.metrics, record.params, record.time_seconds = status, METRICS, 1234, 90.0
    for name, value in values.items():
        setattr(record, name, value)
    return CellStatus(cell=plan.cells[number], status=status, record=record)


def planned(plan) -> list[CellStatus]:
    """All cells, none started."""
    return [CellStatus(cell=cell, status="planned") for cell in plan.cells]


def test_line_for_every_cell_that_ended(plan, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    lines = LogProgress(planned(plan), tmp_path)
    lines.update(CellStatus(cell=plan.cells[0], status="running"))
    lines.update(ended(plan, 0))
    lines.update(ended(plan, 1, "failed", error={"type": "ValueError", "message": "broken"}))
    first, second = caplog.messages
    assert first == "1/4 done, 0 running, 0 failed, about 0 s left  |  a seed 0: done, test accuracy 25.00%, 90 s"
    assert second.startswith("1/4 done, 0 running, 1 failed")
    assert second.endswith("b seed 0: failed (ValueError: broken)")


def test_time_left_counts_on_all_slots(plan, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    lines = LogProgress(planned(plan), tmp_path)
    for cell in plan.cells[:2]:
        lines.update(CellStatus(cell=cell, status="running"))
    assert lines.seconds_left() == 0.0  # nothing has ended yet, so it is unknown
    clock[0] = 60.0
    lines.update(ended(plan, 0))
    lines.update(ended(plan, 1))
    assert lines.seconds_left() == 60.0  # two cells left, two at a time, a minute each


def test_time_left_is_guessed_from_the_epochs_of_running_cells(plan, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    lines = LogProgress(planned(plan)[1:2], tmp_path)  # two epochs
    (tmp_path / plan.cells[1].id).mkdir(parents=True)
    lines.update(CellStatus(cell=plan.cells[1], status="running"))
    clock[0] = 30.0
    append_row(tmp_path / plan.cells[1].id, {"epoch": 1})
    assert lines.seconds_left() == 60.0


def test_cells_done_before_do_not_count_as_fast(plan, tmp_path):
    lines = LogProgress([ended(plan, 0), *planned(plan)[1:]], tmp_path)
    assert lines.summary() == "1/4 done, 0 running, 0 failed"


def test_live_board_shows_running_cells_and_leaves_lines_of_ended_ones(plan, tmp_path, monkeypatch):
    screen = Console(record=True, width=120, force_terminal=True)
    monkeypatch.setattr(progress_table, "Console", lambda **_: screen)
    with LiveProgress(planned(plan), tmp_path) as live:
        live.update(CellStatus(cell=plan.cells[1], status="running"))
        live.update(ended(plan, 0))
        live.update(None)
        assert live.rows() == ["  b seed 0  epoch 0/2  0 s"]
    assert "a seed 0: done, test accuracy 25.00%, 90 s" in screen.export_text()


def test_board_is_live_only_where_a_person_looks(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(progress_table.sys.stderr, "isatty", lambda: False, raising=False)
    assert type(make_progress(planned(plan), tmp_path)) is LogProgress


def test_final_table_has_every_arm_and_every_cell_that_is_missing(plan, tmp_path):
    found = [ended(plan, 0), ended(plan, 1, "diverged"), ended(plan, 2), *planned(plan)[3:]]
    screen = Console(record=True, width=120)
    screen.print(final_table(plan, [(now.cell, now.record) for now in found], tmp_path))
    text = screen.export_text()
    (row,) = [line for line in text.splitlines() if "2/2" in line]
    assert row.split() == ["a", "2/2", "25.00", "+-", "0.00", "0.250", "1,234", "90", "-"]
    assert f"{plan.cells[1].id}: diverged" in text and f"{plan.cells[3].id}: not started" in text


@pytest.mark.parametrize(("seconds", "words"), [(3, "3 s"), (99, "99 s"), (150, "2 min"), (9000, "2.5 h")])
def test_duration_has_two_digits_at_most(seconds, words):
    assert duration(seconds) == words


def test_texts_are_no_markup(tmp_path, capsys):
    plan = made_plan(tmp_path, ["a[batch, 3]", "b[/b]"], [0])
    failed = ended(plan, 1, "failed", error={"type": "RuntimeError", "message": "[/x] \x1b[2J :smile:"})
    done = ended(plan, 0)
    table_console().print(final_table(plan, [(s.cell, s.record) for s in (done, failed)], tmp_path))
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("a[batch, 3]", "b[/b]", r"(RuntimeError: [/x] \x1b[2J :smile:)"))


def test_title_of_a_bar_is_no_markup(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    bar = BarProgress("model.x=[1, 2] [/b]", epochs=1, steps_per_epoch=2, first_epoch=0)
    bar.bar.console.print(bar.bar.get_renderable())
    assert "model.x=[1, 2] [/b]" in capsys.readouterr().err


def test_table_that_goes_into_a_file_is_not_cut(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    arm = "patch_size=8+lr=0.002+num_hidden_layers=10+hidden_dropout_prob=0.1+patchify_method=linear"
    table = Table("arm")
    table.add_row(arm)
    table_console().print(table)
    assert arm in capsys.readouterr().out


def test_cell_that_goes_on_keeps_the_claims_that_it_was_started_under(tmp_path):
    plan = made_plan(tmp_path, ["baseline"], [0])
    earlier = new_record(plan, plan.cells[0], None)
    earlier.claims_hash = "as it was"
    assert new_record(plan, plan.cells[0], earlier).claims_hash == "as it was"
