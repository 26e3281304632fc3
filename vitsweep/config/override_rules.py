"""Rules of single overrides that Hydra does not check: settings that it would accept and that nothing would read.

Hydra and OmegaConf turn 4 into true, ignore `???`, add any key after a +, and accept settings of their own that
vitsweep's sweeper does not read. Each of these is refused with one message.
"""

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.conf import HydraConf
from hydra.core.override_parser.types import Glob, Override
from omegaconf import DictConfig, OmegaConf

from vitsweep.config.convert import describe_type, flatten, to_dict
from vitsweep.config.overrides import override_value, yaml_text
from vitsweep.config.schema import Config
from vitsweep.config.suggestions import known_keys
from vitsweep.errors import ConfigError

GROUPS = ("model", "data", "recipe", "tracker")
MAX_LEVELS = 10_000  # values of one sweep
NOT_READ = {
    "hydra.sweep.subdir": "is not read: a cell's folder is <arm>-<hash>/seed=<n> in hydra.sweep.dir; leave it out",
    "hydra.sweeper": "is not read: write the sweep on the command line (-m model.patch_size=4,8) or in a study file",
    "hydra.job.num": "is counted by Hydra; leave it out",
    "hydra.job.override_dirname": "is made by Hydra; leave it out",
    "hydra.overrides": "is made by Hydra; leave it out",
    "hydra.runtime": "is made by Hydra; leave it out",
}


OWN_SWEEPER = "vitsweep has its own sweeper: leave hydra/sweeper out; a search is `tune:` in a study file"


def override_errors(override: Override) -> list[str]:
    """Return a message for each rule that one parsed override breaks."""
    key, line = override.key_or_group, str(override.input_line)
    if override.is_delete():
        return _deletion_errors(key)
    if override.is_hydra_override():
        return _hydra_errors(override)
    if override.is_sweep_override():
        return sweep_length_errors(override)
    return value_errors(key, override.value(), line)


def value_errors(key: str, value: Any, line: str) -> list[str]:
    """Return a message for a value that OmegaConf would convert or ignore without a word.

    Args:
        key: dotted key or config group.
        value: plain, as Hydra or YAML parses it.
        line: the override as written.
    """
    if value == "???":
        return [f"{line}  gives no value: ??? marks a missing one; write a value"]
    if ("/" in key or key in (*GROUPS, "study")) and isinstance(value, str) and "${" in value:
        return [f"{line}  must be the name of an option, not an interpolation"]
    if key in GROUPS and value in ({}, []):
        return [f"{line}  sets nothing; choose an option, or leave it out"]
    if key == "tracker" and isinstance(value, list) and (len(set(value)) < len(value) or "none" in value):
        return [f"{line}  must name each tracker once, without none: tracker=[wandb,tensorboard]"]
    if isinstance(value, dict) and key in (*GROUPS, "sweep"):
        inner = {f"{key}.{name}": entry for name, entry in value.items()}
        return [m for name, entry in inner.items() for m in value_errors(name, entry, f"{name}={yaml_text(entry)}")]
    wanted = describe_type(key)
    if wanted == "true or false" and isinstance(value, int | float) and value not in (0, 1):
        return [f"{line}  must be true or false"]
    if wanted.startswith("a text") and value == "None":
        empty = "null" if wanted.endswith("null") else "a text"
        return [f"{line}  is Python's None; write {empty}"]
    return []


def sweep_length_errors(override: Override) -> list[str]:
    """Return a message for a sweep without values, or with more than MAX_LEVELS."""
    if not override.is_discrete_sweep():
        return []
    if override.config_loader is None and isinstance(override.value(), Glob):
        return []  # its options are not known here
    count = num_values(override)
    if count == 0 and override.input_line and "glob(" in override.input_line:
        return [f"{override.input_line}  matches no option; glob() is for config groups, e.g. model/depth=glob(*)"]
    if count == 0:
        return [f"{override.input_line}  has no value; write at least one"]
    if count > MAX_LEVELS:
        return [f"{override.input_line}  has more than {MAX_LEVELS} values; write fewer"]
    return []


def num_values(override: Override) -> float:
    """Return the number of values of a discrete sweep, infinite for a range that does not end; builds no list."""
    if override.is_range_sweep():
        sweep: Any = override.value()
        if sweep.step == 0:
            return math.inf
        return max(0, math.ceil((float(sweep.stop) - float(sweep.start)) / float(sweep.step)))
    return sum(1 for _ in override.sweep_iterator())


def _deletion_errors(key: str) -> list[str]:
    if key in ("study", "sweep"):
        return [f"~{key}  cannot be deleted; leave {key}=... out instead"]
    if key in known_keys() and "/" not in key and key not in GROUPS:
        value = "null" if describe_type(key).endswith("null") else "..."
        return [f"~{key}  cannot be deleted; give it a value: {key}={value}"]
    return []


