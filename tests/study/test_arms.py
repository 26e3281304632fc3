"""A study's arms, cells and plan: named after what they change, compared, frozen, extended, refused."""

import dataclasses
import hashlib
import json

import pytest

from vitsweep.config.convert import config_hash
from vitsweep.config.overrides import affects_result, is_swept, single_name, slug, sweep_name
from vitsweep.config.schema import Config, DataConfig, StudyConfig
from vitsweep.errors import ConfigError, RecordError
from vitsweep.study.arms import named_arms, study_arms, sweep_arms
from vitsweep.study.changes.extension import extend_plan
from vitsweep.study.design import ArmSpec, arm_specs, parse_factors
from vitsweep.study.plan import (
    CellId,
    claims_hash,
    make_plan,
    new_record,
    plan_hash,
    read_plan,
    write_plan,
)
from vitsweep.study.record import write_record

PATCHES = {"model.patch_size": ["model.patch_size=4", "model.patch_size=8"]}


def compose(overrides: list[str]) -> Config:
    """A composer for tests: integer values of the model and the recipe's lr, nothing else."""
    config = Config()
    for override in overrides:
        key, value = override.split("=")
        group, name = key.split(".")
        setattr(getattr(config, group), name, float(value) if name == "lr" else int(value))
    if config.model.errors():
        raise ConfigError(config.model.errors())
    return config


def arms_of(study: StudyConfig):
    """Return the arms and notes of a study on an empty baseline."""
    factors = parse_factors(study)
    return study_arms([], study, factors, arm_specs(study, factors), compose)


def plan(factors=PATCHES, seeds=(0, 1), base=()):
    arms = sweep_arms(list(base), factors, compose)
    return make_plan("patch_size", "grid", list(base), arms, list(seeds), {"patch_size": ["4", "8"]})


def test_arms_are_named_after_what_they_change():
    arms = sweep_arms([], PATCHES | {"recipe.lr": ["recipe.lr=0.001", "recipe.lr=0.002"]}, compose)
    assert [arm.name for arm in arms] == ["baseline", "lr=0.002", "patch_size=8", "patch_size=8+lr=0.002"]


def test_arm_that_equals_the_configuration_without_the_sweep_is_the_baseline():
    arms = sweep_arms([], {"model.patch_size": ["model.patch_size=8", "model.patch_size=4"]}, compose)
    assert [(arm.name, arm.role, arm.overrides) for arm in arms] == [
        ("baseline", "baseline", ["model.patch_size=4"]),
        ("patch_size=8", "arm", ["model.patch_size=8"]),
    ]


def test_first_arm_is_the_baseline_when_none_equals_the_default():
    arms = sweep_arms([], {"model.patch_size": ["model.patch_size=16", "model.patch_size=8"]}, compose)
    assert arms[0].role == "baseline" and arms[0].config.model.patch_size == 16


def test_arms_that_resolve_equal_are_refused_with_both_names():
    with pytest.raises(ConfigError, match="`model.patch_size=8` and `model.patch_size=08`  resolve to the same"):
        sweep_arms([], {"model.patch_size": ["model.patch_size=8", "model.patch_size=08"]}, compose)


def test_all_bad_cells_are_named_in_one_message():
    with pytest.raises(ConfigError) as refusal:
        sweep_arms([], {"model.patch_size": ["model.patch_size=5", "model.patch_size=7"]}, compose)
    assert ["model.patch_size=5" in f or "model.patch_size=7" in f for f in refusal.value.errors] == [True, True]


def test_cells_come_seed_by_seed():
    assert [(cell.arm, cell.seed) for cell in plan().cells] == [
        ("baseline", 0),
        ("patch_size=8", 0),
        ("baseline", 1),
        ("patch_size=8", 1),
    ]


def test_cell_directory_names_arm_hash_and_seed():
    cell = plan().cells[1]
    assert cell.id == f"patch_size=8-{cell.config_hash[:8]}/seed=0"
    assert cell.config_hash == config_hash(compose(["model.patch_size=8"]))


def test_plan_survives_the_disk(tmp_path):
    write_plan(tmp_path, plan())
    assert read_plan(tmp_path) == plan()


def test_plan_is_absent_in_an_empty_folder(tmp_path):
    assert read_plan(tmp_path) is None


