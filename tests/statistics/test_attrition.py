"""Seeds that a comparison lacks, and the runs that took them away. Kinds: properties, the right words."""

import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.statistics.attrition import lost_runs, planned_seeds, seeds_used

from tests.support.make_records import make_cell, make_record, make_sweep


@pytest.fixture
def selection(tmp_path):
    make_sweep(tmp_path, {"baseline": [0.8] * 4, "a": [0.7] * 4, "b": [0.7]}, epochs=1)
    for arm, seed, status in (("a", 1, "diverged"), ("a", 2, "diverged"), ("a", 3, "failed"), ("b", 0, "interrupted")):
        make_cell(tmp_path, make_record(arm, seed, None, status=status, metrics={}), epochs=1)
    return select(load(tmp_path))


def test_planned_seeds_are_those_of_either_arm(selection):
    assert (planned_seeds(selection, "b"), planned_seeds(selection, "b", "baseline")) == (1, 4)


def test_lost_runs_are_those_that_ended_badly(selection):
    assert lost_runs(selection, "a", "baseline") == "2 runs of a diverged, 1 run of a failed and are"


def test_interrupted_runs_are_not_lost(selection):
    assert lost_runs(selection, "b") == ""


def test_seeds_that_are_all_there_are_a_number_alone(selection):
    assert seeds_used(selection, 4, "baseline") == "4 seeds"


def test_missing_seeds_are_stated_with_the_reason(selection):
    stated = "1 of 4 seeds (2 runs of a diverged, 1 run of a failed and are left out)"
    assert seeds_used(selection, 1, "a", "baseline") == stated
