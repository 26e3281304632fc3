"""Published values of a study's arms, and the scale at which a study repeats them on less hardware.

published:
  baseline: 86.52                                          # percent
  pos_embed=rope2d: {value: 88.49, n: 1 run, source: "github.com/..., README"}
scale: {images: 5000, epochs: 10, seeds: 3}                # a small version, marked as such in plan and report
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from vitsweep.config.overrides import override_key, yaml_text
from vitsweep.config.schema import Config, RecipeConfig, StudyConfig
from vitsweep.errors import ConfigError
from vitsweep.study.arms import Arm, Compose, compose_all
from vitsweep.study.design import is_integer

ENTRY_KEYS = ("value", "n", "source")
SCALE_KEYS = ("images", "epochs", "seeds")


def published_value(entry: Any) -> float:
    """Return the value of an entry of `published`, percent."""
    return float(entry["value"] if isinstance(entry, Mapping) else entry)


def published_errors(published: Mapping[str, Any]) -> list[str]:
    """Return a message for each entry that is neither a number nor {value, n, source}."""
    found = []
    for arm, entry in published.items():
        where = f"study.published.{arm}={yaml_text(entry)}"
        if isinstance(entry, Mapping):
            if unknown := sorted(set(map(str, entry)) - set(ENTRY_KEYS)):
                found.append(f"{where}  has unknown {', '.join(unknown)}; allowed: {', '.join(ENTRY_KEYS)}")
            found += [
                f"{where}  must have a text or a number as {key}"
                for key in ("n", "source")
                if not isinstance(entry.get(key, ""), str | int)
            ]
        value = entry.get("value") if isinstance(entry, Mapping) else entry
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            found.append(f"{where}  must be a number, in percent, or {{value: ..., n: ..., source: ...}}")
    return found


def scale_errors(study: StudyConfig) -> list[str]:
    """Return a message for each entry of `scale` that is unknown or no whole number."""
    found = [
        f"study.scale.{key}  is unknown; allowed: {', '.join(SCALE_KEYS)}"
        for key in study.scale
        if key not in SCALE_KEYS
    ]
    found += [
        f"study.scale.{key}={yaml_text(study.scale[key])}  must be a whole number of at least 1"
        for key in SCALE_KEYS
        if key in study.scale and not (is_integer(study.scale[key]) and study.scale[key] > 0)
    ]
    return found


def scaled_arms(base: list[str], arms: list[Arm], study: StudyConfig, compose: Compose) -> list[Arm]:
    """Return the arms at the study's scale: fewer images and epochs, and times in epochs in proportion.

    The overrides that do it are part of each arm, so that its cells can be composed again.

    Raises:
        ConfigError: an arm sets what the scale sets, or a scale is larger than what it scales.
    """
    added = [scale_overrides(arm.config, study.scale) for arm in arms]
    refuse_undone(arms, added)
    configs = compose_all([[*base, *arm.overrides, *own] for arm, own in zip(arms, added, strict=True)], compose)
    changes = zip(arms, added, configs, strict=True)
    return [dataclasses.replace(arm, overrides=arm.overrides + own, config=config) for arm, own, config in changes]


def scale_overrides(config: Config, scale: Mapping[str, int]) -> list[str]:
    """Return the overrides that bring a configuration to a scale.

    Raises:
        ConfigError: the scale is not smaller than the configuration.
    """
    overrides, errors = [], []
    if "images" in scale:
        overrides.append(f"data.train_limit={scale['images']}")
        if config.data.train_limit is not None and config.data.train_limit < scale["images"]:
            errors.append(
                f"study.scale.images={scale['images']}  is more than data.train_limit={config.data.train_limit}"
            )
    if "epochs" in scale:
        overrides += epoch_overrides(config.recipe, scale["epochs"])
        if config.recipe.epochs < scale["epochs"]:
            errors.append(f"study.scale.epochs={scale['epochs']}  is more than recipe.epochs={config.recipe.epochs}")
    if errors:
        raise ConfigError([f"{error}; a scale makes a study smaller" for error in errors])
    return overrides


def epoch_overrides(recipe: RecipeConfig, epochs: int) -> list[str]:
    """Return overrides that set the epochs, and other numbers of epochs in proportion, integers at least 1."""
    share, overrides = epochs / recipe.epochs, [f"recipe.epochs={epochs}"]
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if field.name != "epochs" and counts_epochs(field.name, recipe.schedule) and value:
            scaled = max(1, round(value * share)) if is_integer(value) else round(value * share, 6)
            overrides.append(f"recipe.{field.name}={scaled}")
    return overrides


def counts_epochs(name: str, schedule: str) -> bool:
    """Return whether a setting of the recipe is a number of epochs that the schedule reads."""
    return name.endswith(("epoch", "epochs")) or (name == "plateau_patience" and schedule == "plateau")


def undone_errors(scale: Mapping[str, int], ours: Collection[str]) -> list[str]:
    """Return a message for each key of the command line that a scale would undo."""
    pairs = (("images", "data.train_limit"), ("epochs", "recipe.epochs"))
    return [
        f"{key}  would be undone by study.scale.{name}; set that instead"
        for name, key in pairs
        if name in scale and key in ours
    ]


def refuse_undone(arms: list[Arm], added: list[list[str]]) -> None:
    """Refuse arms whose own values the scale would undo; a group choice such as another recipe is scaled.

    Raises:
        ConfigError: with all of them.
    """
    errors = [
        f"study.scale  would undo {override} of {arm.name}; drop one of them"
        for arm, own in zip(arms, added, strict=True)
        for override in arm.overrides
        if override_key(override) in {override_key(o) for o in own}
    ]
    if errors:
        raise ConfigError(list(dict.fromkeys(errors)))


def scale_notes(study: StudyConfig, full: Config, full_seeds: int, num_seeds: int) -> dict[str, list[Any]]:
    """Return key -> [value, value at full scale] of what a study scales, for the plan; no limit of images is `all`.

    Args:
        full: the baseline's configuration before it was scaled.
        full_seeds: number of seeds at full scale.
        num_seeds: of the plan; the command line may have given others than the scale.
    """
    before = {"images": full.data.train_limit or "all", "epochs": full.recipe.epochs, "seeds": full_seeds}
    now = study.scale | {"seeds": num_seeds}
    return {key: [now[key], before[key]] for key in SCALE_KEYS if key in study.scale and now[key] != before[key]}


def scale_sentence(scale: Mapping[str, list[Any]]) -> str:
    """Return `a small version: 10 epochs instead of 200`; empty without a scale."""
    words = {"images": "training images", "epochs": "epochs", "seeds": "seeds"}
    parts = [f"{value} {words.get(key, key)} instead of {full}" for key, (value, full) in scale.items()]
    return f"a small version: {', '.join(parts)}" if parts else ""
