"""Records that are not what the plan says: they are named, and the family of Holm's correction stays the plan's.

Kinds: properties (no record that is changed, moved or copied makes the family smaller or an arm a finding), refusals.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from vitsweep.analysis.attention.measures import COLUMNS
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.selection import select
from vitsweep.analysis.report.findings import findings
from vitsweep.analysis.report.health import data_names
from vitsweep.analysis.statistics.judgement import judge
from vitsweep.analysis.verify import missing_arms

from tests.support.make_records import cell_id, make_cell, make_record, make_sweep
from vitsweep.study.record import read_record, write_record

ARMS = {
    "baseline": [0.800, 0.805, 0.799, 0.803, 0.802],
    "patch_size=8": [0.787, 0.804, 0.7885, 0.7985, 0.796],
    "num_hidden_layers=4": [0.801, 0.8045, 0.7995, 0.803, 0.8015],
}
HURTS, OTHER = "patch_size=8", "num_hidden_layers=4"


@pytest.fixture
def sweep(tmp_path) -> Path:
    return make_sweep(tmp_path / "sweep", ARMS, epochs=1)


def change(sweep: Path, arm: str, /, **changes) -> None:
    """Change the records of an arm."""
    for path in sorted(sweep.glob(f"{arm}-*/seed=*")):
        write_record(path, dataclasses.replace(read_record(path), **changes))


def rewrite_plan(sweep: Path, **changes) -> None:
    plan = json.loads((sweep / "plan.json").read_text())
    (sweep / "plan.json").write_text(json.dumps(plan | changes))


def effect(sweep: Path, arm: str = HURTS) -> dict:
    effects = judge(load(sweep)).effects.set_index("arm")
    return effects.loc[arm].to_dict()


def report_of(sweep: Path) -> Path:
    """A report's folder with the table of arms alone."""
    (sweep / "report" / "tables").mkdir(parents=True)
    (sweep / "report" / "tables" / "arms.csv").write_text(judge(load(sweep)).effects.to_csv())
    return sweep / "report"


def said(*sweeps: Path) -> str:
    return " ".join(findings(judge(load(*sweeps))))


def without_cells(sweep: Path) -> None:
    plan = json.loads((sweep / "plan.json").read_text())
    rewrite_plan(sweep, cells=[cell for cell in plan["cells"] if cell["arm"] != OTHER])
    shutil.rmtree(next(sweep.glob(f"{OTHER}-*")))


LEFT_OUT = {
    "of another study": lambda sweep: change(sweep, OTHER, study="another"),
    "that saw other images than the baseline": lambda sweep: change(sweep, OTHER, data_fingerprint="e" * 64),
    "whose directory is another cell's": lambda sweep: change(sweep, OTHER, arm="dropout=none"),
    "with another configuration than their arm's": lambda sweep: change(sweep, OTHER, config_hash="0" * 64),
}


@pytest.mark.parametrize("reason", LEFT_OUT)
def test_arm_that_is_left_out_counts_in_the_family_and_is_named_in_findings(sweep, reason):
    before = effect(sweep)
    assert before["p_holm"] == pytest.approx(2 * before["p"]) and before["verdict"] == "undecided"
    LEFT_OUT[reason](sweep)
    assert effect(sweep)["p_holm"] == pytest.approx(before["p_holm"]) and effect(sweep)["verdict"] == "undecided"
    assert f"Left out: 5 runs {reason} (see Health)" in said(sweep)
    assert f"nothing can be said about {OTHER}" in said(sweep)
    assert data_names(select(load(sweep)).cells) == ["CIFAR-10"]


def test_planned_arm_without_any_cell_counts_and_is_named(sweep):
    before = effect(sweep)["p_holm"]
    without_cells(sweep)
    assert effect(sweep)["p_holm"] == pytest.approx(before)
    assert f"Planned and without any cell, but counted in the family of arms: {OTHER}." in said(sweep)


def test_rollout_measures_of_a_planned_arm_without_any_cell_count(sweep):
    def p_holm() -> float:
        loaded = load(sweep)
        values = loaded.cells["final/test/accuracy"].fillna(0.0)
        measures = loaded.cells[["cell"]].assign(**{name: values for name in COLUMNS})
        frame = judge(loaded, measures=measures).measures.set_index(["measure", "arm"])
        return frame.loc[("rollout/entropy", HURTS), "p_holm"]

    before = p_holm()
    without_cells(sweep)
    assert p_holm() == pytest.approx(before)


@pytest.mark.parametrize("changes", [{"role": "placebo"}, {"levels": {}}])
def test_role_and_levels_are_the_plans(sweep, changes):
    before = judge(load(sweep))
    change(sweep, OTHER, **changes)
    after = judge(load(sweep))
    assert after.selection.roles == before.selection.roles and after.selection.levels == before.selection.levels
    assert after.effects["p_holm"].tolist()[1:] == pytest.approx(before.effects["p_holm"].tolist()[1:])
    assert "Role or levels are not those of the plan, which are used: num_hidden_layers=4-" in after.selection.notes[0]
    assert after.selection.notes[0] in missing_arms(after, report_of(sweep))


def test_arm_that_is_not_in_the_plan_is_exploratory_and_changes_no_other_arm(sweep):
    before = effect(sweep)["p_holm"]
    for seed in range(5):
        make_cell(sweep, make_record("dropout=none", seed, 0.7 + seed / 1000), epochs=1)
    found = effect(sweep, "dropout=none")
    assert effect(sweep)["p_holm"] == pytest.approx(before)
    assert found["family"] == "exploratory" and found["p_holm"] == pytest.approx(3 * found["p"])
    assert "Not in the plan, so exploratory and outside the family of arms: dropout=none." in said(sweep)
    assert "exploratory)" in said(sweep).partition("Worse than the baseline: dropout=none")[2]


def test_seed_that_is_not_in_the_plan_is_named(sweep):
    make_cell(sweep, make_record(HURTS, 7, 0.6), epochs=1)
    assert f"1 run of planned arms not in the plan: {cell_id(make_record(HURTS, 7, 0.6))}." in said(sweep)


def test_claim_about_an_arm_that_is_not_in_the_plan_lacks_its_arm(tmp_path):
    claims = [{"claim": "no dropout is worse", "arm": "dropout=none", "direction": "lower"}]
    sweep = make_sweep(tmp_path, ARMS, epochs=1, plan={"claims": claims})
    for seed in range(5):
        make_cell(sweep, make_record("dropout=none", seed, 0.7 + seed / 1000), epochs=1)
    assert judge(load(sweep)).claims["verdict"].tolist() == ["missing"]


def test_plan_of_another_study_than_the_runs_is_named(sweep):
    rewrite_plan(sweep, study="renamed")
    assert "The plan is of study renamed, the runs are of study." in said(sweep)


def test_without_a_plan_an_arm_that_saw_other_images_counts(tmp_path):
    sweep = make_sweep(tmp_path, ARMS, epochs=1, plan=None)
    before = effect(sweep)["p_holm"]
    change(sweep, OTHER, data_fingerprint="e" * 64)
    assert effect(sweep)["p_holm"] == pytest.approx(before)


def test_arm_that_is_not_in_the_plan_is_a_difference_for_verify(sweep):
    make_cell(sweep, make_record("dropout=none", 0, 0.7), epochs=1)
    note = "Not in the plan, so exploratory and outside the family of arms: dropout=none."
    assert note in missing_arms(judge(load(sweep)), report_of(sweep))


def test_study_that_is_as_planned_has_no_alarm(sweep):
    selection = select(load(sweep))
    assert selection.alarms == [] and selection.notes == [] and selection.unplanned() == []
