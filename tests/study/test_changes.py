"""Changes of a plan on disk: what is dropped leaves a trace and can come back, names change in plan and records."""

from pathlib import Path

import pytest

from tests.support.make_records import make_sweep
from vitsweep.commands import status
from vitsweep.commands.change import drop, rename
from vitsweep.errors import UserError
from vitsweep.study.changes.drop import beyond_lines, bring_back
from vitsweep.study.changes.extension import extend_plan
from vitsweep.study.plan import Plan, plan_hash, read_plan
from vitsweep.study.record import read_record

ARMS = {"baseline": [0.5, 0.6, 0.7], "a": [0.6, 0.7, 0.8], "b": [0.5, 0.5, 0.6]}


@pytest.fixture
def one_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans of which the configurations are not compared, since those of the made-up records have no real keys."""
    monkeypatch.setattr("vitsweep.study.changes.extension.baseline_values", lambda plan: {})


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return make_sweep(tmp_path / "sweep", ARMS, epochs=2)


def arms(directory: Path) -> list[str]:
    return [row["arm"] for row in read_plan(directory).arms]


def test_dropped_arm_leaves_a_trace_and_its_records_aside(sweep):
    cells = [cell.id for cell in read_plan(sweep).cells if cell.arm == "b"]
    assert drop.main([str(sweep), "b"]) == 0
    plan = read_plan(sweep)
    (entry,) = plan.dropped
    assert (arms(sweep), entry["arms"], entry["runs"], entry["finished"], entry["seen"]) == (
        ["baseline", "a"],
        ["b"],
        3,
        3,
        9,
    )
    assert plan.plan_hash == plan_hash(plan)
    assert all(read_record(sweep / "dropped" / cell).arm == "b" and not (sweep / cell).exists() for cell in cells)


def test_dropped_seeds_leave_the_others(sweep):
    drop.main([str(sweep), "seeds=1,2"])
    plan = read_plan(sweep)
    assert plan.seeds == [0] and {cell.seed for cell in plan.cells} == {0}


def test_dropped_cells_come_back_when_they_are_planned_again(sweep, one_baseline):
    before = read_plan(sweep)
    drop.main([str(sweep), "b"])
    merged = extend_plan(read_plan(sweep), before, sweep)
    assert len(bring_back(sweep, merged)) == 3 and merged.dropped and not merged.asked
    assert all((sweep / cell.id / "record.json").exists() for cell in before.cells)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["baseline"], "baseline  is the baseline, which cannot be dropped"),
        (["bb"], "bb  is no arm of .*allowed: baseline, a, b"),
        (["seeds=7"], "seeds=7  are no seeds of this study; allowed: 0,1,2"),
        (["seeds=0,1,2"], "are all seeds of the study"),
        (["seeds=1", "a"], "a  cannot stand beside seeds=1"),
        (["--force"], "usage: vitsweep drop"),
    ],
)
def test_drop_refuses_what_it_cannot_do(sweep, words, sentence):
    before = (sweep / "plan.json").read_bytes()
    with pytest.raises(UserError, match=sentence):
        drop.main([str(sweep), *words])
    assert (sweep / "plan.json").read_bytes() == before


def without(plan: Plan, arm: str) -> Plan:
    """Return the plan of a study file from which an arm was removed."""
    kept = [cell for cell in plan.cells if cell.arm != arm]
    return Plan(**{**vars(plan), "cells": kept, "arms": [row for row in plan.arms if row["arm"] != arm]})


def test_arm_that_the_file_no_longer_has_stays_in_the_plan_and_is_named(sweep, one_baseline):
    plan = read_plan(sweep)
    merged = extend_plan(plan, without(plan, "b"), sweep)
    assert merged.asked == {"arms": ["baseline", "a"], "seeds": [0, 1, 2]} and len(merged.cells) == 9
    assert merged.plan_hash == plan.plan_hash
    (line,) = beyond_lines(merged, sweep)
    assert "has the arm b (3 of 3 runs finished)" in line and line.endswith(f"vitsweep drop {sweep} b")


def test_renamed_arm_has_its_name_in_plan_records_and_directories(sweep):
    assert rename.main([str(sweep), "a", "wide"]) == 0
    plan = read_plan(sweep)
    assert arms(sweep) == ["baseline", "wide", "b"] and plan.plan_hash == plan_hash(plan)
    assert {read_record(sweep / cell.id).arm for cell in plan.cells} == {"baseline", "wide", "b"}
    assert status.main([str(sweep)]) == 0
    assert [(entry["before"], entry["name"]) for entry in plan.renamed] == [("a", "wide")]


def test_renamed_study_takes_its_directory_along_if_that_has_its_name(tmp_path):
    sweep = make_sweep(tmp_path / "sweep", ARMS, epochs=2)
    place = sweep.rename(tmp_path / read_plan(sweep).study)
    rename.main([str(place), "other"])
    plan = read_plan(tmp_path / "other")
    assert not place.exists() and plan.study == "other"
    assert {read_record(tmp_path / "other" / cell.id).study for cell in plan.cells} == {"other"}


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["c", "x"], "c  is no arm"),
        (["a", "b"], "b  is taken"),
        (["a", "x/y"], "x/y  must be at most"),
        (["baseline", "x"], "baseline  keeps its name"),
        ([], "usage: vitsweep rename"),
    ],
)
def test_rename_refuses_what_it_cannot_do(sweep, words, sentence):
    with pytest.raises(UserError, match=sentence):
        rename.main([str(sweep), *words])
