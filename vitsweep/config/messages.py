"""One-line messages for the errors of Hydra, OmegaConf and YAML, in the form `key=value  rule  what to do`."""

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

ALL_KEYS = "see --cfg job for all keys"
UNWRITABLE = (28, 30)  # errno: no space left on device, read-only file system
UNUSABLE = (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError)


def user_message(error: BaseException, overrides: Sequence[str] = ()) -> str | None:
    """Return the message for an error that the user can correct; None for any other, which needs its traceback.

    Args:
        error: the exception raised.
        overrides: those of the command line, for errors that do not name the override.
    """
    chain = [error, *_causes(error)]
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
        if isinstance(link, yaml.YAMLError):
            return _yaml_message(link)
        if isinstance(link, UnicodeDecodeError):
            file = _undecodable_file(overrides)
            return f"{file}  is not UTF-8 text (byte {link.start}: {link.reason}); save it as UTF-8"
    with_key = [link for link in chain if isinstance(link, OmegaConfBaseException) and link.full_key]
    if with_key:
        return _omegaconf_message(with_key[0], str(error))
    if isinstance(error, HydraException) or (isinstance(error, ValueError) and _is_raised_in_hydra(error)):
        return _hydra_message(error, overrides)
    if isinstance(error, UNUSABLE) or (isinstance(error, OSError) and error.errno in UNWRITABLE):
        remedy = "choose another hydra.run.dir or hydra.sweep.dir"
        return f"{error.filename}  cannot be written ({error.strerror}); {remedy}"
    return None


