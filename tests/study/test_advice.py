"""The plan's advice on the spread: from earlier records of the same configuration alone, silent without them.

Kinds: agreement with the functions of significance, properties (what counts as the same configuration), silence.
"""

import copy
import dataclasses
import json

import numpy as np
import pytest

from vitsweep.config.convert import from_dict, to_dict
from vitsweep.significance.spread import ratio_of_independent, ratio_of_paired, split_spread
from vitsweep.study.arms import Arm
from vitsweep.study.plan import make_plan, write_plan
from vitsweep.study.questions.advice import spread_advice
from vitsweep.study.record import Record, write_record

CONFIG = to_dict(from_dict({"data": {"name": "shapes"}}))
IMAGES = 400


def plan_of(config):
    arm = Arm(name="baseline", role="baseline", levels={}, overrides=[], config=from_dict(config))
    return make_plan("x", "list", [], [arm], [0, 1, 2], {})


def train(directory, config, seeds=6, averaged=True, chance=0.6):
    """Write finished cells with predictions; the average of the weights is half as far from 60 % as the last ones."""
    right_SN = np.random.default_rng(len(str(config))).random((seeds, IMAGES)) < chance
    plan = plan_of(config)
    directory.mkdir(parents=True)
    write_plan(directory, plan)
    for seed, right_N in enumerate(right_SN):
        folder = directory / "baseline-00000000" / f"seed={seed}"
        folder.mkdir(parents=True)
        final = float(right_N.mean())
        metrics = {"final": {"test/accuracy": final}, "best": {"epoch": 1, "test/accuracy": final}}
        metrics |= {"average": {"test/accuracy": 0.6 + (final - 0.6) / 2}} if averaged else {}
        own = copy.deepcopy(config) | {"seed": seed}
        record = Record(status="done", role="baseline", seed=seed, config=own, metrics=metrics, data_fingerprint="f")
        write_record(folder, dataclasses.replace(record, num_images={"test": IMAGES}))
        np.savez(folder / "predictions.npz", id=np.arange(IMAGES), label=np.ones(IMAGES), final_class=right_N)
    return right_SN


def with_recipe(**values):
    return CONFIG | {"recipe": CONFIG["recipe"] | values}


def test_spread_is_split_into_seeds_and_test_images(tmp_path):
    parts = split_spread(train(tmp_path / "a", CONFIG, averaged=False))
    (line,) = spread_advice(plan_of(CONFIG), tmp_path / "a")
    assert line.startswith("spread of 6 earlier runs of the baseline's configuration: ")
    assert f"{100 * parts.total[0]:.2f} points ({100 * parts.total[1]:.2f} to {100 * parts.total[2]:.2f})" in line
    assert f"the chance of 400 test images {100 * parts.images:.2f}" in line


def test_average_is_compared_on_the_same_runs(tmp_path):
    final = train(tmp_path / "a", CONFIG).mean(axis=1)
    ratio = ratio_of_paired(final / 2, final)
    line = spread_advice(plan_of(CONFIG), tmp_path / "a")[1]
    assert line.startswith("the average of the last epochs' weights (recipe.average_last, 6 earlier runs): 25 %")
    assert f"({100 * ratio[1]:.0f} to {100 * ratio[2]:.0f} %)" in line


def test_cosine_of_a_neighbour_is_compared_with_the_plans_schedule(tmp_path):
    cosine = train(tmp_path / "b", with_recipe(schedule="cosine", warmup_epochs=1.0), averaged=False).mean(axis=1)
    final = train(tmp_path / "a", CONFIG, averaged=False).mean(axis=1)
    ratio = ratio_of_independent(cosine, final)
    line = spread_advice(plan_of(CONFIG), tmp_path / "a")[1]
    assert line.startswith(f"recipe.schedule=cosine (6 and 6 earlier runs): {100 * ratio[0]:.0f} %")


@pytest.mark.parametrize("other", [with_recipe(lr=5e-4), CONFIG | {"data": CONFIG["data"] | {"train_limit": 50}}])
def test_other_configurations_give_no_advice(tmp_path, other):
    train(tmp_path / "b", other)
    assert spread_advice(plan_of(CONFIG), tmp_path / "a") == []


def test_two_runs_and_damaged_records_give_no_advice(tmp_path):
    train(tmp_path / "a", CONFIG, seeds=3)
    (tmp_path / "a" / "baseline-00000000" / "seed=1" / "record.json").write_text(json.dumps({"status": "done"}))
    assert spread_advice(plan_of(CONFIG), tmp_path / "a") == []
    assert spread_advice(plan_of(CONFIG), None) == []
