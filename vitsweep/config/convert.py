"""Conversions of the configuration: from Hydra's composition, from and to plain dictionaries, to its hash."""

import copy
import dataclasses
import hashlib
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from vitsweep.added_fields import without_neutral
from vitsweep.config.model_schema import DROPOUT_PLACES, RESNET_FIELDS
from vitsweep.config.schema import Config, absolute_store
from vitsweep.config.suggestions import unknown_key
from vitsweep.errors import ConfigError

TYPE_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    list: "a list",
    dict: "a mapping",
}


def validate(config: Config) -> Config:
    """Make the paths of the data and of MLflow's store absolute and return the configuration.

    Raises:
        ConfigError: values that break a rule, all of them in one message.
    """
    errors = config.errors()
    if errors:
        raise ConfigError(errors)
    if config.data.root is not None:
        config.data.root = str(Path(config.data.root).expanduser().absolute())
    if config.tracker.mlflow and (config.tracker.mlflow_uri or "MLFLOW_TRACKING_URI" not in os.environ):
        config.tracker.mlflow_uri = absolute_store(config.tracker.store_uri)
    return config


def refuse_configured_study(config: Config) -> None:
    """Raise if a configuration file chooses a study, which decides before composition whether this is a sweep.

    Raises:
        ConfigError: it does.
    """
    if config.study is not None:
        name = config.study.name or "NAME"
        raise ConfigError([f"study={name}  is chosen in a configuration file; remove it there and pass study={name}"])


def from_omegaconf(config: DictConfig, whole: DictConfig | None = None) -> Config:
    """Convert Hydra's composition and validate it.

    Args:
        config: the composition without Hydra's own part.
        whole: the composition with it; an added key that an interpolation there reads is no error.

    Raises:
        ConfigError: values that break a rule, or keys that Config does not have and nothing reads.
    """
    names = {f.name for f in dataclasses.fields(Config)}
    if errors := _unread_errors([str(key) for key in config if key not in names], config if whole is None else whole):
        raise ConfigError(errors)
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    plain = {k: v for k, v in plain.items() if k in names}
    return validate(cast(Config, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))))


def _unread_errors(keys: list[str], config: DictConfig) -> list[str]:
    """Return a message for each key at the top that no interpolation of the configuration reads."""
    text = OmegaConf.to_yaml(config) if keys else ""
    return [unknown_key(key) for key in keys if not re.search(rf"\$\{{{re.escape(key)}[.}}\[]", text)]


def from_dict(values: dict[str, Any]) -> Config:
    """Convert the `config` of a record or a plan and validate it; unknown keys at the top are ignored.

    Raises:
        ConfigError: unknown keys in a group, values of a wrong type, or values that break a rule.
    """
    names = {f.name for f in dataclasses.fields(Config)}
    errors: list[str] = []
    config = _build(Config, {key: value for key, value in values.items() if key in names}, "", errors)
    if errors:
        raise ConfigError(errors)
    return validate(config)


def _build(kind: type, values: dict[str, Any], prefix: str, errors: list[str]) -> Any:
    """Build a configuration class from plain values; what does not fit is added to `errors`."""
    converted = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        types = _types(kind).get(name)
        if types is None:
            errors.append(f"{key}  is unknown; it may come from a newer version of vitsweep")
        elif _is_group(types[0]) and isinstance(value, dict):
            converted[name] = _build(types[0], value, f"{key}.", errors)
        elif Any in types or type(value) in types:
            converted[name] = copy.deepcopy(value) if isinstance(value, list | dict) else value
        elif float in types and type(value) is int:  # JSON of other programs writes 1.0 as 1
            converted[name] = float(value)
        else:
            errors.append(f"{key}={json.dumps(value)}  must be {describe_type(key)}")
    return kind(**converted)


def _is_group(kind: Any) -> bool:
    """Return True for the dataclass of a group, such as ModelConfig."""
    return dataclasses.is_dataclass(kind)


@cache
def _types(kind: type) -> dict[str, tuple[Any, ...]]:
    """Return the alternatives of each field's annotation: `list[str] | None` -> (list, NoneType)."""
    alternatives = {}
    for name, hint in get_type_hints(kind).items():
        is_union = type(None) in get_args(hint)
        alternatives[name] = tuple(get_origin(part) or part for part in (get_args(hint) if is_union else (hint,)))
    return alternatives


def describe_type(key: str) -> str:
    """Describe the type of a dotted key's value, e.g. "an integer or null"; empty for an unknown key."""
    kinds: tuple[Any, ...] = (Config,)
    for name in key.split("."):
        kinds = _types(kinds[0]).get(name, ()) if kinds and _is_group(kinds[0]) else ()
    words = [TYPE_NAMES.get(kind, "a mapping") for kind in kinds if kind in TYPE_NAMES or _is_group(kind)]
    return " or ".join(words[:1] + ["null"] * (type(None) in kinds))


def to_dict(config: Config) -> dict[str, Any]:
    """Convert to plain values for JSON, without sweep.on_end, soft_train_limit and added fields at neutral values."""
    values = dataclasses.asdict(config)
    for name, group in vars(config).items():
        if dataclasses.is_dataclass(group):
            values[name] = without_neutral(type(group), values[name])
    values["sweep"].pop("on_end", None)  # may hold a secret, and no cell reads it
    values["data"].pop("soft_train_limit", None)  # decided by then: train_limit or null
    return without_neutral(type(config), values)


def hashed_settings(config: Config) -> dict[str, Any]:
    """Return the settings that determine the result apart from the seed: model, data and recipe, without paths.

    The dropout rate of every place is filled in, so `hidden_dropout_prob` is left out. So is `name` of a vit, whose
    hash must remain that of the time when there was no other network, and every added field at its neutral value. A
    value that null stands for (model.qkv_bias=true beside model.bias=true) becomes null.
    """
    # dict(vars()) rather than dataclasses.asdict, which takes ten times as long: the groups hold plain values alone.
    model = dict(vars(config.model))
    if config.model.name == "resnet":
        model = {name: model[name] for name in RESNET_FIELDS}
    else:
        del model["name"], model["hidden_dropout_prob"]
        for place in DROPOUT_PLACES:
            model[f"{place}_dropout_prob"] = config.model.dropout_rate(place)
        model |= {name: None for name, value in config.model.implied_values().items() if model[name] == value}
    data = dict(vars(config.data))
    for name in ("root", "download", "soft_train_limit"):
        del data[name]
    if config.data.name != "shapes":
        del data["shapes_train"], data["shapes_test"]
    groups = {"model": model, "data": data, "recipe": dict(vars(config.recipe))}
    return {name: without_neutral(type(getattr(config, name)), values) for name, values in groups.items()}


def config_hash(config: Config) -> str:
    """Return the SHA-256 of `hashed_settings(config)`: equal hash and equal seed make the same experiment."""
    text = json.dumps(hashed_settings(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Convert nested dictionaries to dotted keys: {"model": {"bias": True}} -> {"model.bias": True}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