@contextmanager
def user_errors(arguments: Sequence[str]) -> Iterator[None]:
    """Raise ConfigError with the one-line message in place of an error that `user_message` knows."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        message = user_message(error, arguments)
        if message is None:
            raise
        raise ConfigError([message]) from error


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    while (cause := error.__cause__ or error.__context__) is not None and cause not in found:
        found.append(cause)
        error = cause
    return found


def _is_raised_in_hydra(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "hydra" in trace.tb_frame.f_globals.get("__name__", "").split(".")[0]


def _yaml_message(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"a configuration file is not YAML: {' '.join(str(error).split())}; correct it there"
    mark = error.problem_mark or error.context_mark
    where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}" if mark else "a configuration file"
    return f"{where}: {error.problem or error.context}; correct the YAML there"


def _omegaconf_message(error: OmegaConfBaseException, context: str) -> str:
    key, text = error.full_key or "", str(error).splitlines()[0]
    where = re.search(r"In '([^']+)'", context)
    prefix = f"{where[1]}.yaml: " if where else ""
    if match := re.search(r"[Ii]nterpolation key '([^']*)' not found", text):
        return f"{prefix}{key}  refers to {match[1]}, which is unknown; {ALL_KEYS}"
    if match := re.search(r"Environment variable '([^']*)' not found", text):
        return f"{prefix}{key}  needs the environment variable {match[1]}; set it, or give {key} a value"
    if match := re.search(r"Unsupported interpolation type (.*)", text):
        return f"{prefix}{key}  uses the resolver {match[1]}, which is unknown; give {key} a value"
    if "does not support deletion" in text:
        return f"~{key}  cannot be deleted; give it a value: {key}=..."
    if (value := _refused_value(text)) is not None and describe_type(key):
        return f"{prefix}{key}={value}  must be {describe_type(key)}"
    if text.startswith("Invalid value assigned") and describe_type(key):
        return f"{prefix}{key}  must be {describe_type(key)}"
    if "is not in struct" in text:
        return f"{prefix}{key}  does not exist yet; put a + before it to add it"
    if re.search(r"Key '.*' not in", text):
        return f"{prefix}{key}  is unknown{did_you_mean(key)}; {ALL_KEYS}"
    return f"{prefix}{key}  {text}"


def _refused_value(text: str) -> str | None:
    if "is not Optional" in text or "Incompatible value 'None'" in text:
        return "null"
    match = re.search(r"Value '(.*)' (?:of type|is not a valid)", text) or re.search(r"to string: '(.*)'", text)
    return match[1] if match else None


HYDRA_MESSAGES = {
    r"Could not override '([^']+)'": f"{{0}}  is unknown{{did_you_mean}}; {ALL_KEYS}",
    r"Could not append to config\. An item is already at '([^']+)'": "+{0}  exists already; drop the + to change it",
    r"Could not delete from config\. '([^']+)'": "~{0}  is unknown{did_you_mean}; there is nothing to delete",
    r"Could not delete '([^']+)'": "~{0}  is not chosen, so it cannot be deleted",
    r"Override (\S+) looks like a config group": "{0}  is not a config group and has no package; drop @ and its word",
    r"Additional config directory '([^']+)' not found": "--config-dir={0}  is not a folder; name one that exists",
}


def _hydra_message(error: BaseException, overrides: Sequence[str]) -> str:
    text = re.sub(r"\s*See https?://\S+ for details", "", str(error))
    if isinstance(error, OverrideParseException):
        problem = " ".join(text.split(f"'{error.override}'\n", 1)[-1].split(" expecting ")[0].split())
        problem = "it has no =" if "missing EQUAL" in problem else problem
        return f"{error.override}  cannot be parsed ({problem}); an override is key=value, special characters in quotes"
    if isinstance(error, MissingConfigException):
        return _missing_file_message(error, text)
    if text.startswith("Config group override must be a string"):
        return "\n".join(message for override in overrides if (message := _option_message(override))) or text
    if match := re.match(
        r"In '([^']+)': (?:ConfigTypeError[\s\S]*Cannot merge|ValidationError[\s\S]*list is not a subclass)", text
    ):
        return _merge_message(match[1], overrides)
    for pattern, message in HYDRA_MESSAGES.items():
        if match := re.match(pattern, text):
            return message.format(*match.groups(), did_you_mean=did_you_mean(match[1]))
    return " ".join(text.split())


def _missing_file_message(error: MissingConfigException, text: str) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if "primary config" in text or not group:
        return f"--config-name={error.missing_cfg_file}  does not exist; leave it out for config.yaml"
    options = error.options
    allowed = f"; allowed: {', '.join(sorted(options))}" if options else "; no such config group has options"
    return f"{group}={option}  is unknown{allowed}"


def _merge_message(name: str, overrides: Sequence[str]) -> str:
    """Read a file again, since OmegaConf names no key when a list is in place of a mapping."""
    path = _path_of(name, overrides)
    found = validate_study_file(yaml.safe_load(path.read_text(encoding="utf-8")), f"{name}.yaml") if path else []
    if found and name.startswith("study/"):
        return "\n".join(found)
    return f"{name}.yaml  has a list in place of a mapping, or the reverse; compare it with files in conf/"


def _option_message(override: str) -> str:
    group, _, value = override.lstrip("+").partition("=")
    folder = conf_dir() / group
    if not group:
        return f"{override}  cannot be parsed; an override is key=value"
    if not folder.is_dir() or isinstance(yaml.safe_load(value), str):
        return ""
    allowed = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    return f"{override}  must be the name of an option; allowed: {allowed}"


def _undecodable_file(overrides: Sequence[str]) -> str:
    """Find the first configuration file among the chosen ones that is not UTF-8 text."""
    for override in overrides:
        name = override.lstrip("+").replace("=", "/", 1)
        path = _path_of(name, overrides)
        try:
            _ = path.read_text(encoding="utf-8") if path else ""
        except UnicodeDecodeError:
            return f"{name}.yaml"
    return "a configuration file"


def _path_of(name: str, arguments: Sequence[str]) -> Path | None:
    """Find an option's file in conf/ or in the folder of --config-dir."""
    folders = [conf_dir()]
    for place, argument in enumerate(arguments):
        option, _, folder = argument.partition("=")
        if option in ("--config-dir", "-cd"):
            folders.append(Path(folder or "".join(arguments[place + 1 : place + 2])))
    return next((path for folder in folders if (path := folder / f"{name}.yaml").is_file()), None)


def validate_study_file(content: Any, file: str) -> list[str]:
    """Return one message for each entry of a study file that is unknown or has the wrong type.

    Args:
        content: the parsed YAML.
        file: the file's name in the messages.
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


def did_you_mean(key: str) -> str:
    """Return `; did you mean ...?` with the key or group most similar to an unknown one; empty if none is."""
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
    """Return all keys of the configuration, with dots, and all config groups, with slashes."""
    keys = []
    for field in dataclasses.fields(Config):
        kind = StudyConfig if field.name == "study" else field.type
        inner = [f"{field.name}.{f.name}" for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
        keys += inner or [field.name]
    return keys + [path.relative_to(conf_dir()).as_posix() for path in sorted(conf_dir().rglob("*")) if path.is_dir()]
