"""A study's arms: composed, compared with the baseline, merged or refused, and named. No torch, no Hydra.

The caller passes a `compose` function that turns overrides into a Config; so the same code serves the sweeper, the
`plan` command and the tests.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from vitsweep.added_fields import neutral_values
from vitsweep.config.convert import config_hash
from vitsweep.config.model_schema import ModelConfig
from vitsweep.config.overrides import (
    factor_names,
    level_names,
    override_key,
    override_value,
    short_key,
    slug,
    yaml_text,
)
from vitsweep.config.schema import Config, DataConfig, RecipeConfig, StudyConfig
from vitsweep.errors import ConfigError
from vitsweep.study.design import ArmSpec, Factors

PLACEBO = "placebo"
PATH_TO_LAST = r"(?<![\w.])(?:~|[A-Za-z]:)?[/\\](?:[^/\\+]+[/\\])*"  # absolute: /data/cars -> cars
FINGERPRINT = "data.fingerprint"
NAMELESS = {FINGERPRINT, "model.name", "data.name"}
"""Fields whose last word does not say what they are."""
IMAGE_FORM = {"model.image_size", "model.num_channels", "data.val"}  # the same images have another fingerprint
FIELDS = frozenset(
    f"{group}.{own.name}"
    for group, kind in (("model", ModelConfig), ("data", DataConfig), ("recipe", RecipeConfig))
    for own in fields(kind)
) - {"data.root", "data.download"}
"""Dotted keys of the settings that written_settings compares."""
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
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """As ArmSpec.parts."""


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
        ArmSpec(
            levels=level_names(combination, names),
            overrides=combination,
            parts={names[override_key(override)]: (override,) for override in combination},
            swept=frozenset(names.values()),
        )
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
    alone: dict[tuple[str, str], Config] = {}
    if study.design != "list":
        alone = level_configs(factors, base, compose)
        merged = baseline_levels(alone, baseline_hash)
        specs = [spec for spec in specs if set(merged).isdisjoint(spec.levels.items())]
        notes += [f"{name}={label} is the baseline's own level" for name, label in merged]
    specs = without_excluded(specs, study.exclude, notes)
    configs = compose_all([[*base, *spec.overrides] for spec in specs], compose)
    refuse_equal_arms(specs, configs)
    arms = named_arms(specs, configs, alone)
    if study.placebo:
        arms.append(Arm(name=PLACEBO, role=PLACEBO, levels={}, overrides=[], config=arms[0].config))
    return arms, notes


def level_configs(factors: Factors, base: list[str], compose: Compose) -> dict[tuple[str, str], Config]:
    """Return (factor, label) -> configuration of the baseline with that level alone.

    Raises:
        ConfigError: a level cannot be composed.
    """
    levels = [(name, level) for name, found in factors.items() for level in found]
    configs = compose_all([[*base, *level.overrides] for _, level in levels], compose)
    return {(name, level.label): config for (name, level), config in zip(levels, configs, strict=True)}


def baseline_levels(alone: dict[tuple[str, str], Config], baseline_hash: str) -> list[tuple[str, str]]:
    """Return the levels, as (factor, label), that resolve to the baseline, which every factor has anyway.

    Args:
        alone: level_configs of the study.
        baseline_hash: config_hash of the baseline.

    Raises:
        ConfigError: a factor has no other level.
    """
    equal = [level for level, config in alone.items() if config_hash(config) == baseline_hash]
    empty = dict.fromkeys(name for name, _ in alone if all(level in equal for level in alone if level[0] == name))
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


def named_arms(
    specs: list[ArmSpec], configs: list[Config], alone: Mapping[tuple[str, str], Config] | None = None
) -> list[Arm]:
    """Return arms with their names; the first is the baseline.

    Args:
        specs: of all arms.
        configs: theirs.
        alone: (factor, label) -> configuration of the baseline with that level alone, of levels that no arm has alone.
    """
    changes = [arm_changes(configs[0], config) for config in configs]
    known = {level: arm_changes(configs[0], config) for level, config in (alone or {}).items()}
    names = LevelNames(specs, changes, known)
    arms = [
        Arm(
            name=spec.name or names.arm_name(spec, changed),
            role="arm",
            levels=spec.levels,
            overrides=list(spec.overrides),
            config=config,
            parts=spec.parts,
        )
        for spec, config, changed in zip(specs, configs, changes, strict=True)
    ]
    arms[0].name = arms[0].role = "baseline"
    taken = [arm.name for arm in arms]
    for arm in arms:
        if taken.count(arm.name) > 1 and arm.role != "baseline":
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


UNWRITTEN = ("data.root", "data.download", "data.soft_train_limit")
"""Keys of paths, and of a limit that data.train_limit has taken over by the time a plan is written."""


def written_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return dotted key -> value of model, data and recipe as written, without paths and data.soft_train_limit.

    Unlike in config.hashed_settings, a dropout place that is left open stays null. Added fields that are missing have
    their neutral value.

    Args:
        config: plain values, as plans and records keep them; older ones may lack a group.
    """
    kinds = {"model": ModelConfig, "data": DataConfig, "recipe": RecipeConfig}
    written = {group: {**neutral_values(kind), **(config.get(group) or {})} for group, kind in kinds.items()}
    values = {f"{group}.{key}": value for group, settings in written.items() for key, value in settings.items()}
    return {key: value for key, value in values.items() if key not in UNWRITTEN}


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


