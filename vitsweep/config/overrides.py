"""Overrides as text: their parts, and the names of arms, runs and sweeps made from them."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import PurePath
from typing import Any

import yaml

from vitsweep.paths import conf_dir

SLUG_LENGTH = 80
MAX_PARTS = 2
"""Overrides of single values that the name of a sweep has one by one."""
NO_RESULT_KEYS = (
    "tracker",
    "device",
    "precision",
    "compile",
    "deterministic",
    "pack",
    "checkpoint_seconds",
    "checkpoint_every_epochs",
    "study",
    "sweep",
    "cluster",
    "hydra",
)
NO_RESULT_DATA_KEYS = ("data.root", "data.download", "data.fingerprint")


def slug(text: str) -> str:
    """Convert text to a file name of letters, digits and . _ = + -; a long one is cut and ends in its hash."""
    clean = re.sub(r"[^A-Za-z0-9._=+-]+", "-", text).strip("-.") or "unnamed"
    if len(clean) <= SLUG_LENGTH:
        return clean
    return f"{clean[: SLUG_LENGTH - 9]}-{hashlib.sha256(clean.encode()).hexdigest()[:8]}"


def yaml_text(value: Any) -> str:
    """Spell a value as YAML does: true, null, 8, 0.002."""
    return value if isinstance(value, str) else json.dumps(value)


def override_key(override: str) -> str:
    """Return the key of an override: `+model/patch_size@x=p4` -> `model/patch_size`."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def short_key(override: str) -> str:
    """Return the last word of the key: `model/patch_size=p4` and `model.patch_size=4` -> `patch_size`."""
    return re.split(r"[./]", override_key(override))[-1]


def factor_names(keys: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """Return key -> the name of its factor: the last word, or the whole key where that is not unique.

    Args:
        keys: keys of overrides, `model.name` and `data.name`.
        taken: names of other factors.
    """
    keys = list(dict.fromkeys(keys))
    short = [short_key(key) for key in keys]
    return {k: k if short.count(s) > 1 or s in taken else s for k, s in zip(keys, short, strict=True)}


def level_names(overrides: Iterable[str], names: Mapping[str, str]) -> dict[str, str]:
    """Return factor -> level of overrides, by the factor_names of their keys."""
    return {names[override_key(o)]: override_value(o) for o in overrides}


def override_value(override: str) -> str:
    """Return the value of an override: `model.patch_size=4` -> `4`."""
    return override.partition("=")[2]


def affects_result(override: str) -> bool:
    """Return True if an override can change what is learned, not only where and how it is computed."""
    key = override_key(override)
    return re.split(r"[./]", key)[0] not in NO_RESULT_KEYS and key not in NO_RESULT_DATA_KEYS


def chooses_images(override: str) -> bool:
    """Return True if an override names a folder of images, whose content, not whose path, affects the result."""
    return override_key(override) == "data.root"


def is_study_override(override: str) -> bool:
    """Return True if an override chooses or changes the study itself: `study=NAME`, `study.seeds=10`."""
    return re.split(r"[./]", override_key(override))[0] == "study"


def with_run_mode(arguments: list[str]) -> list[str]:
    """Insert `hydra.mode=MULTIRUN` before the override that chooses a study; return the command line.

    A study is a sweep. The configuration cannot say so: Hydra 1.4 reads the mode before it composes.
    """
    asked = {"-m", "--multirun", "-c", "--cfg"} & {a.partition("=")[0] for a in arguments}
    if asked or any(override_key(a) == "hydra.mode" for a in arguments):
        return arguments
    chosen = [i for i, a in enumerate(arguments) if is_study_override(a) and "=" in a and a != "study=null"]
    return arguments if not chosen else [*arguments[: chosen[0]], "hydra.mode=MULTIRUN", *arguments[chosen[0] :]]


def single_name(overrides: list[str]) -> str:
    """Return the name of a single run: its overrides, or `baseline`."""
    named = [o for o in overrides if affects_result(o)]
    names = factor_names(map(override_key, named))
    parts = [f"{names[override_key(o)]}={override_value(o)}" for o in named]
    return slug("+".join(parts)) if parts else "baseline"


def sweep_name(overrides: list[str], study: str = "") -> str:
    """Return the name of a sweep, of its directory and of its group in the trackers.

    It is that of the study, else the swept keys, followed by what else separates sweeps: data set and recipe where
    they are not the default, then the other overrides of all cells, by key.

    >>> sweep_name(["model.patch_size=4,8", "data=shapes", "recipe=quick", "seed=0,1"])
    'patch_size-shapes-quick'
    """
    first = study or swept_keys_name(overrides)
    return slug("-".join([first, *fixed_parts(overrides)])) if first else single_name(overrides)


def swept_keys_name(overrides: list[str]) -> str:
    """Return the swept keys of a sweep, which were its whole name in earlier versions; empty without any."""
    swept = [o for o in overrides if is_swept(o) and (affects_result(o) or chooses_images(o))]
    keys = list(factor_names(map(override_key, swept)).values())
    factors = [key for key in keys if key != "seed"]
    return slug("+".join(factors or keys)) if keys else ""


def fixed_parts(overrides: list[str]) -> list[str]:
    """Return the words for what all cells of a sweep share beside the defaults: `shapes`, `quick`, `epochs=5`.

    More than MAX_PARTS of the last kind are one word, their hash.
    """
    fixed = {override_key(o): o for o in fixed_overrides(overrides)}
    names = factor_names(fixed)
    first = [key for key in ("data", "data.root", "recipe", "model") if key in fixed]
    words = [PurePath(override_value(fixed[key]).strip("'\"")).name for key in first]
    others = [f"{names[key]}={override_value(fixed[key])}" for key in sorted(fixed.keys() - set(first))]
    if len(others) > MAX_PARTS:
        others = [hashlib.sha256(" ".join(others).encode()).hexdigest()[:6]]
    return words + others


def fixed_overrides(overrides: Iterable[str]) -> list[str]:
    """Return the overrides of all cells that decide what is learned, without options that are the default.

    The seed is none of them. The folder of images counts where it decides them: of data=image_folder.
    """
    last = {override_key(o): o for o in overrides if override_key(o) != "seed"}
    is_own_folder = override_value(last.get("data", "")) == "image_folder"
    chosen = [o for o in last.values() if affects_result(o) or (is_own_folder and chooses_images(o))]
    defaults = default_choices()
    return [o for o in chosen if not is_swept(o) and defaults.get(override_key(o)) != override_value(o)]


@cache
def default_choices() -> dict[str, str]:
    """Return group -> the option that conf/config.yaml chooses."""
    text = (conf_dir() / "config.yaml").read_text(encoding="utf-8")
    entries = [entry for entry in yaml.safe_load(text)["defaults"] if isinstance(entry, dict)]
    return {group: option for entry in entries for group, option in entry.items() if option is not None}


def is_swept(override: str) -> bool:
    """Return True if an override has several values: `4,8`, `choice(...)`, `range(...)`, `glob(...)`.

    For names only, from the text alone; Hydra's parser determines what is run.
    """
    value = override_value(override)
    without_quotes = re.sub(r"'[^']*'|\"[^\"]*\"|\[[^]]*\]|\{[^}]*\}", "", value)
    return bool(re.match(r"(choice|range|glob|interval|shuffle|sort|tag)\(", value)) or "," in without_quotes
