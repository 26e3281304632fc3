"""One-line messages for the errors of Hydra, OmegaConf and YAML, in the form `key=value  rule  what to do`."""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from vitsweep.config.checks import unknown_option
from vitsweep.config.convert import describe_type
from vitsweep.config.file_rules import study_file_errors
from vitsweep.config.override_rules import OWN_SWEEPER
from vitsweep.config.suggestions import ALL_KEYS, did_you_mean, unknown_key
from vitsweep.errors import ConfigError, UserError
from vitsweep.paths import conf_dir, install_command, pip_command

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
    if isinstance(error, Exception) and _is_raised_in_hydra(error):
        return _unforeseen_message(error, overrides)
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
    package = trace.tb_frame.f_globals.get("__name__", "").split(".")[0] if trace is not None else ""
    return package in ("hydra", "omegaconf", "antlr4")


def _unforeseen_message(error: Exception, overrides: Sequence[str]) -> str:
    """Return the message for an error that Hydra did not mean to raise, such as an AssertionError."""
    text = " ".join(str(error).split())[:200]
    return _unchosen_study_message(overrides) or (
        f"Hydra cannot read this ({type(error).__name__}: {text}); HYDRA_FULL_ERROR=1 shows where"
    )


def _unchosen_study_message(overrides: Sequence[str]) -> str:
    """Return the message for the first override that changes a study although none is chosen; empty without one."""
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    for key, override in zip(keys, overrides, strict=True):
        if re.split("[./]", key)[0] == "study" and ("study" not in keys or key == "study"):
            return f"{override}  changes a study, but none is chosen; add study=NAME, a file in conf/study"
    return ""


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
    if key == "_dummy_":  # Hydra's name for an interpolation in place of an option
        return _interpolated_option_message(context)
    if "Missing mandatory value" in text or "is missing" in text.lower():
        return f"{prefix}{key}  has no value (???); give it one: {key}=..."
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
        return f"{prefix}{unknown_key(key)}"
    return f"{prefix}{key}  {text}"


def _refused_value(text: str) -> str | None:
    if "is not Optional" in text or "Incompatible value 'None'" in text:
        return "null"
    match = re.search(r"Value '(.*)' (?:of type|is not a valid)", text) or re.search(r"to string: '(.*)'", text)
    return match[1] if match else None


HYDRA_MESSAGES = {
    r"Could not override '([^']+)'[\s\S]*default list use (\+\S+)": "{0}  is a group without a default; write {1}",
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
        heading = r"(?:Error (?:parsing override|when parsing index).*?['\"]\]?\.?\n)+"  # one or two lines in Hydra 1.4
        problem = re.sub(rf"^{heading}", "", text, flags=re.DOTALL)
        problem = " ".join(problem.split(" expecting ")[0].split())
        problem = "it has no =" if "missing EQUAL" in problem else problem
        remedy = _quoted(error.override) or "an override is key=value, special characters in quotes"
        return f"{error.override}  cannot be parsed ({problem}); {remedy}"
    if isinstance(error, MissingConfigException):
        return _missing_file_message(error, text)
    if text.startswith("Config group override must be a string"):
        return "\n".join(message for override in overrides if (message := _option_message(override))) or text
    if match := re.match(
        r"In '([^']+)': (?:ConfigTypeError[\s\S]*Cannot merge|ValidationError[\s\S]*list is not a subclass)", text
    ):
        return _merge_message(match[1], overrides)
    if match := re.match(r"Error merging override (.*)", text):  # Hydra 1.4; the cause says why
        reason = str(error.__cause__ or "it cannot be set").splitlines()[0]
        return _unchosen_study_message(overrides) or f"{match[1]}  {reason}"
    for pattern, message in HYDRA_MESSAGES.items():
        if match := re.match(pattern, text):
            return message.format(*match.groups(), did_you_mean=did_you_mean(match[1]))
    return " ".join(text.split())


def _quoted(override: str) -> str:
    """Return how to write an override whose value needs quotes, for a shell; empty if they do not help."""
    key, _, value = override.partition("=")
    quoted = f"{key}='" + value.replace("'", "\\'") + "'"
    try:
        parsed = OverridesParser.create().parse_overrides([quoted])[0].value() if value else None
    except HydraException:
        return ""
    takes_text = describe_type(key.lstrip("+")).startswith("a text") or key.startswith("hydra.")
    if parsed != value or not takes_text:
        return ""
    return "quote its value: " + (shlex.quote(quoted) if re.search(r'["$`\\!]', quoted) else f'"{quoted}"')


def _interpolated_option_message(context: str) -> str:
    match = re.search(r"'?(\$\{[^'}]*\})", context)
    where = f"{match[1]}" if match else "an interpolation"
    return f"{where}  cannot choose from a config group here; write the option's name"


EXTRAS = {
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
}
"""Option of Hydra -> extra of vitsweep that brings its plugin."""
PLUGINS = {
    "hydra/launcher=ray_aws": "hydra-ray-launcher",
    "hydra/launcher=rq": "hydra-rq-launcher",
    "hydra/hydra_logging=colorlog": "hydra-colorlog",
    "hydra/job_logging=colorlog": "hydra-colorlog",
}
"""Option of Hydra -> package of its plugin, of which vitsweep has no extra."""


def _missing_file_message(error: MissingConfigException, text: str) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if "primary config" in text or not group:
        return f"--config-name={error.missing_cfg_file}  does not exist; leave it out for config.yaml"
    if group == "hydra/sweeper":
        return f"{group}={option}  would train without a plan; {OWN_SWEEPER}"
    chosen = f"{group}={option}"
    if chosen in EXTRAS or chosen in PLUGINS:
        install = install_command(EXTRAS[chosen]) if chosen in EXTRAS else f"{pip_command()} install {PLUGINS[chosen]}"
        return f"{chosen}  needs a plugin that is not installed; {install}"
    options = error.options or sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))  # none of a list
    if not options:
        return f"{group}={option}  is unknown; no such config group has options"
    return f"{group}={option}  {unknown_option(option, options)}"


def _merge_message(name: str, overrides: Sequence[str]) -> str:
    """Read a file again, since OmegaConf names no key when a list is in place of a mapping."""
    path = _path_of(name, overrides)
    found = study_file_errors(yaml.safe_load(path.read_text(encoding="utf-8")), f"{name}.yaml") if path else []
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
