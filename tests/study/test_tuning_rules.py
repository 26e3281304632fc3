"""Rules of a study file's `tune`: what is planned, and refusals word for word. Nothing is trained.

Kinds: obeys a property, refuses with the right words.
"""

import pytest

from vitsweep.commands import extend
from vitsweep.commands.command_arguments import refuse_search
from vitsweep.errors import ConfigError, RecordError
from vitsweep.study.plan import TUNING_NAME, read_plan, write_plan
from vitsweep.study.plan_builder import freeze_plan
from vitsweep.study.tuning.space import FIRST_SEED, Parameter, grid_shape, parse_search, search_form_errors

LR = {"recipe.lr": [1e-4, 1e-2]}
KEY = "study.tune.parameters.recipe.lr"

REFUSED = {
    "no parameters": (
        {"trials": 4},
        "study.tune.parameters=null  must be a mapping such as {recipe.lr: [1e-4, 1e-2]}",
    ),
    "unknown key": (
        {"parameters": LR, "budget": 3},
        "study.tune.budget  is unknown; allowed: parameters, trials, seeds, sampler, sampler_seed, metric",
    ),
    "unknown parameter": (
        {"parameters": {"recipe.learning_rate": [1e-4, 1e-2]}},
        "study.tune.parameters.recipe.learning_rate: recipe.learning_rate  is unknown; did you mean recipe.lr?; "
        "see --cfg job for all keys",
    ),
    "no number": (
        {"parameters": {"recipe.optimizer": {"values": ["sgd", "adamw"]}}},
        "study.tune.parameters.recipe.optimizer  is a text, not a number; make it a factor instead",
    ),
    "a switch": (
        {"parameters": {"recipe.horizontal_flip": {"values": [True, False]}}},
        "study.tune.parameters.recipe.horizontal_flip  is true or false, not a number; make it a factor instead",
    ),
    "budget": (
        {"parameters": {"recipe.epochs": [5, 10]}},
        "study.tune.parameters.recipe.epochs  is no nuisance parameter; allowed: numbers of recipe except epochs, and "
        "dropout rates of model",
    ),
    "model size": (
        {"parameters": {"model.hidden_size": [32, 64]}},
        "study.tune.parameters.model.hidden_size  is no nuisance parameter; allowed: numbers of recipe except epochs, "
        "and dropout rates of model",
    ),
    "one value": (
        {"parameters": {"recipe.lr": [1e-3]}},
        f"{KEY}=[0.001]  is a range with one value; widen it, or set the value in study.baseline",
    ),
    "equal ends": (
        {"parameters": {"recipe.lr": [1e-3, 1e-3]}},
        f"{KEY}=[0.001, 0.001]  is a range with one value; widen it, or set the value in study.baseline",
    ),
    "reversed": (
        {"parameters": {"recipe.lr": [1e-2, 1e-4]}},
        f"{KEY}=[0.01, 0.0001]  is reversed; write the lower end first",
    ),
    "log from 0": (
        {"parameters": {"recipe.weight_decay": [0, 0.1]}},
        "study.tune.parameters.recipe.weight_decay=[0, 0.1]  is searched on a log scale, so it must start above 0; "
        "use {low, high, scale: linear}",
    ),
    "three ends": (
        {"parameters": {"recipe.lr": [1e-4, 1e-3, 1e-2]}},
        f"{KEY}=[0.0001, 0.001, 0.01]  must be [low, high], {{low: ..., high: ..., scale: linear}} or "
        "{values: [...]}",
    ),
    "text as an end": (
        {"parameters": {"recipe.lr": ["small", 1e-2]}},
        f'{KEY}=["small", 0.01]  must have two finite numbers as its ends',
    ),
    "fraction of an integer": (
        {"parameters": {"recipe.batch_size": [32.5, 64]}},
        "study.tune.parameters.recipe.batch_size=[32.5, 64]  must have two integers as its ends",
    ),
    "equal values": (
        {"parameters": {"recipe.lr": {"values": [1e-3, 1e-3]}}},
        f"{KEY}=[0.001, 0.001]  must be two or more different values",
    ),
    "unknown scale": (
        {"parameters": {"recipe.lr": {"low": 1, "high": 2, "scale": "sqrt"}}},
        f'{KEY}={{"low": 1, "high": 2, "scale": "sqrt"}}  has scale=sqrt; allowed: linear, log',
    ),
    "one trial": ({"parameters": LR, "trials": 1}, "study.tune.trials=1  must be an integer in 2 .. 1000"),
    "unknown sampler": (
        {"parameters": LR, "sampler": "bayes"},
        "study.tune.sampler=bayes  is unknown; allowed: grid, random, tpe",
    ),
    "test metric": (
        {"parameters": LR, "metric": "test/accuracy"},
        "study.tune.metric=test/accuracy  is unknown; allowed: val/accuracy, val/loss",
    ),
    "no grid": (
        {"parameters": LR | {"recipe.weight_decay": [0.01, 0.1]}, "trials": 8, "sampler": "grid"},
        "study.tune.trials=8  is no full grid of 2 parameters; allowed near it: 4, 9, 16",
    ),
    "no seed": (
        {"parameters": LR, "seeds": []},
        "study.tune.seeds=[]  must be a list of integers in 0 .. 2**32 - 1, or their number",
    ),
}

