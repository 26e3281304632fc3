"""The configuration refuses with the right words, hashes what is science, and every file in conf/ composes."""

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from vitsweep.config.convert import config_hash, flatten, from_dict, from_omegaconf, to_dict, validate
from vitsweep.config.hydra import register
from vitsweep.config.model_schema import DROPOUT_PLACES, ModelConfig
from vitsweep.config.schema import Config, DataConfig, RecipeConfig, TrackerConfig
from vitsweep.errors import ConfigError
from vitsweep.paths import conf_dir

GROUPS = [
    "model",
    "model/patch_size",
    "model/depth",
    "model/dropout",
    "model/patchify",
    "data",
    "recipe",
    "tracker",
    "study",
]
CLASSES = [
    ModelConfig,
    DataConfig,
    RecipeConfig,
    TrackerConfig,
    Config,
]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def composed(*overrides: str) -> Config:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return from_omegaconf(compose("config", list(overrides)))


def changed(**values) -> Config:
    """The default configuration with dotted keys (written with __) changed."""
    config = OmegaConf.create(to_dict(Config()))
    for key, value in values.items():
        OmegaConf.update(config, key.replace("__", "."), value)
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), config))


@pytest.mark.parametrize(
    "values, sentence",
    [
        (
            {"model__patch_size": 5},
            "model.patch_size=5  does not divide model.image_size=32; allowed: 1, 2, 4, 8, 16, 32",
        ),
        (
            {"model__hidden_size": 100},
            "model.hidden_size=100  is not divisible by model.num_attention_heads=8; "
            "allowed heads: 1, 2, 4, 5, 10, 20, 25, 50, 100",
        ),
        ({"model__patchify_method": "cnn"}, "model.patchify_method=cnn  is unknown; allowed: conv, linear"),
        ({"model__hidden_dropout_prob": 1.0}, "model.hidden_dropout_prob=1.0  must lie in [0, 1)"),
        ({"model__head_dropout_prob": -0.1}, "model.head_dropout_prob=-0.1  must lie in [0, 1)"),
        ({"model__num_hidden_layers": 0}, "model.num_hidden_layers=0  must be at least 1"),
        ({"data__val": "train"}, "data.val=train  is unknown; allowed: split, test"),
        ({"data__val_fraction": 1.0}, "data.val_fraction=1.0  must lie in (0, 1)"),
        ({"recipe__lr": 0.0}, "recipe.lr=0.0  must be a positive number"),
        ({"recipe__schedule": "step"}, "recipe.schedule=step  is unknown; allowed: constant, cosine, plateau"),
        ({"tracker__mode": "on"}, "tracker.mode=on  is unknown; allowed: auto, disabled, offline, online"),
        ({"seed": -1}, "seed=-1  must lie in 0 .. 2**32 - 1"),
        ({"device": "tpu"}, "device=tpu  is unknown; allowed: auto, cpu, cuda, mps"),
        ({"model__num_classes": 7}, "model.num_classes=7  must be 10 for data=cifar10"),
    ],
)
def test_config_refuses_with_key_rule_and_allowed_values(values, sentence):
    with pytest.raises(ConfigError) as refusal:
        validate(changed(**values))
    assert sentence in refusal.value.errors


def test_config_names_all_faults_in_one_message():
    with pytest.raises(ConfigError) as refusal:
        validate(changed(model__patch_size=5, recipe__lr=-1.0, seed=-1))
    assert len(refusal.value.errors) == 3


def test_config_survives_the_round_trip_through_a_record():
    config = validate(changed(model__patch_size=8, data__train_limit=100))
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize("key, value", [("seed", 5), ("device", "cpu"), ("precision", "fp32"), ("data__root", "/x")])
def test_config_hash_ignores_what_is_not_science(key, value):
    assert config_hash(changed(**{key: value})) == config_hash(Config(data=DataConfig()))


@pytest.mark.parametrize("key, value", [("model__patch_size", 8), ("recipe__lr", 2e-3), ("data__train_limit", 10)])
def test_config_hash_follows_science(key, value):
    assert config_hash(changed(**{key: value})) != config_hash(Config())


def test_config_hash_fills_dropout_places():
    places = {f"model__{place}_dropout_prob": 0.2 for place in DROPOUT_PLACES}
    assert config_hash(changed(**places, model__hidden_dropout_prob=0.7)) == config_hash(Config())


@pytest.mark.parametrize("group, option", [(group, option) for group in GROUPS for option in options(group)])
def test_config_group_option_composes(group, option):
    extra = ["data.root=somewhere"] if option == "image_folder" else []
    assert composed(f"{group}={option}", *extra)


@pytest.mark.parametrize(
    "group, option, key, value",
    [
        ("model/patch_size", "p8", "patch_size", 8),
        ("model/depth", "l4", "num_hidden_layers", 4),
        ("model/patchify", "linear", "patchify_method", "linear"),
    ],
)
def test_config_group_and_value_mean_the_same(group, option, key, value):
    assert composed(f"{group}={option}") == composed(f"model.{key}={value}")


@pytest.mark.parametrize("option, places", [("none", []), ("attention", ["attention_probs", "attention_output"])])
def test_config_dropout_groups_act_at_their_places_alone(option, places):
    model = composed(f"model/dropout={option}").model
    assert [p for p in DROPOUT_PLACES if model.dropout_rate(p) > 0] == places


def test_config_yaml_defaults_are_the_schemas_defaults(tmp_path):
    config = composed()
    config.data.root = Config().data.root  # made absolute
    assert config == Config()


@pytest.mark.parametrize("path", sorted(conf_dir().rglob("*.yaml")), ids=lambda p: str(p.relative_to(conf_dir())))
def test_config_file_opens_as_a_lab_note(path: Path):
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    head = "\n".join(line for line in comments if not line.startswith("# @package"))
    for word in ("why:", "source:", "command:", "expected:"):
        assert word in head, f"{path} lacks `# {word}`"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
def test_config_field_has_a_sentence(kind):
    tree = ast.parse(inspect.getsource(kind)).body[0]
    documented = {
        before.target.id
        for before, after in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and after.value.value.strip().endswith((".", ")"))
    }
    assert {f.name for f in dataclasses.fields(kind)} == documented


def test_config_options_are_pinned():
    """The option list is a public surface: who changes it changes this list too."""
    keys = sorted(flatten(to_dict(Config())))
    assert len(keys) == len(set(keys))
    assert [k for k in keys if "." not in k] == [
        "checkpoint_every_epochs",
        "checkpoint_seconds",
        "compile",
        "deterministic",
        "device",
        "pack",
        "precision",
        "seed",
        "study",
    ]
