"""The study that the overrides of a W&B command describe: sweep, cell and dashboard ask for it alike."""

import argparse
from pathlib import Path

from vitsweep.config.composer import Composer
from vitsweep.config.hydra import make_loader
from vitsweep.config.schema import TrackerConfig
from vitsweep.errors import ConfigError, UserError
from vitsweep.tracking.run import without_paths


def make_study_parser(command: str, meaning: str | None) -> argparse.ArgumentParser:
    """An argument parser that takes what `plan` takes: overrides and where configurations lie."""
    ask = argparse.ArgumentParser(prog=f"python -m vitsweep wandb {command}", description=meaning)
    ask.add_argument("overrides", nargs="*", help="as for a sweep: study=NAME, model.patch_size=4,8, seed=0,1,2, ...")
    ask.add_argument("--config-dir", "-cd", help="a folder with configurations of yours, e.g. DIR/study/mine.yaml")
    ask.add_argument("--config-name", "-cn", default="config", help="the primary configuration")
    return ask


def make_composer(asked: argparse.Namespace) -> Composer:
    """Composes from the configurations that were asked for."""
    return Composer(make_loader(asked.config_dir), asked.config_name)


def require_wandb(tracker: TrackerConfig) -> None:
    """W&B can neither steer nor show cells that do not tell it anything.

    Raises:
        ConfigError: the tracker is off.
    """
    if tracker.name != "wandb":
        raise ConfigError([f"tracker={tracker.name}  tells W&B nothing, so it cannot run a sweep; use tracker=wandb"])
    if tracker.mode in ("offline", "disabled"):
        raise ConfigError([f"tracker.mode={tracker.mode}  keeps W&B's sweep waiting for results; use auto or online"])


def reject_private_paths(words: list[str], tracker: TrackerConfig) -> None:
    """What stands in a sweep file goes to the server with it.

    Raises:
        ConfigError: a word names a place on this machine, and that is not to be shared.
    """
    private = [word for word in words if without_paths(word) != word]
    if private and not tracker.share_host:
        raise ConfigError(
            [
                f"{word}  would tell W&B a path of this machine; name it from the working folder (a/b), "
                "set it on the machine (VITSWEEP_DATA for images) or use tracker.share_host=true"
                for word in private
            ]
        )


def parse_directory(arguments: list[str], usage: str) -> tuple[Path, list[str]]:
    """The directory that a command names first, and its other words.

    Raises:
        UserError: it names none.
    """
    if not arguments or arguments[0].startswith("-"):
        raise UserError(f"usage: python -m vitsweep {usage}")
    return Path(arguments[0]).absolute(), arguments[1:]
