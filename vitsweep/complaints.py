"""Other people's faults as our sentences: Hydra's, OmegaConf's and YAML's complaints become one line with a remedy."""

import difflib
import re
from collections.abc import Sequence

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from vitsweep.config import Config, flat, to_dict
from vitsweep.errors import UserError
from vitsweep.paths import conf_dir

TYPE_NAMES = {"Integer": "an integer", "Float": "a number", "Boolean": "true or false", "String": "a text"}


def as_sentence(fault: BaseException, overrides: Sequence[str] = ()) -> str | None:
    """What to tell the user, or None if the fault is not the user's (a traceback is right then).

    Args:
        fault: what was raised.
        overrides: the command line's, for the complaints that do not say which of them they mean.
    """
    chain = [fault, *_causes(fault)]
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
        if isinstance(link, yaml.MarkedYAMLError):
            return _yaml(link)
    told = [link for link in chain if isinstance(link, OmegaConfBaseException) and link.full_key]
    if told:
        return _omegaconf(told[0], str(fault))
    if isinstance(fault, HydraException | ValueError) and _is_hydras(fault):
        return _hydra(fault, overrides)
    if isinstance(fault, PermissionError) or (isinstance(fault, OSError) and fault.errno in (28, 30)):
        remedy = "choose another hydra.run.dir or hydra.sweep.dir"
        return f"{fault.filename}  cannot be written ({fault.strerror}); {remedy}"
    return None


def _causes(fault: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    while (cause := fault.__cause__ or fault.__context__) is not None and cause not in found:
        found.append(cause)
        fault = cause
    return found


def _is_hydras(fault: BaseException) -> bool:
    if isinstance(fault, HydraException):
        return True
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "hydra" in trace.tb_frame.f_globals.get("__name__", "").split(".")[0]


def _yaml(fault: yaml.MarkedYAMLError) -> str:
    mark = fault.problem_mark or fault.context_mark
    where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}" if mark else "a configuration file"
    return f"{where}: {fault.problem or fault.context}; correct the YAML there"


def _omegaconf(fault: OmegaConfBaseException, context: str) -> str:
    key, text = fault.full_key or "", str(fault).splitlines()[0]
    not_converted = r"Value '(.*)' of type '.*' (?:could not be converted to|is not a valid|.* to) ?(\w+)?"
    if match := re.search(not_converted, text):
        value, wanted = match.groups()
        return f"{key}={value}  must be {TYPE_NAMES.get(wanted or '', wanted)}"
    if "not in" in text or "not a" in text:
        near = _near(key)
        return f"{key}  is unknown{near}; see --cfg job for all keys"
    where = re.search(r"In '([^']+)'", context)
    return f"{f'{where[1]}.yaml: ' if where else ''}{key}  {text}"


def _hydra(fault: BaseException, overrides: Sequence[str]) -> str:
    text = re.sub(r"\s*See https?://\S+ for details", "", str(fault))
    if text.startswith("Config group override must be a string"):
        return "\n".join(_number_for_group(override) for override in overrides if _number_for_group(override)) or text
    if match := re.match(r"Could not override '([^']+)'", text):
        key = match[1]
        return f"{key}  is unknown{_near(key)}; see --cfg job for all keys"
    if isinstance(fault, MissingConfigException) and "Available options" in text:
        group, _, option = (fault.missing_cfg_file or "").rpartition("/")
        options = fault.options or []
        return f"{group}={option}  is unknown; allowed: {', '.join(sorted(options))}"
    if isinstance(fault, OverrideParseException):
        return f"{fault.override}  cannot be read: {' '.join(text.split())}; an override is key=value"
    return " ".join(text.split())


def _number_for_group(override: str) -> str:
    group, _, value = override.partition("=")
    folder = conf_dir() / group
    if not folder.is_dir() or re.search("[A-Za-z]", value):
        return ""
    allowed = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    return f"{override}  must be the name of an option; allowed: {allowed}"


def _near(key: str) -> str:
    keys = list(flat(to_dict(Config())))
    close = difflib.get_close_matches(key, keys, n=1) or [k for k in keys if k.endswith(f".{key}")][:1]
    return f"; did you mean {close[0]}?" if close else ""
