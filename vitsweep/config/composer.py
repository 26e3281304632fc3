"""Composition of many cells: files and values that are plain are merged here, everything else by Hydra.

Hydra needs about 65 ms for one composition, a minute for a thousand cells. Most compositions need none of its features:
the primary file's defaults list names one file per group, each file sets plain values, and the last one wins. OmegaConf
still converts every value. Files with defaults lists of their own, interpolations, additions, deletions and errors are
left to Hydra.
"""

import copy
import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from hydra._internal.config_repository import IConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from omegaconf.nodes import ValueNode

from vitsweep.config.convert import flatten, from_omegaconf, validate
from vitsweep.config.file_rules import chosen_file_errors
from vitsweep.config.hydra import SCHEMA
from vitsweep.config.messages import user_errors
from vitsweep.config.override_rules import name_choices, override_errors, value_errors
from vitsweep.config.overrides import override_key, yaml_text
from vitsweep.config.schema import Config, StudyConfig
from vitsweep.errors import ConfigError

GROUPS = ("model", "data", "recipe", "tracker", "sweep")
ENVIRONMENT = r"\$\{oc\.env:[^${}]*\}"  # depends on no other key


class Composer:
    """Overrides -> Config, as Hydra composes it.

    Args:
        loader: Hydra's configuration loader.
        config_name: the primary configuration's name.
        hydra_overrides: Hydra's own overrides; only the search path is used.
        complete: called with each validated configuration; fills in what lies outside of it, and returns it.
    """

    def __init__(
        self,
        loader: ConfigLoader,
        config_name: str | None,
        hydra_overrides: Sequence[str] = (),
        complete: Callable[[Config], Config] = lambda config: config,
    ):
        self.loader, self.config_name, self.complete = loader, config_name, complete
        self.repository: IConfigRepository = loader.repository  # type: ignore[attr-defined]  # the interface lacks it
        self.search_path = [o for o in hydra_overrides if override_key(o) == "hydra.searchpath"]
        self.parser = OverridesParser.create(config_loader=loader)
        self.parsed: dict[str, Override] = {}
        self.checked: dict[str, list[str]] = {}
        self.alone: dict[str, list[str]] = {}
        self.groups: dict[str, bool] = {}
        self.files: dict[str, Any] = {}
        self.merged: dict[tuple[tuple[str, Any], ...], Config | None] = {}
        self.schema = OmegaConf.structured(Config)

    def __call__(self, overrides: list[str]) -> Config:
        """Compose and validate a configuration.

        Raises:
            ConfigError: it cannot be composed, or breaks a rule.
        """
        with user_errors(overrides):
            parsed = self.parse_all(overrides)
            refuse_sweeps(parsed)
            try:
                config = self._merge(parsed)
            except (HydraException, OmegaConfBaseException):
                config = None  # Hydra reports the error below
        if config is not None:
            try:
                valid = validate(config)
            except ConfigError as error:
                raise ConfigError(name_choices(error.errors, overrides, self)) from None
            return self.complete(valid)
        try:
            with user_errors(overrides):
                return self.complete(self._compose(overrides))
        except ConfigError as error:
            errors = list(error.errors)
        if len(overrides) > 1:  # outside of `except`: there every further error would have this one as its context
            errors += [message for override in overrides for message in self.errors_alone(override)]
        raise ConfigError(name_choices(list(dict.fromkeys(errors)), overrides, self))

    def _compose(self, overrides: list[str]) -> Config:
        """Compose with Hydra."""
        composed = self._load(overrides)
        ours = copy.copy(composed)
        with open_dict(ours):
            del ours["hydra"]
        return from_omegaconf(ours, composed)

    def errors_alone(self, override: str) -> list[str]:
        """Return why Hydra cannot compose an override even by itself; of several it reports the first only."""
        if override not in self.alone:
            self.alone[override] = []
            try:
                with user_errors([override]):
                    if "${" not in override and not self.parse(override).is_sweep_override():  # ${} may need others
                        self._load([override])
            except ConfigError as error:
                self.alone[override] = error.errors
        return self.alone[override]

    def parse_all(self, overrides: Sequence[str]) -> list[Override]:
        """Parse overrides and check each by itself.

        Raises:
            ConfigError: some cannot be parsed or break a rule; all of them are named.
        """
        errors: list[str] = []
        parsed: list[Override] = []
        for override in overrides:
            try:
                with user_errors([override]):
                    parsed.append(self.parse(override))
                if override not in self.checked:
                    self.checked[override] = override_errors(parsed[-1])
                errors += self.checked[override]
            except ConfigError as error:
                errors += error.errors
        if errors:
            raise ConfigError(list(dict.fromkeys(errors)))
        return parsed

    def parse(self, override: str) -> Override:
        """Parse one override with Hydra's parser."""
        if override not in self.parsed:
            self.parsed[override] = self.parser.parse_overrides([override])[0]
        return self.parsed[override]

    def is_group(self, override: str) -> bool:
        """Return True if the override chooses from a config group, False if it sets a value."""
        return self._has_options(self.parse(override).key_or_group)

    def _has_options(self, key: str) -> bool:
        if key not in self.groups:
            self.groups[key] = bool(self.repository.get_group_options(key))  # the loader copies it first
        return self.groups[key]

    def load_study(self, overrides: list[str]) -> StudyConfig | None:
        """Compose the study of `study=NAME` and `study.key=value`; None without any. Its name is the file's by default.

        Raises:
            ConfigError: the file is empty, has unknown keys, or values of the wrong type.
        """
        if not overrides:
            return None
        folders = self.folders()
        with user_errors([*overrides, *(f"--config-dir={folder}" for folder in folders)]):
            refuse_sweeps(self.parse_all(overrides))
            if errors := chosen_file_errors(overrides, self.config_name, folders):
                raise ConfigError(errors)
            composed = self._load(overrides)
            option = str(composed.hydra.runtime.choices.get("study") or "")
            if composed.study is None:
                if option:
                    raise ConfigError([f"study={option}  is an empty file; write factors: ..., seeds: ... there"])
                return None
            study = cast(StudyConfig, OmegaConf.to_object(composed.study))
            study.name = study.name or option.rpartition("/")[2]
            return study

    def folders(self) -> list[Path]:
        """Return the folders that configurations are read from, in Hydra's order."""
        return [Path(source.path) for source in self.loader.get_sources() if source.scheme() == "file"]

    def option_values(self, choice: str) -> dict[str, Any]:
        """Return dotted key -> value of what the file of a group's option sets."""
        key, _, option = choice.lstrip("+").partition("=")
        group = key.partition("@")[0]
        values = self._file_values(group, option)
        if values is None:  # it includes files that only Hydra finds
            file = self._file(f"{group}/{option}")
            package = (file.header.get("package") if file else None) or group.replace("/", ".")
            values = self._own_values(file, package) if file else {}
        return values

    def sweep_values(self, override: str) -> list[str] | None:
        """Expand a swept override to single ones: `a=1,2` -> [`a=1`, `a=2`]; None if it is not swept.

        Raises:
            ConfigError: no values, too many, or a kind of sweep that has no list of them, such as interval().
        """
        (parsed,) = self.parse_all([override])
        if not parsed.is_sweep_override():
            return None
        if not parsed.is_discrete_sweep():
            raise ConfigError([f"{override}  has no list of values; allowed: a,b  choice()  range()  glob()"])
        key = parsed.get_key_element()
        return [f"{key}={value}" for value in parsed.sweep_string_iterator()]

    def _load(self, overrides: list[str]) -> DictConfig:
        return self.loader.load_configuration(self.config_name, self.search_path + overrides, run_mode=RunMode.RUN)

    def _merge(self, overrides: list[Override]) -> Config | None:
        """Merge the files of the choices and the values; None if only Hydra knows the result."""
        choices: list[tuple[str, Any]] = [
            (o.key_or_group, o.value()) for o in overrides if self._has_options(o.key_or_group)
        ]
        values = [(o.key_or_group, o.value()) for o in overrides if not self._has_options(o.key_or_group)]
        is_changing = all(o.type == OverrideType.CHANGE and o.package is None for o in overrides)
        if not is_changing or not all(isinstance(option, str | list) for _, option in choices):
            return None
        choices = [(group, tuple(option) if isinstance(option, list) else option) for group, option in choices]
        if tuple(choices) not in self.merged:
            files = self._files_of(dict(choices)) if len(dict(choices)) == len(choices) else None
            self.merged[tuple(choices)] = None if files is None else self._with_values(Config(), files)
        start = self.merged[tuple(choices)]
        return None if start is None else self._with_values(start, values)

    def _files_of(self, choices: dict[str, Any]) -> list[tuple[str, Any]] | None:
        """Return the keys and values of all files in Hydra's order; None if some file needs Hydra."""
        primary = self._file(self.config_name) if self.config_name and "/" not in self.config_name else None
        if primary is None or primary.header.get("package") or not any(map(is_self, primary.defaults_list or [])):
            return None
        found: list[tuple[str, Any]] = []
        rest = dict(choices)
        for place, default in enumerate(primary.defaults_list):
            if isinstance(default, ConfigDefault) and default.package is None:
                if is_self(default):
                    found += flatten(cast(dict[str, Any], OmegaConf.to_container(primary.config))).items()
                elif default.path != SCHEMA or place > 0:
                    return None
                continue
            group = (default.group or "").lstrip("/") if isinstance(default, GroupDefault) else ""
            if group.startswith("hydra/"):
                continue
            option = rest.pop(group, default.value) if group else None
            options = option if isinstance(option, tuple) else () if option is None else (option,)  # a list: in turn
            if not group or default.package is not None or default.override or not all(map(is_plain_option, options)):
                return None
            for chosen in options:
                values = self._file_values(group, chosen)
                if values is None:
                    return None
                found += values.items()
        return None if rest else [(key, value) for key, value in found if not key.startswith("hydra.")]

    def _file(self, path: str) -> Any:
        """Return Hydra's reading of one configuration file, None if there is no such file."""
        if path not in self.files:
            self.files[path] = self.repository.load_config(path)
        return self.files[path]

    def _file_values(self, group: str, option: str, package: str | None = None) -> dict[str, Any] | None:
        """Return dotted key -> value of a file and of those that it includes; None if only Hydra knows them.

        A file includes another of its group, or of a group below, by `- FILE@_here_` in its defaults list.
        """
        file = self._file(f"{group}/{option}")
        if file is None:
            return None
        defaults = file.defaults_list or []
        if defaults and not any(map(is_self, defaults)):
            return None  # Hydra decides where the file's own values go
        if package is None:
            package = file.header.get("package") or "_group_"
            package = package.replace("_group_", group.replace("/", ".")).replace("_name_", option)
        own = self._own_values(file, package)
        found: dict[str, Any] = {}
        for default in defaults:
            if is_self(default):
                found |= own
                continue
            if not is_included(default):
                return None
            folder, _, name = default.path.rpartition("/")
            inner = self._file_values(f"{group}/{folder}".rstrip("/"), name, package)
            if inner is None:
                return None
            found |= inner
        return found or own

    def _own_values(self, file: Any, package: str) -> dict[str, Any]:
        if not OmegaConf.is_dict(file.config):
            return {}
        values = cast(dict[str, Any], OmegaConf.to_container(file.config))
        return flatten(values, "" if package == "_global_" else f"{package}.")

    def _with_values(self, start: Config, values: Iterable[tuple[str, Any]]) -> Config | None:
        """Return a copy of `start` with values, converted by OmegaConf; None if one is not plain or has no such key."""
        config = dataclasses.replace(start, **{group: copy.copy(getattr(start, group)) for group in GROUPS})
        for key, value in values:
            group, _, name = key.rpartition(".")
            box = self.schema._get_node(group) if group in GROUPS else None if group else self.schema
            node = box._get_node(name) if box is not None and name in box else None
            if isinstance(value, str) and re.fullmatch(ENVIRONMENT, value):
                value = OmegaConf.create({"value": value})["value"]
            if (key, value) == ("study", None):
                continue
            if errors := value_errors(key, value, f"{key}={yaml_text(value)}"):
                raise ConfigError(errors)
            if not isinstance(node, ValueNode) or not is_plain(value):
                return None
            setattr(getattr(config, group) if group else config, name, node.validate_and_convert(value))
        return config


def is_plain(value: Any) -> bool:
    """Return True for a single value that stands for itself: no interpolation and no `???`."""
    if isinstance(value, str):
        return "${" not in value and value != "???"
    return isinstance(value, bool | int | float | None)


def is_plain_option(option: Any) -> bool:
    """Return True for the name of one option or None."""
    return option is None or isinstance(option, str) and is_plain(option)


def is_self(default: Any) -> bool:
    """Return True for the entry `_self_` of a defaults list."""
    return isinstance(default, ConfigDefault) and default.path == "_self_"


def is_included(default: Any) -> bool:
    """Return True for the entry `FILE@_here_` of a defaults list, with a path below the file's own group."""
    if not isinstance(default, ConfigDefault) or default.package != "":  # Hydra's for _here_
        return False
    path = default.path or ""
    return bool(path) and path[0] not in "/." and is_plain_option(path)


def refuse_sweeps(overrides: list[Override]) -> None:
    """Raise if an override has several values.

    Raises:
        ConfigError: some override is `a=1,2`.
    """
    errors = [
        f"{override.input_line}  names several values where one belongs; give one"
        for override in overrides
        if override.is_sweep_override()
    ]
    if errors:
        raise ConfigError(errors)
