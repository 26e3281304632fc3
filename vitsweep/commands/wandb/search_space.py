"""Search space of a W&B sweep: Hydra's ranges as W&B's parameters, and a point of the space as an arm.

Ranges have the syntax of Hydra's sweepers: `interval(0,0.3)`, `tag(log,interval(1e-4,1e-2))`, `range(2,9)`, `4,8`. Each
bound is composed once, so that an invalid range raises before the sweep starts.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.types import RunMode
from omegaconf import OmegaConf

from vitsweep.config.composer import Composer
from vitsweep.config.convert import config_hash
from vitsweep.config.overrides import affects_result, factor_names, is_study_override, level_names, override_key
from vitsweep.errors import ConfigError
from vitsweep.study.arms import compose_all, named_arms
from vitsweep.study.design import ArmSpec
from vitsweep.study.plan import Cell, Plan, make_plan

PLAIN_TEXT = re.compile(r"[A-Za-z][\w./-]*")
NOT_TEXT = (
    "null",
    "none",
    "true",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "nan",
    "inf",
)  # YAML or Hydra parses these to other types
ETA, BRACKETS = 3, 2  # eta of Hyperband (Li et al. 2018, section 2.6); two decisions before the last epoch


def build_search_space(overrides: list[str], composer: Composer, method: str) -> tuple[dict[str, Any], list[str]]:
    """Return W&B's parameters for the swept overrides, and the overrides that all runs share.

    Raises:
        ConfigError: no range; or a swept study, group, repeated key, key that does not affect the result; or an
            invalid bound.
    """
    swept, fixed = split_overrides(overrides, composer)
    keys = [override_key(o) for o in swept]
    errors = [f"{o}  is a study, which has its own arms; use --method=grid" for o in overrides if is_study_override(o)]
    errors += [
        f"{o}  chooses from a group, which W&B cannot sweep; sweep its values, e.g. model.patch_size=4,8"
        for o in swept
        if is_group(o)
    ]
    errors += [f"{o}  does not affect the result; give it one value" for o in swept if not affects_result(o)]
    errors += [f"{key}=...  is given twice; drop one" for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if not [key for key in keys if key != "seed"]:
        errors.append(f"--method={method}  needs a range to search: recipe.lr='tag(log,interval(1e-4,1e-2))'")
    if errors:
        raise ConfigError(errors)
    space = {}
    for override in swept:
        space[override_key(override)], ends = to_parameter(composer.parse(override))
        compose_all([[*fixed, f"{override_key(override)}={end}"] for end in ends], composer)
    return space, fixed


def split_overrides(overrides: list[str], composer: Composer) -> tuple[list[str], list[str]]:
    """Split overrides into swept and fixed ones; drop those of Hydra itself and of the study."""
    ours = [o for o in overrides if not override_key(o).startswith("hydra")]
    swept = [o for o in ours if composer.parse(o).is_sweep_override()]
    return swept, [o for o in ours if o not in swept and not is_study_override(o)]


def is_group(override: str) -> bool:
    """Return True if an override's key is a config group rather than a dotted value."""
    return "/" in override_key(override) or override_key(override) in ("model", "data", "recipe", "tracker")


def to_parameter(override: Override) -> tuple[dict[str, Any], list[Any]]:
    """Return one range as a W&B parameter, and the values with which to validate it.

    Raises:
        ConfigError: W&B cannot express the range or its values.
    """
    sweep = override._value
    if isinstance(sweep, IntervalSweep):
        return to_interval(override, sweep)
    if isinstance(sweep, RangeSweep) and sweep.step == 1 and isinstance(sweep.start, int) and sweep.stop is not None:
        low, high = sweep.start, int(sweep.stop) - 1
        return {"distribution": "int_uniform", "min": low, "max": high}, [low, high]
    texts = list(override.sweep_string_iterator())
    values = [parse_element(text) for text in texts]
    if not all(is_plain(value) for value in values):
        raise ConfigError([f"{override.input_line}  has values that W&B cannot pass on; use numbers and plain words"])
    return {"values": [to_yaml_value(value) for value in values]}, texts


