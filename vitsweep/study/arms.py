"""A study's arms: composed, compared with the baseline, merged or refused, and named. No torch, no Hydra.

The caller passes a `compose` function that turns overrides into a Config; so the same code serves the sweeper, the
`plan` command and the tests.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitsweep.added_fields import neutral_values
from vitsweep.config.convert import config_hash
from vitsweep.config.model_schema import ModelConfig
from vitsweep.config.overrides import factor_names, level_names, slug, yaml_text
from vitsweep.config.schema import Config, DataConfig, RecipeConfig, StudyConfig
from vitsweep.errors import ConfigError
from vitsweep.study.design import ArmSpec, Factors

PLACEBO = "placebo"
PATH_TO_LAST = r"(?<![\w.])(?:~|[A-Za-z]:)?[/\\](?:[^/\\+]+[/\\])*"  # absolute: /data/cars -> cars
FINGERPRINT = "data.fingerprint"
IMAGE_FORM = {"model.image_size", "model.num_channels", "data.val"}  # the same images have another fingerprint
PLACEBO_SEED_OFFSET = 1_000_003  # a prime far from the seeds that people choose

Compose = Callable[[list[str]], Config]


@dataclass(kw_only=True)
class Arm:
    """One set of overrides against the baseline."""

    name: str
    """Slug of what it changes; `baseline` changes nothing."""
    role: str
    """baseline, arm or placebo."""
    levels: dict[str, str]
    """Factor -> level."""
    overrides: list[str]
    """Overrides put on top of the baseline's own."""
    config: Config
    """Resolved configuration, with the seed of the baseline."""


def sweep_arms(base: list[str], factors: dict[str, list[str]], compose: Compose) -> list[Arm]:
    """Return the arms of a plain `-m`: every combination of the swept values.

    The baseline is the arm that equals the configuration without the sweep, or else the first one.

    Args:
        base: overrides that every arm has.
        factors: swept key -> its overrides, e.g. {"model.patch_size": ["model.patch_size=4", "model.patch_size=8"]}.
        compose: overrides -> Config.

    Raises:
        ConfigError: cells break a rule (all of them are named), or two arms resolve equal.
    """
    names = factor_names(factors)
    specs = [
        ArmSpec(levels=level_names(combination, names), overrides=combination)
        for combination in itertools.product(*factors.values())
    ]
    configs = compose_all([[*base, *spec.overrides] for spec in specs], compose)
    refuse_equal_arms(specs, configs)
    try:
        default = config_hash(compose(base))
    except ConfigError:  # the sweep sets what is required, such as data.root
        default = ""
    hashes = [config_hash(config) for config in configs]
    first = hashes.index(default) if default in hashes else 0
    order = [first, *(i for i in range(len(specs)) if i != first)]
    return named_arms([specs[i] for i in order], [configs[i] for i in order])


def study_arms(
    base: list[str], study: StudyConfig, factors: Factors, specs: list[ArmSpec], compose: Compose
) -> tuple[list[Arm], list[str]]:
    """Return the arms of a study file, baseline first, placebo last, and notes about merged or excluded arms.

    Args:
        base: overrides that every arm has.
        study: the file's content.
        factors: design.parse_factors(study).
        specs: design.arm_specs(study, factors).
        compose: overrides -> Config.

    Raises:
        ConfigError: levels or cells break a rule, arms resolve equal, `exclude` leaves nothing.
    """
    baseline_hash = config_hash(compose_all([base], compose)[0])
    notes: list[str] = []
    if study.design != "list":
        merged = baseline_levels(factors, base, baseline_hash, compose)
        specs = [spec for spec in specs if set(merged).isdisjoint(spec.levels.items())]
        notes += [f"{name}={label} is the baseline's own level" for name, label in merged]
    specs = without_excluded(specs, study.exclude, notes)
    configs = compose_all([[*base, *spec.overrides] for spec in specs], compose)
    refuse_equal_arms(specs, configs)
    arms = named_arms(specs, configs)
    if study.placebo:
        arms.append(Arm(name=PLACEBO, role=PLACEBO, levels={}, overrides=[], config=arms[0].config))
    return arms, notes


def baseline_levels(factors: Factors, base: list[str], baseline_hash: str, compose: Compose) -> list[tuple[str, str]]:
    """Return the levels, as (factor, label), that resolve to the baseline, which every factor has anyway.

    Raises:
        ConfigError: a level cannot be composed, or a factor has no other level.
    """
    levels = [(name, level) for name, found in factors.items() for level in found]
    configs = compose_all([[*base, *level.overrides] for _, level in levels], compose)
    equal = [
        (name, level.label)
        for (name, level), config in zip(levels, configs, strict=True)
        if config_hash(config) == baseline_hash
    ]
    empty = [name for name, found in factors.items() if all((name, level.label) in equal for level in found)]
    if empty:
        raise ConfigError(
            [f"study.factors.{name}  has only the baseline's level; add another or drop it" for name in empty]
        )
    return equal


