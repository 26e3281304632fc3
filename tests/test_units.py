"""Units in the names of columns: percent, points, or none.

Kinds: properties by eye (numbers and names of small frames), agreement of every CSV file of a report.
"""

import csv

import pandas as pd
from vitsweep.analysis.report import report
from vitsweep.analysis.report.report import make_report
from vitsweep.analysis.units import figure_frame, in_percent, metrics_in_percent, table_units, with_units

from tests.support.make_records import make_sweep

UNITLESS = ("accuracy", "mean", "sd", "delta", "ci_low", "ci_high", "gain", "changed")


def test_accuracy_effects_are_points_and_losses_have_no_unit():
    frame = pd.DataFrame({"arm": ["a"], "mean": [75.0], "delta": [-1.0], "better": [0.5]})
    assert with_units(frame, table_units("arms", True)).to_dict("records") == [
        {"arm": "a", "mean_percent": 75.0, "delta_points": -1.0, "better_percent": 50.0}
    ]
    assert list(with_units(frame, table_units("arms", False))) == ["arm", "mean", "delta", "better_percent"]


def test_fractions_become_percent_and_other_columns_stay():
    frame = in_percent(pd.DataFrame({"val/accuracy": [0.5], "val/loss": [0.7]}))
    assert frame.to_dict("records") == [{"val/accuracy_percent": 50.0, "val/loss": 0.7}]
    metrics = {"final": {"test/accuracy": None, "test/loss": 1.0}}
    assert metrics_in_percent(metrics) == {"final": {"test/accuracy_percent": None, "test/loss": 1.0}}


def test_rows_of_curves_name_the_unit_of_their_metric():
    frame = pd.DataFrame({"metric": ["val/loss", "val/accuracy"], "mean": [1.0, 50.0]})
    assert figure_frame("curves", frame, "test/accuracy")["metric"].tolist() == ["val/loss", "val/accuracy_percent"]


def test_every_csv_of_a_report_names_its_units(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "save_figure", lambda figure, folder: "<svg></svg>")  # drawing takes most of the time
    made = make_sweep(tmp_path, {"baseline": [0.8, 0.81], "patch_size=8": [0.7, 0.72]}, epochs=3, images=50)
    folder = make_report(made, gallery="none").parent
    heads = {path.name: next(csv.reader(path.read_text().splitlines())) for path in folder.rglob("*.csv")}
    plain = {"curves.csv", "curves-apart.csv", "gap.csv", "saturation.csv"}  # rows of several units; epochs
    wrong = {name: set(UNITLESS) & set(head) for name, head in heads.items() if name not in plain}
    assert {name: found for name, found in wrong.items() if found} == {} and len(heads) > 5
