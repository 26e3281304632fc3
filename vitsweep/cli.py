"""The console command: Hydra composes the configuration; a single cell is trained here, a sweep by Hydra's sweeper.

torch is imported inside the task, so that `--help`, `--cfg job` and every error message appear at once.
"""

import logging
import os
import secrets
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig

import vitsweep
from vitsweep.config.command_line import check_words, is_dry_run, order_words
from vitsweep.config.composer import Composer
from vitsweep.config.convert import config_hash, from_omegaconf, refuse_configured_study, to_dict
from vitsweep.config.hydra import main_options, make_loader, register
from vitsweep.config.messages import user_message
from vitsweep.config.override_rules import contradiction_errors, name_choices
from vitsweep.config.overrides import is_study_override, short_key, single_name, with_run_mode
from vitsweep.config.schema import Config
from vitsweep.errors import ConfigError, RecordError, UserError, printable
from vitsweep.files import protect_output
from vitsweep.paths import conf_dir
from vitsweep.run.end.on_end import EndCommand
from vitsweep.run.end.single import announce_time, print_result
from vitsweep.run.worker import train_cell
from vitsweep.study.arms import differences, written_settings
from vitsweep.study.identity import FingerprintFiller
from vitsweep.study.locks import CellLock
from vitsweep.study.record import KEPT, Record, code_identity, read_record
from vitsweep.train.stop import Interrupted

log = logging.getLogger(__name__)

ALL_DONE, SOME_FAILED, REFUSED = 0, 1, 2
ON_END = "sweep.on_end"


class Task:
    """Function that Hydra calls for each cell.

    Hydra drops its return value and rewords its exceptions, so the exit code and the error messages are kept here for
    `main`.
    """

    def __init__(self, on_end: str = "") -> None:
        self.exit_code = ALL_DONE
        self.end = EndCommand(on_end)
        self.errors: list[str] = []

    def __call__(self, composed: DictConfig) -> str:
        """Train the cell that the sweep names, else the composed one; return its status."""
        directory = Path(HydraConfig.get().runtime.output_dir)
        try:
            if "cell" in composed:
                retry = composed.sweep.retry == "failed"
                return train_cell(Path(HydraConfig.get().sweep.dir), composed.cell, retry=retry)
            whole: Any = HydraConfig.instance().cfg  # annotated as HydraConf, holds the whole composition
            overrides = list(HydraConfig.get().overrides.task)
            config, record = single_cell(from_omegaconf(composed, whole), directory, overrides)
            if config.sweep.dry_run or config.sweep.probe:  # of a configuration file; one of the words never gets here
                from vitsweep.commands.dry_run import print_cell  # late: imports scipy

                print_cell(config, record, directory)
                remove_empty_output(directory)
                return "planned"
            self.end.start(record.study, directory, partial(single_status, directory, record), config.sweep.on_end)
            status = train(config, record, directory)
        except Exception as error:
            message = user_message(error)
            if message is None:
                raise
            self.refuse(message)
            remove_empty_output(directory)
            return "refused"
        if status != "done":
            self.exit_code = SOME_FAILED
        return status

    def refuse(self, message: str) -> None:
        """Keep an error message; the same one of many cells is kept once."""
        self.exit_code = REFUSED
        if message not in self.errors:
            self.errors.append(message)


def remove_empty_output(directory: Path) -> None:
    """Remove a directory that Hydra made, if it holds only an empty log."""
    if [path.name for path in directory.iterdir()] == ["run.log"] and not (directory / "run.log").stat().st_size:
        (directory / "run.log").unlink()
        directory.rmdir()


def single_cell(config: Config, directory: Path, overrides: list[str]) -> tuple[Config, Record]:
    """Fill in the images' fingerprint and make the record of a run without a sweep.

    Args:
        config: as composed.
        directory: of the run; results there of versions without data.fingerprint keep their hash.
        overrides: those of the command line, without Hydra's own.

    Raises:
        ConfigError: a study or sweep.detach is chosen, which a single run would ignore; or the images are bad.
    """
    if config.study is not None and any(map(is_study_override, overrides)):
        raise ConfigError(["study=...  is planned by -m and vitsweep's sweeper; leave hydra.mode out"])
    refuse_configured_study(config)
    if config.sweep.detach:
        raise ConfigError(["sweep.detach=true  submits the cells of a sweep; add -m, or use sweep.detach=false"])
    if missing := config.tracker.missing_libraries():
        raise ConfigError(missing)
    config = FingerprintFiller(lambda: directory, keep=not config.sweep.dry_run)(config)
    record = Record(
        study="single",
        role="baseline",
        arm=single_name([o for o in overrides if short_key(o) != "seed"]),
        seed=config.seed,
        overrides=overrides,
        config=to_dict(config),
        config_hash=config_hash(config),
        sweep_id=secrets.token_hex(8),
    )
    return config, record


