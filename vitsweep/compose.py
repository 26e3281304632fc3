"""Hydra composition, once per choice of groups: values are put on top without reading YAML again.

Hydra needs about 65 ms for a composition, so a plan of a thousand cells would be silent for a minute.
"""

import copy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from vitsweep.complaints import as_sentence
from vitsweep.config import Config, flat, from_omegaconf
from vitsweep.design import StudyConfig
from vitsweep.errors import ConfigError


class Composer:
    """Overrides -> typed Config, as Hydra itself would compose it.

    Args:
        loader: Hydra's configuration loader.
        config_name: the primary configuration's name.
    """

    def __init__(self, loader: ConfigLoader, config_name: str | None):
        self.loader, self.config_name = loader, config_name
        self.parser = OverridesParser.create(config_loader=loader)
        self.parsed: dict[str, Override] = {}
        self.groups: dict[str, bool] = {}
        self.bases: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: list[str]) -> Config:
        """The checked configuration.

        Raises:
            ConfigError: it cannot be composed, or breaks a rule.
        """
        try:
            choices = [o for o in overrides if self.is_group(o)]
            values = [self.parse(o) for o in overrides if not self.is_group(o)]
            composed = copy.deepcopy(self.base(tuple(choices)))
            ConfigLoaderImpl._apply_overrides_to_config(values, composed)
            return from_omegaconf(composed)
        except ConfigError:
            raise
        except Exception as fault:
            sentence = as_sentence(fault, overrides)
            if sentence is None:
                raise
            raise ConfigError([sentence]) from fault

    def parse(self, override: str) -> Override:
        """Hydra's reading of one override."""
        if override not in self.parsed:
            self.parsed[override] = self.parser.parse_overrides([override])[0]
        return self.parsed[override]

    def is_group(self, override: str) -> bool:
        """Whether the override chooses from a config group rather than setting a value."""
        key = self.parse(override).key_or_group
        if key not in self.groups:
            self.groups[key] = bool(self.loader.get_group_options(key))
        return self.groups[key]

    def base(self, choices: tuple[str, ...]) -> DictConfig:
        """What Hydra composes of the group choices alone, without its own node."""
        if choices not in self.bases:
            composed = self.loader.load_configuration(self.config_name, list(choices), run_mode=RunMode.RUN)
            with open_dict(composed):
                del composed["hydra"]
            self.bases[choices] = composed
        return self.bases[choices]

    def study(self, overrides: list[str]) -> StudyConfig | None:
        """The study that `study=NAME` and `study.key=value` describe, or None.

        Raises:
            ConfigError: the file has unknown keys, or values of the wrong type.
        """
        if not overrides:
            return None
        try:
            composed = self.loader.load_configuration(self.config_name, overrides, run_mode=RunMode.RUN)
            return None if composed.study is None else OmegaConf.to_object(composed.study)
        except Exception as fault:
            sentence = as_sentence(fault, overrides)
            if sentence is None:
                raise
            raise ConfigError([sentence]) from fault

    def contents(self, choice: str) -> dict[str, Any]:
        """Dotted key -> value of what a group's option itself sets, wherever its package puts it."""
        key, _, option = choice.lstrip("+").partition("=")
        group = key.partition("@")[0]
        file = self.loader.repository.load_config(f"{group}/{option}")
        if file is None or not OmegaConf.is_dict(file.config):
            return {}
        package = file.header.get("package") or group.replace("/", ".")
        prefix = "" if package == "_global_" else f"{package}."
        return flat(OmegaConf.to_container(file.config, resolve=False), prefix)

    def levels(self, override: str) -> list[str] | None:
        """The single overrides that a swept one stands for, or None if it is not swept.

        Raises:
            ConfigError: a kind of sweep that has no list of values, such as interval().
        """
        parsed = self.parse(override)
        if not parsed.is_sweep_override():
            return None
        if not parsed.is_discrete_sweep():
            raise ConfigError([f"{override}  has no list of values; allowed: a,b  choice()  range()  glob()"])
        key = parsed.get_key_element()
        return [f"{key}={value}" for value in parsed.sweep_string_iterator()]
