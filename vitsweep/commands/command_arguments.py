"""Arguments that several commands share: a sweep's directory, a study's overrides, and the limits of W&B's sweeps."""

import argparse
import re
from pathlib import Path

from vitsweep.config.command_line import replace_none, to_override, unknown_option
from vitsweep.config.composer import Composer
from vitsweep.config.hydra import make_loader
from vitsweep.config.schema import TrackerConfig
from vitsweep.errors import ConfigError, UserError
from vitsweep.study.design import study_seeds
from vitsweep.study.identity import FingerprintFiller
from vitsweep.study.plan import Plan
from vitsweep.study.record import RUNS_NAME
from vitsweep.tracking.privacy import without_paths


def make_study_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """Return an argument parser for the overrides of a study and the location of its configurations."""
    parser = argparse.ArgumentParser(prog=f"vitsweep {command}", description=description)
    parser.add_argument(
        "overrides", nargs="*", help="as for a sweep: study=NAME, model.patch_size=4,8, seed=0,1,2, ..."
    )
    parser.add_argument("--config-dir", "-cd", help="folder with your configurations, e.g. DIR/study/mine.yaml")
    parser.add_argument("--config-name", "-cn", default="config", help="the primary configuration")
    return parser


def parse_study_arguments(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Parse the words of a command on a study; `--key=value`, as W&B's agents write it, is the override `key=value`.

    Raises:
        ConfigError: a word is neither an option nor an override.
    """
    options = [option for action in parser._actions for option in action.option_strings]
    namespace, unknown = parser.parse_known_intermixed_args([to_override(word, options) for word in arguments])
    if unknown:
        raise ConfigError([unknown_option(word) for word in unknown])
    namespace.overrides = [replace_none(override) for override in namespace.overrides]
    return namespace


def make_composer(options: argparse.Namespace) -> Composer:
    """Return a composer for the configurations that the options name."""
    return Composer(make_loader(options.config_dir), options.config_name, complete=FingerprintFiller())


def require_wandb(tracker: TrackerConfig) -> None:
    """Check that the cells send their results to W&B, as its sweeps need.

    Raises:
        ConfigError: the tracker is none, offline or disabled.
    """
    if tracker.name != "wandb":
        chosen = ",".join(tracker.names) or "none"
        raise ConfigError([f"tracker={chosen}  sends W&B nothing, so it cannot run a sweep; use tracker=wandb"])
    if tracker.mode in ("offline", "disabled"):
        raise ConfigError(
            [f"tracker.mode={tracker.mode}  sends W&B's sweep no results; use tracker.mode=auto or tracker.mode=online"]
        )


def refuse_search(plan: Plan | None) -> None:
    """Check that a study has no search of its own, which W&B's agents would leave out.

    Raises:
        ConfigError: it has `tune`.
    """
    if plan is not None and plan.tune:
        raise ConfigError(
            ["study.tune  is searched by a sweep, not by W&B's agents; run the study itself, or leave `tune` out"]
        )


def reject_private_paths(words: list[str], tracker: TrackerConfig) -> None:
    """Check that the words of a sweep file, which goes to the server, contain no private path.

    Raises:
        ConfigError: a word has an absolute path, and tracker.share_host is false.
    """
    private = [word for word in words if without_paths(word) != word]
    if private and not tracker.share_host:
        raise ConfigError(
            [
                f"{word}  would send W&B a path of this machine; name it from the working folder (a/b), "
                "set it on the machine (VITSWEEP_DATA for images) or use tracker.share_host=true"
                for word in private
            ]
        )


def parse_directory(arguments: list[str], usage: str) -> tuple[Path, list[str]]:
    """Return the directory that a command names first, and its other words.

    Raises:
        UserError: there is no directory.
    """
    if not arguments or arguments[0].startswith("-"):
        raise UserError(f"usage: vitsweep {usage}")
    return Path(arguments[0]).absolute(), arguments[1:]


def refuse_published(directory: Path) -> None:
    """Check that a command that changes a study does not name a published study.

    Raises:
        UserError: it does.
    """
    if (directory / RUNS_NAME).exists():
        raise UserError(f"{directory}  is a published study, which is only read; name the sweep's own directory")


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of `10` (0 to 9) or `[5,6,7]`, as in a study file.

    Raises:
        ConfigError: the text is neither, or repeats a seed.
    """
    if not re.fullmatch(r"\d+|\[?\d+(,\d+)*\]?", text):
        raise ConfigError([f"seeds={text}  must be a number of seeds, or a list such as [5,6,7]"])
    return study_seeds(int(text) if text.isdigit() else [int(part) for part in text.strip("[]").split(",")])
