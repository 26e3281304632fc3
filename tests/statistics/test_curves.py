"""Epochs: the saturation of runs by the plan's rule, its interval over seeds, best against last epoch.

Kinds: properties on visible curves, reference (t interval), edges (late and unfinished runs).
"""

import json
import math

import numpy as np
import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.statistics import paired as stats
from vitsweep.analysis.statistics.curves import (
    best_against_final,
    cell_saturation,
    rule_text,
    saturation,
    study_rule,
)

from tests.support.make_records import make_cell, make_record, make_sweep


def write_curve(cell, losses):
    rows = [json.dumps({"epoch": i, "val/loss": loss}) for i, loss in enumerate(losses, start=1)]
    (cell / "metrics.jsonl").write_text("\n".join(rows) + "\n")


def falling(time, epochs=60):
    """Return a curve that saturates at epoch 1 + 3 time by the rule `fitted`."""
    return list(1 + np.exp(-np.arange(epochs) / time))


def planned(tmp_path, curves, **claim):
    """Return the selection of a baseline with these curves, and a saturation claim if one is given."""
    plan = {"claims": [{"claim": "x", "kind": "saturation", "epoch": 9, "within": 1} | claim]} if claim else {}
    sweep = make_sweep(tmp_path, {"baseline": [0.8] * len(curves)}, epochs=1, plan=plan)
    for seed, losses in enumerate(curves):
        write_curve(next(sweep.glob(f"baseline-*/seed={seed}")), losses)
    return select(load(sweep))


def test_saturation_of_an_arm_is_a_t_interval_over_its_seeds(tmp_path):
    row = saturation(planned(tmp_path, [falling(3), falling(4), falling(5)])).iloc[0]
    epochs = 1 + np.log(20) * np.array([3, 4, 5])
    assert row["epoch"] == pytest.approx(epochs.mean(), abs=0.1) and row["late"] == 0
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(map(float, stats.mean_interval(epochs)[1:])), abs=0.2)


def test_mean_with_a_run_that_improves_to_the_end_is_a_lower_bound(tmp_path):
    row = saturation(planned(tmp_path, [falling(3), falling(4), list(np.linspace(2, 1, 60))])).iloc[0]
    seen = np.array([1 + np.log(20) * 3, 1 + np.log(20) * 4, 60])
    assert row["late"] == 1 and row["epoch"] == pytest.approx(seen.mean(), abs=0.2)
    assert math.isnan(row["ci_high"]) and math.isnan(row["sd"]) and row["ci_low"] < row["epoch"]


@pytest.mark.parametrize(("epoch", "late"), [(8, 0), (9, 1), (10, 1)])
def test_end_of_a_short_run_is_its_last_two_epochs(tmp_path, epoch, late):
    selection = planned(tmp_path, [[2.0] * (epoch - 1) + [1.0] * (11 - epoch)])
    assert cell_saturation(selection, rule="lowest")["late"].tolist() == [bool(late)]


@pytest.mark.parametrize(
    ("claim", "rule"), [({}, "fitted"), ({"rule": "fitted"}, "fitted"), ({"claim": "planned before"}, "lowest")]
)
def test_table_follows_the_rule_of_the_plan(tmp_path, claim, rule):
    selection = planned(tmp_path, [[2.0, 1.5, 1.0, 1.0, 1.0, 1.1, 1.0, 1.0, 1.0, 1.0]], **claim)
    assert study_rule(selection) == rule and f"(rule {rule}" in rule_text(selection)
    expected = cell_saturation(selection, rule=rule)["epoch"].iloc[0]
    assert saturation(selection)["epoch"].iloc[0] == expected


def test_unfinished_cells_do_not_saturate(tmp_path):
    make_cell(tmp_path, make_record("baseline", 0, 0.8, status="running"))
    assert cell_saturation(select(load(tmp_path))).empty


def test_saturation_of_an_accuracy_counts_its_rise(tmp_path):
    cell = make_cell(tmp_path, make_record("baseline", 0, 0.8))
    rows = [json.dumps({"epoch": i, "val/accuracy": a}) for i, a in enumerate([0.1, 0.5, 0.5, 0.4], start=1)]
    (cell / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    assert cell_saturation(select(load(tmp_path)), "val/accuracy", "lowest")["epoch"].tolist() == [2.0]


def test_best_against_final_is_the_paired_difference_in_points(tmp_path):
    row = best_against_final(select(load(make_sweep(tmp_path, {"baseline": [0.80, 0.81, 0.80]}, epochs=1)))).iloc[0]
    gains = np.array([0.15, 0.20, 0.25])
    assert row["gain"] == pytest.approx(0.2)
    assert row["ci_low"] == pytest.approx(float(stats.mean_interval(gains)[1]))
