"""A study's arms: composed, compared with the baseline, merged or refused, and named. No torch, no Hydra.

Whoever plans passes a `compose` function that turns overrides into a Config; so the same code serves the sweeper, the
`plan` command and the tests.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitsweep.config.convert import config_hash, flatten
from vitsweep.config.overrides import override_value, short_key, slug, yaml_text
from vitsweep.config.schema import Config, StudyConfig
from vitsweep.errors import ConfigError
from vitsweep.study.design import ArmSpec, Factors, arm_specs, parse_factors

PLACEBO = "placebo"
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
    """What is put on top of the baseline's own overrides."""
    config: Config
    """Resolved, with the seed of the baseline."""

    @property
    def folder(self) -> str:
        """The arm's directory inside the sweep directory."""
        return f"{self.name}-{config_hash(self.config)[:8]}"


def sweep_arms(base: list[str], factors: dict[str, list[str]], compose: Compose) -> list[Arm]:
    """The arms of a plain `-m`: every combination of the swept values.

    The baseline is the arm that equals the configuration without the sweep, or else the first one.

    Args:
        base: overrides that every arm has.
        factors: swept key -> its overrides, e.g. {"model.patch_size": ["model.patch_size=4", "model.patch_size=8"]}.
        compose: overrides -> Config.

    Raises:
        ConfigError: cells break a rule (all of them are named), or two arms resolve equal.
    """
    specs = [
        ArmSpec(levels={short_key(o): override_value(o) for o in combination}, overrides=combination)
        for combination in itertools.product(*factors.values())
    ]
    configs = compose_all([[*base, *spec.overrides] for spec in specs], compose)
    refuse_equal_arms(specs, configs)
    default, hashes = config_hash(compose(base)), [config_hash(config) for config in configs]
    first = hashes.index(default) if default in hashes else 0
    order = [first, *(i for i in range(len(specs)) if i != first)]
    return named_arms([specs[i] for i in order], [configs[i] for i in order])


def study_arms(base: list[str], study: StudyConfig, compose: Compose) -> tuple[list[Arm], list[str]]:
    """The arms of a study file, baseline first, placebo last, and notes about what was merged or left out.

    Raises:
        ConfigError: levels or cells break a rule, arms resolve equal, `exclude` leaves nothing.
    """
    baseline = compose_all([base], compose)[0]
    notes: list[str] = []
    factors = parse_factors(study) if study.design != "list" else {}
    factors = without_baseline_levels(factors, base, config_hash(baseline), compose, notes)
    specs = without_excluded(arm_specs(study, factors), study.exclude, notes)
    configs = compose_all([[*base, *spec.overrides] for spec in specs], compose)
    refuse_equal_arms(specs, configs)
    arms = named_arms(specs, configs)
    if study.placebo:
        arms.append(Arm(name=PLACEBO, role=PLACEBO, levels={}, overrides=[], config=arms[0].config))
    return arms, notes


def without_baseline_levels(
    factors: Factors, base: list[str], baseline_hash: str, compose: Compose, notes: list[str]
) -> Factors:
    """The factors without levels that resolve to the baseline, which every factor has anyway.

    Raises:
        ConfigError: a level cannot be composed, or a factor has no other level.
    """
    levels = [(name, level) for name, found in factors.items() for level in found]
    configs = compose_all([[*base, *level.overrides] for _, level in levels], compose)
    kept: Factors = {name: [] for name in factors}
    for (name, level), config in zip(levels, configs, strict=True):
        if config_hash(config) == baseline_hash:
            notes.append(f"{name}={level.label} is the baseline's own level")
        else:
            kept[name].append(level)
    empty = [name for name, left in kept.items() if not left]
    if empty:
        raise ConfigError(
            [f"study.factors.{name}  has only the baseline's level; add another or drop it" for name in empty]
        )
    return kept


def without_excluded(specs: list[ArmSpec], exclude: list[Any], notes: list[str]) -> list[ArmSpec]:
    """The arms that match none of the mappings in `exclude`; the baseline is never excluded.

    Raises:
        ConfigError: an entry is no mapping of factors to levels, matches nothing, or nothing but the baseline is left.
    """
    kept, matched = [], [0] * len(exclude)
    for entry in exclude:
        if not isinstance(entry, dict) or not entry:
            raise ConfigError([f"study.exclude={entry}  must be a mapping factor: level"])
    for spec in specs:
        hits = [i for i, entry in enumerate(exclude) if spec.levels and matches(spec, entry)]
        for i in hits:
            matched[i] += 1
        if not hits:
            kept.append(spec)
    useless = [str(entry) for entry, count in zip(exclude, matched, strict=True) if not count]
    if useless:
        raise ConfigError([f"study.exclude={entry}  matches no arm; see the levels of the plan" for entry in useless])
    if len(kept) < 2 <= len(specs):
        raise ConfigError(["study.exclude  leaves only the baseline; exclude less"])
    if len(kept) < len(specs):
        count = len(specs) - len(kept)
        notes.append(f"{count} arm{'s' * (count > 1)} excluded")
    return kept


def matches(spec: ArmSpec, entry: dict[str, Any]) -> bool:
    """Whether an arm has all the levels of an `exclude` entry."""
    return all(spec.levels.get(str(factor)) == yaml_text(level) for factor, level in entry.items())


def named_arms(specs: list[ArmSpec], configs: list[Config]) -> list[Arm]:
    """Arms with their names; the first is the baseline."""
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
    """The configuration of each list of overrides.

    Raises:
        ConfigError: with the faults of all of them, each told once with the first overrides that have it.
    """
    configs, faults = [], {}
    for overrides in all_overrides:
        try:
            configs.append(compose(overrides))
        except ConfigError as refused:
            for fault in refused.errors:
                faults.setdefault(fault, overrides)
    if faults:
        raise ConfigError([f"{fault}    [{' '.join(overrides)}]" for fault, overrides in faults.items()])
    return configs


def refuse_equal_arms(specs: list[ArmSpec], configs: list[Config]) -> None:
    """Two differently written arms that are the same experiment would be trained twice and compared with each other.

    Raises:
        ConfigError: all such pairs, both named.
    """
    seen: dict[str, ArmSpec] = {}
    faults = []
    for spec, config in zip(specs, configs, strict=True):
        twin = seen.setdefault(config_hash(config), spec)
        if twin is not spec:
            both = f"`{' '.join(twin.overrides) or 'baseline'}` and `{' '.join(spec.overrides)}`"
            faults.append(f"{both}  resolve to the same model, data and recipe; keep one of them")
    if faults:
        raise ConfigError(faults)


def differences(baseline: Config, config: Config) -> dict[str, Any]:
    """Dotted key -> value of everything in model, data and recipe that differs from the baseline."""
    before, after = flatten(science_values(baseline)), flatten(science_values(config))
    return {key: value for key, value in after.items() if before.get(key, ...) != value}


def science_values(config: Config) -> dict[str, Any]:
    """model, data and recipe as configured, without paths (unlike config.science nothing is filled in)."""
    values = {group: dict(vars(getattr(config, group))) for group in ("model", "data", "recipe")}
    del values["data"]["root"], values["data"]["download"]
    return values


def arm_name(baseline: Config, config: Config, levels: dict[str, str]) -> str:
    """The arm's slug: the leaves that differ, or, when they are many (a group was chosen), its levels."""
    changed = differences(baseline, config)
    parts = {key.rpartition(".")[2]: yaml_text(value) for key, value in changed.items()}
    if len(parts) > 2 or not parts or "model.name" in changed:
        parts = levels
    return slug("+".join(f"{key}={value}" for key, value in parts.items()))
