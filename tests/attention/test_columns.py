"""Rollout measures as columns of a study: from checkpoints to the report's table, and kept for the next report.

Kinds: agrees with an independent reference, is deterministic, obeys a property, refuses with the right words.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from vitsweep.analysis.__main__ import main
from vitsweep.analysis.attention import columns
from vitsweep.analysis.attention.looks import ViewSettings
from vitsweep.analysis.attention.measures import COLUMNS
from vitsweep.analysis.gallery.gallery import MEASURED_IMAGES, baseline_first, report_measures
from vitsweep.analysis.publish import publish
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import Selection
from vitsweep.analysis.report import report
from vitsweep.analysis.report.report import make_report
from vitsweep.analysis.statistics.measure_effects import UNTESTED, add_measures, measure_effects
from vitsweep.analysis.verify import verify

from tests.support.make_cells import make_sweep
from vitsweep.study.record import Record

ARMS = {"patch_size=16": {"patch_size": 16}, "baseline": {}}
SEEDS = 3
IMAGES = 6


@pytest.fixture
def sweep(tmp_path):
    return make_sweep(tmp_path / "sweep", ARMS, seeds=2)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A sweep with its report, figures not drawn."""
    directory = make_sweep(tmp_path_factory.mktemp("sweep") / "sweep", ARMS, seeds=SEEDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "save_figure", lambda figure, folder: "<svg></svg>")
        make_report(directory)
    return directory


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are not drawn: most of a report's time, and not what is looked at here."""
    for name in ("save_figure", "save_svg"):
        monkeypatch.setattr(report, name, lambda figure, folder: "<svg></svg>")