class LevelNames:
    """Names of the levels of a study's factors, and of arms made from them.

    Args:
        specs: of all arms, the baseline first.
        changes: arm_changes of each.
        alone: (factor, label) -> arm_changes of the baseline with that level alone.
    """

    def __init__(
        self, specs: list[ArmSpec], changes: list[dict[str, Any]], alone: dict[tuple[str, str], dict[str, Any]]
    ):
        self.baseline = specs[0].levels
        single = [(spec.levels, self._changed(spec), changed) for spec, changed in zip(specs, changes, strict=True)]
        self.alone = alone | {(f[0], levels[f[0]]): changed for levels, f, changed in single if len(f) == 1}
        self.first_values = Counter(
            (factor, override_value(own[0]))
            for factor, own in {(factor, own) for spec in specs for factor, own in spec.parts.items() if own}
        )
        self.fields = self._swept_fields({factor for spec in specs for factor in spec.swept})

    def arm_name(self, spec: ArmSpec, changes: dict[str, Any]) -> str:
        """Return an arm's slug: `factor=level` in the order of the factors, without those at the baseline's level."""
        parts = [
            f"{self.fields.get(factor, factor)}={self.level_text(factor, spec)}"
            for factor in self._changed(spec)
            if not is_unchanged(spec.parts.get(factor, ()), changes)
        ]
        return slug("+".join(parts)) if parts else changes_name(changes)

    def level_text(self, factor: str, spec: ArmSpec) -> str:
        """Return an arm's level of a factor as its name has it.

        That is the value of the field that it changes, if it changes one (`8` of `model/patch_size=p8`), else the
        level's label. Of several overrides the first has its value, which is enough if no other level has it.
        """
        own = spec.parts.get(factor, ())
        if len(own) > 1:
            rest = own[1:] if self.first_values[factor, override_value(own[0])] > 1 else ()
            return "-".join([override_value(own[0]), *(f"{short_key(o)}={override_value(o)}" for o in rest)])
        changed = self.alone.get((factor, spec.levels[factor]), {})
        if len(changed) == 1 and not NAMELESS.intersection(changed):
            return yaml_text(next(iter(changed.values())))
        return re.sub(PATH_TO_LAST, "", spec.levels[factor])  # a path is private, and long

    def _changed(self, spec: ArmSpec) -> list[str]:
        return [factor for factor, level in spec.levels.items() if self.baseline.get(factor) != level]

    def _swept_fields(self, swept: set[str]) -> dict[str, str]:
        """Return swept factor -> last word of the one field that all its levels change, if there is one.

        So a level has one name whether a group or a value was swept: `model/depth=l2`, `model.num_hidden_layers=2`.
        """
        varied: dict[str, set[tuple[str, ...]]] = {}
        for (factor, _), changed in self.alone.items():
            if factor in swept:
                varied.setdefault(factor, set()).add(tuple(changed))
        single = {factor: next(iter(own))[0] for factor, own in varied.items() if [len(keys) for keys in own] == [1]}
        last = {factor: key.rpartition(".")[2] for factor, key in single.items() if key not in NAMELESS}
        taken = [*last.values(), *(factor for factor in self.baseline if factor not in last)]
        return {factor: name for factor, name in last.items() if taken.count(name) == 1}


def is_unchanged(overrides: Sequence[str], changes: dict[str, Any]) -> bool:
    """Return whether overrides set nothing but fields, all of them to the baseline's values."""
    keys = [override_key(override) for override in overrides]
    return bool(keys) and all(key in FIELDS and key not in changes for key in keys)


def changes_name(changes: dict[str, Any]) -> str:
    """Return the slug of the fields that an arm changes, as earlier versions named arms of one or two of them."""
    names = factor_names(changes)
    return slug("+".join(f"{names[key]}={yaml_text(value)}" for key, value in changes.items()))
