"""`python -m vitsweep reproduce CELL_DIR ...`: print the command that trains a cell again."""

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from vitsweep.config.convert import config_hash, flatten, from_dict, from_omegaconf, to_dict
from vitsweep.config.hydra import VERSION_BASE, register
from vitsweep.config.overrides import yaml_text
from vitsweep.config.schema import Config
from vitsweep.errors import RecordError
from vitsweep.paths import conf_dir
from vitsweep.study.record import Record, read_record


def main(arguments: list[str]) -> int:
    """Print the command for each cell directory."""
    parser = argparse.ArgumentParser(prog="vitsweep reproduce", description=__doc__)
    parser.add_argument("cell_dir", nargs="+", type=Path, help="a directory with a record.json")
    for directory in parser.parse_args(arguments).cell_dir:
        try:
            record = read_record(directory)
        except FileNotFoundError as error:
            raise RecordError(f"{directory}  has no record.json; name a cell's directory") from error
        print(reproduce_command(record))
    return 0


def reproduce_command(record: Record) -> str:
    """Return the `vitsweep` command whose overrides compose the record's configuration today.

    Starts from the record's own overrides, and adds each value that YAML files have changed since.
    """
    wanted = from_dict(record.config)
    overrides = list(record.overrides)
    try:
        composed = compose_config(overrides)
    except Exception:  # an option or a key no longer exists: write out every value
        overrides, composed = [], compose_config([])
    overrides += missing_overrides(composed, wanted)
    again = compose_config(overrides)
    assert config_hash(again) == record.config_hash and again.seed == wanted.seed
    return shlex.join(["vitsweep", *overrides])


def compose_config(overrides: list[str]) -> Config:
    """Return the configuration that Hydra composes from the overrides now."""
    register()
    with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
        return from_omegaconf(compose("config", overrides))


def missing_overrides(composed: Config, wanted: Config) -> list[str]:
    """Return one override for each value of model, data, recipe and seed in which the two differ."""
    now, then = result_settings(composed), result_settings(wanted)
    return [f"{key}={quote_value(value)}" for key, value in then.items() if now.get(key) != value]


def quote_value(value: Any) -> str:
    """Return a value in Hydra's override grammar; texts with special characters are quoted."""
    text = yaml_text(value)
    if not isinstance(value, str) or re.fullmatch(r"[\w./:-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def result_settings(config: Config) -> dict[str, Any]:
    """Return dotted key -> value of the settings that determine a cell's result, and of its data's location."""
    values = to_dict(config)
    return flatten({name: values[name] for name in ("model", "data", "recipe", "seed")})