REFUSED_BY_THE_STUDY = {
    "the study's seeds": (
        {"parameters": LR, "seeds": [1, 7]},
        "study.tune.seeds=[1, 7]  has seeds of the study (1); settings are judged with fresh seeds, so name others, or "
        "only their number",
    ),
    "impossible end": (
        {"parameters": {"recipe.label_smoothing": {"low": 0, "high": 1, "scale": "linear"}}},
        "study.tune.parameters.recipe.label_smoothing: recipe.label_smoothing=1.0  must lie in [0, 1)",
    ),
    "not read by the optimizer": (
        {"parameters": {"recipe.momentum": {"values": [0.8, 0.9]}}},
        "study.tune.parameters.recipe.momentum  is read with recipe.optimizer=sgd only, and arm baseline has another; "
        "drop it",
    ),
}


@pytest.mark.parametrize("tune, message", REFUSED.values(), ids=REFUSED)
def test_wrong_search_is_refused(tune, message):
    assert search_form_errors(tune) == [message]


@pytest.mark.parametrize("tune, message", REFUSED_BY_THE_STUDY.values(), ids=REFUSED_BY_THE_STUDY)
def test_search_that_does_not_fit_its_study_is_refused(refusal, tune, message):
    assert refusal(tune=tune) == [message]


def test_wrong_search_is_refused_beside_other_errors_of_the_file(refusal):
    assert refusal(rope=-1.0, tune={"parameters": LR, "trials": 1}) == [
        "study.rope=-1.0  must be finite and not negative",
        "study.tune.trials=1  must be an integer in 2 .. 1000",
    ]


def test_tuned_parameter_that_is_a_factor_is_refused(refusal):
    factors = {"rate": ["recipe.lr=2e-3"], "bias": ["model.bias=false"]}
    assert refusal(factors=factors, tune={"parameters": LR}) == [
        f"{KEY}  is also set by arm rate=0.002 (`recipe.lr=2e-3`); tune it or vary it, not both"
    ]


def test_tuned_parameter_that_an_arm_sets_by_a_group_is_refused(refusal):
    tune = {"parameters": {"recipe.batch_size": {"values": [32, 64]}}}
    (message,) = refusal(factors={"recipe": ["recipe=quick"]}, tune=tune)
    assert "recipe.batch_size  is also set by arm recipe=quick (`recipe.batch_size=64`)" in message


def test_tuned_parameter_on_the_command_line_is_refused(refusal):
    assert refusal("recipe.lr=2e-3", tune={"parameters": LR}) == [
        f"{KEY}  is also set on the command line; drop one of them, or set it in study.baseline"
    ]


