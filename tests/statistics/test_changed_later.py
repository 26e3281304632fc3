"""Changes after the first run: of claims, ROPE and seeds; and the error rate of looking several times.

Kinds: reference (a simulation of its own with scipy's t test), properties, the right words.
"""

import json

import numpy as np
import pytest
from scipy import stats as known
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.statistics.validity.changed_later import (
    changed_claims,
    earlier_hashes,
    extension_sentence,
    sequential_error,
)

from tests.support.make_records import make_cell, make_record, make_sweep
from vitsweep.study.plan import claims_hash

CLAIM = {"claim": "patch 4 beats patch 8", "arm": "baseline", "than": "patch_size=8"}
OTHER = {"claim": "added later", "arm": "patch_size=8"}


def with_hash(tmp_path, before: str, status="done", **plan):
    sweep = make_sweep(tmp_path, {"baseline": [0.8]}, plan={"claims": [CLAIM], "claims_hash": "new"} | plan)
    make_cell(sweep, make_record("baseline", 0, 0.8, status=status, claims_hash=before))
    return select(load(sweep))


def test_claims_of_the_hash_that_the_cells_carry_are_unchanged(tmp_path):
    selection = with_hash(tmp_path, claims_hash([CLAIM], 0.5))
    assert changed_claims(selection) == [] and earlier_hashes(selection) == []


@pytest.mark.parametrize("change", [{"claims": [OTHER]}, {"rope": 2.0}, {"study": "renamed"}])
def test_claims_rewritten_under_the_hash_that_the_cells_carry_are_changed(tmp_path, change):
    stated = claims_hash([CLAIM], 0.5)
    sweep = make_sweep(tmp_path, {"baseline": [0.8]}, plan={"claims": [CLAIM]})
    plan = json.loads((sweep / "plan.json").read_text())
    assert plan["claims_hash"] == stated
    (sweep / "plan.json").write_text(json.dumps(plan | {"claims": [OTHER]} | change))
    selection = select(load(sweep))
    assert changed_claims(selection) == selection.claims and earlier_hashes(selection) == [stated]


def test_claims_of_another_hash_than_the_cells_carry_are_changed(tmp_path):
    assert changed_claims(with_hash(tmp_path, "old")) == [CLAIM]


def test_claims_that_were_added_where_none_were_are_changed(tmp_path):
    assert changed_claims(with_hash(tmp_path, "")) == [CLAIM]


def test_only_the_claim_that_the_plans_history_lacks_is_changed(tmp_path):
    selection = with_hash(tmp_path, "old", claims=[CLAIM, OTHER], claims_before={"old": [CLAIM]})
    assert changed_claims(selection) == [OTHER]


def test_claims_that_were_all_taken_away_leave_their_hash(tmp_path):
    assert earlier_hashes(with_hash(tmp_path, "old", claims=[], claims_hash="")) == ["old"]


def test_planned_cells_do_not_make_a_claim_changed(tmp_path):
    assert changed_claims(with_hash(tmp_path, "old", status="planned")) == []


def test_cells_of_another_study_do_not_make_a_claim_changed(tmp_path):
    sweep = make_sweep(tmp_path, {"baseline": [0.8]}, plan={"claims": [CLAIM]})
    make_cell(sweep, make_record("patch_size=8", 0, 0.7, study="other", claims_hash="theirs"))
    make_cell(sweep, make_record("baseline", 1, 0.8, study="other", claims_hash="theirs"))
    assert earlier_hashes(select(load(sweep))) == []


def test_cells_without_a_plan_have_nothing_to_differ_from(tmp_path):
    make_cell(tmp_path, make_record("baseline", 0, 0.8, claims_hash="old"))
    assert earlier_hashes(select(load(tmp_path))) == []


@pytest.mark.parametrize("looks", [(6, 8), (5, 10), (5, 8, 10)])
def test_error_of_looks_agrees_with_scipys_t_test(looks):
    draw_DS = np.random.default_rng(1).normal(size=(40_000, max(looks)))
    found = [known.ttest_1samp(draw_DS[:, :n], 0, axis=1).pvalue < 0.05 for n in looks]
    assert sequential_error(looks) == pytest.approx(np.any(found, axis=0).mean(), abs=0.006)


def test_one_look_errs_as_promised():
    assert sequential_error((6,)) == pytest.approx(0.05, abs=0.003)


def test_extension_is_said_with_what_it_costs(tmp_path):
    selection = with_hash(tmp_path, "new", seeds_before=[6], seeds=list(range(8)))
    assert extension_sentence(selection) == (
        "Extended from 6 to 8 seeds after results could be seen: for somebody who would have stopped at a significant "
        "result, errors of 5 % become about 8 %."
    )


@pytest.mark.parametrize("before", [[], [1]])
def test_extension_before_results_could_be_judged_is_not_noted(tmp_path, before):
    assert extension_sentence(with_hash(tmp_path, "new", seeds_before=before, seeds=[0, 1, 2])) == ""
