"""Errors of Hydra, OmegaConf and YAML become one line: key, rule, what is allowed or what to do.

Refuses with the right words; every row is what a user sees, word for word.
"""

from pathlib import Path

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from vitsweep.config.composer import Composer
from vitsweep.config.hydra import VERSION_BASE, register
from vitsweep.config.messages import user_message
from vitsweep.config.suggestions import did_you_mean, known_keys
from vitsweep.errors import ConfigError, RecordError
from vitsweep.paths import conf_dir

ALL_KEYS = "see --cfg job for all keys"
IN_QUOTES = "an override is key=value, special characters in quotes"
MESSAGES = {
    # A value of the wrong type: what it must be instead.
    "model.bias=maybe": "model.bias=maybe  must be true or false",
    "model.patch_size=big": "model.patch_size=big  must be an integer",
    "model.patch_size=": "model.patch_size=  must be an integer",
    "model.patch_size=null": "model.patch_size=null  must be an integer",
    "model.patch_size=[1,2]": "model.patch_size=[1, 2]  must be an integer",
    "recipe.epochs=true": "recipe.epochs=True  must be an integer",
    "recipe.epochs=1.5": "recipe.epochs=1.5  must be an integer",
    "recipe.lr=fast": "recipe.lr=fast  must be a number",
    "recipe.clip_norm=a": "recipe.clip_norm=a  must be a number or null",
    "data.train_limit=few": "data.train_limit=few  must be an integer or null",
    "model.patchify_method=[a]": "model.patchify_method=['a']  must be a text",
    "data.name=null": "data.name=null  must be a text",
    "seed=x": "seed=x  must be an integer",
    # A key that is not there: what it might have been.
    "model.patch_sise=8": f"model.patch_sise  is unknown; did you mean model.patch_size?; {ALL_KEYS}",
    "patch_size=4": f"patch_size  is unknown; did you mean model.patch_size?; {ALL_KEYS}",
    "depth=l4": f"depth  is unknown; did you mean model/depth or model.num_hidden_layers?; {ALL_KEYS}",
    "modle/depth=l4": f"modle/depth  is unknown; did you mean model/depth?; {ALL_KEYS}",
    "model/patchsize=p4": f"model/patchsize  is unknown; did you mean model/patch_size?; {ALL_KEYS}",
    "recipe.learning=1": f"recipe.learning  is unknown; {ALL_KEYS}",
    "+model.depth=3": f"model.depth  is unknown; did you mean model/depth or model.num_hidden_layers?; {ALL_KEYS}",
    "foo=1": f"foo  is unknown; {ALL_KEYS}",
    # An option of a group that is not there, or a number where a name belongs.
    "tracker=wanb": "tracker=wanb  is unknown; allowed: mlflow, none, tensorboard, trackio, wandb; did you mean wandb?",
    "model/patch_size=8": "model/patch_size=8  must be the name of an option; allowed: p16, p2, p4, p8",
    "model/depth=null": "model/depth=null  must be the name of an option; allowed: l10, l12, l2, l4, l6, l8",
    "recipe=5": "recipe=5  must be the name of an option; "
    "allowed: augmented, cct_300, minutes, quick, readme, sl_vit, strong, vit_lite",
    # Additions and deletions.
    "+model.patch_size=4": "+model.patch_size  exists already; drop the + to change it",
    "~model.bias": "~model.bias  cannot be deleted; give it a value: model.bias=...",
    "~foo": "~foo  is unknown; there is nothing to delete",
    "~model/depth=l2": "~model/depth=l2  is not chosen, so it cannot be deleted",
    "model.patch_size@x=3": "model.patch_size@x=3  is not a config group and has no package; drop @ and its word",
    # Interpolations.
    "recipe.lr=${nothing}": f"recipe.lr  refers to nothing, which is unknown; {ALL_KEYS}",
    "recipe.lr=${oc.env:NOPE}": "recipe.lr  needs the environment variable NOPE; set it, or give recipe.lr a value",
    "recipe.lr=${nofn:1}": "recipe.lr  uses the resolver nofn, which is unknown; give recipe.lr a value",
    # What is no override at all.
    "model.bias": f"model.bias  cannot be parsed (it has no =); {IN_QUOTES}",
    "model.patch_size==4": f"model.patch_size==4  cannot be parsed (extraneous input '='); {IN_QUOTES}",
    "=3": "=3  cannot be parsed; an override is key=value",
    # Several values where one belongs.
    "model.patch_size=4,8": "model.patch_size=4,8  names several values where one belongs; give one",
}