def test_tuned_parameter_swept_on_the_command_line_is_refused(refusal):
    assert all("is also set by arm" in message for message in refusal("recipe.lr=1e-3,2e-3", tune={"parameters": LR}))


def test_dropout_that_an_arm_does_not_read_is_refused(refusal):
    tune = {"parameters": {"model.hidden_dropout_prob": {"values": [0.1, 0.2]}}}
    assert refusal(factors={"places": ["model/dropout=none"]}, tune=tune) == [
        "study.tune.parameters.model.hidden_dropout_prob  is not read by arm places=none; drop it"
    ]


def test_seeds_of_the_placebo_are_refused(refusal):
    assert "has seeds of the study (1000003)" in refusal(placebo=True, tune={"parameters": LR, "seeds": [1_000_003]})[0]


def test_plan_has_the_search_with_everything_filled_in(plan):
    assert plan(tune={"parameters": LR}).tune == {
        "parameters": {"recipe.lr": {"low": 1e-4, "high": 1e-2, "scale": "log"}},
        "trials": 8,
        "seeds": [FIRST_SEED],
        "sampler": "tpe",
        "sampler_seed": 0,
        "metric": "val/accuracy",
    }


def test_search_of_a_plan_parses_to_itself(plan):
    found = plan(tune={"parameters": LR | {"recipe.batch_size": {"values": [32, 64]}}, "seeds": 2}).tune
    assert parse_search(found).to_values() == found


def test_search_changes_the_plans_hash_and_no_cell(plan):
    without, tuned = plan(), plan(tune={"parameters": LR})
    assert without.plan_hash != tuned.plan_hash
    assert [cell.id for cell in without.cells] == [cell.id for cell in tuned.cells]


def test_study_without_a_search_has_no_such_field_on_disk(plan, tmp_path):
    write_plan(tmp_path, plan())
    assert '"tune"' not in (tmp_path / "plan.json").read_text()


def test_other_search_than_the_one_begun_is_refused(plan, tmp_path):
    freeze_plan(tmp_path, first := plan(tune={"parameters": LR}))
    (tmp_path / TUNING_NAME).mkdir()
    write_plan(tmp_path / TUNING_NAME, first)
    with pytest.raises(RecordError, match="study.tune  differs in trials from the search that has begun in"):
        freeze_plan(tmp_path, plan(tune={"parameters": LR, "trials": 4}))
    assert read_plan(tmp_path).tune == first.tune


@pytest.mark.parametrize("value, edge", [(1e-4, "low"), (1.5e-4, "low"), (1e-3, ""), (7e-3, "high"), (1e-2, "high")])
def test_edge_is_a_tenth_of_the_range_on_its_scale(value, edge):
    assert Parameter(key="recipe.lr", low=1e-4, high=1e-2).edge(value) == edge


def test_points_of_a_log_range_have_equal_ratios():
    assert Parameter(key="recipe.lr", low=1e-4, high=1e-2).points(5) == [1e-4, 3.162e-4, 1e-3, 3.162e-3, 1e-2]


def test_grid_gives_each_range_the_same_number_of_points():
    parameters = LR | {"recipe.weight_decay": [1e-3, 1e-1], "recipe.label_smoothing": {"values": [0, 0.1]}}
    search = parse_search({"parameters": parameters, "trials": 18, "sampler": "grid"})
    assert grid_shape(search) == [3, 3, 2]


def test_extension_by_seeds_of_the_search_is_refused(plan, tmp_path):
    freeze_plan(tmp_path, plan(tune={"parameters": LR, "seeds": [7]}))
    with pytest.raises(ConfigError, match=r"study.tune.seeds=\[7\]  has seeds of the study \(7\)"):
        extend.main([str(tmp_path), "seeds=8", "--plan"])
    assert read_plan(tmp_path).seeds == [0, 1]


def test_agents_of_wandb_are_refused(plan):
    with pytest.raises(ConfigError, match="study.tune  is searched by a sweep, not by W&B's agents"):
        refuse_search(plan(tune={"parameters": LR}))
