"""Comparable cells: one study, one configuration an arm, one data set, one baseline; the rest is named.

Kinds: properties (order, roles, levels), refusals (each odd folder has its sentence and no wrong row).
"""

import shutil

import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select

from tests.support.make_records import make_cell, make_record, make_sweep

ARMS = {"baseline": [0.80, 0.81], "patch_size=8": [0.75, 0.76], "num_hidden_layers=4": [0.79, 0.78]}


def selection_of(directory):
    return select(load(directory))


def test_arms_follow_the_plan_with_the_baseline_first(tmp_path):
    sweep = make_sweep(tmp_path, {"patch_size=8": [0.7], "baseline": [0.8], "num_hidden_layers=4": [0.6]})
    assert selection_of(sweep).arms == ["baseline", "patch_size=8", "num_hidden_layers=4"]


def test_baseline_is_the_cell_of_that_role_without_a_plan(tmp_path):
    make_cell(tmp_path, make_record("aaa", 0, 0.7))
    make_cell(tmp_path, make_record("zzz", 0, 0.8, role="baseline"))
    selection = selection_of(tmp_path)
    assert selection.baseline == "zzz" and selection.notes == []


def test_without_any_baseline_the_first_arm_counts_and_is_named(tmp_path):
    for arm in ("patch_size=4", "patch_size=8"):
        make_cell(tmp_path, make_record(arm, 0, 0.7))
    selection = selection_of(tmp_path)
    assert selection.baseline == "patch_size=4"
    assert selection.notes == [
        "No cell is marked as the baseline; every arm is compared with the first one, patch_size=4."
    ]


def test_two_baselines_are_named_and_the_first_counts(tmp_path):
    for arm in ("one", "two"):
        make_cell(tmp_path, make_record(arm, 0, 0.7, role="baseline"))
    selection = selection_of(tmp_path)
    assert selection.baseline == "one" and selection.roles == {"one": "baseline", "two": "arm"}
    assert "2 arms are marked as the baseline (one, two)" in selection.notes[0]


def test_other_data_than_the_baselines_are_left_out_and_named(tmp_path):
    make_sweep(tmp_path, ARMS, plan=None)
    make_cell(tmp_path, make_record("dropout=none", 0, 0.9, data_fingerprint="e" * 64))
    selection = selection_of(tmp_path)
    assert "dropout=none" not in selection.arms
    assert "1 cells saw other images than the baseline" in selection.notes[0] and "dropout=none" in selection.notes[0]


def test_arm_that_was_planned_on_images_of_its_own_is_kept(tmp_path):
    make_sweep(tmp_path, ARMS, plan=None)
    record = make_record("root=cars", 0, 0.9, data_fingerprint="e" * 64)
    record.config["data"]["fingerprint"] = "e" * 64
    make_cell(tmp_path, record)
    selection = selection_of(tmp_path)
    assert "root=cars" in selection.arms and selection.notes == []


def test_a_second_study_is_left_out_and_named(tmp_path):
    make_sweep(tmp_path, ARMS, plan=None)
    other = make_record("lr=0.1", 0, 0.5, study="another")
    make_cell(tmp_path / "sub", other)
    selection = selection_of(tmp_path)
    assert "lr=0.1" not in selection.arms and selection.study == "study"
    assert selection.notes == [
        "More than one study lies here. This report is about study; the 1 cells of another are left out."
    ]


def test_a_second_study_with_the_same_baseline_is_pooled_and_named(tmp_path):
    make_sweep(tmp_path / "one", ARMS, plan=None)
    for record in (make_record("baseline", 2, 0.82, study="another"), make_record("lr=0.1", 2, 0.5, study="another")):
        make_cell(tmp_path / "two", record)
    selection = select(load(tmp_path / "one", tmp_path / "two"))
    assert "lr=0.1" in selection.arms
    assert "are pooled, since the baselines are equal" in selection.notes[0]


