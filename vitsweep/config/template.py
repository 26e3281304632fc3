"""A composed configuration as a template: plain values are put on top without OmegaConf, a thousand in a blink.

OmegaConf takes 40 ms to copy, merge and type one configuration. Here its own nodes still convert and check every value,
but once typed the rest is copying dataclasses. Whatever is not plain (adding, deleting, interpolations, unknown keys,
wrong types) is left to OmegaConf, so that meanings and messages are its own.
"""

import copy
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, Node
from omegaconf.base import Container
from omegaconf.errors import OmegaConfBaseException
from omegaconf.nodes import ValueNode

from vitsweep.config.convert import to_config
from vitsweep.config.schema import Config

GROUPS = ("model", "data", "recipe", "tracker", "sweep")
PLAIN = bool | int | float | str | None
ENVIRONMENT = r"\$\{oc\.env:[^${}]*\}"  # depends on no other key, so values cannot change what it gives


class Template:
    """What Hydra composed of some group choices, ready for values.

    Args:
        composed: with struct and types, as Hydra composes it.
        start: its typed configuration, if it is known already.
    """

    def __init__(self, composed: DictConfig, start: Config | None = None):
        self.composed = composed
        self.start = start or (None if depends_on_keys(composed) else typed_or_none(composed))

    def joined(self, others: dict[str, "Template"]) -> "Template | None":
        """This template with some keys as other templates have them; None if that is not simply possible.

        Args:
            others: dotted key -> where its value comes from.
        """
        config = self.copy()
        for key, other in others.items():
            if config is None or other.start is None or self.leaf(key) is None:
                return None
            group, _, name = key.rpartition(".")
            source = getattr(other.start, group) if group else other.start
            setattr(getattr(config, group) if group else config, name, getattr(source, name))
        return Template(self.composed, config)

    def copy(self) -> Config | None:
        """The typed configuration, safe to be changed."""
        if self.start is None:
            return None
        config = copy.copy(self.start)
        for group in GROUPS:
            setattr(config, group, copy.copy(getattr(config, group)))
        return config

    def with_values(self, values: Sequence[Override]) -> Config | None:
        """The typed configuration, unchecked, or None if the values need OmegaConf."""
        config = self.copy()
        for override in values:
            if config is None or not self.put(config, override):
                return None
        return config

    def put(self, config: Config, override: Override) -> bool:
        """Set one value in the typed configuration; False if that is not simply possible."""
        value = override.value()
        node = self.leaf(override.key_or_group)
        if override.type != OverrideType.CHANGE or override.package is not None or node is None or not is_plain(value):
            return False
        group, _, name = override.key_or_group.rpartition(".")
        try:
            setattr(getattr(config, group) if group else config, name, node.validate_and_convert(value))
        except OmegaConfBaseException:
            return False
        return True

    def leaf(self, key: str) -> ValueNode | None:
        """The node of a single value in a group or at the top; None for everything else."""
        group, _, name = key.rpartition(".")
        if group and group not in GROUPS or name not in vars(getattr(self.start, group) if group else self.start):
            return None
        box = self.composed._get_node(group) if group else self.composed
        node = box._get_node(name) if isinstance(box, Container) else None
        return node if isinstance(node, ValueNode) else None


def is_plain(value: Any) -> bool:
    """Whether a value stands for itself: no container, interpolation or `???`."""
    return isinstance(value, PLAIN) and not (isinstance(value, str) and ("${" in value or value == "???"))


def depends_on_keys(composed: DictConfig) -> bool:
    """Whether some value is computed from other keys, and so could change with them."""
    return any(not re.fullmatch(ENVIRONMENT, text) for text in interpolations(composed))


def interpolations(node: Node | None) -> list[str]:
    """The texts of all interpolations in a configuration."""
    if node is None:
        return []
    if node._is_interpolation():
        return [str(node._value())]
    if not isinstance(node, Container) or node._is_none() or node._is_missing():
        return []
    keys = node.keys() if isinstance(node, DictConfig) else range(len(node))
    return [text for key in keys for text in interpolations(node._get_node(key))]


def typed_or_none(composed: DictConfig) -> Config | None:
    """The typed configuration, or None if it needs values first (a key that is missing still)."""
    try:
        return to_config(composed)
    except OmegaConfBaseException:
        return None
