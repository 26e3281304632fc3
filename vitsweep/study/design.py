"""Study files and the designs that turn their factors into arms. Pure values: nothing is composed or read here.

A study file (conf/study/*.yaml) names a baseline, factors with levels, and a design. A level is one Hydra override or a
list of them; every factor also has the level that the baseline gives it, which need not be written.
"""

import itertools
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitsweep.config.overrides import yaml_text
from vitsweep.config.schema import StudyConfig
from vitsweep.errors import ConfigError

BASE = "base"  # the label of a factor's level in the baseline
NUM_SEEDS = 2**32  # seeds are smaller than this


@dataclass(kw_only=True, frozen=True)
class Level:
    """One setting of a factor."""

    label: str
    overrides: tuple[str, ...]


@dataclass(kw_only=True, frozen=True)
class ArmSpec:
    """An arm before it is composed."""

    levels: dict[str, str]
    """Factor -> label, of the factors that are not at the baseline's level."""
    overrides: tuple[str, ...]
    name: str = ""
    """Given by the study (design=list), else found from what differs."""


Factors = dict[str, list[Level]]


def arm_specs(study: StudyConfig, factors: Factors) -> list[ArmSpec]:
    """The arms of a study, baseline first, as its design combines the factors.

    Args:
        study: the file's content.
        factors: `factors_of(study)`, perhaps with fewer levels.

    Raises:
        ConfigError: the design does not fit the factors, or the file's values have the wrong form.
    """
    if study.design == "list":
        return [ArmSpec(levels={}, overrides=()), *parse_arms(study)]
    if not factors:
        raise ConfigError([f"study.factors={{}}  is empty; design={study.design} needs at least one factor"])
    combinations = DESIGNS[study.design](factors, study)
    return [make_spec(combination) for combination in dict.fromkeys(combinations)]


def make_spec(combination: tuple[tuple[str, Level], ...]) -> ArmSpec:
    """The arm in which these factors have these levels and all others the baseline's."""
    return ArmSpec(
        levels={factor: level.label for factor, level in combination},
        overrides=tuple(override for _, level in combination for override in level.overrides),
    )


def parse_factors(study: StudyConfig) -> Factors:
    """The study's factors with their levels read.

    Raises:
        ConfigError: an empty factor, a level that is no override, two levels with one label.
    """
    if study.design not in DESIGNS:
        raise ConfigError([f"study.design={study.design}  is unknown; allowed: {', '.join(sorted(DESIGNS))}"])
    faults, factors = [], {}
    for name, values in study.factors.items():
        key = f"study.factors.{name}"
        if not isinstance(values, list) or not values:
            faults.append(f"{key}={values}  must be a list of at least one level")
            continue
        levels = [parse_level(name, value) for value in values]
        bad = [value for value, level in zip(values, levels, strict=True) if level is None]
        if bad:
            faults.append(f"{key}={bad}  must be overrides such as model.bias=false, or lists of them")
            continue
        labels = [level.label for level in levels]
        if len(set(labels)) < len(labels):
            faults.append(f"{key}={values}  has two levels that read the same; keep one of them")
        factors[name] = levels
    if faults:
        raise ConfigError(faults)
    return factors


def parse_level(factor: str, value: Any) -> Level | None:
    """A level as written: `model.bias=false`, `[model.patch_size=8, recipe.lr=2e-3]`, or None if it is neither."""
    overrides = value if isinstance(value, list) else [value]
    if not overrides or not all(isinstance(o, str) and "=" in o for o in overrides):
        return None
    label = "+".join(override.partition("=")[2] for override in overrides)
    return Level(label=label, overrides=tuple(overrides))


def parse_arms(study: StudyConfig) -> list[ArmSpec]:
    """The arms that a design=list study writes out.

    Raises:
        ConfigError: there are none, or one is no override or list of overrides.
    """
    if not study.arms:
        raise ConfigError(["study.arms={}  is empty; design=list needs arms: {name: [override, ...]}"])
    levels = {name: parse_level(name, value) for name, value in study.arms.items()}
    faults = [f"study.arms.{name}={study.arms[name]}  must be overrides" for name, lv in levels.items() if lv is None]
    if faults:
        raise ConfigError(faults)
    return [ArmSpec(levels={"arm": name}, overrides=lv.overrides, name=name) for name, lv in levels.items() if lv]


def ofat(factors: Factors, study: StudyConfig) -> list[tuple]:
    """One factor at a time: the baseline, then each level alone."""
    return [(), *(((name, level),) for name, levels in factors.items() for level in levels)]


def loco(factors: Factors, study: StudyConfig) -> list[tuple]:
    """Leave one component out: the baseline, each component removed alone, and all of them removed.

    Raises:
        ConfigError: a factor with several levels, since a component is removed in one way only.
    """
    only_level(factors, "loco")
    everything = tuple((name, levels[0]) for name, levels in factors.items())
    return [*ofat(factors, study), everything]


def grid(factors: Factors, study: StudyConfig) -> list[tuple]:
    """Every combination of levels, the baseline's included."""
    choices = [[None, *((name, level) for level in levels)] for name, levels in factors.items()]
    return [tuple(c for c in combination if c is not None) for combination in itertools.product(*choices)]


def pairs(factors: Factors, study: StudyConfig) -> list[tuple]:
    """The baseline, each level alone, and each two levels of different factors together.

    Raises:
        ConfigError: there is only one factor.
    """
    if len(factors) < 2:
        raise ConfigError(["study.design=pairs  needs at least 2 factors; use design=ofat for one"])
    both = []
    for (first, levels), (second, others) in itertools.combinations(factors.items(), 2):
        both += [((first, a), (second, b)) for a in levels for b in others]
    return [*ofat(factors, study), *both]