def single_status(directory: Path, record: Record) -> list[tuple[str, str, Record | None]]:
    """Return name, status and record of a single run as they are on disk now."""
    now = earlier_record(directory, record)
    return [(record.arm, now.status if now else "planned", now)]


def train(config: Config, record: Record, directory: Path) -> str:
    """Train a cell unless its record says that it is done; return its status.

    Raises:
        RecordError: the directory holds another cell, or another process is training in it.
    """
    with CellLock(directory) as lock:
        if not lock.acquire_or_wait():
            raise RecordError(
                f"hydra.run.dir={directory}  is in use by another process that trains there; "
                "wait for its end, or choose another hydra.run.dir=..."
            )
        return train_alone(config, record, directory)


def train_alone(config: Config, record: Record, directory: Path) -> str:
    """Train a cell whose directory this process has locked; return its status."""
    earlier = earlier_record(directory, record)
    if earlier is not None and earlier.status == "done":
        log.info("%s seed %d is done already: %s", record.arm, record.seed, directory)
        from vitsweep.tracking.pieces import replay_for_agent  # late: it imports numpy

        replay_for_agent(earlier, directory, config.tracker)
        print_result(earlier, directory)
        return "done"
    if earlier is not None:
        for name in KEPT:
            setattr(record, name, getattr(earlier, name))
    code_identity()  # of the code as it is imported now, not when the images have been read
    from vitsweep.train.fit import run_cell

    announce_time(config, record)
    record = run_cell(config, record, directory)
    print_result(record, directory)
    return record.status


def earlier_record(directory: Path, record: Record) -> Record | None:
    """Read the record of an earlier attempt at the same cell; None if there is none.

    Raises:
        RecordError: the directory holds another cell.
    """
    try:
        earlier = read_record(directory)
    except FileNotFoundError:
        return None
    if (earlier.config_hash, earlier.seed) != (record.config_hash, record.seed):
        changes = differences(written_settings(earlier.config), written_settings(record.config))
        what = "the same run on other images" if list(changes) == ["data.fingerprint"] else "another cell"
        raise RecordError(
            f"hydra.run.dir={directory}  holds {what} ({earlier.arm}, seed {earlier.seed}); "
            "choose another hydra.run.dir=... or move that folder away"
        )
    return earlier


