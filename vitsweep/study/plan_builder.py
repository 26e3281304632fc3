"""From the command line to a plan: the study that `study=NAME` names, or the one that a plain `-m` describes."""

import dataclasses
import itertools
import math
import re
import secrets
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vitsweep.config.composer import Composer
from vitsweep.config.convert import refuse_configured_study
from vitsweep.config.override_rules import contradiction_errors, refuse_params
from vitsweep.config.overrides import (
    factor_names,
    is_study_override,
    level_names,
    override_key,
    override_value,
    sweep_name,
    yaml_text,
)
from vitsweep.config.schema import Config, StudyConfig
from vitsweep.errors import ConfigError
from vitsweep.files import remove_temporaries
from vitsweep.study.arms import (
    Arm,
    compose_all,
    named_arms,
    refuse_equal_arms,
    study_arms,
    sweep_arms,
    written_settings,
)
from vitsweep.study.changes.drop import bring_back
from vitsweep.study.changes.extension import extend_plan, with_known_names
from vitsweep.study.claims import claims_errors, earlier_names, find_arm, plan_levels, unstated_rule_errors
from vitsweep.study.design import (
    NUM_SEEDS,
    ArmSpec,
    Factors,
    Schedule,
    aliases,
    arm_specs,
    parse_factors,
    study_schedule,
)
from vitsweep.study.identity import FingerprintFiller
from vitsweep.study.locks import exclusive_access
from vitsweep.study.plan import (
    DECLARED,
    Plan,
    claims_hash,
    make_plan,
    plan_hash,
    read_plan,
    write_plan,
)
from vitsweep.study.published import scale_notes, scale_sentence, scaled_arms, undone_errors
from vitsweep.study.rules import (
    design_size_errors,
    duplicate_key_errors,
    level_errors,
    placebo_seed_errors,
    size_errors,
    study_errors,
    unmeasured_errors,
    until_errors,
    written_levels,
)
from vitsweep.study.tuning.rules import search_errors
from vitsweep.study.tuning.space import parse_search

MAX_ALONE = 100  # levels of a factor that are composed one by one beside other errors


def build_plan(overrides: list[str], composer: Composer) -> Plan:
    """Build and validate every cell of the study that the overrides describe.

    Args:
        overrides: the command line's, without Hydra's own; swept ones as written (`model.patch_size=4,8`).
        composer: composes and types.

    Raises:
        ConfigError: anything that would make a cell impossible or pointless, all of it in one message.
    """
    composer.parse_all(overrides)
    fixed, factors, seeds = split_overrides(overrides, composer)
    study = composer.load_study([o for o in overrides if is_study_override(o)])
    refuse(size_errors(" ".join(overrides), math.prod(map(len, factors.values())), len(seeds or [0])))
    if study is None:
        plan = plain_plan(overrides, fixed, factors, seeds, composer)
    else:
        plan = study_plan(study, fixed, factors, seeds, composer)
        plan.study = sweep_name(fixed, study.name)
        plan.plan_hash = plan_hash(plan)
    refuse(until_errors(plan))
    return plan


def split_overrides(
    overrides: list[str], composer: Composer
) -> tuple[list[str], dict[str, list[str]], list[int] | None]:
    """Split into overrides of all arms, swept ones as key -> single overrides, and seeds (None if not given).

    The last override of a key counts, as in Hydra, but a second one after a sweep of the key is an error.

    Raises:
        ConfigError: a value or a sweep is given after a sweep of the same key.
    """
    fixed: list[str] = []
    factors: dict[str, list[str]] = {}
    seeds = None
    swept: set[str] = set()
    errors = []
    for override in overrides:
        if is_study_override(override):
            continue
        levels, key = composer.sweep_values(override), override_key(override)
        if key in swept:
            errors.append(f"{override}  comes after a sweep of {key} and would undo it; drop one of them")
        if levels is not None:
            swept.add(key)
        if key == "seed":
            seeds = override_seeds(levels or [override])
        elif levels is None:
            fixed.append(override)
        else:
            fixed = [other for other in fixed if override_key(other) != key]
            factors[key] = levels
    refuse(errors)
    return fixed, factors, seeds