def without_excluded(specs: list[ArmSpec], exclude: list[Any], notes: list[str]) -> list[ArmSpec]:
    """Return the arms that match none of the mappings in `exclude`; the baseline is never excluded.

    Raises:
        ConfigError: an entry is no mapping of factors to levels, matches nothing, or nothing but the baseline is left.
    """
    for entry in exclude:
        if not isinstance(entry, dict) or not entry:
            raise ConfigError([f"study.exclude={entry}  must be a mapping factor: level"])
    matched = [[spec for spec in specs if spec.levels and matches(spec, entry)] for entry in exclude]
    useless = [str(entry) for entry, found in zip(exclude, matched, strict=True) if not found]
    if useless:
        raise ConfigError([f"study.exclude={entry}  matches no arm; see the levels of the plan" for entry in useless])
    kept = [spec for spec in specs if not (spec.levels and any(matches(spec, entry) for entry in exclude))]
    if len(kept) < 2 <= len(specs):
        raise ConfigError(["study.exclude  leaves only the baseline; exclude less"])
    if len(kept) < len(specs):
        count = len(specs) - len(kept)
        notes.append(f"{count} arm{'s' * (count > 1)} excluded")
    return kept


def matches(spec: ArmSpec, entry: dict[str, Any]) -> bool:
    """Return whether an arm has all the levels of an `exclude` entry."""
    return all(spec.levels.get(str(factor)) == yaml_text(level) for factor, level in entry.items())


def named_arms(specs: list[ArmSpec], configs: list[Config]) -> list[Arm]:
    """Return arms with their names; the first is the baseline."""
    arms = [
        Arm(
            name=spec.name or arm_name(configs[0], config, spec.levels),
            role="arm",
            levels=spec.levels,
            overrides=list(spec.overrides),
            config=config,
        )
        for spec, config in zip(specs, configs, strict=True)
    ]
    arms[0].name = arms[0].role = "baseline"
    names = [arm.name for arm in arms]
    for arm in arms:
        if names.count(arm.name) > 1 and arm.role != "baseline":
            arm.name = slug(f"{arm.name}+{config_hash(arm.config)[:8]}")
    return arms


def compose_all(all_overrides: list[list[str]], compose: Compose) -> list[Config]:
    """Compose each list of overrides.

    Raises:
        ConfigError: with the errors of all of them, each once with the first overrides that cause it.
    """
    configs: list[Config] = []
    errors: dict[str, list[str]] = {}
    for overrides in all_overrides:
        try:
            configs.append(compose(overrides))
        except ConfigError as refused:
            for error in refused.errors:
                errors.setdefault(error, overrides)
    if errors:
        raise ConfigError([f"{error}    [{' '.join(overrides)}]" for error, overrides in errors.items()])
    return configs


def refuse_equal_arms(specs: list[ArmSpec], configs: list[Config]) -> None:
    """Raise if two arms are one experiment, which would be trained twice and compared with itself.

    Raises:
        ConfigError: all such pairs, both named.
    """
    seen: dict[str, ArmSpec] = {}
    errors = []
    for spec, config in zip(specs, configs, strict=True):
        twin = seen.setdefault(config_hash(config), spec)
        if twin is not spec:
            both = f"`{' '.join(twin.overrides) or 'baseline'}` and `{' '.join(spec.overrides)}`"
            errors.append(f"{both}  resolve to the same model, data and recipe; keep one of them")
    if errors:
        raise ConfigError(errors)


def differences(baseline: dict[str, Any], settings: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return dotted key -> (baseline's value, value) of what differs; a missing key counts as None."""
    keys = dict.fromkeys([*baseline, *settings])
    return {k: (baseline.get(k), settings.get(k)) for k in keys if baseline.get(k) != settings.get(k)}


def written_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return dotted key -> value of model, data and recipe as written, without paths.

    Unlike in config.hashed_settings, a dropout place that is left open stays null. Added fields that are missing have
    their neutral value.

    Args:
        config: plain values, as plans and records keep them; older ones may lack a group.
    """
    kinds = {"model": ModelConfig, "data": DataConfig, "recipe": RecipeConfig}
    written = {group: {**neutral_values(kind), **(config.get(group) or {})} for group, kind in kinds.items()}
    values = {f"{group}.{key}": value for group, settings in written.items() for key, value in settings.items()}
    return {key: value for key, value in values.items() if key not in ("data.root", "data.download")}


def arm_changes(baseline: Config, config: Config) -> dict[str, Any]:
    """Return dotted key -> value of every written setting that differs from the baseline."""
    before, after = (
        written_settings({group: vars(getattr(c, group)) for group in ("model", "data", "recipe")})
        for c in (baseline, config)
    )
    changes = {key: value for key, (_, value) in differences(before, after).items()}
    if IMAGE_FORM.intersection(changes) and baseline.data.root == config.data.root:
        changes.pop(FINGERPRINT, None)  # it follows
    return changes


def arm_name(baseline: Config, config: Config, levels: dict[str, str]) -> str:
    """Return the arm's slug: the leaves that differ, or, when they are many (a group was chosen), its levels."""
    changed = arm_changes(baseline, config)
    names = factor_names(changed)
    parts = {names[key]: yaml_text(value) for key, value in changed.items()}
    if len(parts) > 2 or not parts or "model.name" in changed or FINGERPRINT in changed:
        parts = {key: re.sub(PATH_TO_LAST, "", level) for key, level in levels.items()}  # private, and long
    return slug("+".join(f"{key}={value}" for key, value in parts.items()))
