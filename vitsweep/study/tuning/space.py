"""Search of a study file's `tune`: its parameters with their ranges, its budget, and the rules that they keep.

    tune:
      parameters:
        recipe.lr: [1.0e-4, 1.0e-2]                               # a range, searched on a logarithmic scale
        recipe.weight_decay: {low: 0, high: 0.1, scale: linear}
        recipe.label_smoothing: {values: [0, 0.05, 0.1]}
      trials: 8                # settings tried for each arm, the baseline's own among them
      seeds: 1                 # runs of each setting: a number, or a list of seeds that the study does not use
      sampler: tpe             # tpe, random or grid
      sampler_seed: 0
      metric: val/accuracy     # or val/loss, at the last epoch

Every arm has the same space, the same budget and, apart from what tpe adapts, the same settings.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitsweep.config.convert import describe_type
from vitsweep.config.overrides import yaml_text
from vitsweep.config.suggestions import unknown_key
from vitsweep.errors import ConfigError
from vitsweep.study.design import is_integer, study_seeds

KEYS = ("parameters", "trials", "seeds", "sampler", "sampler_seed", "metric")
SAMPLERS = ("grid", "random", "tpe")
SCALES = ("linear", "log")
METRICS = ("val/accuracy", "val/loss")
FIRST_SEED = 1_000_000_000
"""First seed of a search that states a number of seeds; far from those that people choose, and from placebos'."""
MAX_TRIALS = 1000
EDGE = 0.1
"""Share of a range, at each end, in which a best value counts as lying at the edge."""
DIGITS = 4
"""Significant digits of a value that is drawn from a range."""

Setting = dict[str, int | float]


@dataclass(kw_only=True, frozen=True)
class Parameter:
    """One tuned field with its range or its values."""

    key: str
    low: float = 0.0
    high: float = 0.0
    scale: str = "log"
    values: tuple[int | float, ...] = ()
    """Values to choose from, instead of a range."""
    is_integer: bool = False

    def rounded(self, value: float) -> int | float:
        """Return a drawn value as it is used: an integer, or with DIGITS significant digits inside the range."""
        if self.values:
            return value
        return round(value) if self.is_integer else min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def contains(self, value: Any) -> bool:
        """Return whether a value lies in the range or among the values."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return value in self.values if self.values else is_number and self.low <= value <= self.high

    def position(self, value: float) -> float:
        """Return the place of a value in the range on its scale: 0 at the low end, 1 at the high one."""
        if self.values:
            return sorted(self.values).index(value) / (len(self.values) - 1)
        low, high, here = self.low, self.high, value
        if self.scale == "log":
            low, high, here = math.log(low), math.log(high), math.log(here)
        return (here - low) / (high - low)

    def edge(self, value: float) -> str:
        """Return `low` or `high` if a value lies at that edge, else an empty string."""
        place = self.position(value)
        return "low" if place <= EDGE else "high" if place >= 1 - EDGE else ""

    def points(self, number: int) -> list[int | float]:
        """Return `number` values that divide the range evenly on its scale, or all values."""
        if self.values:
            return list(self.values)
        import numpy as np  # late: status needs none

        space = np.geomspace if self.scale == "log" else np.linspace
        return [self.rounded(float(value)) for value in space(self.low, self.high, number)]

    def to_value(self) -> dict[str, Any]:
        """Return the parameter as a study file may write it."""
        if self.values:
            return {"values": list(self.values)}
        return {"low": self.low, "high": self.high, "scale": self.scale}


@dataclass(kw_only=True, frozen=True)
class Search:
    """The search that every arm gets."""

    parameters: tuple[Parameter, ...]
    trials: int
    seeds: tuple[int, ...]
    sampler: str
    sampler_seed: int
    metric: str

    @property
    def is_maximized(self) -> bool:
        """Return whether a larger value of the metric is better."""
        return self.metric.endswith("accuracy")

    def contains(self, setting: Mapping[str, Any]) -> bool:
        """Return whether a setting lies in the space."""
        return all(parameter.contains(setting.get(parameter.key)) for parameter in self.parameters)

    def to_values(self) -> dict[str, Any]:
        """Return the search as plan.json keeps it; parse_search reads it."""
        return {
            "parameters": {parameter.key: parameter.to_value() for parameter in self.parameters},
            "trials": self.trials,
            "seeds": list(self.seeds),
            "sampler": self.sampler,
            "sampler_seed": self.sampler_seed,
            "metric": self.metric,
        }


def parse_search(tune: Mapping[str, Any]) -> Search:
    """Parse the `tune` of a study file or a plan.

    Raises:
        ConfigError: everything that is wrong with it by itself.
    """
    errors = [f"study.tune.{key}  is unknown; allowed: {', '.join(KEYS)}" for key in tune if key not in KEYS]
    written = tune.get("parameters")
    if not isinstance(written, Mapping) or not written:
        errors.append(
            f"study.tune.parameters={yaml_text(written)}  must be a mapping such as {{recipe.lr: [1e-4, 1e-2]}}"
        )
        written = {}
    parameters = []
    for key, value in written.items():
        try:
            parameters.append(_parse_parameter(str(key), value))
        except ConfigError as error:
            errors += error.errors
    trials, sampler_seed = tune.get("trials", 8), tune.get("sampler_seed", 0)
    if not is_integer(trials) or not 2 <= trials <= MAX_TRIALS:
        errors.append(f"study.tune.trials={yaml_text(trials)}  must be an integer in 2 .. {MAX_TRIALS}")
    if not is_integer(sampler_seed) or not 0 <= sampler_seed < 2**31:
        errors.append(f"study.tune.sampler_seed={yaml_text(sampler_seed)}  must be an integer in 0 .. 2**31 - 1")
    for name, allowed in (("sampler", SAMPLERS), ("metric", METRICS)):
        if name in tune and tune[name] not in allowed:
            errors.append(f"study.tune.{name}={yaml_text(tune[name])}  is unknown; allowed: {', '.join(allowed)}")
    seeds = _parse_seeds(tune.get("seeds", 1), errors)
    if errors:
        raise ConfigError(errors)
    search = Search(
        parameters=tuple(parameters),
        trials=trials,
        seeds=seeds,
        sampler=tune.get("sampler", "tpe"),
        sampler_seed=sampler_seed,
        metric=tune.get("metric", METRICS[0]),
    )
    grid_shape(search)
    return search


def search_form_errors(tune: Mapping[str, Any]) -> list[str]:
    """Return a message for everything that is wrong with a study file's `tune` by itself; {} is no search."""
    try:
        if tune:
            parse_search(tune)
    except ConfigError as error:
        return error.errors
    return []


