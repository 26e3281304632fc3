"""Seeds that a comparison lacks, and the runs that took them away. Kinds: properties, the right words."""

import math

import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.report.findings import findings
from vitsweep.analysis.statistics.judgement import judge
from vitsweep.analysis.statistics.validity.attrition import lost_runs, planned_seeds, seeds_used
from vitsweep.analysis.statistics.validity.plausibility import chance_value

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


SPREAD = [0.002, -0.001, 0.001, -0.002, 0.0]
BASE = [0.80 + e for e in SPREAD]
BETTER = [0.83 + e for e in reversed(SPREAD)]


def with_lost(sweep, arms, lost, **plan):
    """Return the judgement of a sweep in which these runs, (arm, seed), diverged."""
    make_sweep(sweep, arms, epochs=1, plan=plan)
    for arm, seed in lost:
        make_cell(sweep, make_record(arm, seed, None, status="diverged", metrics={}, claims_hash=""), epochs=0)
    return judge(load(sweep))


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [([], "helps"), ([("a", 4)], "undecided"), ([("baseline", 4)], "helps"), ([("a", 4), ("baseline", 4)], "helps")],
)
def test_lost_runs_of_the_better_arm_take_back_its_verdict(tmp_path, lost, verdict):
    found = with_lost(tmp_path, {"baseline": BASE, "a": BETTER}, lost)
    assert found.effects.set_index("arm").loc["a", "verdict"] == verdict


def test_lost_runs_of_the_baseline_take_back_that_an_arm_hurts(tmp_path):
    found = with_lost(tmp_path, {"baseline": BETTER, "a": BASE}, [("baseline", 0)])
    row = found.effects.set_index("arm").loc["a"]
    assert (row["verdict"], row["verdict_finished"]) == ("undecided", "hurts") and row["p_holm"] < 0.05


def test_lost_runs_take_back_equivalence(tmp_path):
    found = with_lost(tmp_path, {"baseline": BASE, "a": [x + 0.0001 for x in BASE[::-1]]}, [("a", 0)])
    row = found.effects.set_index("arm").loc["a"]
    assert (row["verdict"], row["verdict_finished"]) == ("undecided", "equivalent")


def test_verdict_that_lost_runs_take_back_is_named(tmp_path):
    found = with_lost(tmp_path, {"baseline": BASE, "a": BETTER}, [("a", 4)])
    assert any("`helps` on the finished runs alone, which does not hold" in line for line in findings(found))


@pytest.mark.parametrize("kind", ["better", "not_worse", "equivalent"])
def test_lost_runs_leave_a_claim_in_their_favor_undecided(tmp_path, kind):
    arms = {"baseline": BASE, "a": [x + 0.0001 for x in BASE[::-1]] if kind == "equivalent" else BETTER}
    claim = {"claim": "x", "kind": kind, "arm": "a", "rope": 1.0}
    found = with_lost(tmp_path, arms, [("a", 4)], claims=[claim])
    assert found.claims["verdict"].tolist() == ["undecided"]
    assert "With lost runs counted as chance, p" in found.claims.loc[0, "evidence"]


def test_loss_of_a_lost_run_is_that_of_guessing(selection):
    assert chance_value(selection, "test/loss") == pytest.approx(math.log(10))
    assert chance_value(selection, "test/accuracy") == 10.0
