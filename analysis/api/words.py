"""Arguments of vs.run and vs.plan as words of the command line."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vitsweep.errors import ConfigError


def sweep_words(
    overrides: tuple[str, ...],
    settings: Mapping[str, Any],
    directory: str | Path | None,
    config_dir: str | Path | None,
) -> list[str]:
    """Return the words of `vitsweep -m ...` for the arguments of a call.

    Args:
        overrides: as on the command line.
        settings: key -> value; a list or tuple is swept, a mapping holds the keys of a group.
        directory: the sweep's; None for its default.
        config_dir: folder with configurations of the user's own.

    Raises:
        ConfigError: an override is not one, or a value has no spelling on the command line.
    """
    if wrong := [word for word in overrides if not isinstance(word, str) or word.startswith("-") or not word]:
        rule = "is no override; write 'key=value', or config_dir=... for --config-dir (-m is always meant)"
        raise ConfigError([f"{word!r}  {rule}" for word in wrong])
    words = [*overrides, *setting_words(settings)]
    if directory is not None:
        words.append(f"hydra.sweep.dir={quoted(str(directory))}")
    return ["--multirun", *([f"--config-dir={config_dir}"] if config_dir is not None else []), *words]


def setting_words(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield an override for each setting.

    Raises:
        ConfigError: a value has no spelling.
    """
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from setting_words(value, f"{key}.")
        elif isinstance(value, list | tuple | range):
            if not len(value):
                raise ConfigError([f"{key}={value}  sweeps over nothing; give at least one value"])
            yield f"{key}={','.join(spell(key, one) for one in value)}"
        else:
            yield f"{key}={spell(key, value)}"


def spell(key: str, value: Any) -> str:
    """Spell a value as the command line does: true, null, 0.002, [a,b]; a text as it is.

    Raises:
        ConfigError: it has no spelling there.
    """
    value = value.item() if hasattr(value, "item") else value  # NumPy's numbers
    if isinstance(value, list | tuple):
        return f"[{','.join(spell(key, one) for one in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Path):
        return quoted(str(value))
    if isinstance(value, str | int | float):
        return str(value)
    kinds = "texts, numbers, booleans, None, and lists, tuples and mappings of them"
    raise ConfigError([f"{key}={value!r}  has no spelling on the command line; allowed: {kinds}"])


def quoted(text: str) -> str:
    """Return a text that Hydra's grammar reads as one string, in quotes where they are needed."""
    if re.fullmatch(r"[\w./~:+-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
