"""`python -m vitsweep wandb cell STUDY -- POINT`: what a W&B agent runs: one cell, in its study's own directory.

The cell is looked up in the directory's plan.json and trained under its lock, so agents, local sweeps and restarts
share the work. Where there is no plan (another machine) it is made from STUDY. A cell that is done already is told to
W&B again, for W&B waits for the result of every run that it has asked for.
"""

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from vitsweep.commands.arguments import make_composer, make_study_parser
from vitsweep.commands.search_space import (
    CELL_KEY,
    compose_sweep_directory,
    decode_cell_id,
    point_plan,
    split_overrides,
)
from vitsweep.config.composer import Composer
from vitsweep.config.convert import config_hash
from vitsweep.config.messages import user_errors
from vitsweep.config.overrides import override_key, sweep_name
from vitsweep.errors import ConfigError
from vitsweep.run.worker import LOG_FORMAT, LOG_NAME, NO_SPACE, REFUSED, NoSpace, train_cell
from vitsweep.study.locks import CellLock, LivenessCheck
from vitsweep.study.plan import Cell, Plan, read_plan
from vitsweep.study.planner import freeze_plan, override_seeds, plan_and_directory
from vitsweep.study.record import read_record, write_record
from vitsweep.tracking.client import make_settings
from vitsweep.tracking.pieces import replay, tracker_config
from vitsweep.tracking.run import without_paths
from vitsweep.train.stop import Interrupted

log = logging.getLogger(__name__)

REFUSAL_SECONDS = 10.0


def main(arguments: list[str]) -> int:
    """Train the cell that the words after `--` choose.

    Returns:
        0 also for a cell that failed or diverged: its record and its run say so, and an agent leaves for good, as if
        all were well, after three codes other than 0 in its first minute. 2 refused, 74 disk full, 128 + signal.
    """
    if "--" not in arguments:
        raise ConfigError(["wandb cell STUDY -- POINT  is what W&B's agents run; see `wandb sweep`"])
    place = arguments.index("--")
    ask = make_study_parser("cell", __doc__)
    ask.add_argument("--tune", action="store_true", help="the point is W&B's own choice, not a planned cell")
    asked, point = ask.parse_intermixed_args(arguments[:place]), arguments[place + 1 :]
    with user_errors(arguments):
        composer = make_composer(asked)
        directory = compose_sweep_directory(asked, composer)
        try:
            choose = tuned_cell if asked.tune else planned_cell
            cell = choose(asked, composer, directory, point)
        except ConfigError as fault:
            if not asked.tune:
                raise
            return skip_invalid(fault)
    return train_or_replay(directory, cell)


def planned_cell(asked: Any, composer: Composer, directory: Path, point: list[str]) -> Cell:
    """The cell of the study that the point names, by the frozen plan if there is one.

    Raises:
        ConfigError: the study has no such cell.
    """
    frozen = read_plan(directory)
    cell = find_cell(frozen, point, composer) if frozen else None
    if cell is None:
        cell = find_cell(
            freeze_plan(directory, plan_and_directory(asked.overrides, composer.loader, asked.config_name)[0]),
            point,
            composer,
        )
    if cell is None:
        raise ConfigError([f"{' '.join(point)}  is no cell of the study as it is now; write the sweep file anew"])
    return cell


def tuned_cell(asked: Any, composer: Composer, directory: Path, point: list[str]) -> Cell:
    """The cell of a point that W&B has chosen; its arm joins the plan.

    Raises:
        ConfigError: the point breaks a rule.
    """
    fixed = split_overrides(asked.overrides, composer)[1]
    seeds = override_seeds([o for o in [*fixed, *point] if override_key(o) == "seed"][-1:] or ["seed=0"])
    fixed, chosen = ([o for o in part if override_key(o) != "seed"] for part in (fixed, point))
    made = point_plan(sweep_name(asked.overrides), fixed, chosen, seeds[0], composer)
    wanted = made.cells[-1]
    cell = find_equal_cell(freeze_plan(directory, made), wanted.config_hash, wanted.seed)
    assert cell is not None
    return cell


def skip_invalid(fault: ConfigError) -> int:
    """Tell W&B that the point it chose breaks a rule, which no range can rule out; the agent goes on to the next."""
    print(f"{fault}\nthis point of the search is left out", file=sys.stderr)
    if "WANDB_SWEEP_ID" in os.environ:
        import wandb

        with suppress(wandb.errors.Error):
            run = wandb.init(settings=make_settings(REFUSAL_SECONDS, share_host=False))
            run.summary["error"] = without_paths(str(fault))
            run.finish(exit_code=REFUSED)
    return 0


def find_cell(plan: Plan, point: list[str], composer: Composer) -> Cell | None:
    """The planned cell that a point means: by its name, or by what is learned at the point.

    Raises:
        ConfigError: the point breaks a rule.
    """
    values = {override_key(o): composer.parse(o).value() for o in point}
    if CELL_KEY.lstrip("+") in values:
        wanted = decode_cell_id(str(values[CELL_KEY.lstrip("+")]))
        return next((cell for cell in plan.cells if cell.id == wanted), None)
    baseline = next(cell for cell in plan.cells if cell.role == "baseline")
    config = composer([*baseline.overrides, *point])
    return find_equal_cell(plan, config_hash(config), config.seed)


def find_equal_cell(plan: Plan, hash_of_config: str, seed: int) -> Cell | None:
    """The planned cell that is the same experiment; a placebo never is, for its seed is a label."""
    cells = (cell for cell in plan.cells if cell.role != "placebo")
    return next((cell for cell in cells if (cell.config_hash, cell.seed) == (hash_of_config, seed)), None)


def train_or_replay(directory: Path, cell: Cell) -> int:
    """Train the cell, or tell W&B again what it gave; see main for the exit code."""
    folder = directory / cell.id
    folder.mkdir(parents=True, exist_ok=True)
    handlers = [logging.FileHandler(folder / LOG_NAME), logging.StreamHandler()]
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=handlers, force=True)
    before = count_attempts(folder)
    try:
        status = train_cell(directory, cell.id)
        if before and count_attempts(folder) == before and status != "busy":
            replay_done_cell(folder, cell)
    except Interrupted as event:
        log.info("%s", event)
        return 128 + event.signum
    except NoSpace as fault:
        log.error("%s", fault)
        return NO_SPACE
    if status == "busy":
        log.warning("%s is being trained by somebody else, who tells W&B in a run of its own", cell.id)
    return REFUSED if status == "refused" else 0


def count_attempts(folder: Path) -> int:
    """How often the cell has been started."""
    try:
        return read_record(folder).attempts
    except FileNotFoundError:
        return 0


def replay_done_cell(folder: Path, cell: Cell) -> None:
    """Give the run that W&B has asked for what the cell's record has."""
    with CellLock(folder, LivenessCheck()) as lock:
        if not lock.acquire():
            return
        record = read_record(folder)
        log.info("%s is %s already: told W&B again", cell.id, record.status)
        record.wandb += replay(record, folder, tracker_config(cell.config))
        write_record(folder, record)
