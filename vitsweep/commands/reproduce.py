"""`python -m vitsweep reproduce CELL_DIR`: the command that trains this one cell again."""

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from vitsweep.config.convert import config_hash, flatten, from_dict, from_omegaconf, to_dict
from vitsweep.config.hydra import register
from vitsweep.config.overrides import yaml_text
from vitsweep.config.schema import Config
from vitsweep.errors import RecordError
from vitsweep.paths import conf_dir
from vitsweep.study.record import Record, read_record


def main(arguments: list[str]) -> int:
    """Print the command for each cell directory."""
    ask = argparse.ArgumentParser(prog="python -m vitsweep reproduce", description=__doc__)
    ask.add_argument("cell_dir", nargs="+", type=Path, help="a directory with a record.json")
    for directory in ask.parse_args(arguments).cell_dir:
        try:
            record = read_record(directory)
        except FileNotFoundError as fault:
            raise RecordError(f"{directory}  has no record.json; name a cell's directory") from fault
        print(reproduce_command(record))
    return 0


def reproduce_command(record: Record) -> str:
    """`vitsweep` with the overrides that compose the record's configuration today.

    The record's own overrides are tried first; values that YAML files have changed since then are added one by one.
    """
    wanted = from_dict(record.config)
    overrides = list(record.overrides)
    try:
        composed = compose_config(overrides)
    except Exception:  # an option or a key of then is gone: every value is written out instead
        overrides, composed = [], compose_config([])
    overrides += missing_overrides(composed, wanted)
    again = compose_config(overrides)
    assert config_hash(again) == record.config_hash and again.seed == wanted.seed
    return shlex.join(["vitsweep", *overrides])


def compose_config(overrides: list[str]) -> Config:
    """What Hydra composes of these overrides now."""
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return from_omegaconf(compose("config", overrides))


def missing_overrides(composed: Config, wanted: Config) -> list[str]:
    """One override for each value of model, data, recipe and seed in which the two differ."""
    now, then = result_settings(composed), result_settings(wanted)
    return [f"{key}={quote_value(value)}" for key, value in then.items() if now[key] != value]


def quote_value(value: Any) -> str:
    """A value as Hydra's override grammar reads it: texts with characters of their own meaning in quotes."""
    text = yaml_text(value)
    if not isinstance(value, str) or re.fullmatch(r"[\w./:-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def result_settings(config: Config) -> dict[str, Any]:
    """Dotted key -> value of what a cell's result depends on, and where its data are."""
    values = to_dict(config)
    return flatten({name: values[name] for name in ("model", "data", "recipe", "seed")})
