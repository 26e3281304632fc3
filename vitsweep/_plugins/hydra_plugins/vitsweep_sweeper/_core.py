"""The sweeper's work: plan and check everything, run what is missing, go on past failures, say how it ended."""

import logging
import os
from pathlib import Path

from hydra.types import HydraContext, TaskFunction
from hydra_plugins.vitsweep_sweeper._engines import Sweep, run_cells
from omegaconf import DictConfig, open_dict
from rich.console import Console

from vitsweep.board import final_table, make_board
from vitsweep.compose import Composer
from vitsweep.config import SweepConfig
from vitsweep.locks import Witness, guarded, remove_temporaries
from vitsweep.nursery import worker_environment
from vitsweep.paths import PACKAGE_DIR
from vitsweep.plan import Plan, extend, read_plan, write_plan
from vitsweep.planner import plan_of
from vitsweep.standing import standings
from vitsweep.stop import StopSignals

log = logging.getLogger(__name__)


def sweep(config: DictConfig, context: HydraContext, task: TaskFunction, overrides: list[str]) -> list[str]:
    """Run the cells that `overrides` describe; returns their statuses and leaves the exit code in the task.

    Raises:
        ConfigError: before anything is started, with all faults of all cells.
        RecordError: the sweep directory belongs to another study.
    """
    directory = Path(config.hydra.sweep.dir).absolute()
    plan = plan_of(overrides, Composer(context.config_loader, config.hydra.job.config_name))
    settings = SweepConfig(**plan.cells[0].config["sweep"])
    if settings.dry_run:
        show_plan(plan)
        return []
    witness, retry = Witness(), settings.retry == "failed"
    before = standings(directory, plan.cells, witness)
    todo = [now.cell for now in before if now.is_wanted(retry)]
    merged = freeze(directory, plan)
    done = sum(now.status == "done" for now in before)
    log.info("%s: %d cells, %d done already, %d to do, in %s", plan.study, len(before), done, len(todo), directory)
    if todo:
        prepare(config, directory)
        work = Sweep(config=config, context=context, directory=directory, settings=settings, witness=witness)
        with StopSignals(), make_board(before) as board:
            run_cells(work, todo, board)
    return conclude(directory, plan, merged, witness, task, {cell.id for cell in todo})


def show_plan(plan: Plan) -> None:
    """Print the plan and start nothing."""
    from vitsweep.price import print_plan

    print_plan(plan)


def freeze(directory: Path, plan: Plan) -> Plan:
    """Write plan.json, with everything that an earlier plan there had beyond this one.

    Raises:
        RecordError: the earlier plan has another baseline.
    """
    earlier = read_plan(directory)
    if earlier is not None:
        extend(earlier, plan, directory)  # refuses before anything is written
    directory.mkdir(parents=True, exist_ok=True)
    with guarded(directory):  # two starts at once must not lose each other's cells
        remove_temporaries(directory)
        earlier = read_plan(directory)
        merged = plan if earlier is None else extend(earlier, plan, directory)
        if merged != earlier:
            write_plan(directory, merged)
    return merged


def prepare(config: DictConfig, directory: Path) -> None:
    """Make everything absolute and findable: workers may start in another directory, without our sys.path."""
    with open_dict(config):
        config.hydra.sweep.dir = str(directory)
    paths = [worker_environment()["PYTHONPATH"], str(PACKAGE_DIR / "_plugins")]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(os.pathsep.join(paths).split(os.pathsep)))


def conclude(
    directory: Path, plan: Plan, merged: Plan, witness: Witness, task: TaskFunction, tried: set[str]
) -> list[str]:
    """Print the table of this command's cells, set the exit code and return the statuses."""
    after = standings(directory, plan.cells, witness)
    Console().print(final_table(merged, [(now.cell, now.record) for now in after], directory))
    statuses = [now.status for now in after]
    task.exit_code = 0 if all(status == "done" for status in statuses) else 1
    for now in after:
        if now.refusal and now.cell.id in tried:
            task.refuse(now.refusal)
    return statuses