@pytest.mark.parametrize("content", ["{", "{}", '{"schema": 1}', '{"schema": 2, "cells": []}'])
def test_plan_that_is_foreign_is_refused(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(RecordError, match="plan.json"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("level", "name"),
    [("/home/alice/cars", "images=cars"), ("~/my data/cars+5", "images=cars+5"), ("C:\\\\cars", "images=cars")],
)
def test_name_of_an_arm_on_other_images_has_no_path(level, name):
    configs = [Config(), Config(data=DataConfig(fingerprint="a" * 64))]
    specs = [ArmSpec(levels={}, overrides=()), ArmSpec(levels={"images": level}, overrides=(f"data.root={level}",))]
    assert named_arms(specs, configs)[1].name == name


def test_extended_plan_keeps_the_fields_of_a_newer_version(tmp_path):
    old = plan()
    old.cells[0].newer, old.arms[0]["price"] = {"owner": "a"}, 3
    merged = extend_plan(old, plan(seeds=(0, 1, 2)), tmp_path)
    assert merged.cells[0].newer == {"owner": "a"} and merged.arms[0]["price"] == 3


def test_plan_extends_by_seeds_and_arms(tmp_path):
    more = {"model.patch_size": ["model.patch_size=4", "model.patch_size=16"]}
    merged = extend_plan(plan(), plan(factors=more, seeds=(2,)), tmp_path)
    assert [arm["arm"] for arm in merged.arms] == ["baseline", "patch_size=16", "patch_size=8"]
    assert merged.seeds == [0, 1, 2] and len(merged.cells) == 6


def test_plan_with_another_baseline_is_refused_with_the_differing_keys(tmp_path):
    with pytest.raises(RecordError, match=r"recipe.lr: 0.001 there, 0.005 now.*hydra.sweep.dir"):
        extend_plan(plan(), plan(base=["recipe.lr=0.005"]), tmp_path)


def stated(claims, rope=0.5, error="paired"):
    made = plan()
    made.claims, made.rope, made.error = claims, rope, error
    made.claims_hash = claims_hash(claims, rope, error)
    return made


def test_claims_hash_of_the_default_rope_is_that_of_the_claims_alone():
    alone = hashlib.sha256(json.dumps([{"arm": "a"}], sort_keys=True).encode()).hexdigest()
    assert claims_hash([{"arm": "a"}], 0.5) == alone and claims_hash([], 0.5) == ""


def test_claims_hash_follows_a_rope_of_its_own():
    hashes = {claims_hash(claims, rope) for claims in ([], [{"arm": "a"}]) for rope in (0.5, 1.0, 2.0)}
    assert len(hashes) == 6


def test_plan_keeps_the_claims_that_are_replaced(tmp_path):
    before, now = stated([{"arm": "a"}]), stated([{"arm": "b"}])
    assert extend_plan(before, now, tmp_path).claims_before == {before.claims_hash: [{"arm": "a"}]}


def test_plan_keeps_the_hash_of_claims_that_stay_as_they_are(tmp_path):
    before = stated([{"arm": "a"}], rope=1.0)
    before.claims_hash = "made by an older rule"
    merged = extend_plan(before, stated([{"arm": "a"}], rope=1.0), tmp_path)
    assert (merged.claims_hash, merged.claims_before) == ("made by an older rule", {})


def test_claims_hash_follows_an_error_of_its_own_and_keeps_that_of_a_rope_alone():
    hashes = {claims_hash([], rope, error) for rope in (0.5, 1.0) for error in ("paired", "pooled", "welch")}
    rope_alone = hashlib.sha256(json.dumps({"claims": [], "rope": 1.0}, sort_keys=True).encode()).hexdigest()
    assert len(hashes) == 6 and claims_hash([], 1.0) == claims_hash([], 1.0, "paired") == rope_alone


def test_plan_of_the_paired_error_does_not_name_it(tmp_path):
    made, other = stated([]), stated([], error="pooled")
    write_plan(tmp_path, made)
    assert "error" not in json.loads((tmp_path / "plan.json").read_text()) and plan_hash(made) != plan_hash(other)
    write_plan(tmp_path, other)
    assert read_plan(tmp_path).error == "pooled"


@pytest.mark.parametrize("change, text", [({"error": "pooled"}, "error=pooled"), ({"rope": 1.0}, "rope=1.0")])
def test_error_and_rope_may_change_until_a_run_has_begun(tmp_path, change, text):
    before, now = stated([]), stated([], **change)
    cell = tmp_path / before.cells[0].id
    cell.mkdir(parents=True)
    record = new_record(before, before.cells[0], None)
    write_record(cell, record)
    assert extend_plan(before, now, tmp_path).claims_hash == now.claims_hash
    record.status = "running"
    write_record(cell, record)
    with pytest.raises(RecordError, match=f"^study.{text}  cannot be changed once a run has begun; allowed: study."):
        extend_plan(before, now, tmp_path)


def test_plan_without_results_notes_no_extension(tmp_path):
    assert extend_plan(plan(), plan(seeds=(2,)), tmp_path).seeds_before == []


def test_plan_hash_is_not_of_the_history():
    made = plan()
    made.seeds_before, made.claims_before = [3], {"h": []}
    assert plan_hash(made) == plan().plan_hash


def test_plan_hash_follows_the_content():
    assert plan().plan_hash == plan().plan_hash != plan(seeds=(0,)).plan_hash


def test_plan_hash_is_not_of_how_cells_are_run():
    assert plan(base=["tracker.patience_seconds=3"]).plan_hash == plan().plan_hash
    assert plan(base=["recipe.epochs=3"]).plan_hash != plan().plan_hash


@pytest.mark.parametrize(
    "overrides, name",
    [
        (["model.patch_size=4,8", "seed=0,1"], "patch_size"),
        (["model/patch_size=p4,p8", "recipe.lr=choice(1e-3,2e-3)", "data=shapes"], "patch_size+lr-shapes"),
        (["seed=0,1,2", "recipe=quick", "data=shapes"], "seed-shapes-quick"),
        (["data=image_folder", "data.root=/a/b,/c", "seed=0,1"], "root-image_folder"),
        (["data=image_folder", "data.root=/a/cats", "seed=0,1"], "seed-image_folder-cats"),
        (["model.patch_size=4,8", "data=cifar10", "data.root=/a/cifar", "recipe=readme", "seed=3"], "patch_size"),
        (["model.patch_size=4,8", "recipe.lr=1e-3", "data.train_limit=50"], "patch_size-train_limit=50-lr=1e-3"),
    ],
)
def test_sweep_is_named_after_its_swept_keys(overrides, name):
    assert sweep_name(overrides) == name


def test_single_run_is_named_after_what_counts():
    assert single_name(["data=shapes", "tracker=none", "device=cpu", "seed=3"]) == "data=shapes+seed=3"
    assert single_name(["tracker=none"]) == "baseline"


@pytest.mark.parametrize(
    "override, swept",
    [("a=1,2", True), ("a=[1,2]", False), ("a='x,y'", False), ("a=range(3)", True), ("a=1", False)],
)
def test_swept_overrides_are_distinguished_from_lists(override, swept):
    assert is_swept(override) == swept


@pytest.mark.parametrize("override", ["data.root=/x", "tracker.mode=offline", "hydra/launcher=joblib", "device=cpu"])
def test_where_and_how_does_not_affect_the_result(override):
    assert not affects_result(override)


def test_no_key_beside_model_data_recipe_and_seed_affects_the_result():
    others = {field.name for field in dataclasses.fields(Config)} - {"model", "data", "recipe", "seed"}
    assert others and not any(affects_result(f"{name}=1") for name in others)


def test_slug_of_a_long_text_is_short_and_its_own():
    long = ["+".join(f"key{i}=value{i}" for i in range(n)) for n in (20, 21)]
    assert all(len(slug(text)) <= 80 for text in long) and slug(long[0]) != slug(long[1])


def test_slug_has_no_characters_that_a_file_system_minds():
    assert slug("a b/c:d*e") == "a-b-c-d-e"


def test_arm_levels_are_kept_for_the_analysis():
    assert dataclasses.asdict(plan().cells[1])["levels"] == {"patch_size": "8"}


OFAT = {"patch": ["model.patch_size=8", "model.patch_size=4"], "depth": ["model.num_hidden_layers=2"]}


def test_study_merges_levels_that_are_the_baselines_own():
    arms, notes = arms_of(StudyConfig(name="s", factors=OFAT))
    assert [arm.name for arm in arms] == ["baseline", "patch=8", "depth=2"]
    assert notes == ["patch=4 is the baseline's own level"]


def test_study_factor_with_only_the_baselines_level_is_refused():
    with pytest.raises(ConfigError, match=r"study.factors.patch  has only the baseline's level"):
        arms_of(StudyConfig(name="s", factors={"patch": ["model.patch_size=4"]}))


def test_study_arms_that_resolve_equal_are_refused():
    same = {"a": ["model.patch_size=8"], "b": ["model.patch_size=8"]}
    with pytest.raises(ConfigError, match="`model.patch_size=8` and `model.patch_size=8`  resolve to the same"):
        arms_of(StudyConfig(name="s", factors=same))


def test_study_excludes_what_matches_all_of_an_entry():
    study = StudyConfig(name="s", design="grid", factors=OFAT, exclude=[{"patch": 8, "depth": 2}])
    arms, notes = arms_of(study)
    assert [arm.levels for arm in arms] == [{}, {"depth": "2"}, {"patch": "8"}]
    assert "1 arm excluded" in notes


@pytest.mark.parametrize(
    "exclude, sentence",
    [
        ([{"patch": 16}], "study.exclude={'patch': 16}  matches no arm"),
        ([{"patch": 8}, {"depth": 2}], "study.exclude  leaves only the baseline"),
        (["patch"], "study.exclude=patch  must be a mapping factor: level"),
    ],
)
def test_study_exclude_is_refused_when_it_makes_no_sense(exclude, sentence):
    with pytest.raises(ConfigError) as refusal:
        arms_of(StudyConfig(name="s", factors=OFAT, exclude=exclude))
    assert refusal.value.errors[0].startswith(sentence)


def test_placebo_is_the_baseline_with_other_streams_under_the_same_seed_label():
    arms, _ = arms_of(StudyConfig(name="s", factors=OFAT, placebo=True))
    cells = make_plan("s", "ofat", [], arms, [3], {}).cells
    baseline, placebo = cells[0], cells[-1]
    assert placebo.role == "placebo" and placebo.config_hash == baseline.config_hash
    assert placebo.seed == baseline.seed == 3 and placebo.config["seed"] != baseline.config["seed"]


def test_cell_id_reads_what_it_prints():
    made = CellId.of("patch_size=8", "0123456789abcdef", 3)
    assert str(made) == "patch_size=8-01234567/seed=3" and CellId.parse(str(made)) == made