def set_wait_policy() -> None:
    """Shorten the time that OpenMP threads spin before they sleep, unless the user has set OMP_WAIT_POLICY.

    GNU's OpenMP, part of torch on Linux, reads the variable when torch is imported. With its default, a step of two
    threads beside one busy program takes almost four times as long (docs/results/speed/log.md).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def main() -> int:
    """Run the console command; return 0 if all is done, 1 if a cell failed, 2 if the input has an error."""
    code, messages = start(sys.argv[1:])
    for message in messages:
        print(message, file=sys.stderr)
    return code


def start(words: list[str]) -> tuple[int, list[str]]:
    """Train what the words of a command line ask for; return the exit code (see main) and error messages."""
    protect_output()
    set_wait_policy()
    register()
    if "--version" in words:
        print(f"vitsweep {vitsweep.__version__}")
        return ALL_DONE, []
    try:
        refuse_command(words)
        words, on_end = split_on_end(words)
        words = with_run_mode(order_words(words))
        check_words(words)
    except UserError as error:
        return REFUSED, [str(error)]
    before, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        if errors := single_run_errors(words):
            return REFUSED, errors
        if is_dry_run(words):
            return print_dry_run(words)
        return run_hydra(words, on_end)
    finally:
        sys.argv = before


def refuse_command(words: list[str]) -> None:
    """Raise for the name of a command, or a word like one, in place of an override: `run.py status DIR`.

    Raises:
        UserError: with the command line to write.
    """
    from vitsweep.__main__ import NOT_ONE_WORD, split_name

    if not words or NOT_ONE_WORD & set(words[0]) or "/" in words[0]:
        return
    name, _ = split_name(words)  # raises for an unknown one
    raise UserError(f"{name}  is a command, not an override; python -m vitsweep {shlex.join(words)}")


def print_dry_run(words: list[str]) -> tuple[int, list[str]]:
    """Print what the words would train; return the exit code and error messages."""
    from vitsweep.commands.dry_run import dry_run  # late: imports scipy

    try:
        dry_run(words, planned_cell)
    except UserError as error:
        return REFUSED, named_choices([str(error)], words)
    return ALL_DONE, []


def planned_cell(config: Config, directory: Path, overrides: list[str]) -> tuple[Config, Record]:
    """Return single_cell with the record of an earlier attempt, if there is one.

    Raises:
        RecordError: the directory holds another cell.
        ConfigError: see single_cell.
    """
    config, record = single_cell(config, directory, overrides)
    return config, earlier_record(directory, record) or record


def split_on_end(words: list[str]) -> tuple[list[str], str]:
    """Return the words without `sweep.on_end=COMMAND`, and the command as it was given; Hydra does not parse it."""
    key = f"{ON_END}="
    commands = [word.removeprefix(key) for word in words if word.startswith(key)]
    return [word for word in words if not word.startswith(key)], commands[-1] if commands else ""


def run_hydra(words: list[str], on_end: str = "") -> tuple[int, list[str]]:
    """Train as call_hydra does, then run the command `on_end`; return the exit code and error messages."""
    task, code = Task(on_end), SOME_FAILED
    try:
        code, errors = call_hydra(task, words)
        return code, errors
    finally:
        task.end.run(code)


def call_hydra(task: Task, words: list[str]) -> tuple[int, list[str]]:
    """Let Hydra compose the words of sys.argv and train; return the exit code and error messages (see start)."""
    run = hydra.main(config_path=str(conf_dir()), config_name="config", **main_options())(task)
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises errors instead of printing them and exiting
    try:
        run()
    except Interrupted as event:
        return 128 + event.signum, [f"\n{event}; run the same command again to resume"]
    except KeyboardInterrupt:
        return 130, ["\nstopped; run the same command again to resume"]
    except Exception as error:
        message = user_message(error, words)
        if wants_traceback or message is None:
            raise
        return REFUSED, [printable(text) for text in dict.fromkeys([message, *other_errors(error, words)])]
    finally:
        if not wants_traceback:
            del os.environ["HYDRA_FULL_ERROR"]
    return task.exit_code, [printable(message) for message in named_choices(task.errors, words)]


def single_run_errors(words: list[str]) -> list[str]:
    """Return a message for each part that a value undoes in a run without a sweep, where Hydra lets the value win."""
    parts = [word for word in words if "/" in word.partition("=")[0] and not word.startswith(("-", "hydra/", "~"))]
    if not parts or any(word in ("-m", "--multirun") for word in words):
        return []
    try:
        return contradiction_errors(overrides_of(words), make_composer(words))
    except (UserError, HydraException):
        return []  # Hydra refuses them with its own message


def named_choices(errors: list[str], words: list[str]) -> list[str]:
    """Return a task's messages, each line with the chosen option that sets a key which it names."""
    if not errors or any(word in ("-m", "--multirun") for word in words):
        return errors
    try:
        composer = make_composer(words)
        return ["\n".join(name_choices(text.split("\n"), overrides_of(words), composer)) for text in errors]
    except (UserError, HydraException):
        return errors


def overrides_of(words: list[str]) -> list[str]:
    """Return the words of a command line that are overrides."""
    return [word for word in words if not word.startswith("-")]


def make_composer(words: list[str]) -> Composer:
    """Return a composer of the configuration that a command line names.

    Raises:
        ConfigError: its folder of configurations does not exist.
    """
    config_dir = next((word.partition("=")[2] for word in words if word.startswith("--config-dir=")), None)
    return Composer(make_loader(config_dir), "config")


def other_errors(error: Exception, words: list[str]) -> list[str]:
    """Return why each override cannot be composed by itself, if Hydra refused them all for its first error.

    Settings of Hydra's own parts are left out: without the launcher that another override chooses they are unknown.
    """
    overrides = [override for override in overrides_of(words) if not override.startswith("hydra.")]
    if isinstance(error, UserError) or not isinstance(error, HydraException) or len(overrides_of(words)) < 2:
        return []
    try:
        composer = make_composer(words)
    except UserError:
        return []
    return [message for override in overrides for message in composer.errors_alone(override)]