def override_seeds(levels: list[str]) -> list[int]:
    """Parse the seeds of `seed=0`, `seed=1`, ...

    Raises:
        ConfigError: one is no seed, or comes twice.
    """
    texts = [override_value(level) for level in levels]
    if not all(re.fullmatch(r"[0-9]+", text) and int(text) < NUM_SEEDS for text in texts):
        raise ConfigError([f"seed={','.join(texts)}  must be integers in 0 .. 2**32 - 1"])
    if len({int(text) for text in texts}) < len(texts):
        raise ConfigError([f"seed={','.join(texts)}  names a seed twice; each seed is one replicate"])
    return [int(text) for text in texts]


def plain_plan(
    overrides: list[str], fixed: list[str], factors: dict[str, list[str]], seeds: list[int] | None, composer: Composer
) -> Plan:
    """Build the plan of a plain `-m`: swept keys are the factors of a grid."""
    # Before arms are compared: a choice that is undone would make two of them equal.
    combinations = [(" ".join(levels), levels) for levels in itertools.product(*factors.values())]
    refuse(contradiction_errors(fixed, composer) + shadow_errors(fixed, combinations, composer))
    arms = sweep_arms(fixed, factors, composer)
    refuse_configured_study(arms[0].config)
    names = factor_names(factors)
    labels = {names[key]: [override_value(level) for level in levels] for key, levels in factors.items()}
    return make_plan(sweep_name(overrides), "grid", fixed, arms, seeds or [arms[0].config.seed], labels)


def study_plan(
    study: StudyConfig, fixed: list[str], factors: dict[str, list[str]], seeds: list[int] | None, composer: Composer
) -> Plan:
    """Build the plan of a study file; other overrides act on all arms, swept ones multiply the study."""
    ours = {override_key(o) for o in fixed} | set(factors)
    base = [o for o in study.baseline if override_key(o) not in ours] + fixed
    levels, schedule = checked_factors(study, base, ours, seeds, composer)
    seeds = schedule.seeds
    specs = arm_specs(study, levels)
    versions = [list(version) for version in itertools.product(*factors.values())]
    refuse(size_errors(f"study={study.name}", len(specs) * len(versions), len(seeds)))
    if study.design != "path":  # there a later step may well change what an earlier one has set
        refuse(duplicate_key_errors(specs))
    written = written_levels(study, levels)
    written += [(f"arm {arm_label(spec)}", spec.overrides) for spec in specs if len(spec.levels) > 1]
    arms: list[Arm] = []
    notes: list[str] = []
    full: Config | None = None
    for version in versions:
        # Before arms are compared: a level that is undone would look like the baseline's own.
        refuse(shadow_errors(base + version, written, composer))
        found, remarks = study_arms(base + version, study, levels, specs, composer)
        full = full or found[0].config
        found = scaled_arms(base + version, found, study, composer) if study.scale else found
        arms += [dataclasses.replace(arm, overrides=version + arm.overrides) for arm in found]
        notes += [note for note in remarks if note not in notes]
    names = swept_names(factors, study, arms)
    if len(versions) > 1:
        arms = multiplied(arms, {key: names[key] for key in factors})
    labels = {name: [arm.levels[name] for arm in arms if name in arm.levels] for name in study.factors}
    labels = {name: list(dict.fromkeys(found)) for name, found in labels.items()}
    labels |= {names[key]: [override_value(level) for level in swept] for key, swept in factors.items()}
    plan = make_plan(study.name, study.design, base, arms, seeds, labels)
    plan.notes = notes + study_notes(study, plan)
    plan.rope, plan.error, plan.interactions = study.rope, study.error, plain(study.interactions)
    plan.looks, plan.spending = schedule.looks, schedule.spending
    plan.published, plan.claims = named_values(plain(study.published), plan), plain(study.claims)
    full_seeds = study_schedule(dataclasses.replace(study, scale={}), None).seeds
    plan.scale = scale_notes(study, full, len(full_seeds), len(seeds)) if full else {}
    plan.notes += [scale_sentence(plan.scale)] if plan.scale else []
    refuse(claims_errors(plan.claims, plan.arms, plan.cells[0].config, plan.design, plan.interactions))
    refuse(unmeasured_errors(plan.claims, {arm.name: vars(arm.config.recipe) for arm in arms}))
    plan.claims_hash = claims_hash(plan.claims, *(getattr(plan, name) for name in DECLARED))
    if study.tune:
        search = parse_search(plain(study.tune))
        refuse(search_errors(search, plan, ours & {override_key(o) for o in fixed}))
        plan.tune = search.to_values()
    plan.plan_hash = plan_hash(plan)
    return plan