@pytest.fixture
def blind(monkeypatch):
    """No model can be looked through."""

    def refuse(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(columns, "measure", refuse)


def measured(directory, count=IMAGES):
    frame, notes = columns.cell_measures(baseline_first(load(directory).cells), ViewSettings(), count)
    return frame.drop(columns="directory"), notes


def table(directory, name="measures"):
    with open(directory / "report" / "tables" / f"{name}.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def made_selection(values):
    """A study whose cells have these measures: arm -> measure -> a value a seed."""
    rows = [
        {"cell": f"{arm}/{seed}", "arm": arm, "seed": seed, "status": "done", "record": Record()}
        | {k: v[seed] for k, v in of.items()}
        for arm, of in values.items()
        for seed in range(len(next(iter(of.values()))))
    ]
    cells = pd.DataFrame(rows).drop(columns="seed").assign(seed=[row["seed"] for row in rows])
    roles = {arm: arm if arm in ("baseline", "placebo") else "arm" for arm in values}
    empty = {"history": pd.DataFrame(), "levels": {}, "changes": {}, "notes": []}
    return Selection(cells=cells, arms=list(values), baseline="baseline", roles=roles, **empty)


def test_measures_of_the_second_time_are_those_of_the_first_and_nothing_is_looked_at(sweep, monkeypatch):
    first, _ = measured(sweep)
    for name in ("measure", "load_cell_data"):
        monkeypatch.setattr(columns, name, lambda *_, **__: pytest.fail("looked again"))
    second, notes = measured(sweep)
    assert first.equals(second) and not notes


def test_measures_kept_of_other_weights_do_not_count(sweep):
    first, _ = measured(sweep)
    cell = sweep / "baseline" / "seed=0"
    weights = (sweep / "baseline" / "seed=1" / "best.safetensors").read_bytes()
    (cell / "best.safetensors").write_bytes(weights)
    changed = (measured(sweep)[0] != first).any(axis=1)
    assert set(first.loc[changed, "arm"]) == {"baseline"}


def test_measures_kept_of_other_images_do_not_count(sweep):
    measured(sweep)
    assert measured(sweep, IMAGES - 2)[0]["images"].unique().tolist() == [IMAGES - 2]


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_torn_file_of_cached_measures_is_made_anew(sweep, share):
    first, _ = measured(sweep)
    path = sweep / "baseline" / "seed=0" / "rollout.npz"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert measured(sweep)[0].equals(first)


def test_cached_measures_are_used_where_the_images_are_not(sweep, monkeypatch):
    from vitsweep.errors import DataError

    measured(sweep)
    (sweep / "baseline" / "seed=0" / "rollout.npz").unlink()

    def absent(_):
        raise DataError("the images are gone")

    monkeypatch.setattr(columns, "load_cell_data", absent)
    frame, notes = measured(sweep)
    assert len(frame) == 3
    assert notes == ["1 of 4 cells have no rollout measures: the images are gone."]


def test_report_has_the_measures_as_columns_of_its_runs(reported):
    rows = table(reported, "runs")
    assert [row["arm"] for row in rows] == ["baseline"] * SEEDS + ["patch_size=16"] * SEEDS
    assert all(0 < float(row["rollout/entropy"]) <= 1 for row in rows)
    assert all(row[name] for row in rows for name in COLUMNS)


def test_report_compares_the_measures_like_scipy(reported):
    runs = pd.DataFrame(table(reported, "runs"))
    base, arm = (
        runs[runs["arm"] == a]["rollout/entropy"].astype(float).to_numpy() for a in ("baseline", "patch_size=16")
    )
    expected = scipy_stats.ttest_rel(arm, base)
    low, high = expected.confidence_interval()
    (row,) = [r for r in table(reported) if (r["measure"], r["arm"]) == ("rollout/entropy", "patch_size=16")]
    found = [float(row[name]) for name in ("delta", "ci_low", "ci_high", "p")]
    assert found == pytest.approx([(arm - base).mean(), low, high, expected.pvalue])


def test_report_adjusts_over_all_differences_and_gives_no_verdict(reported):
    rows = [row for row in table(reported) if row["p"]]
    smallest = min(rows, key=lambda row: float(row["p"]))
    assert len(rows) == len(COLUMNS) - 1
    assert float(smallest["p_holm"]) == pytest.approx(min(1, len(rows) * float(smallest["p"])))
    page = (reported / "report" / "report.md").read_text()
    assert "Exploratory: no hypothesis about them was declared" in page
    assert "verdict" not in rows[0]


def test_study_without_attention_gets_one_note(tmp_path, undrawn):
    directory = make_sweep(tmp_path, {"baseline": {"name": "resnet"}}, seeds=2)
    page = make_report(directory)
    notes = json.loads((page.parent / "gallery.json").read_text())["notes"]
    assert notes == [
        "No rollout gallery: No rollout of baseline, seeds 0-1: model=ResNet  has no attention blocks, so there is no "
        "rollout of it."
    ]


def test_report_says_which_measures_depend_on_the_grid(reported):
    assert (
        "Arms have patches of different size: centre and spread can be compared; all other measures, distance included"
        in (reported / "report/report.md").read_text()
    )


def test_agreement_between_seeds_has_a_difference_and_no_interval(reported):
    (row,) = [r for r in table(reported) if r["measure"] == UNTESTED and r["arm"] != "baseline"]
    assert row["delta"] and not row["ci_low"] and not row["p"] and not row["p_holm"]


def test_placebo_changes_no_other_arms_p():
    values = {"baseline": {"rollout/entropy": [0.9, 0.8, 0.7]}, "a": {"rollout/entropy": [0.8, 0.75, 0.61]}}
    alone = measure_effects(made_selection(values)).set_index("arm")
    beside = measure_effects(made_selection(values | {"placebo": {"rollout/entropy": [0.9, 0.82, 0.7]}})).set_index(
        "arm"
    )
    assert beside.loc["a", "p_holm"] == alone.loc["a", "p_holm"] == alone.loc["a", "p"]
    assert beside.loc["placebo", "p_holm"] >= beside.loc["placebo", "p"]


def test_arm_without_measures_has_a_row_that_says_so_and_counts_in_the_family():
    values = {"baseline": {"rollout/entropy": [0.9, 0.8, 0.7]}, "a": {"rollout/entropy": [0.8, 0.75, 0.61]}}
    frame = measure_effects(made_selection(values | {"b": {"rollout/entropy": [np.nan] * 3}})).set_index("arm")
    assert frame.loc["b", "n"] == frame.loc["b", "pairs"] == 0 and np.isnan(frame.loc["b", "p_holm"])
    assert frame.loc["a", "p_holm"] == pytest.approx(2 * frame.loc["a", "p"])


def test_arm_without_attention_is_no_hypothesis_about_it():
    values = {"baseline": {"rollout/entropy": [0.9, 0.8, 0.7]}, "a": {"rollout/entropy": [0.8, 0.75, 0.61]}}
    selection = made_selection(values | {"b": {"rollout/entropy": [np.nan] * 3}})
    network = Record(config={"model": {"name": "resnet"}})
    selection.cells["record"] = [network if arm == "b" else Record() for arm in selection.cells["arm"]]
    frame = measure_effects(selection).set_index("arm")
    assert frame.loc["a", "p_holm"] == pytest.approx(frame.loc["a", "p"])


def test_cells_without_measures_get_empty_columns():
    cells = pd.DataFrame({"cell": ["a", "b"]})
    found = add_measures(cells, pd.DataFrame({"cell": ["b"], "rollout/entropy": [0.5]}))
    assert found["rollout/entropy"].tolist()[1] == 0.5 and np.isnan(found["rollout/entropy"][0])
    assert add_measures(cells, None).equals(cells)


def test_model_without_attention_leaves_its_columns_empty_and_is_named(tmp_path):
    directory = make_sweep(tmp_path, {"baseline": {}, "model=resnet": {"name": "resnet"}}, seeds=1)
    frame, notes = report_measures(load(directory).cells)
    assert frame["arm"].tolist() == ["baseline"]
    assert notes == [
        "No rollout of model=resnet, seed 0: model=ResNet  has no attention blocks, so there is no rollout of it."
    ]


def test_arms_can_be_judged_by_a_measure(reported, undrawn, blind, tmp_path):
    make_report(reported, out=tmp_path, metric="rollout/entropy")
    rows = json.loads((tmp_path / "results.json").read_text())["arms"]
    assert rows[1]["verdict"] in ("differs", "undecided")  # neither more nor less of it is better
    assert rows[1]["better_percent"] is None
    text = (tmp_path / "report.md").read_text()
    assert "The baseline has a rollout entropy of " in text
    assert "Rollout entropy with the lowest validation loss, every arm against baseline." in text
    assert "Metric: rollout entropy of the weights with the lowest validation loss;" in text


def test_measure_is_refused_where_nothing_is_measured(sweep, capsys):
    assert main(["report", str(sweep), "--gallery", "none", "--metric", "rollout/entropy"]) == 2
    assert (
        "--metric=rollout/entropy  needs the rollout measures; use --gallery make, or keep" in capsys.readouterr().err
    )


def test_unknown_measure_is_refused_with_what_is_allowed(sweep, capsys):
    assert main(["report", str(sweep), "--metric", "rollout/beauty"]) == 2
    assert "allowed: train/loss, " in (err := capsys.readouterr().err) and "rollout/entropy" in err


def test_report_from_cached_measures_is_the_same_and_verified_without_checkpoints(reported, undrawn, tmp_path):
    publish(reported, tmp_path / "published")
    assert not list((tmp_path / "published").rglob("*.safetensors"))
    assert table(tmp_path / "published") == table(reported)
    assert not [error for error in verify(tmp_path / "published") if error.startswith("tables/")]


def test_verify_finds_a_difference_that_the_measures_do_not_give(reported, undrawn, tmp_path):
    publish(reported, tmp_path / "published")
    path = tmp_path / "published/report/tables/measures.csv"
    lines = path.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("rollout/entropy,patch_size=16"))
    cells = lines[place].split(",")
    lines[place] = ",".join([*cells[:6], str(float(cells[6]) + 0.01), *cells[7:]])
    path.write_text("\n".join(lines) + "\n")
    errors = [error for error in verify(tmp_path / "published") if error.startswith("tables/")]
    assert len(errors) == 1 and errors[0].startswith("tables/measures.csv: row 2, delta: ")


def test_cached_measures_of_a_cell_that_was_trained_again_are_dropped(reported):
    kept, loaded = report.read_gallery(reported / "report"), load(reported)
    before = set(report.saved_measures(kept, loaded)["cell"])
    again = loaded.cells["record"].iloc[0]
    again.finished = "2031-01-01T00:00:00+00:00"
    assert before - set(report.saved_measures(kept, loaded)["cell"]) == {loaded.cells["cell"].iloc[0]}


def test_report_from_cached_measures_imports_no_torch(reported, tmp_path):
    code = (
        "import sys; from vitsweep.analysis.__main__ import main;"
        "from vitsweep.analysis.report import report;"
        "report.save_figure = lambda figure, folder: '<svg></svg>';"
        f"arguments = ['report', {str(reported)!r}, '--gallery', 'keep', '--out', {str(tmp_path)!r}];"
        "assert main([*arguments, '--metric', 'rollout/entropy']) == 0;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_second_report_gives_the_same_bytes_from_memory(reported, undrawn, blind, tmp_path):
    make_report(reported, out=tmp_path)
    for name in ("index.html", "results.json", "tables/measures.csv", "gallery.json"):
        assert (tmp_path / name).read_bytes() == (reported / "report" / name).read_bytes()


def test_howto_names_the_measures_and_the_number_of_images():
    text = (Path(__file__).resolve().parents[2] / "docs" / "rollout.md").read_text()
    assert all(f"`{name.removeprefix('rollout/')}`" in text for name in COLUMNS)
    assert f"over the same {MEASURED_IMAGES} test images" in text