def parse_element(text: str) -> Any:
    """Return a listed value as Hydra parses it."""
    value = yaml.safe_load(text)
    try:
        return float(value) if isinstance(value, str) else value  # YAML 1.1 parses 1e-3 as text
    except ValueError:
        return value


def is_plain(value: Any) -> bool:
    """Return True if Hydra parses str(value), which W&B writes into the command line, to the same value."""
    if isinstance(value, str):
        return bool(PLAIN_TEXT.fullmatch(value)) and value.lower() not in NOT_TEXT
    return value is None or isinstance(value, bool | int | float)


def to_yaml_value(value: Any) -> Any:
    """Return a value for the sweep file; null becomes the text "null", since an agent would pass it as None."""
    return "null" if value is None else value


def to_interval(override: Override, sweep: IntervalSweep) -> tuple[dict[str, Any], list[Any]]:
    """Return a continuous range as a W&B parameter, and its bounds.

    Raises:
        ConfigError: the range is empty, or logarithmic with a bound that is not positive.
    """
    low, high, is_log = sweep.start, sweep.end, "log" in sweep.tags
    if low is None or high is None or not low < high or (is_log and low <= 0):
        raise ConfigError(
            [f"{override.input_line}  must go from a smaller to a larger number, for log above 0; fix the bounds"]
        )
    kind = "log_uniform_values" if is_log else "uniform"
    if isinstance(low, int) and isinstance(high, int) and not is_log:
        kind = "int_uniform"
    return {"distribution": kind, "min": low, "max": high}, [low, high]


def stopping_rule(space: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Return Hyperband's stopping rule for runs of `epochs`, or an empty dictionary if they are too short to stop."""
    swept = space.get("recipe.epochs", {})
    longest = max([epochs] if not swept else swept.get("values", [swept.get("max")]))
    if longest < ETA**BRACKETS:
        return {}
    return {"early_terminate": {"type": "hyperband", "s": BRACKETS, "eta": ETA, "max_iter": longest}}


def point_plan(name: str, fixed: list[str], point: list[str], seed: int, composer: Composer) -> Plan:
    """Return the plan of the baseline and one point of the search space; a point equal to the baseline adds no arm.

    Args:
        name: name of the study.
        fixed: overrides that all runs share.
        point: overrides that W&B chose, without the seed.
        seed: the replicate.
    """
    deciding = [override for override in point if affects_result(override)]
    names = factor_names(map(override_key, deciding))
    levels = level_names(deciding, names)
    parts: dict[str, tuple[str, ...]] = {names[override_key(override)]: (override,) for override in deciding}
    specs = [ArmSpec(levels={}, overrides=()), ArmSpec(levels=levels, overrides=tuple(point), parts=parts)]
    configs = compose_all([[*fixed, *spec.overrides] for spec in specs], composer)
    if config_hash(configs[0]) == config_hash(configs[1]):
        specs, configs = specs[:1], configs[:1]
    factors = {factor: [level] for factor, level in levels.items()}
    return make_plan(name, "list", fixed, named_arms(specs, configs), [seed], factors)


CELL_KEY = "+study_cell"


def compose_sweep_directory(options: Any, composer: Composer) -> Path:
    """Return the directory of a sweep with these overrides."""
    composed = composer.loader.load_configuration(options.config_name, options.overrides, run_mode=RunMode.MULTIRUN)
    return Path(OmegaConf.select(composed, "hydra.sweep.dir")).absolute()


def encode_cell_id(cell: Cell) -> str:
    """Return a cell's id as a value that Hydra can parse; slugs have no colon, so decode_cell_id inverts it."""
    return cell.id.replace("=", ":")


def decode_cell_id(text: str) -> str:
    """Return the id that encode_cell_id encoded."""
    return text.replace(":", "=")
