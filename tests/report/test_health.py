"""Health and Methods say what was done and what could make the numbers wrong, also of studies that are half finished.

Kinds: the right words, reference (the binomial standard error), properties.
"""

import pytest
from scipy.stats import binom
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.report.health import data_names, health_items, protocol
from vitsweep.analysis.report.sections import make_parts
from vitsweep.analysis.report.study_tables import run_numbers
from vitsweep.analysis.statistics.judgement import judge

from tests.support.make_records import make_cell, make_record, make_sweep

UNSTARTED = {"status": "planned", "metrics": {}, "data_name": "", "time_seconds": 0.0}


@pytest.fixture
def half(tmp_path):
    """Of four cells one finished, one was interrupted, two were not started."""
    make_sweep(tmp_path, {"baseline": [0.8, None], "patch_size=8": [None, None]}, epochs=2)
    make_cell(tmp_path, make_record("baseline", 1, None, status="interrupted", metrics={}, time_seconds=60.0))
    for seed in (0, 1):
        make_cell(tmp_path, make_record("patch_size=8", seed, None, **UNSTARTED))
    return select(load(tmp_path))


def methods(selection) -> dict[str, str]:
    return dict(protocol(selection, "test/accuracy"))


def health(directory) -> str:
    items = health_items(judge(load(directory)))
    return " ".join(line for item in items if item.kind == "bullets" for line in item.lines)


def test_seeds_distinguish_what_is_planned_from_what_is_there(half):
    assert methods(half)["Seeds"] == "0-1 planned, 0 with results"


def test_device_time_names_all_runs_that_took_it(half):
    assert methods(half)["Device time"] == "31 min 0 s over 2 started runs (1 finished)"


def test_device_time_of_a_finished_study_needs_no_bracket(tmp_path):
    assert methods(select(load(make_sweep(tmp_path, {"baseline": [0.8]}))))["Device time"].endswith(
        "over 1 started run"
    )


def test_data_are_named_by_the_runs_that_saw_them(half):
    assert data_names(half.cells) == ["CIFAR-10"]


def test_data_of_a_study_that_did_not_start_are_named_as_configured(tmp_path):
    make_cell(tmp_path, make_record("baseline", 0, None, **UNSTARTED))
    assert data_names(select(load(tmp_path)).cells) == ["cifar10"]


def test_tables_cite_finished_runs_alone(half):
    assert run_numbers(half) == {"baseline": "1", "patch_size=8": ""}


def with_validation(tmp_path, number: int):
    images = {"train": 1800, "val": number, "test": 10000}
    make_cell(tmp_path, make_record("baseline", 0, 0.3, num_images=images))
    return tmp_path


def test_few_validation_images_are_named_with_their_standard_error(tmp_path):
    with_validation(tmp_path, 222)
    share = load(tmp_path).cells["final/val/accuracy"].iloc[0]
    error = 100 * binom.std(222, share) / 222
    near = f"a validation accuracy near {100 * share:.0f} % has a standard error of {error:.1f} points"
    assert f"only 222 validation images: {near}" in health(tmp_path)


def test_many_validation_images_are_no_worry(tmp_path):
    assert "validation images" not in health(with_validation(tmp_path, 5000))


def test_health_says_that_the_claims_were_changed(tmp_path):
    sweep = make_sweep(tmp_path, {"baseline": [0.8]}, plan={"claims_hash": "new"})
    assert "The claims or the ROPE were changed after the first run started." in health(sweep)


def words_of(tmp_path, seeds: int, **options) -> str:
    arms = {"baseline": [0.80, 0.81, 0.80][:seeds], "patch_size=8": [0.75, 0.76, 0.75][:seeds]}
    parts = make_parts(judge(load(make_sweep(tmp_path, arms, epochs=2, images=200, **options))), "planned", [])
    section = next(section for section in parts.sections if section.id == "methods")
    return " ".join(line for item in section.items if item.kind == "bullets" for line in item.lines)


def test_methods_name_the_family_of_a_study_without_claims(tmp_path):
    text = words_of(tmp_path, 3)
    assert "Holm p: adjusted over all arms of the plan" in text and "Verdict of a claim" not in text


def test_methods_name_both_families_and_the_verdicts_of_claims(tmp_path):
    text = words_of(tmp_path, 3, plan={"claims": [{"claim": "x", "arm": "patch_size=8"}]})
    assert "adjusted over the claims; of all others (exploratory) over all arms of the plan" in text
    assert "Verdict of a claim: supported or contradicted" in text


def test_methods_of_one_seed_promise_no_sign_flip_p(tmp_path):
    assert "the sign-flip p cannot be below" not in words_of(tmp_path, 1)


@pytest.mark.parametrize("name", ["torch", "torchvision", "numpy"])
def test_runs_of_different_versions_are_named(tmp_path, name):
    make_sweep(tmp_path, {"baseline": [0.8, 0.7]})
    old = make_record("baseline", 1, 0.7)
    old.versions = old.versions | {name: "0.1.0"}
    new = make_record("baseline", 0, 0.8)
    new.versions = new.versions | {name: "2.14.1"}
    for record in (old, new):
        make_cell(tmp_path, record)
    assert f"The runs differ in {name} version: 0.1.0, 2.14.1." in health(tmp_path)


def test_runs_of_one_version_are_not_named(tmp_path):
    assert "differ in" not in health(make_sweep(tmp_path, {"baseline": [0.8, 0.7]}))
