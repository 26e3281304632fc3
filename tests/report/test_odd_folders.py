"""Odd sweep directories: each gives a sentence and never a wrong table.

Kinds: agrees with records written by hand, properties.
"""

import dataclasses

import pytest

from tests.support.make_records import make_cell, make_plan, make_record, make_sweep
from tests.support.report_pages import ARMS, arms_csv, page_of
from vitsweep.files import write_json


def test_report_of_a_single_cell_directory(undrawn, tmp_path):
    cell = make_cell(tmp_path, make_record("baseline", 0, 0.8))
    text = page_of(cell).text
    assert "The baseline reaches a test accuracy of 80.00 % (one seed)." in text
    assert "baseline is the only arm, so there is nothing to compare it with." in text


def test_empty_folder(undrawn, tmp_path):
    assert "No cell with a readable record was found." in page_of(tmp_path).text
    assert arms_csv(tmp_path) == []


def test_folder_in_which_all_cells_failed(undrawn, tmp_path):
    error = {"type": "RuntimeError", "message": "out of memory <b>", "traceback": "Traceback: line 1"}
    for arm in ("baseline", "patch_size=8"):
        make_cell(tmp_path, make_record(arm, 0, None, status="failed", metrics={}, error=error), epochs=0)
    text = page_of(tmp_path).text
    assert "The baseline has no finished run with a test accuracy, so no arm can be judged." in text
    assert text.count("RuntimeError: out of memory <b>") == 2 and text.count("Traceback: line 1") == 2
    assert [row["verdict"] for row in arms_csv(tmp_path)] == ["baseline", "missing"]


def test_unequal_seeds_are_compared_on_shared_ones_and_named(undrawn, tmp_path):
    directory = make_sweep(tmp_path, {"baseline": [0.80, 0.81, 0.80], "patch_size=8": [0.75, 0.755]})
    text = page_of(directory).text
    assert "patch_size=8 is compared on seeds 0-1; seeds without a pair: 2." in text
    row = arms_csv(directory)[1]
    assert (row["n"], row["pairs"]) == ("2", "2") and float(row["delta_points"]) == pytest.approx(-5.25)


def test_null_metrics_are_not_counted_and_named(undrawn, tmp_path):
    directory = make_sweep(tmp_path, {"baseline": [0.80, 0.81], "patch_size=8": [0.75, None]})
    assert "Finished without a test accuracy, so not counted: patch_size=8-" in page_of(directory).text
    assert arms_csv(directory)[1]["verdict"] == "single"


def test_record_of_a_newer_schema_is_named(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS, plan=None)
    path = next(directory.glob("patch*/seed=2/record.json"))
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    assert "has schema=2, this version reads 1" in page_of(directory).text
    assert arms_csv(directory)[1]["n"] == "2"


def test_record_of_a_newer_schema_is_counted_once(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS)
    path = next(directory.glob("patch*/seed=2/record.json"))
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    text = page_of(directory).text
    assert "has schema=2, this version reads 1" in text and "5 of 6 runs finished (1 unreadable)" in text
    assert "not started" not in text and "Interim" not in text


def test_failed_arms_count_in_the_family(undrawn, tmp_path):
    make_sweep(tmp_path, ARMS, plan=None)
    before = float((page_of(tmp_path), arms_csv(tmp_path)[1])[1]["p_holm"])
    make_cell(tmp_path, make_record("dropout=none", 0, None, status="failed", metrics={}), epochs=0)
    page_of(tmp_path)
    after = {row["arm"]: row for row in arms_csv(tmp_path)}
    assert float(after["patch_size=8"]["p_holm"]) == pytest.approx(2 * before)
    assert after["dropout=none"]["verdict"] == "missing" and after["dropout=none"]["p_holm"] == ""


def test_planned_arms_count_in_the_family_before_they_start(undrawn, tmp_path):
    make_sweep(tmp_path, ARMS, plan=None)
    before = float((page_of(tmp_path), arms_csv(tmp_path)[1])[1]["p_holm"])
    records = [make_record(arm, s, a) for arm, v in ARMS.items() for s, a in enumerate(v)]
    later = make_record("dropout=none", 0, None, status="planned", metrics={})
    write_json(tmp_path / "plan.json", make_plan([*records, dataclasses.replace(later)]))
    page_of(tmp_path)
    assert float(arms_csv(tmp_path)[1]["p_holm"]) == pytest.approx(2 * before)


def test_claims_stand_on_the_page_with_their_verdicts(undrawn, tmp_path):
    claims = [
        {"claim": "patch 4 beats patch 8", "arm": "baseline", "than": "patch_size=8"},
        {"claim": "a CNN does better", "testable": False, "why": "no arm is a CNN"},
    ]
    directory = make_sweep(tmp_path, ARMS | {"dropout=none": [0.8, 0.8, 0.81]}, plan={"claims": claims})
    text = page_of(directory).text
    assert "patch 4 beats patch 8" in text and "Not testable: no arm is a CNN." in text
    assert [row["family"] for row in arms_csv(directory)] == ["", "claims", "exploratory"]


def test_claim_changed_after_the_start_is_shown(undrawn, tmp_path):
    plan = {"claims": [{"claim": "x", "arm": "patch_size=8"}], "claims_hash": "new"}
    text = page_of(make_sweep(tmp_path, ARMS, plan=plan)).text
    assert "Claims marked as changed were not what they are now when the first cell started." in text


def test_validation_on_test_images_is_marked(undrawn, tmp_path):
    record = make_record("baseline", 0, 0.8)
    record.config["data"]["val"] = "test"
    make_cell(tmp_path, record)
    text = page_of(tmp_path).text
    assert "the test images (data.val=test, published practice)" in text
    assert "used only after training" not in text


def test_mixed_machines_and_commits_are_named(undrawn, tmp_path):
    make_cell(tmp_path, make_record("baseline", 0, 0.8))
    make_cell(tmp_path, make_record("baseline", 1, 0.8, device="H100", code={"commit": "ffff0000", "dirty": True}))
    text = page_of(tmp_path).text
    assert "The runs differ in device: H100, cpu." in text
    assert "The runs come from 2 commits: 1a2b3c4d, ffff0000." in text
    assert "Some runs come from a checkout with uncommitted changes." in text