def checked_factors(
    study: StudyConfig, base: list[str], ours: set[str], seeds: list[int] | None, composer: Composer
) -> tuple[Factors, Schedule]:
    """Return the factors, seeds and looks of a study, checked.

    Args:
        study: the file's content.
        base: overrides of all arms.
        ours: keys that the command line sets.
        seeds: those of the command line, if any.
        composer: composes and types.

    Raises:
        ConfigError: with the errors of names, numbers, claims, seeds, factors and single levels, all together.
    """
    errors = study_errors(study) + undone_errors(study.scale, ours)
    levels: Factors = {}
    schedule: Schedule | None = None
    try:
        schedule = study_schedule(study, seeds)
        errors += placebo_seed_errors(schedule.seeds) if study.placebo else []
    except ConfigError as error:
        errors += error.errors
    try:
        levels = parse_factors(study)
        errors += level_errors(written_levels(study, levels), ours)
        errors += design_size_errors(study, levels)
    except ConfigError as error:
        errors += error.errors
    if errors:  # add those of single levels
        alone = [base, *([*base, *level.overrides] for found in levels.values() for level in found[:MAX_ALONE])]
        try:
            compose_all(alone, composer)
        except ConfigError as error:
            errors += error.errors
    refuse(errors)
    assert schedule is not None
    return levels, schedule


def study_notes(study: StudyConfig, plan: Plan) -> list[str]:
    """Return notes: what a fraction confounds, and published values that belong to no arm."""
    notes = []
    if study.design == "fraction":
        names = list(study.factors)
        notes += [f"cannot be told apart: {row}" for row in aliases(len(names), study.resolution, names)]
    known = {row["arm"] for row in plan.arms}
    absent = [arm for arm in named_values(study.published, plan) if arm not in known]
    return notes + [f"study.published names {arm}, which is not an arm" for arm in absent]


