"""`vitsweep diff`: metrics agree with scipy's paired t interval; text, JSON and page; refusals in one sentence."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from vitsweep.analysis.report.difference.metrics import metric_rows

from tests.support.imports import ROOT
from tests.support.make_records import make_sweep
from vitsweep.__main__ import main
from vitsweep.study.comparison.differences import arm_pairs
from vitsweep.study.comparison.sides import read_side
from vitsweep.study.record import read_record, write_record

BASELINE, ARM = [0.70, 0.72, 0.71, 0.69], [0.73, 0.74, 0.72, 0.725]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A baseline and an arm on four seeds, the arm on a fifth one."""
    return make_sweep(tmp_path / "study", {"baseline": BASELINE, "patch_size=8": [*ARM, 0.5]}, epochs=3)


def metrics(a: Path, b: Path, metric: str = "") -> dict:
    """Return metric -> row of two sides."""
    return {row.metric: row for row in metric_rows(arm_pairs(read_side(str(a)), read_side(str(b))), metric)}


@pytest.fixture
def diff(monkeypatch, capsys):
    """`vitsweep diff ...` in this process: exit code, output, error output."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vitsweep", "diff", *map(str, words)])
        code = main()
        return code, *capsys.readouterr()

    return run


def set_status(cell: Path, status: str) -> None:
    """Change the status of a cell, without metrics."""
    write_record(cell, dataclasses.replace(read_record(cell), status=status, metrics={}))


def test_interval_is_that_of_scipy_over_the_shared_seeds(sweep):
    row = metrics(sweep / "baseline", sweep / "patch_size=8")["final/test/accuracy"]
    expected = stats.ttest_rel(ARM, BASELINE).confidence_interval(0.95)
    assert (row.shared, row.n_a, row.n_b) == (4, 4, 5)
    assert [row.ci_low, row.ci_high] == pytest.approx([100 * expected.low, 100 * expected.high])
    assert row.difference == pytest.approx(100 * np.mean(np.subtract(ARM, BASELINE)))


def test_cells_have_a_difference_without_interval(sweep):
    row = metrics(sweep / "baseline/seed=1", sweep / "patch_size=8/seed=1")["final/test/accuracy"]
    assert (row.difference, row.ci_low, row.p) == (pytest.approx(2.0), None, None)


def test_sides_without_a_shared_seed_have_the_difference_of_their_means(sweep):
    row = metrics(sweep / "baseline/seed=0", sweep / "patch_size=8/seed=4")["final/test/accuracy"]
    assert (row.shared, row.difference, row.ci_low) == (0, pytest.approx(-20.0), None)


def test_running_cells_are_compared_at_the_last_common_epoch(sweep):
    cell = next(sweep.glob("patch_size=8-*")) / "seed=0"
    set_status(cell, "running")
    lines = (cell / "metrics.jsonl").read_text().splitlines(keepends=True)
    (cell / "metrics.jsonl").write_text("".join(lines[:2]) + '{"epoch": 3, "va')
    found = metrics(sweep / "baseline/seed=0", cell)
    assert found["epoch 2/val/loss"].b == json.loads(lines[1])["val/loss"] and "epoch 3/val/loss" not in found


def test_failed_cell_has_no_metrics(sweep):
    cell = next(sweep.glob("patch_size=8-*")) / "seed=0"
    set_status(cell, "failed")
    (cell / "metrics.jsonl").unlink()
    assert metrics(sweep / "baseline/seed=0", cell)["final/test/accuracy"].b is None


def test_studies_have_one_metric_an_arm(sweep):
    rows = metric_rows(arm_pairs(read_side(str(sweep)), read_side(str(sweep))), "best/val/loss")
    assert [(row.arm, row.metric, row.difference) for row in rows] == [
        ("baseline", "best/val/loss", 0.0),
        ("patch_size=8", "best/val/loss", 0.0),
    ]


def test_text_of_one_changed_key_is_one_line_of_configuration(sweep, diff):
    code, text, _ = diff(sweep / "baseline/seed=0", sweep / "patch_size=8/seed=0", "--no-metrics")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert code == 0 and lines[2] == "configuration" and lines[3].split() == ["model.patch_size", "4", "→", "8"]
    assert len([line for line in lines if "→" in line]) == 1


def test_text_of_equal_sides_says_so(sweep, diff):
    assert "A and B are equal in configuration, code" in diff(sweep, sweep)[1]


def test_one_metric_may_be_a_cost(sweep, diff):
    values = json.loads(diff(sweep, sweep, "--metric", "params", "--json")[1])
    assert {row["metric"] for row in values["metrics"]} == {"params"}


def test_other_number_of_images_is_noted_beside_the_metrics(sweep, diff):
    cell = next(sweep.glob("patch_size=8-*")) / "seed=0"
    record = read_record(cell)
    write_record(cell, dataclasses.replace(record, num_images=record.num_images | {"test": 7}))
    assert "The images differ" in diff(sweep / "baseline/seed=0", cell)[1]


def test_json_has_every_section(sweep, diff):
    values = json.loads(diff(sweep / "baseline", sweep / "patch_size=8", "--json")[1])
    assert values["configuration"] == {"model.patch_size": [4, 8]}
    assert {row["metric"] for row in values["metrics"]} >= {"final/test/accuracy", "params"}
    assert values["notes"] and {"study", "code", "libraries", "data", "machine", "execution"} <= values.keys()


def test_page_is_one_file_that_loads_nothing(sweep, diff, tmp_path):
    assert diff(sweep / "baseline", sweep / "patch_size=8", "--html", tmp_path / "new" / "diff.html")[0] == 0
    page = (tmp_path / "new" / "diff.html").read_text()
    text = page.replace("<wbr>", "")  # places at which a long name may break
    assert "model.patch_size" in text and "final/test/accuracy" in text
    assert not [word for word in ("src=", 'href="http', "@import", "url(") if word in page]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["baselin", "baseline"], "baselin is no arm of"),
        (["baseline", "baseline", "--metric", "accuracy"], "--metric=accuracy  is unknown; allowed: one of final,"),
        (["baseline", "baseline", "--metric", "ema/val/loss"], "--metric=ema/val/loss  is in no finished cell of A or"),
    ],
)
def test_wrong_input_is_one_sentence(sweep, diff, words, message):
    code, out, err = diff(*(sweep / word if place < 2 else word for place, word in enumerate(words)))
    assert (code, out) == (2, "") and message in err and "Traceback" not in err


def test_comparison_without_metrics_imports_neither_torch_nor_numpy(sweep):
    words = [str(sweep / "baseline"), str(sweep / "patch_size=8"), "--no-metrics"]
    check = (
        "import sys\nfrom vitsweep.analysis.report.difference.command import main\n"
        f"main({words})\nassert not {{'torch', 'numpy', 'pandas', 'matplotlib'}} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