@pytest.fixture(scope="module")
def composer() -> Composer:
    register()
    with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
        return Composer(GlobalHydra.instance().config_loader(), "config")


@pytest.mark.parametrize("override", MESSAGES)
def test_error_becomes_a_message_with_key_rule_and_remedy(composer, override):
    with pytest.raises(ConfigError) as refusal:
        composer([override])
    assert refusal.value.errors == [MESSAGES[override]]


def test_error_in_yaml_names_file_line_and_column(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("name: s\nfactors: [a\nseeds: 3\n")
    with pytest.raises(yaml.YAMLError) as error, open(path) as stream:
        yaml.safe_load(stream)
    said = user_message(error.value)
    assert said == f"{path}, line 3, column 6: expected ',' or ']', but got ':'; correct the YAML there"


def test_error_in_a_character_that_yaml_forbids_says_so():
    with pytest.raises(yaml.YAMLError) as error:
        yaml.safe_load("a: \x00")
    assert user_message(error.value).startswith("a configuration file is not YAML: unacceptable character #x0000")


def test_error_in_bytes_that_are_no_text_says_how_to_save_them():
    with pytest.raises(UnicodeDecodeError) as error:
        b"a: \xff".decode()
    assert user_message(error.value) == (
        "a configuration file  is not UTF-8 text (byte 3: invalid start byte); save it as UTF-8"
    )


def test_user_error_is_passed_on_word_for_word():
    assert user_message(RecordError("x=1  is wrong; mend it")) == "x=1  is wrong; mend it"


def test_user_error_is_found_under_hydras_own():
    try:
        try:
            raise ConfigError(["x=1  is wrong; mend it"])
        except ConfigError as error:
            raise HydraException("something went wrong") from error
    except HydraException as error:
        assert user_message(error) == "x=1  is wrong; mend it"


@pytest.mark.parametrize("error", [ZeroDivisionError(), ValueError("our own mistake"), KeyError("x"), AssertionError()])
def test_error_that_is_not_the_users_keeps_its_traceback(error):
    assert user_message(error) is None


@pytest.mark.parametrize("number, text", [(28, "No space left on device"), (30, "Read-only file system")])
def test_error_in_the_disk_names_the_file_and_the_remedy(number, text):
    said = user_message(OSError(number, text, "/x/plan.json"))
    assert said == f"/x/plan.json  cannot be written ({text}); choose another hydra.run.dir or hydra.sweep.dir"


def test_error_in_an_option_in_a_file_names_the_file(tmp_path):
    (tmp_path / "config.yaml").write_text("defaults: [vitsweep_schema, _self_]\nrecipe: {epochs: many}\n")
    register()
    with initialize_config_dir(str(tmp_path), **VERSION_BASE), pytest.raises(ConfigError) as refusal:
        Composer(GlobalHydra.instance().config_loader(), "config")([])
    assert refusal.value.errors == ["config.yaml: recipe.epochs=many  must be an integer"]


def test_suggestion_is_never_the_word_itself_and_always_known():
    for key in known_keys():
        for word in (key, key[:-1], key.replace(".", "/"), key.rpartition(".")[2]):
            meant = did_you_mean(word).removeprefix("; did you mean ").removesuffix("?").split(" or ")
            assert word not in meant and (meant == [""] or set(meant) <= set(known_keys()))


def test_config_group_folders_are_known():
    assert {"model/patch_size", "recipe", "study"} <= set(known_keys())
    assert all((Path(conf_dir()) / key).is_dir() for key in known_keys() if "/" in key)