def named_values(values: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Return values by arm as a study file names arms, by the plan's names; others keep theirs."""
    levels = plan_levels(plan.arms, written_settings(plan.cells[0].config))
    names = earlier_names(plan.arms)
    return {find_arm(str(arm), levels, names) or arm: value for arm, value in values.items()}


def freeze_plan(directory: Path, plan: Plan) -> Plan:
    """Write plan.json, merged with an earlier plan there or with a new sweep_id, and return it.

    Raises:
        RecordError: the earlier plan has another baseline.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with exclusive_access(directory):  # two starts at once must not lose each other's cells
        remove_temporaries(directory)
        earlier = read_plan(directory)
        first = dataclasses.replace(plan, sweep_id=secrets.token_hex(8))
        merged = first if earlier is None else extend_plan(earlier, plan, directory)
        if merged != earlier:
            write_plan(directory, merged)
        if earlier is not None and earlier.dropped:
            bring_back(directory, merged)
    return merged


def refuse_unstated_rules(plan: Plan, directory: Path) -> None:
    """Refuse saturation claims without a rule, unless the plan in `directory` has them.

    Raises:
        ConfigError: with a message for each of them.
    """
    if unstated_rule_errors(plan.claims, []):
        earlier = read_plan(directory)
        refuse(unstated_rule_errors(plan.claims, earlier.claims if earlier else []))


def arm_label(spec: ArmSpec) -> str:
    """Return the label of an arm that has no name yet: `a=p8+b=16`."""
    return "+".join(f"{factor}={level}" for factor, level in spec.levels.items())


def refuse(errors: list[str]) -> None:
    """Raise ConfigError if there are errors.

    Raises:
        ConfigError: with all of them, each once.
    """
    if errors:
        raise ConfigError(list(dict.fromkeys(errors)))


def multiplied(arms: list[Arm], names: dict[str, str]) -> list[Arm]:
    """Merge the arms of all versions of a study, named against the first version's baseline.

    Args:
        names: swept key -> name of its factor.
    """
    placebos = [arm for arm in arms if arm.role == "placebo"][:1]
    others = [arm for arm in arms if arm.role != "placebo"]
    swept = [{names[override_key(o)]: o for o in arm.overrides if override_key(o) in names} for arm in others]
    specs = [
        ArmSpec(
            levels=arm.levels | level_names(own.values(), names),
            overrides=tuple(arm.overrides),
            parts=arm.parts | {factor: (override,) for factor, override in own.items()},
            swept=frozenset(own),
        )
        for arm, own in zip(others, swept, strict=True)
    ]
    refuse_equal_arms(specs, [arm.config for arm in others])
    return named_arms(specs, [arm.config for arm in others]) + placebos


def swept_names(factors: dict[str, list[str]], study: StudyConfig, arms: list[Arm]) -> dict[str, str]:
    """Return key -> name of its factor, for the keys that the command line sweeps and that the study's levels set.

    A swept key whose last word is a factor of the study keeps its whole name.
    """
    own = factor_names([*factors, *(override_key(o) for arm in arms for o in arm.overrides)])
    return own | {key: key for key in factors if own[key] in study.factors}


def shadow_errors(base: list[str], levels: list[tuple[str, tuple[str, ...]]], composer: Composer) -> list[str]:
    """Return a message for every group choice that a value undoes; in Hydra a value beats a group in any order.

    Args:
        base: overrides of all arms.
        levels: name and overrides of each level.
    """
    errors = []
    for name, own in levels:
        values = {override_key(o): o for o in (*base, *own) if not composer.is_group(o)}
        for choice in (o for o in own if composer.is_group(o)):
            for key, wanted in composer.option_values(choice).items():
                value = values.get(key)
                if value is not None and composer.parse(value).value() != wanted:
                    sets = f"sets {key}={yaml_text(wanted)}"
                    errors.append(f"`{choice}` of {name}  {sets}, but `{value}` beats it; drop one of them")
    return errors


def plain(values: Any) -> Any:
    """Convert OmegaConf containers to lists and dictionaries."""
    return OmegaConf.to_container(values, resolve=True) if OmegaConf.is_config(values) else values


def plan_and_directory(
    overrides: list[str], loader: ConfigLoader, config_name: str, keep: bool = True
) -> tuple[Plan, Path]:
    """Build the plan of these overrides; return it with the sweep's directory.

    Args:
        keep: whether images that must be read are cached.
    """
    hydras = [override for override in overrides if re.split(r"[./]", override_key(override))[0] == "hydra"]

    @cache
    def composed() -> DictConfig:
        return loader.load_configuration(config_name, overrides, run_mode=RunMode.MULTIRUN)

    def directory() -> Path:
        return Path(OmegaConf.select(composed(), "hydra.sweep.dir")).absolute()

    composer = Composer(loader, config_name, hydras, FingerprintFiller(directory, keep))
    composer.parse_all(overrides)
    refuse_params(composed())
    plan = build_plan([o for o in overrides if o not in hydras], composer)
    refuse_unstated_rules(plan, directory())
    return with_known_names(plan, read_plan(directory())), directory()
