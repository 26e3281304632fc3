"""Arms at the baseline's setting and at their own, of a study whose best learning rates are known.

Kinds: agrees with an independent reference, obeys a property.
"""

import math
import shutil
from pathlib import Path

import pytest
from scipy import stats
from vitsweep.analysis.publish import publish
from vitsweep.analysis.records.load import load
from vitsweep.analysis.records.tuning import read_tuning
from vitsweep.analysis.report.report import make_report
from vitsweep.analysis.report.tuning.figures import search_figure
from vitsweep.analysis.report.tuning.section import edge_sentences, flip_sentences, search_sentences
from vitsweep.analysis.statistics.judgement import Judgement, judge
from vitsweep.analysis.statistics.tuning.own_settings import conclusion
from vitsweep.analysis.verify import verify

from tests.support.fake_search import TUNE, FakeTraining, search_plan
from vitsweep.run.tuning.stages import run_tuning
from vitsweep.study.plan import TUNED_NAME, read_plan, write_plan

pytest.importorskip("optuna", reason="the search needs the extra tune")

GRID = TUNE | {"sampler": "grid", "trials": 5}


def study(directory: Path, tune: dict = GRID) -> Path:
    """Train a study, its search, and the study at the settings found."""
    plan, training = search_plan(directory, tune, seeds=4), FakeTraining()
    training(directory, plan, training.statuses(directory, plan.cells))
    run_tuning(plan, plan.cells, directory, training)
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def judgement(directory) -> Judgement:
    return judge(load(directory))


def arm(judgement: Judgement, name: str) -> dict:
    """Return the row of an arm."""
    return judgement.tuning.arms.set_index("arm").loc[name].to_dict()


def test_trials_are_no_cells_of_the_study(directory, judgement):
    assert set(judgement.selection.cells["cell"]) == {cell.id for cell in read_plan(directory).cells}
    assert judgement.problems == []


def test_arm_has_the_setting_of_its_best_trial(judgement):
    assert [arm(judgement, name)["setting"] for name in ("baseline", "small", "large")] == [
        "lr=0.001",
        "lr=0.0003162",
        "lr=0.003162",
    ]


def test_effects_at_the_baselines_setting_are_those_of_the_report(judgement):
    row = judgement.effects.set_index("arm").loc["large"]
    assert arm(judgement, "large")["delta"] == row["delta"] and arm(judgement, "large")["verdict"] == row["verdict"]


def test_effects_at_own_settings_are_those_of_their_own_study(directory, judgement):
    row = judge(load(directory / TUNED_NAME)).effects.set_index("arm").loc["large"]
    found = arm(judgement, "large")
    assert (found["own_delta"], found["own_verdict"]) == (row["delta"], row["verdict"])


def test_change_agrees_with_scipy(directory, judgement):
    accuracy = {
        (place, row["arm"], row["seed"]): 100 * row["final/test/accuracy"]
        for place in (".", TUNED_NAME)
        for row in load(directory / place).cells.to_dict("records")
    }
    change = [
        (accuracy[TUNED_NAME, "large", seed] - accuracy[TUNED_NAME, "baseline", seed])
        - (accuracy[".", "large", seed] - accuracy[".", "baseline", seed])
        for seed in range(4)
    ]
    assert arm(judgement, "large")["change"] == pytest.approx(stats.tmean(change))


def test_verdict_that_turns_is_reversed(judgement):
    found = arm(judgement, "large")
    assert (found["verdict"], found["own_verdict"], found["conclusion"]) == ("hurts", "helps", "reversed")
    (sentence,) = flip_sentences(judgement)
    assert "large hurts at the baseline's" in sentence and "helps at its own" in sentence


def test_effect_that_differs_between_the_settings_is_said(judgement):
    (sentence,) = flip_sentences(judgement)
    found = arm(judgement, "large")
    size = f"{found['delta']:+.2f} and {found['own_delta']:+.2f} points".replace("-", "\N{MINUS SIGN}")
    assert found["change_low"] > 0 and f"large {size} (change" in sentence.partition("Effects that differ")[2]


@pytest.mark.parametrize(
    "verdict, own, word",
    [
        ("helps", "helps", "same"),
        ("helps", "hurts", "reversed"),
        ("helps", "equivalent", "gone"),
        ("undecided", "hurts", "new"),
        ("undecided", "equivalent", "changed"),
        ("baseline", "baseline", ""),
        ("helps", math.nan, ""),
    ],
)
def test_conclusion_compares_two_verdicts(verdict, own, word):
    assert conclusion(verdict, own) == word


def test_cost_counts_each_run_once_with_its_cores(judgement):
    assert judgement.tuning.num_runs == 3 * 5
    assert judgement.tuning.hours == pytest.approx(15 * 2 * 36 / 3600)
    shared = 4  # the baseline's own setting is that of the study
    assert judgement.tuning.study_hours == pytest.approx((24 - shared) * 2 * 36 / 3600)
    assert "Cost of the search: 15 runs, 0.300 core-hours" in " ".join(search_sentences(judgement.tuning))


def test_best_value_at_an_edge_is_said(tmp_path):
    found = judge(load(study(tmp_path, TUNE | {"parameters": {"recipe.lr": {"values": [1e-3, 2e-3, 3e-3]}}}))).tuning
    (sentence,) = edge_sentences(found)
    assert sentence.endswith("baseline lr=0.001 (low end); small lr=0.001 (low end); large lr=0.003 (high end).")


def test_no_edge_no_sentence(judgement):
    assert edge_sentences(judgement.tuning) == []


def test_figure_has_every_trial(judgement):
    figure = search_figure(judgement, judgement.tuning)
    assert len(figure.table) == 15 and figure.table["best"].sum() == 3
    assert figure.alt.endswith("large 52.8 % at 0.003162.")


def test_unfinished_study_at_own_settings_is_said(tmp_path):
    plan, training = search_plan(tmp_path, GRID), FakeTraining(num_cells=6 + 15 + 1)
    training(tmp_path, plan, training.statuses(tmp_path, plan.cells))
    with pytest.raises(KeyboardInterrupt):
        run_tuning(plan, plan.cells, tmp_path, training)
    (sentence,) = flip_sentences(judge(load(tmp_path)))
    assert sentence.startswith("The study at each arm's own setting of recipe.lr has not finished")


def test_frozen_setting_that_is_not_the_best_is_a_problem(directory, tmp_path):
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    plan = read_plan(tmp_path / TUNED_NAME)
    plan.tune["settings"]["large"] = {"recipe.lr": 1e-4}
    write_plan(tmp_path / TUNED_NAME, plan)
    assert read_tuning(tmp_path).problems == ["large is judged at lr=0.0001, and its best trial has lr=0.003162."]


def test_study_without_a_search_has_no_section(tmp_path):
    assert read_tuning(tmp_path) is None


@pytest.mark.slow  # draws four reports
def test_published_search_is_verified(directory, tmp_path):
    for place in (directory / TUNED_NAME, directory):
        make_report(place, gallery="none")
    assert verify(directory) == []
    publish(directory, tmp_path / "published")
    assert verify(tmp_path / "published") == [] and verify(tmp_path / "published" / TUNED_NAME) == []
    assert "## Tuning" in (tmp_path / "published" / "report" / "report.md").read_text()