def test_one_arm_with_two_configurations_keeps_the_planned_one(tmp_path):
    make_sweep(tmp_path, ARMS)
    make_cell(tmp_path, make_record("patch_size=8", 5, 0.1, config_hash="0" * 64))
    selection = selection_of(tmp_path)
    assert "Arm patch_size=8 has 2 different configurations" in selection.notes[0]
    assert set(selection.cells.loc[selection.cells["arm"] == "patch_size=8", "seed"]) == {0, 1}


def test_the_same_arm_and_seed_twice_counts_once_and_the_finished_one_wins(tmp_path):
    make_cell(tmp_path / "a", make_record("baseline", 0, None, status="failed", metrics={}))
    make_cell(tmp_path / "b", make_record("baseline", 0, 0.8))
    selection = selection_of(tmp_path)
    assert selection.cells["status"].tolist() == ["done"]
    assert "the same arm and seed are there twice" in selection.notes[0]


def test_levels_of_the_baseline_come_from_its_configuration(tmp_path):
    selection = selection_of(make_sweep(tmp_path, ARMS))
    assert selection.levels["baseline"] == {"patch_size": "4", "num_hidden_layers": "8"}
    assert selection.levels["patch_size=8"] == {"patch_size": "8", "num_hidden_layers": "8"}


def test_levels_that_are_no_values_leave_the_baseline_as_baseline(tmp_path):
    make_sweep(tmp_path, {"baseline": [0.8]}, plan=None)
    make_cell(tmp_path, make_record("patch_size=p8", 0, 0.7, levels={"patch_size": "p8"}, config={"model": {}}))
    assert selection_of(tmp_path).levels["baseline"]["patch_size"] == "baseline"


def test_changes_say_what_differs_from_the_baseline(tmp_path):
    selection = selection_of(make_sweep(tmp_path, ARMS))
    assert selection.changes["num_hidden_layers=4"] == "num_hidden_layers 8 -> 4"
    assert selection.changes["baseline"] == ""


def test_change_of_a_dropout_place_is_stated_by_the_rates_in_force(tmp_path):
    for arm in ("baseline", "head_dropout_prob=none"):
        record = make_record(arm, 0, 0.7)
        place = None if arm == "baseline" else 0.0
        record.config["model"] |= {"hidden_dropout_prob": 0.2, "head_dropout_prob": place}
        make_cell(tmp_path, record)
    assert selection_of(tmp_path).changes["head_dropout_prob=none"] == "head_dropout_prob 0.2 -> 0.0"


def test_family_is_every_arm_of_the_plan_but_no_placebo(tmp_path):
    make_sweep(tmp_path, ARMS | {"placebo": [0.8, 0.8]})
    shutil.rmtree(next(tmp_path.glob("num_hidden_layers=4-*")))
    assert selection_of(tmp_path).family() == ["patch_size=8", "num_hidden_layers=4"]


def test_family_without_a_plan_is_every_started_arm(tmp_path):
    make_sweep(tmp_path, ARMS | {"placebo": [0.8, 0.8]}, plan=None)
    make_cell(tmp_path, make_record("dropout=none", 0, None, status="failed", metrics={}))
    make_cell(tmp_path, make_record("lr=0.1", 0, None, status="planned", metrics={}))
    assert selection_of(tmp_path).family() == ["dropout=none", "num_hidden_layers=4", "patch_size=8"]


def test_selection_of_nothing_has_no_baseline(tmp_path):
    selection = selection_of(tmp_path)
    assert selection.arms == [] and selection.baseline == ""


@pytest.mark.parametrize("given", [{"rope": 0.2}, {"design": "grid"}, {"published": {"baseline": 81.0}}])
def test_the_plans_settings_are_used(tmp_path, given):
    selection = selection_of(make_sweep(tmp_path, ARMS, plan=given))
    assert {name: getattr(selection, name) for name in given} == given