def path(factors: Factors, study: StudyConfig) -> list[tuple]:
    """From the baseline to the target, one change after another in the order of the factors.

    Raises:
        ConfigError: a factor with several levels: a path has one way.
    """
    only_level(factors, "path")
    steps = [(name, levels[0]) for name, levels in factors.items()]
    return [tuple(steps[:count]) for count in range(len(steps) + 1)]


def fraction(factors: Factors, study: StudyConfig) -> list[tuple]:
    """A two-level fractional factorial of the wanted resolution (Box, Hunter & Hunter 2005, chapter 6; pyDOE3).

    Raises:
        ConfigError: fewer than three factors, a factor with several levels, a resolution that cannot be had.
    """
    only_level(factors, "fraction")
    signs = fraction_signs(len(factors), study.resolution)
    steps = [(name, levels[0]) for name, levels in factors.items()]
    return [tuple(step for step, sign in zip(steps, row, strict=True) if sign > 0) for row in signs]


def fraction_signs(num_factors: int, resolution: int) -> list[list[int]]:
    """Rows of -1 (baseline) and +1 (changed), the row of the baseline first.

    A two-level design need not contain the baseline's row; turning a column's signs keeps resolution and aliases (up to
    sign) and brings it in.
    """
    from pyDOE3 import fracfact

    signs = fracfact(" ".join(generators(num_factors, resolution)))
    rows = [[int(sign) for sign in row] for row in signs * -signs[0]]
    return sorted(rows, key=lambda row: sum(sign > 0 for sign in row))


def generators(num_factors: int, resolution: int) -> list[str]:
    """The columns of the smallest design of at least this resolution, e.g. ["a", "b", "c", "abc"].

    pyDOE3.fracfact_by_res refuses designs that exist (4 factors at resolution 4), so the generators are searched here.

    Raises:
        ConfigError: there is none, fewer than three factors, or more than a search can do.
    """
    if not 3 <= num_factors <= 10:
        raise ConfigError(
            [f"study.design=fraction  needs 3 to 10 factors, not {num_factors}; use design=grid or pairs"]
        )
    for num_base in range(2, num_factors):
        base = list(string.ascii_lowercase[:num_base])
        words = ["".join(w) for n in range(num_base, 1, -1) for w in itertools.combinations(base, n)]
        for chosen in itertools.combinations(words, num_factors - num_base):
            columns = base + list(chosen)
            if resolution_of(columns) >= resolution:
                return columns
    raise ConfigError(
        [f"study.resolution={resolution}  cannot be had with {num_factors} factors; allowed: 3 to {num_factors}"]
    )


def resolution_of(columns: list[str]) -> int:
    """The length of the shortest word of the defining relation: a product of columns that is constant."""
    return min(len(word) for word in defining_words(columns))


def defining_words(columns: list[str]) -> list[frozenset[int]]:
    """The sets of columns whose product is constant."""
    made = [column for column in columns if len(column) > 1]
    single = {frozenset([columns.index(column)]): set(column) for column in made}
    relations = [position | {columns.index(letter) for letter in letters} for position, letters in single.items()]
    words = []
    for count in range(1, len(relations) + 1):
        for chosen in itertools.combinations(relations, count):
            word: frozenset[int] = frozenset()
            for relation in chosen:
                word = word ^ relation
            words.append(word)
    return words


def aliases(num_factors: int, resolution: int, names: list[str]) -> list[str]:
    """Which main effects and pairs a fraction cannot tell apart, as `a:b = c:d`; each set once."""
    words = defining_words(generators(num_factors, resolution))
    effects = [frozenset(e) for n in (1, 2) for e in itertools.combinations(range(num_factors), n)]
    sets = {}
    for effect in effects:
        same = [other for other in effects if other == effect or (other ^ effect) in words]
        if len(same) > 1:
            sets.setdefault(frozenset(same), " = ".join(":".join(names[i] for i in sorted(e)) for e in same))
    return list(sets.values())


def only_level(factors: Factors, design: str) -> None:
    """Refuse factors with several levels.

    Raises:
        ConfigError: naming them.
    """
    several = [name for name, levels in factors.items() if len(levels) > 1]
    if several:
        raise ConfigError(
            [f"study.factors.{name}  must have one level for design={design}; make it two factors" for name in several]
        )


DESIGNS: dict[str, Callable[[Factors, StudyConfig], list[tuple]]] = {
    "fraction": fraction,
    "grid": grid,
    "list": ofat,  # never called: listed arms are read, not combined
    "loco": loco,
    "ofat": ofat,
    "pairs": pairs,
    "path": path,
}


def study_seeds(seeds: Any) -> list[int]:
    """The replicates: a list as it is, a count as 0, 1, 2, ...

    Raises:
        ConfigError: no integers, none at all, or one twice.
    """
    found = list(range(seeds)) if is_integer(seeds) else seeds
    if not isinstance(found, list) or not found or not all(is_integer(s) and 0 <= s < NUM_SEEDS for s in found):
        raise ConfigError(
            [f"study.seeds={yaml_text(seeds)}  must be a list of integers in 0 .. 2**32 - 1, or how many there are"]
        )
    if len(set(found)) < len(found):
        raise ConfigError([f"study.seeds={yaml_text(seeds)}  names a seed twice; each seed is one replicate"])
    return found


def is_integer(value: Any) -> bool:
    """Whether a value is a whole number; true and false, which Python counts among them, are not."""
    return isinstance(value, int) and not isinstance(value, bool)
