"""Rules of one configuration file, checked before Hydra reads it: size, keys and types, all errors together."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vitsweep.config.convert import TYPE_NAMES, describe_type, flatten
from vitsweep.config.override_rules import value_errors
from vitsweep.config.overrides import override_key, override_value, yaml_text
from vitsweep.config.schema import Config, StudyConfig
from vitsweep.config.suggestions import did_you_mean, unknown_key
from vitsweep.paths import conf_dir

MAX_NODES = 1_000_000  # entries of a file, each alias counted as what it repeats


def chosen_file_errors(overrides: Sequence[str], config_name: str | None, folders: Sequence[Path]) -> list[str]:
    """Return the errors of the primary configuration and of every file that an override chooses.

    Args:
        overrides: as on the command line; `group=option` chooses a file.
        config_name: the primary configuration's name.
        folders: folders of configurations; of two files of one name the first counts.
    """
    names = [config_name] if config_name else []
    for override in overrides:
        group, option = override_key(override), override_value(override).strip("'\"")
        if re.fullmatch(r"[\w/-]+", group) and re.fullmatch(r"[\w./-]+", option):
            names.append(f"{group}/{option}")
    found = []
    for name in dict.fromkeys(names):
        path = next((p for folder in folders if (p := folder / f"{name.removesuffix('.yaml')}.yaml").is_file()), None)
        if path is not None and path.parent != conf_dir() and conf_dir() not in path.parents:
            found += file_errors(path, name.removesuffix(".yaml"))
    return found


def file_errors(path: Path, name: str) -> list[str]:
    """Return a message for each entry that has an unknown key or a wrong type; none if the file is not YAML.

    Args:
        path: the file.
        name: its name in Hydra, `study/mine`.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and num_nodes(root, {}) > MAX_NODES:
            return [f"{name}.yaml  repeats its aliases (*name) to more than {MAX_NODES} entries; write it without them"]
        content = _content(text, root)
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError, OmegaConfBaseException):
        return []  # Hydra reports it
    if name.startswith("study/") and "@package" not in text:
        return study_file_errors(content, f"{name}.yaml")
    if not isinstance(content, dict):
        return []
    header = re.search(r"^#\s*@package\s+(\S+)", text, re.MULTILINE)
    package = header[1] if header else ("" if "/" not in name else name.rpartition("/")[0].replace("/", "."))
    package = "" if package == "_global_" else package.replace("_group_", name.rpartition("/")[0].replace("/", "."))
    values = {key: value for key, value in content.items() if key != "defaults"}
    leaves = flatten(values, f"{package}." if package else "")
    return [f"{name}.yaml: {m}" for key, value in leaves.items() for m in leaf_errors(key, value)]


def _content(text: str, root: yaml.Node | None) -> Any:
    """Return the values of a YAML text as Hydra reads them: 1e-3 is a float, and a key stands once."""
    if isinstance(root, yaml.CollectionNode):
        return OmegaConf.to_container(OmegaConf.create(text))
    return root.value if isinstance(root, yaml.ScalarNode) else None


def num_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of entries below a YAML node, aliases expanded.

    Args:
        node: root of the part to count.
        known: counts by identity, filled here; each node is visited once.
    """
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1  # until it is counted: an alias of a node inside itself does not end
        known[id(node)] = min(1 + sum(num_nodes(inner, known) for inner in _inner_nodes(node)), MAX_NODES + 1)
    return known[id(node)]


def _inner_nodes(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def leaf_errors(key: str, value: Any) -> list[str]:
    """Return a message if a value of model, data, recipe, tracker or sweep has an unknown key or a wrong type."""
    group, _, name = key.rpartition(".")
    kinds = {field.name: field.type for field in dataclasses.fields(Config) if dataclasses.is_dataclass(field.type)}
    if group not in kinds or isinstance(value, str) and ("${" in value or value == "???"):
        return []
    line = f"{key}={yaml_text(value)}"
    box = OmegaConf.structured(kinds[group])
    if name not in box:
        return [unknown_key(key)]
    return value_errors(key, value, line) or _type_errors(box, key, value, line)


def study_file_errors(content: Any, file: str) -> list[str]:
    """Return a message for each entry of a study file that is unknown or has the wrong type.

    Args:
        content: the parsed YAML.
        file: the file's name in the messages.
    """
    if not isinstance(content, dict) or not content:
        kind = "nothing" if not content else TYPE_NAMES.get(type(content), "a single value")
        return [f"{file}  must be a mapping (name: ..., factors: ..., design: ..., seeds: ...), not {kind}"]
    allowed = [f.name for f in dataclasses.fields(StudyConfig)]
    box, found = OmegaConf.structured(StudyConfig), []
    for name, value in content.items():
        key = f"study.{name}"
        if name == "defaults" or str(value).startswith("${"):
            continue
        if name not in allowed:
            found.append(f"{file}: {key}  is unknown{did_you_mean(key)}; allowed: {', '.join(sorted(allowed))}")
            continue
        line = f"{file}: {key}={yaml_text(value)}"
        found += value_errors(key, value, line) or _type_errors(box, key, value, line)
    return found


def _type_errors(box: DictConfig, key: str, value: Any, line: str) -> list[str]:
    """Return a message if a node of the schema refuses a value."""
    kind = {"a list": list, "a mapping": dict}.get(describe_type(key))
    try:
        box[key.rpartition(".")[2]] = value
    except OmegaConfBaseException:
        return [f"{line}  must be {describe_type(key)}"]
    return [f"{line}  must be {describe_type(key)}"] if kind and not isinstance(value, kind) else []
