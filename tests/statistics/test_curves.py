"""Epochs: the saturation rule on curves seen by eye, its interval over seeds, best against last epoch.

Kinds: properties on visible curves, reference (t interval), edges (too short, never falling, NaN).
"""

import json
import math

import numpy as np
import pytest
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.statistics import paired as stats
from vitsweep.analysis.statistics.curves import best_against_final, cell_saturation, saturation, saturation_epoch

from tests.support.make_records import make_cell, make_record, make_sweep


@pytest.mark.parametrize(
    ("loss", "epoch"),
    [
        ([2.0, 1.0, 1.0, 1.0], 2),
        ([2.0, 1.5, 1.0, 1.2], 3),
        ([2.0, 1.009, 1.0], 2),  # within 1 % of the way from 2 to 1
        ([2.0, 1.02, 1.0], 3),  # not within it
        ([2.0, 1.5, 1.8, 1.0], 4),
    ],
)
def test_saturation_epoch_follows_the_rule(loss, epoch):
    assert saturation_epoch(np.array(loss)) == epoch


@pytest.mark.parametrize("loss", [[], [2.0], [1.0, 1.5, 2.0], [2.0, math.nan, 1.0]])
def test_curves_without_a_fall_have_no_saturation_epoch(loss):
    assert math.isnan(saturation_epoch(np.array(loss)))


def write_curve(cell, losses):
    rows = [json.dumps({"epoch": i, "val/loss": loss}) for i, loss in enumerate(losses, start=1)]
    (cell / "metrics.jsonl").write_text("\n".join(rows) + "\n")


def test_saturation_of_an_arm_is_a_t_interval_over_its_seeds(tmp_path):
    for seed, epoch in enumerate((10, 12, 14)):
        cell = make_cell(tmp_path, make_record("baseline", seed, 0.8))
        write_curve(cell, [2.0] * (epoch - 1) + [1.0] * (41 - epoch))
    row = saturation(select(load(tmp_path))).iloc[0]
    assert row["epoch"] == 12 and row["late"] == 0
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(
        tuple(map(float, stats.mean_interval(np.array([10, 12, 14]))[1:]))
    )


def test_run_that_improves_to_the_end_is_counted_as_late(tmp_path):
    cell = make_cell(tmp_path, make_record("baseline", 0, 0.8))
    write_curve(cell, list(np.linspace(2, 1, 40)))
    assert saturation(select(load(tmp_path))).iloc[0]["late"] == 1


@pytest.mark.parametrize(("epoch", "late"), [(8, 0), (9, 1), (10, 1)])
def test_end_of_a_short_run_is_its_last_two_epochs(tmp_path, epoch, late):
    cell = make_cell(tmp_path, make_record("baseline", 0, 0.8))
    write_curve(cell, [2.0] * (epoch - 1) + [1.0] * (11 - epoch))
    assert saturation(select(load(tmp_path))).iloc[0]["late"] == late


def test_unfinished_cells_do_not_saturate(tmp_path):
    make_cell(tmp_path, make_record("baseline", 0, 0.8, status="running"))
    assert cell_saturation(select(load(tmp_path))).empty


def test_saturation_of_an_accuracy_counts_its_rise(tmp_path):
    cell = make_cell(tmp_path, make_record("baseline", 0, 0.8))
    rows = [json.dumps({"epoch": i, "val/accuracy": a}) for i, a in enumerate([0.1, 0.5, 0.5, 0.4], start=1)]
    (cell / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    assert cell_saturation(select(load(tmp_path)), "val/accuracy")["epoch"].tolist() == [2.0]


def test_best_against_final_is_the_paired_difference_in_points(tmp_path):
    row = best_against_final(select(load(make_sweep(tmp_path, {"baseline": [0.80, 0.81, 0.80]}, epochs=1)))).iloc[0]
    gains = np.array([0.15, 0.20, 0.25])
    assert row["gain"] == pytest.approx(0.2)
    assert row["ci_low"] == pytest.approx(float(stats.mean_interval(gains)[1]))
