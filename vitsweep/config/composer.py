"""Hydra composition, once per option of a group: choices are joined (choices.py) and values put on top (template.py).

Hydra needs about 65 ms for a composition, so a plan of a thousand cells would be silent for a minute. Whatever is not
plain is composed by Hydra itself.
"""

import copy
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from vitsweep.config.choices import Choices
from vitsweep.config.convert import from_omegaconf, validate
from vitsweep.config.messages import user_errors, user_message
from vitsweep.config.overrides import override_key
from vitsweep.config.schema import Config, StudyConfig
from vitsweep.config.template import Template
from vitsweep.errors import ConfigError


class Composer:
    """Overrides -> typed Config, as Hydra itself would compose it.

    Args:
        loader: Hydra's configuration loader.
        config_name: the primary configuration's name.
        hydras: Hydra's own overrides; of these the search path counts.
    """

    def __init__(self, loader: ConfigLoader, config_name: str | None, hydras: Sequence[str] = ()):
        self.loader, self.config_name = loader, config_name
        self.hydras = [override for override in hydras if override_key(override) == "hydra.searchpath"]
        self.parser = OverridesParser.create(config_loader=loader)
        self.parsed: dict[str, Override] = {}
        self.groups: dict[str, bool] = {}
        self.choices = Choices(loader, config_name)
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.templates: dict[tuple[str, ...], Template] = {}

    def __call__(self, overrides: list[str]) -> Config:
        """The checked configuration.

        Raises:
            ConfigError: it cannot be composed, or breaks a rule.
        """
        with user_errors(overrides):
            choices = tuple(o for o in overrides if self.is_group(o))
            refuse_sweeps([self.parse(o) for o in overrides])
            values = [self.parse(o) for o in overrides if not self.is_group(o)]
            config = self.template(choices).with_values(values)
            if config is not None:
                return validate(config)
            composed = copy.deepcopy(self.base(choices))
            ConfigLoaderImpl._apply_overrides_to_config(values, composed)
            return from_omegaconf(composed)

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

    def template(self, choices: tuple[str, ...]) -> Template:
        """What some group choices give, ready for values."""
        if choices not in self.templates:
            together = self.put_together(choices) if len(choices) > 1 else None
            self.templates[choices] = together or Template(self.base(choices))
        return self.templates[choices]

    def put_together(self, choices: tuple[str, ...]) -> Template | None:
        """The template of several choices from those of each alone, None if only Hydra knows what they give."""
        winners = self.choices.winners([self.parse(choice) for choice in choices])
        if winners is None:
            return None
        return self.template(()).joined({key: self.template((choices[i],)) for key, i in winners.items()})

    def base(self, choices: tuple[str, ...]) -> DictConfig:
        """What Hydra composes of the group choices alone, without its own node."""
        if choices not in self.composed:
            composed = self.load(list(choices))
            with open_dict(composed):
                del composed["hydra"]
            self.composed[choices] = composed
        return self.composed[choices]

    def load(self, overrides: list[str]) -> DictConfig:
        """Hydra's own composition."""
        return self.loader.load_configuration(self.config_name, self.hydras + overrides, run_mode=RunMode.RUN)

    def load_study(self, overrides: list[str]) -> StudyConfig | None:
        """The study that `study=NAME` and `study.key=value` describe, or None.

        Raises:
            ConfigError: the file has unknown keys, or values of the wrong type.
        """
        if not overrides:
            return None
        try:
            refuse_sweeps([self.parse(o) for o in overrides])
            composed = self.load(overrides)
            return None if composed.study is None else OmegaConf.to_object(composed.study)
        except ConfigError:
            raise
        except Exception as fault:
            folders = [source.path for source in self.loader.get_sources() if source.scheme() == "file"]
            sentence = user_message(fault, [*overrides, *(f"--config-dir={folder}" for folder in folders)])
            if sentence is None:
                raise
            raise ConfigError([sentence]) from fault

    def option_values(self, choice: str) -> dict[str, Any]:
        """Dotted key -> value of what a group's option itself sets, wherever its package puts it."""
        key, _, option = choice.lstrip("+").partition("=")
        return self.choices.contents(key.partition("@")[0], option)

    def sweep_values(self, override: str) -> list[str] | None:
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


def refuse_sweeps(overrides: list[Override]) -> None:
    """A configuration has one value of each key.

    Raises:
        ConfigError: some override is `a=1,2`.
    """
    faults = [
        f"{override.input_line}  names several values where one belongs; give one"
        for override in overrides
        if override.is_sweep_override()
    ]
    if faults:
        raise ConfigError(faults)
