"""A report by another metric than the test accuracy names that metric, its unit and its images wherever it is meant.

Kinds: properties (no heading, axis, column or sentence of the comparison speaks of the test accuracy).
"""

import re

import pytest
from matplotlib.figure import Figure as Canvas
from vitsweep.analysis import style
from vitsweep.analysis.records.load import load
from vitsweep.analysis.report.report import make_report
from vitsweep.analysis.report.sections import make_parts
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import make_sweep

ARMS = {
    "baseline": [0.80, 0.81, 0.80],
    "patch_size=8": [0.75, 0.755, 0.75],
    "dropout=none": [0.78, 0.785, 0.79],
    "patch_size=8+dropout=none": [0.74, 0.79, 0.70],
    "placebo": [0.80, 0.805, 0.803],
}
NAMES = {"val/accuracy": "validation accuracy", "train/accuracy": "training accuracy", "test/loss": "test loss"}
COMPARISON = ("verdicts", "findings", "comparison", "factors", "methods")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    claims = [{"claim": "patch 8 is worse", "arm": "patch_size=8", "direction": "lower"}]
    plan = {"claims": claims, "published": {"baseline": 81.0}}
    return make_sweep(tmp_path_factory.mktemp("sweep"), ARMS, epochs=3, images=400, plan=plan)


@pytest.fixture(scope="module")
def parts(sweep):
    loaded = load(sweep)
    return {metric: make_parts(judge(loaded, metric), "planned", []) for metric in (*NAMES, "test/accuracy")}


def words(item) -> str:
    """All text of an item of a section, of a figure its axes too."""
    if item.kind == "table":
        table = item.table
        return " ".join([table.title, table.caption, *table.all_notes, *(column.title for column in table.columns)])
    if item.kind == "figure":
        canvas = Canvas()
        with style.theme("light") as color:
            item.figure.draw(canvas, color)
        axes = [text for ax in canvas.axes for text in (ax.get_xlabel(), ax.get_ylabel(), ax.get_title())]
        return " ".join([item.figure.title, item.figure.caption, item.figure.alt, *item.figure.table.columns, *axes])
    if item.kind == "key_values":
        return " ".join(value for name, value in item.pairs if name == "Metric")
    if item.kind == "verdicts":
        return " ".join([*item.notices, *(f"{chip.name} {chip.text}" for row in item.rows for chip in row.chips)])
    return " ".join(item.lines) if item.kind == "bullets" else item.text


def section(parts, name: str) -> str:
    return " ".join(words(item) for one in parts.sections if one.id == name for item in one.parts)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("name", COMPARISON)
def test_comparison_by_another_metric_speaks_of_that_metric(parts, metric, name):
    text = section(parts[metric], name)
    own = text.replace("This is about the test accuracy at the last epoch.", "")
    assert "test accuracy" not in own and NAMES[metric] in own.lower()
    assert ("this test set" in own) == (metric.startswith("test/") and name in ("verdicts", "methods"))


@pytest.mark.parametrize("name", COMPARISON)
def test_comparison_by_the_test_accuracy_says_so(parts, name):
    assert "accuracy" in section(parts["test/accuracy"], name)


@pytest.mark.parametrize("metric", ["val/accuracy", "train/accuracy"])
def test_interval_for_new_test_images_is_drawn_for_the_test_accuracy_only(parts, metric):
    columns = {m: next(f for f in parts[m].figures if f.name == "effects").table.columns for m in parts if "acc" in m}
    assert "image_low" in columns["test/accuracy"] and "image_low" not in columns[metric]
    assert "grey line" not in section(parts[metric], "verdicts")
    assert "On other test images" not in section(parts[metric], "findings")


@pytest.mark.parametrize("metric", NAMES)
def test_what_is_always_about_the_test_accuracy_says_so(parts, metric):
    assert section(parts[metric], "images").count("This is about the test accuracy at the last epoch.") == 2
    assert "This is about" not in section(parts["test/accuracy"], "images")


def test_loss_has_no_points_and_no_equivalence(parts):
    text = " ".join(section(parts["test/loss"], name) for name in ("verdicts", "findings", "comparison", "factors"))
    assert not re.search(r"\d points", text)
    methods = section(parts["test/loss"], "methods")
    assert "never equivalent, since the ROPE is one of accuracies" in methods and "0.5 points" not in methods
    assert re.search(r"Minimum detectable effect on the test loss: 0\.\d{4} \[0\.\d{4}, 0\.\d{4}\] among", methods)


@pytest.mark.parametrize("metric", NAMES)
def test_verdicts_of_a_study_with_claims_about_the_test_accuracy_are_exploratory(parts, metric):
    assert "(exploratory: no claim is about an arm's " in section(parts[metric], "methods")
    table = next(table for table in parts[metric].tables if table.name == "arms")
    assert set(table.frame["family"].dropna()) == {"exploratory"} and table.frame["published"].isna().all()
    assert f"with the baseline in {NAMES[metric]} at the last epoch" in section(parts[metric], "claims")


def test_page_of_another_metric_names_it_under_its_title(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("vitsweep.analysis.report.report.save_figure", lambda figure, folder: "<svg></svg>")
    page = make_report(sweep, out=tmp_path / "report", gallery="none", metric="val/accuracy").read_text()
    assert "Arms are compared by validation accuracy." in page
