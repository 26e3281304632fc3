"""Other people's faults as our sentences: Hydra's, OmegaConf's and YAML's complaints become one line with a remedy."""

import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from vitsweep.config.convert import TYPE_NAMES, describe_type
from vitsweep.config.overrides import yaml_text
from vitsweep.config.schema import Config, StudyConfig
from vitsweep.errors import ConfigError, UserError
from vitsweep.paths import conf_dir


def user_message(fault: BaseException, overrides: Sequence[str] = ()) -> str | None:
    """What to tell the user, or None if the fault is not the user's (a traceback is right then).

    Args:
        fault: what was raised.
        overrides: the command line's, for the complaints that do not say which of them they mean.
    """
    chain = [fault, *_causes(fault)]
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
        if isinstance(link, yaml.YAMLError):
            return _yaml(link)
        if isinstance(link, UnicodeDecodeError):
            return f"{_no_text(overrides)}  is no UTF-8 text (byte {link.start}: {link.reason}); save it as UTF-8"
    with_key = [link for link in chain if isinstance(link, OmegaConfBaseException) and link.full_key]
    if with_key:
        return _omegaconf(with_key[0], str(fault))
    if isinstance(fault, HydraException | ValueError) and _is_hydras(fault):
        return _hydra(fault, overrides)
    if isinstance(fault, PermissionError) or (isinstance(fault, OSError) and fault.errno in (28, 30)):
        remedy = "choose another hydra.run.dir or hydra.sweep.dir"
        return f"{fault.filename}  cannot be written ({fault.strerror}); {remedy}"
    return None


@contextmanager
def user_errors(arguments: Sequence[str]) -> Iterator[None]:
    """Turn the faults of Hydra and OmegaConf that are the user's into a ConfigError with the usual sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as fault:
        sentence = user_message(fault, arguments)
        if sentence is None:
            raise
        raise ConfigError([sentence]) from fault


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


def _yaml(fault: yaml.YAMLError) -> str:
    if not isinstance(fault, yaml.MarkedYAMLError):
        return f"a configuration file is no YAML: {' '.join(str(fault).split())}; correct it there"
    mark = fault.problem_mark or fault.context_mark
    where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}" if mark else "a configuration file"
    return f"{where}: {fault.problem or fault.context}; correct the YAML there"


def _omegaconf(fault: OmegaConfBaseException, context: str) -> str:
    key, text = fault.full_key or "", str(fault).splitlines()[0]
    where = re.search(r"In '([^']+)'", context)
    prefix = f"{where[1]}.yaml: " if where else ""
    if match := re.search(r"[Ii]nterpolation key '([^']*)' not found", text):
        return f"{prefix}{key}  refers to {match[1]}, which is unknown; see --cfg job for all keys"
    if match := re.search(r"Environment variable '([^']*)' not found", text):
        return f"{prefix}{key}  needs the environment variable {match[1]}; set it, or give {key} a value"
    if match := re.search(r"Unsupported interpolation type (.*)", text):
        return f"{prefix}{key}  uses the resolver {match[1]}, which is unknown; give {key} a value"
    if "does not support deletion" in text:
        return f"~{key}  cannot be taken away; give it a value: {key}=..."
    if (value := _refused_value(text)) is not None and describe_type(key):
        return f"{prefix}{key}={value}  must be {describe_type(key)}"
    if text.startswith("Invalid value assigned") and describe_type(key):
        return f"{prefix}{key}  must be {describe_type(key)}"
    if "is not in struct" in text:
        return f"{prefix}{key}  is not there yet; put a + before it to add it"
    if re.search(r"Key '.*' not in", text):
        return f"{prefix}{key}  is unknown{did_you_mean(key)}; see --cfg job for all keys"
    return f"{prefix}{key}  {text}"


def _refused_value(text: str) -> str | None:
    if "is not Optional" in text or "Incompatible value 'None'" in text:
        return "null"
    match = re.search(r"Value '(.*)' (?:of type|is not a valid)", text) or re.search(r"to string: '(.*)'", text)
    return match[1] if match else None


def _hydra(fault: BaseException, overrides: Sequence[str]) -> str:
    text = re.sub(r"\s*See https?://\S+ for details", "", str(fault))
    if isinstance(fault, OverrideParseException):
        problem = " ".join(text.split("\n", 1)[-1].split(" expecting ")[0].split())
        problem = "it has no =" if "missing EQUAL" in problem else problem
        return f"{fault.override}  cannot be read ({problem}); an override is key=value, special characters in quotes"
    if isinstance(fault, MissingConfigException):
        return _missing(fault, text)
    if text.startswith("Config group override must be a string"):
        return "\n".join(sentence for override in overrides if (sentence := _no_option(override))) or text
    if match := re.match(r"In '([^']+)': ConfigTypeError[\s\S]*Cannot merge", text):
        return _wrong_kind(match[1], overrides)
    for pattern, sentence in HYDRA_SENTENCES.items():
        if match := re.match(pattern, text):
            return sentence.format(*match.groups(), did_you_mean=did_you_mean(match[1]))
    return " ".join(text.split())


HYDRA_SENTENCES = {
    r"Could not override '([^']+)'": "{0}  is unknown{did_you_mean}; see --cfg job for all keys",
    r"Could not append to config\. An item is already at '([^']+)'": "+{0}  is there already; drop the + to change it",
    r"Could not delete from config\. '([^']+)'": "~{0}  is unknown{did_you_mean}; there is nothing to take away",
    r"Could not delete '([^']+)'": "~{0}  is not chosen, so it cannot be taken away",
    r"Override (\S+) looks like a config group": "{0}  is no config group, so it has no package; drop @ and its word",
    r"Additional config directory '([^']+)' not found": "--config-dir={0}  is no folder; name one that is there",
}


def _missing(fault: MissingConfigException, text: str) -> str:
    group, _, option = (fault.missing_cfg_file or "").rpartition("/")
    if "primary config" in text or not group:
        return f"--config-name={fault.missing_cfg_file}  is not there; leave it out for config.yaml"
    allowed = (
        f"; allowed: {', '.join(sorted(fault.options))}" if fault.options else "; no such config group has options"
    )
    return f"{group}={option}  is unknown{allowed}"


def _wrong_kind(name: str, overrides: Sequence[str]) -> str:
    """OmegaConf's complaint about a list in place of a mapping names no key, so the file is looked at once more."""
    path = _file_of(name, overrides)
    found = validate_study_file(yaml.safe_load(path.read_text(encoding="utf-8")), f"{name}.yaml") if path else []
    if found and name.startswith("study/"):
        return "\n".join(found)
    return f"{name}.yaml  has a list where a mapping belongs, or the other way round; compare it with files in conf/"


