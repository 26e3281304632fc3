"""`python -m vitsweep wandb cell STUDY -- POINT`: train one cell for a W&B agent, in its study's own directory.

Looks the cell up in plan.json and trains it under its lock, so that agents, local sweeps and restarts share the work.
Without a plan (another machine) it is made from STUDY. A finished cell is logged to W&B again, because W&B waits for
the result of every run that it started.
"""

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from vitsweep.commands.command_arguments import make_composer, make_study_parser, parse_study_arguments, refuse_search
from vitsweep.commands.wandb.search_space import (
    CELL_KEY,
    compose_sweep_directory,
    decode_cell_id,
    point_plan,
    split_overrides,
)
from vitsweep.config.command_line import replace_none, to_override
from vitsweep.config.composer import Composer
from vitsweep.config.convert import config_hash
from vitsweep.config.messages import user_errors
from vitsweep.config.overrides import override_key, sweep_name
from vitsweep.errors import ConfigError
from vitsweep.run.worker import LOG_FORMAT, LOG_NAME, NO_SPACE, REFUSED, NoSpace, train_cell
from vitsweep.study.identity import FingerprintFiller
from vitsweep.study.locks import CellLock, LivenessCheck
from vitsweep.study.plan import Cell, Plan, read_plan
from vitsweep.study.plan_builder import freeze_plan, override_seeds, plan_and_directory
from vitsweep.study.record import read_record
from vitsweep.tracking.client import make_settings
from vitsweep.tracking.pieces import replay_for_agent, tracker_config
from vitsweep.tracking.privacy import without_paths
from vitsweep.tracking.temporary import own_temporary_folder
from vitsweep.train.stop import Interrupted

log = logging.getLogger(__name__)

REFUSAL_SECONDS = 10.0
WRITE_AGAIN = "write the sweep file again (python -m vitsweep wandb sweep), or give this machine the same images"


def main(arguments: list[str]) -> int:
    """Train the cell that the words after `--` choose.

    Returns:
        0, also for a failed or diverged cell, because an agent ends, with 0 too, after three other codes in its first
        minute; 2 for a refused cell; 74 if the disk is full; 128 + signal.
    """
    if "--" not in arguments:
        raise ConfigError(
            ["wandb cell STUDY -- POINT  is for W&B's agents; start with: python -m vitsweep wandb sweep study=NAME"]
        )
    place = arguments.index("--")
    parser = make_study_parser("wandb cell", __doc__)
    parser.add_argument("--tune", action="store_true", help="the point is W&B's own choice, not a planned cell")
    options = parse_study_arguments(parser, arguments[:place])
    point = [replace_none(to_override(word, ())) for word in arguments[place + 1 :]]
    with user_errors(arguments):
        composer = make_composer(options)
        directory = compose_sweep_directory(options, composer)
        composer.complete = FingerprintFiller(lambda: directory)
        try:
            choose_cell = tuned_cell if options.tune else planned_cell
            cell = choose_cell(options, composer, directory, point)
        except ConfigError as error:
            if not options.tune:
                raise
            return skip_invalid(error)
    return train_or_replay(directory, cell)


def planned_cell(options: Any, composer: Composer, directory: Path, point: list[str]) -> Cell:
    """Return the cell that the point names, from plan.json if it exists, else from a new plan.

    Raises:
        ConfigError: the study has no such cell.
    """
    frozen = read_plan(directory)
    refuse_search(frozen)
    cell = find_cell(frozen, point, composer) if frozen else None
    if cell is None:
        plan, _ = plan_and_directory(options.overrides, composer.loader, options.config_name)
        refuse_search(plan)
        cell = find_cell(freeze_plan(directory, plan), point, composer)
    if cell is None:
        raise ConfigError([f"{' '.join(point)}  is not a cell of the study as it is now; {WRITE_AGAIN}"])
    return cell


def tuned_cell(options: Any, composer: Composer, directory: Path, point: list[str]) -> Cell:
    """Return the cell of a point that W&B chose, and add its arm to the plan.

    Raises:
        ConfigError: the point is not a valid configuration.
    """
    fixed = split_overrides(options.overrides, composer)[1]
    seeds = override_seeds([o for o in [*fixed, *point] if override_key(o) == "seed"][-1:] or ["seed=0"])
    fixed, chosen = ([o for o in part if override_key(o) != "seed"] for part in (fixed, point))
    made = point_plan(sweep_name(options.overrides), fixed, chosen, seeds[0], composer)
    wanted = made.cells[-1]
    cell = find_equal_cell(freeze_plan(directory, made), wanted.config_hash, wanted.seed)
    assert cell is not None
    return cell


def skip_invalid(error: ConfigError) -> int:
    """End W&B's run of an invalid point as failed; return 0, so that the agent continues with the next point."""
    print(f"{error}\nskipped this point of the search", file=sys.stderr)
    if "WANDB_SWEEP_ID" in os.environ:
        with own_temporary_folder():  # wandb makes a folder as soon as it is imported
            import wandb
        with suppress(wandb.errors.Error), own_temporary_folder():
            run = wandb.init(settings=make_settings(REFUSAL_SECONDS, share_host=False))
            run.summary["error"] = without_paths(str(error))
            run.finish(exit_code=REFUSED)
    return 0


def find_cell(plan: Plan, point: list[str], composer: Composer) -> Cell | None:
    """Return the planned cell of a point, by its id or by its configuration, or None.

    Raises:
        ConfigError: the point is not a valid configuration.
    """
    values = {override_key(o): composer.parse(o).value() for o in point}
    if CELL_KEY.lstrip("+") in values:
        wanted = decode_cell_id(str(values[CELL_KEY.lstrip("+")]))
        return next((cell for cell in plan.cells if cell.id == wanted), None)
    baseline = next(cell for cell in plan.cells if cell.role == "baseline")
    config = composer([*baseline.overrides, *point])
    return find_equal_cell(plan, config_hash(config), config.seed)


def find_equal_cell(plan: Plan, hash_of_config: str, seed: int) -> Cell | None:
    """Return the planned cell with this configuration and seed, or None; never a placebo, whose seed is a label."""
    cells = (cell for cell in plan.cells if cell.role != "placebo")
    return next((cell for cell in cells if (cell.config_hash, cell.seed) == (hash_of_config, seed)), None)


def train_or_replay(directory: Path, cell: Cell) -> int:
    """Train the cell, or log a finished one to W&B again; return the exit code (see main)."""
    folder = directory / cell.id
    folder.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.FileHandler(folder / LOG_NAME), logging.StreamHandler()]
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=handlers, force=True)
    try:
        status = train_cell(directory, cell.id, wait=True)
        if status != "busy":
            replay_ended_cell(folder, cell)
    except Interrupted as event:
        log.info("%s", event)
        return 128 + event.signum
    except NoSpace as error:
        log.error("%s", error)
        return NO_SPACE
    if status == "busy":
        log.warning("%s is being trained by another process, which logs it to W&B in a run of its own", cell.id)
    return REFUSED if status == "refused" else 0


def replay_ended_cell(folder: Path, cell: Cell) -> None:
    """Log the record of a cell that ended earlier, or in another process, to the run that W&B's agent started."""
    with CellLock(folder, LivenessCheck()) as lock:
        if lock.acquire_or_wait():
            replay_for_agent(read_record(folder), folder, tracker_config(cell.config))
