"""Study designs: combine the levels of factors to arms. Nothing is composed or read here.

A study file (conf/study/*.yaml) names a baseline, factors with levels, and a design. A level is one Hydra override or a
list of them; every factor also has the level that the baseline gives it, which need not be written.
"""

import itertools
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vitsweep.config.overrides import yaml_text
from vitsweep.config.schema import DEFAULT_SEEDS, FACTORIAL, SPENDINGS, StudyConfig
from vitsweep.errors import ConfigError

NUM_SEEDS = 2**32  # seeds are smaller than this
MAX_SEEDS = 10_000  # replicates of one study
MAX_LOOK = 100  # replicates of a study with looks


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
    """Name that the study gives (design=list); empty: made from the levels."""
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Factor -> overrides of its level."""
    swept: frozenset[str] = frozenset()
    """Factors that are named after a swept key, not by a study file."""


Factors = dict[str, list[Level]]
Combination = tuple[tuple[str, Level], ...]


def parse_factors(study: StudyConfig) -> Factors:
    """Parse the levels of a study's factors; each arm of design=list is a factor of one level.

    Raises:
        ConfigError: an unknown design, an empty factor, a level that is no override, two levels with one label.
    """
    if study.design not in DESIGNS:
        raise ConfigError([f"study.design={study.design}  is unknown; allowed: {', '.join(sorted(DESIGNS))}"])
    if study.design == "list":
        return _parse_arms(study)
    errors, factors = [], {}
    for name, values in study.factors.items():
        key = f"study.factors.{name}"
        if not isinstance(values, list) or not values:
            errors.append(f"{key}={values}  must be a list of at least one level")
            continue
        levels = [_parse_level(value) for value in values]
        if bad := [value for value, level in zip(values, levels, strict=True) if level is None]:
            errors.append(f"{key}={bad}  must be overrides such as model.bias=false, or lists of them")
            continue
        factors[name] = [level for level in levels if level]
        if len({level.label for level in factors[name]}) < len(levels):
            errors.append(f"{key}={values}  has two levels that read the same; keep one of them")
    if errors:
        raise ConfigError(errors)
    return factors


def _parse_arms(study: StudyConfig) -> Factors:
    if not study.arms:
        raise ConfigError(["study.arms={}  is empty; design=list needs arms: {name: [override, ...]}"])
    levels = {name: _parse_level(value) for name, value in study.arms.items()}
    errors = [f"study.arms.{name}={study.arms[name]}  must be overrides" for name, lv in levels.items() if lv is None]
    if errors:
        raise ConfigError(errors)
    return {name: [level] for name, level in levels.items() if level}


def _parse_level(value: Any) -> Level | None:
    """Parse `model.bias=false` or `[model.patch_size=8, recipe.lr=2e-3]`; None if the value is neither."""
    overrides = value if isinstance(value, list) else [value]
    if not overrides or not all(isinstance(o, str) and "=" in o for o in overrides):
        return None
    label = "+".join(override.partition("=")[2] for override in overrides)
    return Level(label=label, overrides=tuple(overrides))


def arm_specs(study: StudyConfig, factors: Factors) -> list[ArmSpec]:
    """Combine the factors to arms as the design does, baseline first.

    Args:
        study: names the design.
        factors: `parse_factors(study)`.

    Raises:
        ConfigError: the design does not fit the factors.
    """
    if not factors:
        raise ConfigError([f"study.factors={{}}  is empty; design={study.design} needs at least one factor"])
    combinations = DESIGNS[study.design](factors, study)
    specs = [
        ArmSpec(
            levels={factor: level.label for factor, level in combination},
            parts={factor: level.overrides for factor, level in combination},
            overrides=tuple(override for _, level in combination for override in level.overrides),
        )
        for combination in dict.fromkeys(combinations)
    ]
    if study.design == "list":
        named = zip(factors, specs[1:], strict=True)
        return [specs[0], *(ArmSpec(levels={"arm": n}, overrides=spec.overrides, name=n) for n, spec in named)]
    return specs


def ofat(factors: Factors, study: StudyConfig) -> list[Combination]:
    """Combine one factor at a time: the baseline, then each level alone."""
    return [(), *(((name, level),) for name, levels in factors.items() for level in levels)]


def loco(factors: Factors, study: StudyConfig) -> list[Combination]:
    """Leave one component out: the baseline, each component removed alone, and all of them removed.

    Raises:
        ConfigError: a factor has several levels; a component is removed in one way only.
    """
    return [*ofat(factors, study), _only_levels(factors, "loco")]


def grid(factors: Factors, study: StudyConfig) -> list[Combination]:
    """Combine every level with every other, the baseline's included."""
    choices = [[None, *((name, level) for level in levels)] for name, levels in factors.items()]
    return [tuple(c for c in combination if c is not None) for combination in itertools.product(*choices)]