def _hydra_errors(override: Override) -> list[str]:
    key, line, value = override.key_or_group, override.input_line, override.value()
    if key.startswith("hydra.sweeper.params"):
        values = flatten({key: value}) if isinstance(value, dict) else {key: override_value(str(line))}
        return [sweeper_params_error(str(line), values)]
    for prefix, rule in NOT_READ.items():
        if key == prefix or key.startswith(f"{prefix}."):
            return [f"{line}  {rule}"]
    if override.is_sweep_override():
        return [f"{line}  names several values where one belongs; give one"]
    if key == "hydra/sweeper" and value != "vitsweep":
        return [f"{line}  would train without a plan; {OWN_SWEEPER}"]
    if value == "???":
        return [f"{line}  gives no value: ??? marks a missing one; write a value"]
    if key in ("hydra.run.dir", "hydra.sweep.dir") and not (isinstance(value, str | int | float) and str(value)):
        return [f"{line}  must be a folder"]
    if key == "hydra.verbose" and not isinstance(value, bool | str | list):
        return [f"{line}  must be true, false, or the names of loggers: [name,name]"]
    if "." in key and not _is_hydra_key(key):
        return [f"{line}  is no setting of Hydra; see --cfg hydra for all of them"]
    return []


def sweeper_params_error(line: str, values: dict[str, Any]) -> str:
    """Return the message about Hydra's own way of writing a sweep, with the words to write in its place.

    Args:
        line: the override as written, or the file and key.
        values: dotted key below `hydra.sweeper.params.` -> its values as one text.
    """
    parts = {key.removeprefix("hydra.sweeper.params").removeprefix("."): value for key, value in values.items()}
    words = shlex.join(f"{key}={yaml_text(value)}" for key, value in parts.items() if key)
    return f"{line}  is not read; a sweep stands on the command line: -m {words} (or in a study file, as factors)"


def refuse_params(composed: DictConfig) -> None:
    """Raise if a configuration file writes the sweep as `hydra.sweeper.params`, which vitsweep's sweeper does not read.

    Raises:
        ConfigError: with the command line to write.
    """
    params = OmegaConf.select(composed, "hydra.sweeper.params")
    if params:
        plain: Any = OmegaConf.to_container(params, resolve=True) if OmegaConf.is_config(params) else params
        values = flatten({str(key): value for key, value in plain.items()})
        raise ConfigError([sweeper_params_error("hydra.sweeper.params of a configuration file", values)])


def _is_hydra_key(key: str) -> bool:
    """Return True unless Hydra's own schema lacks the key; what plugins add below an open node is not checked."""
    node: Any = OmegaConf.structured(HydraConf)
    for name in key.split(".")[1:]:
        kind = OmegaConf.get_type(node) if OmegaConf.is_dict(node) else None
        if kind is None or not is_dataclass(kind):
            return True
        if name not in {field.name for field in fields(kind)}:
            return False
        node = None if OmegaConf.is_missing(node, name) else node._get_node(name)
    return True


def contradiction_errors(overrides: Sequence[str], composer: Any) -> list[str]:
    """Return a message for each part (`model/pool=token`) of which a value beside it leaves nothing, or another option.

    In Hydra a value beats a group in any order. Values that adjust a part (model.drop_path_rate) are allowed.

    Args:
        overrides: of one command line, none of them swept.
        composer: a Composer.
    """
    errors: list[str] = []
    plain = [o for o in overrides if not o.startswith(("~", "hydra"))]
    values = {composer.parse(o).key_or_group: o for o in plain if not composer.is_group(o)}
    for choice in (o for o in plain if composer.is_group(o) and "/" in composer.parse(o).key_or_group):
        wanted = composer.option_values(choice)
        given = {key: composer.parse(values[key]).value() for key in wanted if key in values}
        beaten = [key for key, value in given.items() if value != wanted[key]]
        if beaten and is_undone(composer, composer.parse(choice).key_or_group, wanted, given):
            sets = f"sets {beaten[0]}={yaml_text(wanted[beaten[0]])}"
            errors.append(f"{choice}  {sets}, but `{values[beaten[0]]}` beats it; drop one of them")
    return errors


def is_undone(composer: Any, group: str, wanted: dict[str, Any], given: dict[str, Any]) -> bool:
    """Return True if values undo an option: all of it, the word it is named for, or to another option of the model."""
    changed = {key for key, value in given.items() if value != wanted[key]}
    if changed == set(wanted) or group.replace("/", ".") in changed:
        return True
    if not group.startswith("model/"):
        return False  # a recipe's parts are many settings that are meant to be adjusted
    others = [composer.option_values(f"{group}={option}") for option in composer.repository.get_group_options(group)]
    found = wanted | given
    return any(changed <= set(other) and other.items() <= found.items() for other in others)


def name_choices(errors: Sequence[str], overrides: Sequence[str], composer: Any) -> list[str]:
    """Return messages that also name the chosen option that sets a key they are about, where no override does.

    Args:
        errors: messages `key=value  rule`.
        overrides: of the configuration that breaks the rules.
        composer: a Composer.
    """
    if not any(re.match(r"(model|data|recipe)\.\w+=\S*  ", error) for error in errors):
        return list(errors)  # about a file or an override, which may be unreadable
    choices = [o for o in overrides if not o.startswith(("~", "hydra", "study=")) and composer.is_group(o)]
    written = {composer.parse(o).key_or_group for o in overrides}
    defaults = flatten(to_dict(Config()))
    sets = {
        f"{key}={value}": choice
        for choice in choices
        for key, value in composer.option_values(choice).items()
        if key not in written and value != defaults.get(key)
    }
    found = []
    for error in errors:
        tokens = [token for token in re.findall(r"[\w.]+=[^\s,;]+", error) if token in sets]
        named = dict.fromkeys(f"{sets[token]} sets {token}" for token in tokens if sets[token] not in error)
        found.append("; ".join([error, *named]))
    return found
