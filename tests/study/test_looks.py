"""Looks of a study file: declared, frozen in the plan, refused word for word.

Kinds: property, refusal. Nothing is trained.
"""

import json

import pytest

from tests.support.made_plans import made_record
from vitsweep.commands.extend import main as extend
from vitsweep.errors import ConfigError, RecordError
from vitsweep.study.plan import Plan, write_plan
from vitsweep.study.plan_builder import freeze_plan
from vitsweep.study.rules import until_errors

RANGE = {"start": 3, "max": 6}
UNTIL = "sweep.until=decided"
REFUSED = {
    "start above max": (
        {"seeds": {"start": 7, "max": 6}},
        "study.seeds.start=7  must be at most study.seeds.max=6",
    ),
    "start below 2": (
        {"seeds": {"start": 1, "max": 6}},
        "study.seeds.start=1  must be at least 2, since one seed shows no spread",
    ),
    "no max": (
        {"seeds": {"start": 3}},
        "study.seeds={start: 3}  must have two integers, such as {start: 3, max: 12}",
    ),
    "too many": ({"seeds": {"start": 3, "max": 101}}, "study.seeds.max=101  must be at most 100"),
    "looks that shrink": (
        {"seeds": None, "looks": [3, 10, 5]},
        "study.looks=[3, 10, 5]  must grow, such as [3, 5, 10]",
    ),
    "look at one seed": (
        {"seeds": None, "looks": [1, 5]},
        "study.looks=[1, 5]  must start at 2 seeds or more, since one seed shows no spread",
    ),
    "looks short of the seeds": (
        {"seeds": 6, "looks": [3, 5]},
        "study.looks=[3, 5]  must end at all 6 seeds; set study.seeds=5",
    ),
    "twice": (
        {"seeds": RANGE, "looks": [3, 6]},
        "study.looks=[3, 6]  says again what study.seeds={max: 6, start: 3} says; drop one of them",
    ),
    "factorial design": (
        {"seeds": RANGE, "design": "grid"},
        "study.looks=[3, 4, 5, 6]  is not for design=grid, whose main effects are judged once; use ofat, loco or list",
    ),
    "spending": (
        {"seeds": RANGE, "spending": "all"},
        "study.spending=all  is unknown; allowed: constant, obrien_fleming, pocock",
    ),
    "spending without looks": (
        {"spending": "pocock"},
        "study.spending=pocock  divides the error over looks, and there are none; add study.looks or drop it",
    ),
}


@pytest.fixture
def looked(plan, tmp_path) -> Plan:
    """A plan with looks, frozen in tmp_path, of which one cell has begun."""
    made = freeze_plan(tmp_path, plan(seeds=RANGE))
    made_record(tmp_path, made, made.cells[0], "running")
    return made


@pytest.mark.parametrize("case", REFUSED)
def test_looks_that_cannot_be_are_refused(refusal, case):
    entries, sentence = REFUSED[case]
    assert refusal(**entries) == [sentence]


def test_training_until_decided_needs_looks(refusal):
    assert refusal(UNTIL) == [
        "sweep.until=decided  needs a study with looks; declare study.seeds={start: 3, max: 12} or "
        "study.looks=[3, 5, 10] in its file, or use sweep.until=all"
    ]


def test_training_until_decided_needs_something_to_decide(plan):
    made = plan(UNTIL, seeds=RANGE)
    made.arms = made.arms[:1]
    assert until_errors(made) == [
        "sweep.until=decided  has nothing to decide: no arm and no testable claim; use sweep.until=all"
    ]


def test_budget_below_the_first_look_is_refused(refusal):
    assert refusal(UNTIL, "sweep.budget_runs=5", seeds=RANGE) == [
        "sweep.budget_runs=5  must be at least the 12 runs of the first look (4 arms x 3 seeds)"
    ]


def test_budget_that_nothing_reads_is_refused(refusal):
    sentence = "sweep.budget_runs=99  is read by sweep.until=decided only; add it"
    assert sentence in refusal("sweep.budget_runs=99", seeds=RANGE)[0]


def test_seeds_of_the_command_line_cannot_change_looks(refusal):
    assert refusal("seed=0,1", seeds=RANGE) == [
        "seed=0,1  would change the seeds that study.looks count; change the study file"
    ]


def test_range_of_seeds_is_a_look_after_each(plan):
    made = plan(seeds=RANGE)
    assert (made.seeds, made.looks, made.spending) == ([0, 1, 2, 3, 4, 5], [3, 4, 5, 6], "obrien_fleming")


def test_declared_looks_have_one_bound(plan):
    made = plan(seeds=None, looks=[2, 4])
    assert (made.seeds, made.looks, made.spending) == ([0, 1, 2, 3], [2, 4], "constant")


def test_looks_are_hashed_with_the_claims(plan):
    hashes = {plan(seeds=4, **entries).claims_hash for entries in ({}, {"looks": [2, 4]}, {"looks": [3, 4]})}
    assert len(hashes) == 3 and "" in hashes


def test_plan_without_looks_does_not_name_them(plan, tmp_path):
    write_plan(tmp_path, plan())
    assert not {"looks", "spending"} & set(json.loads((tmp_path / "plan.json").read_text()))


@pytest.mark.parametrize(
    "entries, changed",
    [
        ({"seeds": {"start": 2, "max": 6}}, "study.looks=[2, 3, 4, 5, 6]"),
        ({"seeds": None, "looks": [3, 6], "spending": "pocock"}, "study.looks=[3, 6] study.spending=pocock"),
        ({"seeds": RANGE, "rope": 1.0}, "study.rope=1.0"),
        ({"seeds": RANGE, "error": "pooled"}, "study.error=pooled"),
        ({"seeds": 6}, "study.looks=[] study.spending="),
    ],
)
def test_changed_rules_are_refused_once_a_cell_has_begun(looked, plan, tmp_path, entries, changed):
    with pytest.raises(RecordError, match="cannot be changed once a run has begun") as refused:
        freeze_plan(tmp_path, plan(**entries))
    assert str(refused.value).startswith(f"{changed}  ")


def test_more_seeds_than_the_last_look_are_refused(looked, tmp_path):
    with pytest.raises(ConfigError, match=r"seeds  of a study with looks at \[3, 4, 5, 6\] seeds cannot be extended"):
        extend([str(tmp_path), "seeds=8", "--plan"])