def pairs(factors: Factors, study: StudyConfig) -> list[Combination]:
    """Combine the baseline, each level alone, and each two levels of different factors.

    Raises:
        ConfigError: there is only one factor.
    """
    if len(factors) < 2:
        raise ConfigError(["study.design=pairs  needs at least 2 factors; use design=ofat for one"])
    both: list[Combination] = []
    for (first, levels), (second, others) in itertools.combinations(factors.items(), 2):
        both += [((first, a), (second, b)) for a in levels for b in others]
    return [*ofat(factors, study), *both]


def path(factors: Factors, study: StudyConfig) -> list[Combination]:
    """Walk from the baseline to the target, one change after another in the order of the factors.

    Raises:
        ConfigError: a factor has several levels.
    """
    steps = _only_levels(factors, "path")
    return [steps[:count] for count in range(len(steps) + 1)]


def fraction(factors: Factors, study: StudyConfig) -> list[Combination]:
    """Select a two-level fractional factorial of the wanted resolution (Box, Hunter & Hunter 2005, chapter 6).

    Raises:
        ConfigError: fewer than three factors, a factor with several levels, an impossible resolution.
    """
    steps = _only_levels(factors, "fraction")
    rows = fraction_rows(len(steps), study.resolution)
    return [tuple(step for step, is_changed in zip(steps, row, strict=True) if is_changed) for row in rows]


def fraction_rows(num_factors: int, resolution: int) -> list[list[bool]]:
    """Return the runs of a fraction, whether each factor is changed in it: the baseline first, then by changes.

    A textbook's design in signs need not contain the baseline. Turning the signs of columns keeps resolution and
    aliases (up to sign) and brings it in: then a factor is changed where an odd number of its generator's letters is.
    """
    columns = generators(num_factors, resolution)
    letters = [column for column in columns if len(column) == 1]
    rows = []
    for run in itertools.product((False, True), repeat=len(letters)):
        changed = dict(zip(letters, run, strict=True))
        rows.append([sum(changed[letter] for letter in column) % 2 == 1 for column in columns])
    return sorted(rows, key=sum)