def _no_text(overrides: Sequence[str]) -> str:
    """The first configuration file that the overrides choose and that is no UTF-8 text."""
    for override in overrides:
        group, _, option = override.lstrip("+").partition("=")
        path = _file_of(f"{group}/{option}", overrides)
        try:
            _ = path.read_text(encoding="utf-8") if path else ""
        except UnicodeDecodeError:
            return f"{group}/{option}.yaml"
    return "a configuration file"


def _file_of(name: str, arguments: Sequence[str]) -> Path | None:
    """Where an option's file lies: in our configurations or in the folder that --config-dir names."""
    folders = [conf_dir()]
    for place, argument in enumerate(arguments):
        option, _, folder = argument.partition("=")
        if option in ("--config-dir", "-cd"):
            folders.append(Path(folder or "".join(arguments[place + 1 : place + 2])))
    return next((path for folder in folders if (path := folder / f"{name}.yaml").is_file()), None)


def validate_study_file(content: Any, file: str) -> list[str]:
    """A sentence for every entry of a study file that is unknown, or a list in place of a mapping, or the like.

    Args:
        content: the file as YAML gives it.
        file: what it is called in the sentences.
    """
    if not isinstance(content, dict):
        kind = TYPE_NAMES.get(type(content), "nothing")
        return [f"{file}  must be a mapping (name: ..., factors: ..., design: ..., seeds: ...), not {kind}"]
    allowed = [f.name for f in dataclasses.fields(StudyConfig)]
    found = []
    for name, value in content.items():
        key = f"study.{name}"
        wanted = {"a list": list, "a mapping": dict}.get(describe_type(key))
        if name not in allowed:
            found.append(f"{file}: {key}  is unknown{did_you_mean(key)}; allowed: {', '.join(sorted(allowed))}")
        elif wanted and not isinstance(value, wanted) and not str(value).startswith("${"):
            found.append(f"{file}: {key}={yaml_text(value)}  must be {describe_type(key)}")
    return found


def _no_option(override: str) -> str:
    group, _, value = override.lstrip("+").partition("=")
    folder = conf_dir() / group
    if not group:
        return f"{override}  cannot be read; an override is key=value"
    if not folder.is_dir() or isinstance(yaml.safe_load(value), str):
        return ""
    allowed = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    return f"{override}  must be the name of an option; allowed: {allowed}"


def did_you_mean(key: str) -> str:
    """`; did you mean ...?` with the key or group that is most like an unknown one, or nothing."""
    last = re.split(r"[./]", key)[-1]
    separator = "/" if "/" in key else "."
    known = sorted(known_keys(), key=lambda k: separator not in k)  # the user's own spelling first
    same_last = [k for k in known if re.split(r"[./]", k)[-1] == last and k != key]
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    parts = {re.split(r"[./]", k)[-1]: k for k in reversed(known)}
    close_last = [parts[word] for word in difflib.get_close_matches(last, parts, n=1, cutoff=0.8)]
    found = [k for k in (*same_last[:1], *close, *close_last) if k != key]
    return f"; did you mean {found[0]}?" if found else ""


def known_keys() -> list[str]:
    """All keys of the configuration, dotted, and all config groups, with slashes."""
    keys = []
    for field in dataclasses.fields(Config):
        kind = StudyConfig if field.name == "study" else field.type
        inner = [f"{field.name}.{f.name}" for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
        keys += inner or [field.name]
    groups = [path.relative_to(conf_dir()).as_posix() for path in sorted(conf_dir().rglob("*")) if path.is_dir()]
    return keys + groups
