"""Conversions: a dictionary becomes a typed Config or is refused; the hash follows what decides a result."""

import pytest
from omegaconf import OmegaConf

from vitsweep.config.convert import config_hash, describe_type, from_dict, from_omegaconf, to_dict, validate
from vitsweep.config.model_schema import DROPOUT_PLACES
from vitsweep.config.schema import Config, StudyConfig
from vitsweep.errors import ConfigError


def changed(**values) -> Config:
    """The default configuration with dotted keys (written with __) changed."""
    config = Config()
    for key, value in values.items():
        group, _, name = key.rpartition("__")
        setattr(getattr(config, group) if group else config, name, value)
    return config


def test_config_survives_the_round_trip_through_a_record():
    config = validate(changed(model__patch_size=8, data__train_limit=100))
    assert from_dict(to_dict(config)) == config


def test_dictionary_and_hydras_composition_give_the_same_config():
    values = {"model": {"patch_size": 8}, "recipe": {"lr": 1}, "study": {"name": "s", "seeds": [1]}, "seed": 3}
    assert from_dict(values) == from_omegaconf(OmegaConf.merge(OmegaConf.structured(Config), values))


def test_dictionary_may_leave_keys_out_and_have_others_at_the_top():
    assert from_dict({"seed": 3, "cell": "a/seed=3"}) == validate(Config(seed=3))


@pytest.mark.parametrize(
    "values, message",
    [
        ({"model": {"patch_size": "8"}}, 'model.patch_size="8"  must be an integer'),
        ({"model": {"patch_size": True}}, "model.patch_size=true  must be an integer"),
        ({"model": {"patch_size": 8.0}}, "model.patch_size=8.0  must be an integer"),
        ({"recipe": {"lr": None}}, "recipe.lr=null  must be a number"),
        ({"recipe": {"clip_norm": "1"}}, 'recipe.clip_norm="1"  must be a number or null'),
        ({"model": {"bias": 1}}, "model.bias=1  must be true or false"),
        ({"model": {"depth": 1}}, "model.depth  is unknown; it may come from a newer version of vitsweep"),
        ({"model": 3}, "model=3  must be a mapping"),
        ({"seed": [0]}, "seed=[0]  must be an integer"),
    ],
)
def test_dictionary_with_what_does_not_fit_is_refused(values, message):
    with pytest.raises(ConfigError) as refusal:
        from_dict(values)
    assert refusal.value.errors == [message]


def test_number_without_a_decimal_point_is_a_float_where_one_belongs():
    lr = from_dict({"recipe": {"lr": 1}}).recipe.lr
    assert (lr, type(lr)) == (1.0, float)


def test_config_does_not_share_lists_with_its_dictionary():
    values = {"study": {"seeds": [0, 1], "factors": {"a": ["b=1"]}}}
    study = from_dict(values).study
    study.seeds.append(2)
    study.factors["a"].append("b=2")
    assert isinstance(study, StudyConfig) and values == {"study": {"seeds": [0, 1], "factors": {"a": ["b=1"]}}}


@pytest.mark.parametrize("key, value", [("seed", 5), ("device", "cpu"), ("precision", "fp32"), ("data__root", "/x")])
def test_config_hash_ignores_what_does_not_affect_the_result(key, value):
    assert config_hash(changed(**{key: value})) == config_hash(Config())


@pytest.mark.parametrize("key, value", [("model__patch_size", 8), ("recipe__lr", 2e-3), ("data__train_limit", 10)])
def test_config_hash_follows_what_affects_the_result(key, value):
    assert config_hash(changed(**{key: value})) != config_hash(Config())


def test_config_hash_fills_dropout_places():
    places = {f"model__{place}_dropout_prob": 0.2 for place in DROPOUT_PLACES}
    assert config_hash(changed(**places, model__hidden_dropout_prob=0.7)) == config_hash(Config())


@pytest.mark.parametrize(
    "key, kind",
    [
        ("model.patch_size", "an integer"),
        ("recipe.lr", "a number"),
        ("recipe.clip_norm", "a number or null"),
        ("model.bias", "true or false"),
        ("study.baseline", "a list"),
        ("study.factors", "a mapping"),
        ("study.placebo", "true or false"),
        ("model.nope", ""),
        ("nope.nope", ""),
    ],
)
def test_kind_of_a_key_is_read_from_its_type(key, kind):
    assert describe_type(key) == kind
