"""Search of each arm's setting and the study at these settings, trained by a stand-in whose best rates are known.

Kinds: obeys a property, is deterministic. The rules of a study file are in tests/study/test_tuning_rules.py.
"""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.support.fake_search import PEAKS, TUNE, FakeTraining, search_plan
from tests.support.made_plans import made_plan
from vitsweep.commands import extend, status
from vitsweep.config.composer import Composer
from vitsweep.config.hydra import make_loader
from vitsweep.errors import ConfigError
from vitsweep.paths import install_command
from vitsweep.run.tuning.price import describe_search
from vitsweep.run.tuning.stages import run_tuning
from vitsweep.study.estimate import arm_costs
from vitsweep.study.plan import TUNED_NAME, TUNING_NAME, Plan, read_plan
from vitsweep.study.record import TRIAL, Record, read_record, read_rows
from vitsweep.study.tuning.search import JOURNAL_NAME, num_trials, optuna_errors
from vitsweep.study.tuning.space import FIRST_SEED, parse_search
from vitsweep.train.fit import run_cell
from vitsweep.train.stop import Interrupted

pytest.importorskip("optuna", reason="the search needs the extra tune")


def run(directory: Path, plan: Plan, training: FakeTraining) -> list[str]:
    """Run the search and the study at the settings found; return the statuses."""
    return [status.status for status in run_tuning(plan, plan.cells, directory, training)]


def rates(directory: Path) -> dict[str, list[float]]:
    """Return the learning rates that each arm was tried with, in order."""
    rows = read_plan(directory / TUNING_NAME).arms
    return {arm: [row["setting"]["recipe.lr"] for row in rows if row["arm"] == arm] for arm in PEAKS}


def own_rates(directory: Path) -> dict[str, float]:
    """Return the learning rate at which each arm is judged."""
    return {cell.arm: cell.config["recipe"]["lr"] for cell in read_plan(directory / TUNED_NAME).cells}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("undisturbed")
    run(directory, search_plan(directory), FakeTraining())
    return directory


def test_every_arm_has_the_same_budget(undisturbed):
    assert {arm: len(found) for arm, found in rates(undisturbed).items()} == dict.fromkeys(PEAKS, TUNE["trials"])


def test_baselines_setting_is_tried_first(undisturbed):
    assert {found[0] for found in rates(undisturbed).values()} == {1e-3}