def _parse_seeds(value: Any, errors: list[str]) -> tuple[int, ...]:
    """Return the seeds of the search: a list unchanged, a count n as the first n from FIRST_SEED on."""
    try:
        seeds = study_seeds(value)
    except ConfigError as error:
        errors += [message.replace("study.seeds", "study.tune.seeds") for message in error.errors]
        return ()
    return tuple(FIRST_SEED + seed for seed in seeds) if is_integer(value) else tuple(seeds)


def _parse_parameter(key: str, value: Any) -> Parameter:
    where = f"study.tune.parameters.{key}"
    kind = describe_type(key)
    if not kind:
        raise ConfigError([f"{where}: {unknown_key(key)}"])
    if not kind.startswith(("an integer", "a number")):
        raise ConfigError([f"{where}  is {kind}, not a number; make it a factor instead"])
    if key == "recipe.epochs" or not (key.startswith("recipe.") or key.endswith("dropout_prob")):
        rule = "is no nuisance parameter; allowed: numbers of recipe except epochs, and dropout rates of model"
        raise ConfigError([f"{where}  {rule}"])
    is_whole = kind.startswith("an integer")
    if isinstance(value, Mapping) and set(value) == {"values"}:
        return Parameter(key=key, values=_parse_values(where, value["values"], is_whole), is_integer=is_whole)
    if isinstance(value, Mapping) and {"low", "high"} <= set(value) <= {"low", "high", "scale"}:
        low, high, scale = value["low"], value["high"], value.get("scale", "log")
    elif isinstance(value, list) and len(value) <= 2 and value:
        low, high, scale = value[0], value[-1], "log"
    else:
        form = "must be [low, high], {low: ..., high: ..., scale: linear} or {values: [...]}"
        raise ConfigError([f"{where}={yaml_text(value)}  {form}"])
    _check_range(f"{where}={yaml_text(value)}", low, high, scale, is_whole)
    number = int if is_whole else float
    return Parameter(key=key, low=number(low), high=number(high), scale=scale, is_integer=is_whole)


def _parse_values(where: str, values: Any, is_whole: bool) -> tuple[int | float, ...]:
    if not isinstance(values, list) or not all(_is_number(value, is_whole) for value in values):
        raise ConfigError([f"{where}={yaml_text(values)}  must be a list of {_numbers(is_whole)}"])
    if len(set(values)) < max(2, len(values)):
        raise ConfigError([f"{where}={yaml_text(values)}  must be two or more different values"])
    return tuple(values if is_whole else map(float, values))


def _check_range(shown: str, low: Any, high: Any, scale: Any, is_whole: bool) -> None:
    """Raise ConfigError if a range has no two ends in order, or none on a logarithmic scale."""
    if scale not in SCALES:
        raise ConfigError([f"{shown}  has scale={yaml_text(scale)}; allowed: {', '.join(SCALES)}"])
    if not _is_number(low, is_whole) or not _is_number(high, is_whole):
        raise ConfigError([f"{shown}  must have two {_numbers(is_whole)} as its ends"])
    if low == high:
        raise ConfigError([f"{shown}  is a range with one value; widen it, or set the value in study.baseline"])
    if low > high:
        raise ConfigError([f"{shown}  is reversed; write the lower end first"])
    if scale == "log" and low <= 0:
        raise ConfigError(
            [f"{shown}  is searched on a log scale, so it must start above 0; use {{low, high, scale: linear}}"]
        )


def _is_number(value: Any, is_whole: bool) -> bool:
    return is_integer(value) if is_whole else is_integer(value) or isinstance(value, float) and math.isfinite(value)


def _numbers(is_whole: bool) -> str:
    return "integers" if is_whole else "finite numbers"


def grid_shape(search: Search) -> list[int]:
    """Return the number of points of each parameter on a grid; [] for another sampler.

    Raises:
        ConfigError: `trials` is not the number of points of any grid.
    """
    if search.sampler != "grid":
        return []
    fixed = math.prod(len(parameter.values) for parameter in search.parameters if parameter.values)
    ranges = sum(not parameter.values for parameter in search.parameters)
    each = max(2, round((search.trials / fixed) ** (1 / ranges))) if ranges else 1
    found = [len(parameter.values) or each for parameter in search.parameters]
    if math.prod(found) != search.trials:
        sizes = sorted({fixed * max(2, n) ** ranges for n in (each - 1, each, each + 1)}) if ranges else [fixed]
        raise ConfigError(
            [
                f"study.tune.trials={search.trials}  is no full grid of {len(found)} "
                f"parameter{'s' * (len(found) > 1)}; allowed near it: {', '.join(map(str, sizes))}"
            ]
        )
    return found
