"""Group choices put together from the composition of each alone, where Hydra's result is certain without asking it.

A grid over groups has as many combinations as arms, and Hydra needs about 70 ms for each. But what an option's file
sets is known, the order of the groups stands in the primary configuration, and the last file that sets a key wins. So
the value of a key under several choices is its value under one of them alone, unless a choice also takes away a file
that set this key; then, or when files have defaults lists of their own, Hydra composes the combination.
"""

from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vitsweep.config.convert import flatten


class Choices:
    """What the options of the config groups set, and in which order.

    Args:
        loader: Hydra's configuration loader.
        config_name: the primary configuration's name.
    """

    def __init__(self, loader: ConfigLoader, config_name: str | None):
        self.loader, self.config_name = loader, config_name
        self.files: dict[str, Any] = {}
        self.known: dict[tuple[str, str], dict[str, Any]] = {}
        self.defaults = self.plain_defaults()

    def winners(self, choices: list[Override]) -> dict[str, int] | None:
        """Which choice decides each key that any of them touches, as its index; None if only Hydra can tell."""
        found: dict[str, list[tuple[int, bool, int]]] = {}
        if self.defaults is None or len({choice.key_or_group for choice in choices}) < len(choices):
            return None
        for index, choice in enumerate(choices):
            group, option = choice.key_or_group, choice.value()
            if not is_plain_choice(choice) or group not in self.defaults or self.has_defaults(f"{group}/{option}"):
                return None
            place, before = self.defaults[group]
            sets = self.contents(group, option)
            for key in sets | (self.contents(group, before) if before else {}):
                found.setdefault(key, []).append((place, key in sets, index))
        if any(len(touched) > 1 and not all(is_set for _, is_set, _ in touched) for touched in found.values()):
            return None
        return {key: max(touched)[2] for key, touched in found.items()}

    def contents(self, group: str, option: str) -> dict[str, Any]:
        """Dotted key -> value of what an option's file itself sets, wherever its package puts it."""
        if (group, option) not in self.known:
            self.known[group, option] = self.read_contents(group, option)
        return self.known[group, option]

    def read_contents(self, group: str, option: str) -> dict[str, Any]:
        """contents, which remembers them."""
        file = self.file(f"{group}/{option}")
        if file is None or not OmegaConf.is_dict(file.config):
            return {}
        package = file.header.get("package") or "_group_"
        package = package.replace("_group_", group.replace("/", ".")).replace("_name_", option)
        prefix = "" if package == "_global_" else f"{package}."
        return flatten(OmegaConf.to_container(file.config, resolve=False), prefix)

    def file(self, path: str) -> Any:
        """Hydra's reading of one configuration file, None if it has none."""
        if path not in self.files:
            self.files[path] = self.loader.repository.load_config(path)
        return self.files[path]

    def has_defaults(self, path: str) -> bool:
        """Whether a file brings others with it."""
        file = self.file(path)
        return file is None or any(not is_self(default) for default in file.defaults_list or [])

    def plain_defaults(self) -> dict[str, tuple[int, str | None]] | None:
        """Group -> its place and option in the primary configuration; None if that list is not plain."""
        try:
            primary = None if "/" in (self.config_name or "/") else self.file(self.config_name)
            if primary is None:
                return None
            found: dict[str, tuple[int, str | None]] = {}
            for place, default in enumerate(primary.defaults_list or []):
                if is_self(default) or is_of_hydra(default):
                    continue
                path = path_of(default)
                if not is_plain_default(default) or (path is not None and self.has_defaults(path)):
                    return None
                if isinstance(default, GroupDefault):
                    found[default.group.lstrip("/")] = (place, default.value)
            return found
        except (HydraException, OmegaConfBaseException):
            return None  # Hydra will say what is wrong when it composes


def is_plain_choice(choice: Override) -> bool:
    """Whether an override is `group=option` and nothing more."""
    return choice.type == OverrideType.CHANGE and choice.package is None and isinstance(choice.value(), str)


def is_self(default: Any) -> bool:
    """Whether an entry of a defaults list is `_self_`."""
    return isinstance(default, ConfigDefault) and default.path == "_self_"


def is_of_hydra(default: Any) -> bool:
    """Whether an entry of a defaults list configures Hydra itself."""
    return isinstance(default, GroupDefault) and default.group.lstrip("/").startswith("hydra/")


def path_of(default: Any) -> str | None:
    """The file that an entry of the primary defaults list brings, None if it brings none."""
    if isinstance(default, GroupDefault):
        return f"{default.group}/{default.value}".lstrip("/") if default.value else None
    return default.path.lstrip("/")


def is_plain_default(default: Any) -> bool:
    """Whether an entry of the primary defaults list names one option, or none, and no package."""
    if isinstance(default, GroupDefault):
        value = default.value
        simple = value is None or isinstance(value, str) and "$" not in value and value != "???"
        return simple and default.package is None and not default.override
    return isinstance(default, ConfigDefault) and default.package is None