def test_trials_that_need_no_value_are_the_same_for_every_arm(undisturbed):
    first = {tuple(found[: TUNE["trials"] // 2]) for found in rates(undisturbed).values()}
    assert len(first) == 1


def test_trials_train_on_the_searchs_seeds_alone(undisturbed):
    cells = read_plan(undisturbed / TUNING_NAME).cells
    assert {(cell.seed, cell.config["seed"]) for cell in cells} == {(FIRST_SEED, FIRST_SEED)}


def test_trials_send_nothing_to_wandb(undisturbed):
    assert {cell.config["tracker"]["name"] for cell in read_plan(undisturbed / TUNING_NAME).cells} == {"none"}


def test_each_arm_is_judged_at_its_best_trial(undisturbed):
    tried = rates(undisturbed)
    distance = {arm: [max(lr / peak, peak / lr) for lr in tried[arm]] for arm, peak in PEAKS.items()}
    assert own_rates(undisturbed) == {arm: tried[arm][distance[arm].index(min(distance[arm]))] for arm in PEAKS}


def test_study_at_own_settings_has_the_arms_and_seeds_of_the_study(undisturbed):
    study, tuned = read_plan(undisturbed), read_plan(undisturbed / TUNED_NAME)
    assert [(c.arm, c.role, c.seed) for c in tuned.cells] == [(c.arm, c.role, c.seed) for c in study.cells]
    assert (tuned.study, tuned.claims, tuned.rope) == ("made-tuned", study.claims, study.rope)


def test_overrides_of_an_own_setting_name_it(undisturbed):
    rate = own_rates(undisturbed)["large"]
    assert f"recipe.lr={rate}" in read_plan(undisturbed / TUNED_NAME).arms[2]["overrides"]


def test_same_command_again_trains_and_writes_nothing(undisturbed):
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*.json")}
    again = FakeTraining()
    run(undisturbed, read_plan(undisturbed), again)
    assert not again.ran and {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*.json")} == before


@pytest.mark.parametrize("num_cells", [4, 13, 19])
def test_killed_search_goes_on_as_if_undisturbed(tmp_path, undisturbed, num_cells):
    plan, first, second = search_plan(tmp_path), FakeTraining(num_cells), FakeTraining()
    with pytest.raises(Interrupted):
        run(tmp_path, plan, first)
    run(tmp_path, plan, second)
    assert rates(tmp_path) == rates(undisturbed) and own_rates(tmp_path) == own_rates(undisturbed)
    assert not set(first.ran) & set(second.ran)


@pytest.mark.parametrize("num_lines", [1, 4])
def test_journal_cut_anywhere_gives_the_same_trials(tmp_path, undisturbed, num_lines):
    plan = search_plan(tmp_path)
    with pytest.raises(Interrupted):
        run(tmp_path, plan, FakeTraining(0))
    journal = tmp_path / TUNING_NAME / JOURNAL_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:num_lines]) + lines[num_lines][:20])
    run(tmp_path, plan, FakeTraining())
    assert rates(tmp_path) == rates(undisturbed)


def test_lock_of_a_killed_journal_does_not_wait(tmp_path):
    plan = search_plan(tmp_path)
    (tmp_path / TUNING_NAME).mkdir()
    (tmp_path / TUNING_NAME / f"{JOURNAL_NAME}.lock").symlink_to("nothing")
    assert set(run(tmp_path, plan, FakeTraining())) == {"done"}


def test_other_sampler_seed_gives_other_trials(tmp_path, undisturbed):
    run(tmp_path, search_plan(tmp_path, TUNE | {"sampler_seed": 100}), FakeTraining())
    assert rates(tmp_path)["small"][1:] != rates(undisturbed)["small"][1:]


def test_random_settings_are_the_same_for_every_arm(tmp_path):
    run(tmp_path, search_plan(tmp_path, TUNE | {"sampler": "random", "trials": 5}), FakeTraining())
    assert len({tuple(found) for found in rates(tmp_path).values()}) == 1


def test_grid_tries_its_points_and_the_baselines_setting_first(tmp_path):
    run(tmp_path, search_plan(tmp_path, TUNE | {"sampler": "grid", "trials": 4}), FakeTraining())
    assert rates(tmp_path) == dict.fromkeys(PEAKS, [1e-3, 1e-4, 4.642e-4, 2.154e-3, 1e-2])


@pytest.mark.parametrize("lr, size", [(1e-3, 5), (2e-3, 6), (0.5, 5)])
def test_grid_has_one_more_trial_unless_the_baseline_lies_on_it(lr, size):
    assert num_trials(parse_search(TUNE | {"sampler": "grid", "trials": 5}), {"recipe.lr": lr}) == size


def test_arms_whose_own_setting_is_the_baselines_share_its_cells(tmp_path):
    plan = search_plan(tmp_path, {"parameters": {"recipe.lr": {"values": [1e-3, 0.1]}}, "sampler": "grid", "trials": 2})
    before = [status for status in FakeTraining()(tmp_path, plan, FakeTraining().statuses(tmp_path, plan.cells))]
    training = FakeTraining()
    assert len(before) == 6 and run(tmp_path, plan, training) == ["done"] * 6
    assert len(training.ran) == 2 * 3  # trials alone
    copied = read_record(tmp_path / TUNED_NAME / plan.cells[0].id)
    assert (copied.study, copied.metrics) == ("made-tuned", read_record(tmp_path / plan.cells[0].id).metrics)


def test_diverged_trial_counts_as_chance(tmp_path):
    run(tmp_path, search_plan(tmp_path), FakeTraining(ends={("baseline", 1e-3): "diverged"}))
    assert own_rates(tmp_path)["baseline"] != 1e-3


def test_failed_trial_has_no_value_and_the_search_goes_on(tmp_path):
    statuses = run(tmp_path, search_plan(tmp_path), FakeTraining(ends={("baseline", 1e-3): "failed"}))
    assert statuses == ["failed", *["done"] * 6]
    assert len(rates(tmp_path)["baseline"]) == TUNE["trials"] and own_rates(tmp_path)["baseline"] != 1e-3


def test_trial_that_the_user_must_correct_stops_the_search(tmp_path):
    plan, training = search_plan(tmp_path), FakeTraining(ends={("baseline", 1e-3): "refused"})
    (found,) = run_tuning(plan, plan.cells, tmp_path, training)
    assert found.refusal == "broken" and read_plan(tmp_path / TUNED_NAME) is None
    assert set(run(tmp_path, plan, FakeTraining())) == {"done"}


def test_more_seeds_keep_the_settings(tmp_path, undisturbed):
    run(tmp_path, search_plan(tmp_path), FakeTraining())
    training = FakeTraining()
    more = dataclasses.replace(search_plan(tmp_path, seeds=3))
    run(tmp_path, more, training)
    assert own_rates(tmp_path) == own_rates(undisturbed)
    assert [cell.rpartition("=")[2] for cell in training.ran] == ["2"] * 3


def test_looks_choose_the_cells_at_own_settings(tmp_path):
    plan, training = search_plan(tmp_path), FakeTraining()

    def first_seed(directory: Path, tuned: Plan) -> list:
        return training(directory, tuned, training.statuses(directory, [c for c in tuned.cells if c.seed == 0]))

    found = run_tuning(plan, plan.cells, tmp_path, training, first_seed)
    assert [(status.cell.arm, status.cell.seed) for status in found] == [(arm, 0) for arm in PEAKS]


def test_journal_names_no_folder_of_this_machine(undisturbed):
    text = (undisturbed / TUNING_NAME / JOURNAL_NAME).read_text()
    assert str(undisturbed) not in text and all(json.loads(line) for line in text.splitlines())


def test_status_counts_trials_and_cells_at_own_settings(undisturbed, capsys):
    assert status.main([str(undisturbed)]) == 1  # no cell at the baseline's setting was trained
    words = " ".join(capsys.readouterr().out.split())
    assert "trials of the search: 18 done of 18;" in words and "cells at the arms' own settings: 6 done of 6;" in words


def test_status_of_the_search_lists_its_trials_by_validation_accuracy(undisturbed, capsys):
    assert status.main([str(undisturbed / TUNING_NAME)]) == 0
    out = capsys.readouterr().out
    assert "accuracy in % on the validation images" in out and "50.40" in out


def test_extension_adds_seeds_at_both_settings(tmp_path):
    plan = search_plan(tmp_path)
    run(tmp_path, plan, FakeTraining())
    extend.main([str(tmp_path), "seeds=3", "--plan"])
    assert read_plan(tmp_path).seeds == read_plan(tmp_path / TUNED_NAME).seeds == [0, 1, 2]
    with pytest.raises(ConfigError, match="has seeds of the study"):
        extend.main([str(tmp_path / TUNED_NAME), f"seeds=[{FIRST_SEED}]", "--plan"])


def test_price_counts_the_trials_and_what_follows(tmp_path):
    plan = search_plan(tmp_path, TUNE | {"seeds": 2})
    first, second = describe_search(plan, arm_costs(plan), {})
    assert first.startswith("tune: 3 arms x 6 trials x 2 seeds = 36 runs, ")
    assert first.endswith(" PFLOP, by tpe on val/accuracy; recipe.lr 0.0001 to 0.01 (log)")
    assert second.startswith("then the study at each arm's own setting: up to 6 more cells")


def test_price_of_a_timed_plan_has_the_hours_of_all_trials(tmp_path):
    plan = search_plan(tmp_path)
    assert ", up to 3.6 hours, by tpe" in describe_search(plan, arm_costs(plan), dict.fromkeys(PEAKS, 0.2))[0]


def test_price_says_that_the_baselines_setting_is_not_tried(tmp_path):
    plan = search_plan(tmp_path, {"parameters": {"recipe.lr": [2e-3, 1e-2]}})
    assert "the baseline's setting (recipe.lr=0.001) lies outside the space" in describe_search(plan, [], {})[-1]


def test_study_without_a_search_has_no_price_of_one(tmp_path):
    assert describe_search(made_plan(tmp_path, ["baseline"], [0]), [], {}) == []


def test_trial_is_scored_on_validation_images_alone(tiny, tmp_path):
    config = Composer(make_loader(None), "config")([*tiny, "recipe.epochs=1", "device=cpu"])
    record = run_cell(config, Record(role=TRIAL), tmp_path)
    known = {name for name, value in record.metrics["final"].items() if value is not None}
    assert record.status == "done" and known == {"val/loss", "val/accuracy"}
    assert record.metrics["final"]["val/loss"] == read_rows(tmp_path)[-1]["val/loss"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["environment", "metrics.jsonl", "record.json"]


def test_missing_optuna_is_answered_with_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert optuna_errors() == [f"study.tune  needs Optuna, which is not installed; {install_command('tune')}"]