def generators(num_factors: int, resolution: int) -> list[str]:
    """Return the columns of the smallest design of at least this resolution, e.g. ["a", "b", "c", "abc"].

    Raises:
        ConfigError: there is none, or the number of factors is not in 3 .. 10.
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
    """Return the length of the shortest word of the defining relation."""
    return min(len(word) for word in defining_words(columns))


def defining_words(columns: list[str]) -> list[frozenset[int]]:
    """Return the sets of columns, by index, whose product is constant."""
    relations = [
        frozenset([index]) | {columns.index(letter) for letter in column}
        for index, column in enumerate(columns)
        if len(column) > 1
    ]
    words = []
    for count in range(1, len(relations) + 1):
        for chosen in itertools.combinations(relations, count):
            word: frozenset[int] = frozenset()
            for relation in chosen:
                word = word ^ relation
            words.append(word)
    return words


def aliases(num_factors: int, resolution: int, names: list[str]) -> list[str]:
    """Return the main effects and pairs that a fraction cannot separate, as `a:b = c:d`; each set once."""
    words = defining_words(generators(num_factors, resolution))
    effects = [frozenset(e) for n in (1, 2) for e in itertools.combinations(range(num_factors), n)]
    sets: dict[frozenset[frozenset[int]], str] = {}
    for effect in effects:
        same = [other for other in effects if other == effect or (other ^ effect) in words]
        if len(same) > 1:
            sets.setdefault(frozenset(same), " = ".join(":".join(names[i] for i in sorted(e)) for e in same))
    return list(sets.values())


def _only_levels(factors: Factors, design: str) -> Combination:
    several = [name for name, levels in factors.items() if len(levels) > 1]
    if several:
        raise ConfigError(
            [f"study.factors.{name}  must have one level for design={design}; make it two factors" for name in several]
        )
    return tuple((name, levels[0]) for name, levels in factors.items())


DESIGNS: dict[str, Callable[[Factors, StudyConfig], list[Combination]]] = {
    "fraction": fraction,
    "grid": grid,
    "list": ofat,
    "loco": loco,
    "ofat": ofat,
    "pairs": pairs,
    "path": path,
}


@dataclass(kw_only=True, frozen=True)
class Schedule:
    """Seeds of a study, and the looks at them."""

    seeds: list[int]
    looks: list[int]
    """Numbers of seeds after which the study is judged; [] without looks."""
    spending: str
    """Division of the error over the looks; empty without looks."""


def study_schedule(study: StudyConfig, given: list[int] | None) -> Schedule:
    """Return the seeds and looks of a study file.

    Args:
        given: seeds of the command line, if any.

    Raises:
        ConfigError: seeds or looks that cannot be, a spending without looks, or a command line that changes the seeds
            of a study with looks.
    """
    looks, seeds = list(study.looks), study.seeds
    if given is None and "seeds" in study.scale:
        given = study_seeds(study.scale["seeds"])
    is_range = isinstance(seeds, Mapping)
    if is_range:
        looks = _range_looks(seeds, looks)
        seeds = looks[-1]
    elif seeds is None:
        seeds = looks[-1] if looks and is_integer(looks[-1]) else DEFAULT_SEEDS
    if not looks:
        if study.spending:
            rule = "divides the error over looks, and there are none; add study.looks or drop it"
            raise ConfigError([f"study.spending={study.spending}  {rule}"])
        return Schedule(seeds=given or study_seeds(seeds), looks=[], spending="")
    if study.design in FACTORIAL:
        rule = f"is not for design={study.design}, whose main effects are judged once; use ofat, loco or list"
        raise ConfigError([f"study.looks={looks}  {rule}"])
    found = study_seeds(seeds)
    if errors := look_errors(looks, found, study.spending, given):
        raise ConfigError(errors)
    return Schedule(seeds=found, looks=looks, spending=study.spending or ("obrien_fleming" if is_range else "constant"))


def _range_looks(seeds: Mapping[Any, Any], looks: list[int]) -> list[int]:
    """Return the looks of `{start: 3, max: 12}`: after each seed from the third on.

    Raises:
        ConfigError: other keys or values, or looks beside it.
    """
    text = f"{{{', '.join(f'{key}: {yaml_text(value)}' for key, value in seeds.items())}}}"
    if looks:
        raise ConfigError([f"study.looks={looks}  says again what study.seeds={text} says; drop one of them"])
    if set(seeds) != {"start", "max"} or not all(is_integer(value) for value in seeds.values()):
        raise ConfigError([f"study.seeds={text}  must have two integers, such as {{start: 3, max: 12}}"])
    start, last = seeds["start"], seeds["max"]
    if start < 2:
        raise ConfigError([f"study.seeds.start={start}  must be at least 2, since one seed shows no spread"])
    if start > last:
        raise ConfigError([f"study.seeds.start={start}  must be at most study.seeds.max={last}"])
    if last > MAX_LOOK:
        raise ConfigError([f"study.seeds.max={last}  must be at most {MAX_LOOK}"])
    return list(range(start, last + 1))


def look_errors(looks: list[int], seeds: list[int], spending: str, given: list[int] | None) -> list[str]:
    """Return a message for each rule that looks break, and for seeds of the command line beside them."""
    found = []
    if looks[0] < 2:
        found.append(f"study.looks={looks}  must start at 2 seeds or more, since one seed shows no spread")
    elif any(after <= before for before, after in itertools.pairwise(looks)):
        found.append(f"study.looks={looks}  must grow, such as [3, 5, 10]")
    elif looks[-1] > MAX_LOOK:
        found.append(f"study.looks={looks}  must end at {MAX_LOOK} seeds or fewer")
    elif looks[-1] != len(seeds):
        found.append(f"study.looks={looks}  must end at all {len(seeds)} seeds; set study.seeds={looks[-1]}")
    if spending and spending not in SPENDINGS:
        found.append(f"study.spending={spending}  is unknown; allowed: {', '.join(SPENDINGS)}")
    if given is not None and given != seeds:
        found.append(
            f"seed={','.join(map(str, given))}  would change the seeds that study.looks count; change the study file"
        )
    return found


def study_seeds(seeds: Any) -> list[int]:
    """Return the replicates: a list unchanged, a count n as 0 .. n - 1.

    Raises:
        ConfigError: no integers, none at all, or one twice.
    """
    if is_integer(seeds) and seeds > MAX_SEEDS:
        raise ConfigError([f"study.seeds={seeds}  must be at most {MAX_SEEDS}"])
    found = list(range(seeds)) if is_integer(seeds) else seeds
    if not isinstance(found, list) or not found or not all(is_integer(s) and 0 <= s < NUM_SEEDS for s in found):
        raise ConfigError(
            [f"study.seeds={yaml_text(seeds)}  must be a list of integers in 0 .. 2**32 - 1, or their number"]
        )
    if len(set(found)) < len(found):
        raise ConfigError([f"study.seeds={yaml_text(seeds)}  names a seed twice; each seed is one replicate"])
    return found


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)
