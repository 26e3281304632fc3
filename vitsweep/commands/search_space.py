"""Tuning: the ranges of a command line as W&B's search space, and the arm that a point of it is.

Ranges are written as Hydra's other tuners have them: `interval(0,0.3)`, `tag(log,interval(1e-4,1e-2))`, `range(2,9)`,
`4,8`. Each bound is composed once, so that a range which breaks a rule is refused before there is a sweep.
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
from vitsweep.config.overrides import affects_result, override_key, override_value, short_key
from vitsweep.errors import ConfigError
from vitsweep.study.arms import compose_all, named_arms
from vitsweep.study.design import ArmSpec
from vitsweep.study.plan import Cell, Plan, make_plan
from vitsweep.study.planner import is_study_override

PLAIN_TEXT = re.compile(r"[A-Za-z][\w./-]*")
NOT_TEXT = ("null", "none", "true", "false", "yes", "no", "on", "off", "nan", "inf")  # YAML or Hydra reads a value
ETA, BRACKETS = 3, 2  # Hyperband's own choice of eta (Li et al. 2018, section 2.6); two looks before the end


def build_search_space(overrides: list[str], composer: Composer, method: str) -> tuple[dict[str, Any], list[str]]:
    """W&B's parameters for the swept overrides, and the overrides that all runs share.

    Raises:
        ConfigError: nothing is swept, a group is, a key that changes nothing that is learned, or a bound breaks a rule.
    """
    swept, fixed = split_overrides(overrides, composer)
    keys = [override_key(o) for o in swept]
    faults = [f"{o}  is a study, whose arms are its own; use --method=grid" for o in overrides if is_study_override(o)]
    faults += [
        f"{o}  chooses from a group, which W&B cannot name safely; sweep its values" for o in swept if is_group(o)
    ]
    faults += [f"{o}  is no part of the experiment; give it one value" for o in swept if not affects_result(o)]
    faults += [f"{key}=...  is given twice; drop one" for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if not [key for key in keys if key != "seed"]:
        faults.append(f"--method={method}  needs a range to search: recipe.lr='tag(log,interval(1e-4,1e-2))'")
    if faults:
        raise ConfigError(faults)
    space = {}
    for override in swept:
        space[override_key(override)], ends = to_parameter(composer.parse(override))
        compose_all([[*fixed, f"{override_key(override)}={end}"] for end in ends], composer)
    return space, fixed


def split_overrides(overrides: list[str], composer: Composer) -> tuple[list[str], list[str]]:
    """Swept overrides and fixed ones, without those of Hydra itself."""
    ours = [o for o in overrides if not override_key(o).startswith("hydra")]
    swept = [o for o in ours if composer.parse(o).is_sweep_override()]
    return swept, [o for o in ours if o not in swept and not is_study_override(o)]


def is_group(override: str) -> bool:
    """Whether an override's key is a config group rather than a dotted value."""
    return "/" in override_key(override) or override_key(override) in ("model", "data", "recipe", "tracker")


def to_parameter(override: Override) -> tuple[dict[str, Any], list[Any]]:
    """One range as W&B has it, and the values to try it out with.

    Raises:
        ConfigError: a kind of range that W&B has not.
    """
    sweep = override._value
    if isinstance(sweep, IntervalSweep):
        return to_interval(override, sweep)
    if isinstance(sweep, RangeSweep) and isinstance(sweep.start, int) and sweep.step == 1:
        low, high = sweep.start, int(sweep.stop) - 1
        return {"distribution": "int_uniform", "min": low, "max": high}, [low, high]
    texts = list(override.sweep_string_iterator())
    values = [parse_element(text) for text in texts]
    if not all(is_plain(value) for value in values):
        raise ConfigError([f"{override.input_line}  has values that W&B cannot hand on; use numbers and plain words"])
    return {"values": [to_yaml_value(value) for value in values]}, texts


def parse_element(text: str) -> Any:
    """A listed value as Hydra reads it."""
    value = yaml.safe_load(text)
    try:
        return float(value) if isinstance(value, str) else value  # YAML 1.1 takes 1e-3 for text
    except ValueError:
        return value


def is_plain(value: Any) -> bool:
    """Whether a value reads the same after W&B has written it into a command line as Python's str()."""
    if isinstance(value, str):
        return bool(PLAIN_TEXT.fullmatch(value)) and value.lower() not in NOT_TEXT
    return value is None or isinstance(value, bool | int | float)


def to_yaml_value(value: Any) -> Any:
    """A value for the sweep file; an agent would hand Hydra a YAML null as the word None."""
    return "null" if value is None else value


def to_interval(override: Override, sweep: IntervalSweep) -> tuple[dict[str, Any], list[Any]]:
    """A continuous range.

    Raises:
        ConfigError: it is empty, or logarithmic with a bound that is not positive.
    """
    low, high, is_log = sweep.start, sweep.end, "log" in sweep.tags
    if not low < high or (is_log and low <= 0):
        raise ConfigError([f"{override.input_line}  must go from a smaller to a larger number, above 0 for log"])
    kind = "log_uniform_values" if is_log else "uniform"
    if isinstance(low, int) and isinstance(high, int) and not is_log:
        kind = "int_uniform"
    return {"distribution": kind, "min": low, "max": high}, [low, high]


def stopping_rule(space: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Hyperband's stopping rule for runs of so many epochs, nothing for runs too short to stop."""
    tried = space.get("recipe.epochs", {})
    longest = max([epochs] if not tried else tried.get("values", [tried.get("max")]))
    if longest < ETA**BRACKETS:
        return {}
    return {"early_terminate": {"type": "hyperband", "s": BRACKETS, "eta": ETA, "max_iter": longest}}


def point_plan(name: str, fixed: list[str], point: list[str], seed: int, composer: Composer) -> Plan:
    """The plan of the baseline and one point of the search, or of the baseline alone if the point is that.

    Args:
        name: the study's.
        fixed: overrides that all runs share.
        point: W&B's choice, without the seed.
        seed: the replicate.
    """
    specs = [ArmSpec(levels={}, overrides=())]
    specs += [ArmSpec(levels={short_key(o): override_value(o) for o in point}, overrides=tuple(point))]
    configs = compose_all([[*fixed, *spec.overrides] for spec in specs], composer)
    if config_hash(configs[0]) == config_hash(configs[1]):
        specs, configs = specs[:1], configs[:1]
    factors = {short_key(o): [override_value(o)] for o in point}
    return make_plan(name, "list", fixed, named_arms(specs, configs), [seed], factors)


CELL_KEY = "+study_cell"


def compose_sweep_directory(asked: Any, composer: Composer) -> Path:
    """Where a sweep with these overrides lies."""
    composed = composer.loader.load_configuration(asked.config_name, asked.overrides, run_mode=RunMode.MULTIRUN)
    return Path(OmegaConf.select(composed, "hydra.sweep.dir")).absolute()


def encode_cell_id(cell: Cell) -> str:
    """A cell's id as Hydra can read it; slugs hold no colon, so `read` finds it again."""
    return cell.id.replace("=", ":")


def decode_cell_id(text: str) -> str:
    """The id that `written` wrote."""
    return text.replace(":", "=")
