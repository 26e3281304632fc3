"""Rules of a search against the study that it belongs to: its arms, its seeds, and the command line."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from vitsweep.config.convert import config_hash, from_dict
from vitsweep.config.overrides import override_key, yaml_text
from vitsweep.config.schema import Config
from vitsweep.study.plan import Cell, Plan
from vitsweep.study.tuning.space import Parameter, Search

READ_WITH = {
    "recipe.momentum": ("optimizer", "sgd"),
    "recipe.plateau_factor": ("schedule", "plateau"),
    "recipe.plateau_patience": ("schedule", "plateau"),
}
"""Fields that only one choice of another field of the recipe reads."""


def search_errors(search: Search, plan: Plan, ours: Iterable[str]) -> list[str]:
    """Return a message for each rule between a search and its study that is broken.

    Args:
        search: the study file's.
        plan: of the study, with its placebo.
        ours: keys that the command line sets for all arms.
    """
    keys = [parameter.key for parameter in search.parameters]
    found = [
        f"study.tune.parameters.{key}  is also set on the command line; drop one of them, or set it in study.baseline"
        for key in keys
        if key in set(ours)
    ]
    found += [message for row in plan.arms for message in _arm_errors(row, set(keys) - set(ours))]
    found += seed_errors(search.seeds, plan)
    if found:
        return found
    configs = {cell.arm: from_dict(cell.config) for cell in first_cells(plan).values()}
    for parameter in search.parameters:  # what is wrong in one arm is mostly wrong in all, so one message is enough
        found += [m for arm, config in configs.items() for m in _end_errors(parameter, arm, config)][:1]
    return found


def _arm_errors(row: dict[str, Any], keys: set[str]) -> list[str]:
    """Return a message for each tuned field that an arm sets, by itself or by a group."""
    written = {override_key(override): override for override in row["overrides"]}
    written |= {key: f"{key}={yaml_text(value)}" for key, value in row.get("changes", {}).items() if key not in written}
    return [
        f"study.tune.parameters.{key}  is also set by arm {row['arm']} (`{written[key]}`); tune it or vary it, not both"
        for key in sorted(keys & set(written))
    ]


def seed_errors(seeds: Iterable[int], plan: Plan) -> list[str]:
    """Return a message if the search would train on seeds of the study, placebos' included."""
    used = set(plan.seeds) | {cell.config["seed"] for cell in plan.cells}
    if not (both := sorted(used.intersection(seeds))):
        return []
    return [
        f"study.tune.seeds={yaml_text(list(seeds))}  has seeds of the study ({', '.join(map(str, both))}); settings "
        "are judged with fresh seeds, so name others, or only their number"
    ]


def first_cells(plan: Plan) -> dict[str, Cell]:
    """Return arm -> its first cell, of the arms that are tuned: all but placebos."""
    found: dict[str, Cell] = {}
    for cell in plan.cells:
        if cell.role != "placebo":
            found.setdefault(cell.arm, cell)
    return found


def _end_errors(parameter: Parameter, arm: str, config: Config) -> list[str]:
    """Return messages about ends of a range that an arm cannot have, or does not read."""
    ends = parameter.values or (parameter.low, parameter.high)
    configs = [with_setting(config, {parameter.key: value}) for value in (min(ends), max(ends))]
    where = f"study.tune.parameters.{parameter.key}"
    if errors := [error for changed in configs for error in changed.errors()]:
        return [f"{where}: {error}" for error in errors]
    name, choice = READ_WITH.get(parameter.key, ("", ""))
    if name and getattr(config.recipe, name) != choice:
        return [f"{where}  is read with recipe.{name}={choice} only, and arm {arm} has another; drop it"]
    if config_hash(configs[0]) == config_hash(configs[1]):
        return [f"{where}  is not read by arm {arm}; drop it"]
    return []


def with_setting(config: Config, setting: dict[str, Any]) -> Config:
    """Return a copy of a configuration with other values of dotted keys; nothing is checked."""
    for key, value in setting.items():
        config = _with_value(config, key, value)
    return config


def _with_value(config: Any, key: str, value: Any) -> Any:
    name, _, rest = key.partition(".")
    return dataclasses.replace(config, **{name: _with_value(getattr(config, name), rest, value) if rest else value})
