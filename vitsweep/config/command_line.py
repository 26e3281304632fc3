"""The words of the command line, checked and put in Hydra's order before Hydra reads them.

Hydra wants its options before or behind all overrides, and W&B's agents write overrides as `--key=value`.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from vitsweep.config.convert import describe_type
from vitsweep.config.file_rules import chosen_file_errors
from vitsweep.config.messages import user_errors
from vitsweep.config.override_rules import override_errors
from vitsweep.config.overrides import override_key, override_value
from vitsweep.config.suggestions import did_you_mean, known_keys
from vitsweep.errors import ConfigError
from vitsweep.paths import conf_dir

TRUE = ("true", "1", "yes", "y", "on")
ANOTHER_PURPOSE = ("help", "hydra_help", "version", "show", "cfg", "info", "run", "shell_completion", "config_path")
"""Hydra's options that print something else or change where configurations lie."""
NO_HYPHENS = "write ${args_no_hyphens} in the sweep file's command"


def order_words(words: Sequence[str]) -> list[str]:
    """Return the words with Hydra's options first, wherever they stood, and overrides as key=value.

    Raises:
        ConfigError: a word is neither an option nor an override.
    """
    parser = get_args_parser()
    options = [option for action in parser._actions for option in action.option_strings]
    options += ["--experimental-rerun"]
    plain = [to_override(word, options) for word in words]
    namespace, unknown = parser.parse_known_intermixed_args(plain)
    if unknown:
        raise ConfigError([unknown_option(word) for word in unknown])
    if sum(word.partition("=")[0] in ("--config-dir", "-cd") for word in plain) > 1:
        raise ConfigError(["--config-dir  is given twice; add the second folder by hydra.searchpath=[file://FOLDER]"])
    return [*_flags(parser, namespace), *map(replace_none, namespace.overrides)]


def to_override(word: str, options: Sequence[str]) -> str:
    """Return `--key=value` as `key=value` unless it is one of Hydra's options; other words unchanged."""
    match = re.fullmatch(r"--([A-Za-z_][^=]*)(=.*)", word, re.DOTALL)
    if match is None or any(option.startswith(f"--{match[1]}") for option in options):
        return word
    return f"{match[1]}{match[2]}"


def replace_none(override: str) -> str:
    """Return `key=None`, as W&B's agents write it, as `key=null` if the key may be null; others unchanged."""
    key, _, value = override.partition("=")
    return f"{key}=null" if value == "None" and describe_type(key).endswith("null") else override


def _flags(parser: argparse.ArgumentParser, namespace: argparse.Namespace) -> list[str]:
    """Return the options of a parsed command line as words."""
    flags = []
    for action in parser._actions:
        value = getattr(namespace, action.dest, None)
        if action.option_strings and value not in (None, False):
            name = next(option for option in action.option_strings if option.startswith("--"))
            flags.append(name if value is True else f"{name}={value}")
    return flags


def unknown_option(word: str) -> str:
    """Return the message about a word that is neither an option nor an override."""
    key = word.lstrip("-")
    if key in known_keys():
        return f"{word}  has no value; write {key}=true or {key}=false (for W&B's agents {NO_HYPHENS})"
    return f"{word}  is no option{did_you_mean(key)}; a setting is written key=value, and options are listed by --help"


def check_words(words: Sequence[str]) -> None:
    """Check overrides and chosen files before Hydra composes them.

    Args:
        words: order_words of the command line.

    Raises:
        ConfigError: with all errors.
    """
    namespace = get_args_parser().parse_args(list(words))
    errors = config_name_errors(namespace.config_name, namespace.config_dir)
    parser = OverridesParser.create()
    folders = [Path(namespace.config_dir)] if namespace.config_dir else []
    for word in namespace.overrides:
        try:
            with user_errors([word]):
                (override,) = parser.parse_overrides([word])
            errors += override_errors(override)
        except ConfigError as error:
            errors += error.errors
            continue
        value = override.value()
        if override.key_or_group == "hydra.searchpath" and isinstance(value, list):
            folders += [Path(str(text).removeprefix("file://")) for text in value]
    folders.append(Path(namespace.config_path or conf_dir()))
    errors += chosen_file_errors(namespace.overrides, namespace.config_name, folders)
    if errors:
        raise ConfigError(list(dict.fromkeys(errors)))


def config_name_errors(name: str | None, config_dir: str | None) -> list[str]:
    """Return a message if --config-name names an option of a config group, which is no primary configuration."""
    group, _, option = (name or "").removesuffix(".yaml").rpartition("/")
    folders = [conf_dir(), *([Path(config_dir)] if config_dir else [])]
    if group not in known_keys() or not any((folder / group / f"{option}.yaml").is_file() for folder in folders):
        return []
    return [f"--config-name={name}  is an option of the group {group}; write {group}={option} in its place"]


def is_dry_run(words: list[str]) -> bool:
    """Return whether a command line asks for a dry run, in whichever form its last word on it is written.

    Args:
        words: as check_words has checked them.
    """
    options = get_args_parser().parse_args(words)
    if any(getattr(options, name, None) for name in ANOTHER_PURPOSE):
        return False
    asked = {"dry_run": False, "probe": False}
    for override in options.overrides:
        try:
            parsed = OverridesParser.create().parse_overrides([override])[0]
        except HydraException:
            return False
        if parsed.is_delete() or parsed.is_sweep_override():
            continue
        key, value = parsed.key_or_group, parsed.value()
        inner = {str(name): item for name, item in value.items()} if key == "sweep" and isinstance(value, dict) else {}
        inner |= {key.removeprefix("sweep."): value} if key.startswith("sweep.") else {}
        asked |= {name: str(item).lower() in TRUE for name, item in inner.items() if name in asked}
    return asked["dry_run"] or asked["probe"] and not is_multirun(options.multirun, options.overrides)


def is_multirun(option: bool, overrides: list[str]) -> bool:
    """Return whether a command line is a sweep."""
    modes = [override_value(o) for o in overrides if override_key(o) == "hydra.mode"]
    return modes[-1] == "MULTIRUN" if modes else option
