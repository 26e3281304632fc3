"""Frames of a Study are the report's files; what is not there is one sentence, a ValueError.

Kinds: agrees with the report's CSV and with the records, obeys properties, refuses with the right words.
"""

import io
import json

import numpy as np
import pandas as pd
import pytest
from vitsweep.analysis.report import report
from vitsweep.analysis.report.report import make_report

import vitsweep as vs
from tests.support.make_records import make_cell, make_record, make_sweep

ARMS = {"baseline": [0.80, 0.81, 0.80], "patch_size=8": [0.75, 0.755, 0.75], "dropout=none": [0.78, 0.785, 0.79]}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return make_sweep(tmp_path_factory.mktemp("s") / "outputs" / "parts", ARMS, epochs=4, images=100)


@pytest.fixture(scope="module")
def made(sweep):
    return vs.load(sweep)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are not drawn: tests of tables need none, and drawing takes most of the time."""
    monkeypatch.setattr(report, "save_figure", lambda figure, folder: "<svg></svg>")


def test_tables_are_those_of_the_report(made, sweep, tmp_path, undrawn):
    make_report(sweep, out=tmp_path, gallery="none")
    for name in made.tables:
        written = pd.read_csv(tmp_path / "tables" / f"{name}.csv")
        shown = pd.read_csv(io.StringIO(made.table(name).to_csv(index=False)))
        pd.testing.assert_frame_equal(shown[list(written)], written, check_dtype=False, rtol=1e-9)
    assert {path.stem for path in (tmp_path / "tables").glob("*.csv")} == set(made.tables)
    assert made.to_latex() == (tmp_path / "tables/paper.tex").read_text(encoding="utf-8")


def test_study_against_another_arm_is_that_report_and_exploratory(sweep, tmp_path, undrawn):
    other = vs.load(sweep, baseline="dropout=none")
    make_report(sweep, out=tmp_path, gallery="none", baseline="dropout=none")
    written = pd.read_csv(tmp_path / "tables" / "arms.csv")
    assert other.arms["delta_points"].tolist() == pytest.approx(written["delta_points"].tolist(), nan_ok=True)
    assert other.baseline == "dropout=none" and other.findings[0].startswith("Exploratory: every arm is compared with")


def test_cells_and_history_are_those_of_the_records(made, sweep):
    cells = made.cells.set_index("cell")
    for path in sweep.glob("*/*/record.json"):
        record, row = json.loads(path.read_text()), cells.loc[path.parent.relative_to(sweep).as_posix()]
        assert (row["arm"], row["seed"], row["status"]) == (record["arm"], record["seed"], record["status"])
        assert row["final/test/accuracy_percent"] == 100 * record["metrics"]["final"]["test/accuracy"]
        rows = [json.loads(line)["val/loss"] for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
        of_cell = made.history[made.history["cell"] == row.name].sort_values("epoch")
        np.testing.assert_allclose(of_cell["val/loss"], rows)


def test_levels_are_numbers_where_all_are(made):
    levels = made.cells.groupby("arm")[["level/patch_size", "level/dropout"]].first()
    assert levels.loc["patch_size=8"].tolist() == [8, "everywhere"]
    assert levels.loc["dropout=none"].tolist() == [4, "none"]


def test_study_is_a_mapping_of_arms_to_seeds_to_cells(made):
    assert list(made) == list(ARMS) and len(made) == 3 and "patch_size=8" in made
    assert [(arm, list(cells)) for arm, cells in made.items()] == [(arm, [0, 1, 2]) for arm in ARMS]
    assert made.get("patch_size=16") is None
    cell = made["patch_size=8"][1]
    assert (cell.arm, cell.seed, cell.metrics["final"]["test/accuracy_percent"]) == ("patch_size=8", 1, 75.5)
    assert len(cell.history) == 4


def test_changing_a_frame_leaves_the_study_as_it_was(made):
    arms, claims = made.arms, made.claims
    arms["mean_percent"], claims["note"] = 0.0, ""
    assert made.arms["mean_percent"].min() > 70 and "note" not in made.claims


def test_notebook_shows_the_comparison_table(made):
    page = made._repr_html_()
    assert page.count("<tr>") == 1 + len(ARMS) and "patch_size=8" in page and "Study(study: 3 arms, 9 of 9" in page


def test_html_shows_names_as_text(tmp_path):
    study = vs.load(make_sweep(tmp_path / "odd", {"baseline": [0.8, 0.81], "a<b>&\x1b[1m": [0.7, 0.71]}, epochs=2))
    assert "a&lt;b&gt;&amp;" in study._repr_html_() and "\x1b" not in study._repr_html_()


def test_several_directories_are_one_study(sweep, tmp_path):
    make_cell(tmp_path / "more", make_record("baseline", 3, 0.79), epochs=4)
    study = vs.load(sweep, tmp_path / "more")
    assert list(study["baseline"]) == [0, 1, 2, 3] and study.plan.directory is None


def test_plan_of_a_study_is_its_own(made, sweep):
    assert made.plan.cells["cell"].tolist() == [
        cell["id"] for cell in json.loads((sweep / "plan.json").read_text())["cells"]
    ]
    assert (made.plan.baseline, made.plan.seeds, made.plan.design) == ("baseline", [0, 1, 2], "ofat")


def test_cells_without_a_plan_have_none(tmp_path):
    assert vs.load(make_sweep(tmp_path / "s", {"baseline": [0.8]}, plan=None, epochs=2)).plan is None


def test_report_is_written_where_it_is_wanted(made, tmp_path, undrawn):
    assert made.report(tmp_path / "paper", gallery="none", sort="effect") == tmp_path / "paper/index.html"
    assert json.loads((tmp_path / "paper/results.json").read_text())["options"]["sort"] == "effect"


BAD = {
    "no study": (lambda s, p: vs.load(p), r"holds no record and no plan; name a sweep"),
    "no folder": (
        lambda s, p: vs.load(p / "outputs/part"),
        r"outputs/part  is not a directory; did you mean .*outputs/parts\?",
    ),
    "nothing": (lambda s, p: vs.load(), r"vs\.load\(\)  has nothing to load"),
    "W&B": (lambda s, p: vs.load("wandb:me/vitsweep"), r"must be wandb:ENTITY/PROJECT\?group=STUDY"),
    "metric": (lambda s, p: vs.load(p, metric="test/acc"), r"^metric=test/acc  is unknown; allowed: .*test/accuracy"),
    "baseline": (
        lambda s, p: vs.load(p, baseline="patch_sise=8"),
        r"^baseline=patch_sise=8  is no arm here; did you mean patch_size=8",
    ),
    "arm": (
        lambda s, p: s["patch_sise=8"],
        r"^arm=patch_sise=8  is not there; did you mean patch_size=8\? Allowed: baseline, ",
    ),
    "seed as text": (lambda s, p: s["baseline"]["0"], r"^seed='0'  is not there; did you mean 0\?"),
    "gallery": (lambda s, p: s.report(p, gallery="kep"), r"^gallery=kep  is unknown; allowed: make, keep, none$"),
    "order": (lambda s, p: s.report(p, sort="size"), r"^sort=size  is unknown; allowed: planned, effect$"),
    "seed": (lambda s, p: s["baseline"][7], r"^seed=7  is not there; allowed: 0, 1, 2$"),
    "table": (lambda s, p: s.table("arm"), r"^table=arm  is not there; did you mean arms"),
    "checkpoint": (
        lambda s, p: s["baseline"][0].model(),
        r"best.safetensors  is not there; the cell has not finished, its checkpoints were pruned, or this is a copy",
    ),
    "which": (lambda s, p: s["baseline"][0].predictions("final"), r"^which=final  is unknown; allowed: best, last"),
    "images": (lambda s, p: s["baseline"][0].images(0.5), r"^images=0.5  is no choice of test images"),
    "images by name": (
        lambda s, p: s["baseline"][0].images(["cat"]),
        r"^images=\['cat'\]  is no choice of test images",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name, made, sweep):
    call, words = BAD[name]
    folder = sweep.parents[1] if name == "no folder" else sweep.parent if name != "no study" else sweep / "report"
    folder.mkdir(exist_ok=True)
    with pytest.raises(vs.UserError, match=words) as caught:
        call(made, folder)
    assert isinstance(caught.value, ValueError) and "\n" not in str(caught.value)


def test_missing_predictions_are_named(tmp_path):
    study = vs.load(make_sweep(tmp_path / "s", {"baseline": [0.8, 0.81]}, epochs=2))
    with pytest.raises(
        vs.UserError, match=r"predictions.npz  is not there; the cell has not finished, or this is a copy"
    ):
        study["baseline"][0].predictions()


def test_images_of_a_published_copy_are_refused(study, tmp_path):
    cell = study["baseline"][0]
    config = cell.config | {"data": cell.config["data"] | {"name": "cifar10", "root": "<path>"}}
    (tmp_path / "record.json").write_text(json.dumps(cell.record | {"config": config}))
    with pytest.raises(vs.UserError, match=r"^data.root=<path>  is hidden, since this is a copy"):
        vs.load(tmp_path)["baseline"][0].images(3)


def test_pixels_are_what_a_model_is_given(study):
    cell = study["patch_size=8"][0]
    pixels, _ = cell.images([3, 1])
    np.testing.assert_array_equal(cell.attention(pixels).mass_NT, cell.attention([3, 1]).mass_NT)
    with pytest.raises(
        vs.UserError, match=r"images  has shape \(2, 32, 32, 3\) and type float64; needed: uint8 pixels"
    ):
        cell.attention(pixels / 255)
