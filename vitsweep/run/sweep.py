"""The sweeper's work: plan and check everything, run what is missing, go on past failures, say how it ended."""

import logging
import os
from pathlib import Path

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from vitsweep.config.composer import Composer
from vitsweep.config.schema import SweepConfig
from vitsweep.paths import PACKAGE_DIR
from vitsweep.run.launch import Sweep
from vitsweep.run.launchers import run_cells, trains_packs
from vitsweep.run.packs import packing_note
from vitsweep.run.progress_table import final_table, make_progress, table_console
from vitsweep.run.workers import worker_environment
from vitsweep.study.locks import LivenessCheck, remove_stale_lock
from vitsweep.study.plan import Cell, Plan, read_plan
from vitsweep.study.planner import build_plan, freeze_plan
from vitsweep.study.status import CellStatus, cell_statuses
from vitsweep.train.stop import StopSignals

log = logging.getLogger(__name__)


def sweep(config: DictConfig, context: HydraContext, task: TaskFunction, overrides: list[str]) -> list[str]:
    """Run the cells that `overrides` describe; returns their statuses and leaves the exit code in the task.

    Raises:
        ConfigError: before anything is started, with all faults of all cells.
        RecordError: the sweep directory belongs to another study.
    """
    directory = Path(config.hydra.sweep.dir).absolute()
    composer = Composer(context.config_loader, config.hydra.job.config_name, list(config.hydra.overrides.hydra))
    plan = build_plan(overrides, composer)
    settings = SweepConfig(**plan.cells[0].config["sweep"])
    if settings.dry_run or settings.probe:
        from vitsweep.run.plan_table import print_plan

        print_plan(plan, directory, settings.probe)
    if settings.dry_run:
        return []
    liveness, retry = LivenessCheck(), settings.retry == "failed"
    before = cell_statuses(directory, plan.cells, liveness)
    todo = [now.cell for now in before if now.is_wanted(retry)]
    if settings.check:
        check(directory, plan, todo)
    merged = freeze_plan(directory, plan)
    done = sum(now.status == "done" for now in before)
    log.info("%s: %d cells, %d done already, %d to do, in %s", plan.study, len(before), done, len(todo), directory)
    if todo:
        say_packs(config, todo)
        prepare(config, directory)
        work = Sweep(config=config, context=context, directory=directory, settings=settings, liveness=liveness)
        try:
            with StopSignals(), make_progress(before, directory) as board:
                run_cells(work, todo, board)
        except KeyboardInterrupt:
            clear_away(
                directory, cell_statuses(directory, plan.cells, liveness), liveness
            )  # of workers stopped by force
            raise
    after = cell_statuses(directory, plan.cells, liveness) if todo else before
    clear_away(directory, after, liveness)
    conclude(after, merged, directory, task, {cell.id for cell in todo})
    return [now.status for now in after]


def check(directory: Path, plan: Plan, todo: list[Cell]) -> None:
    """Compare what the arms to be trained do with what the baseline does; those of an earlier start passed then.

    Raises:
        ConfigError: arms that change nothing.
    """
    earlier = read_plan(directory)
    known = {cell.config_hash for cell in earlier.cells} if earlier else set()
    new = {cell.arm for cell in todo if cell.role == "arm" and cell.config_hash not in known}
    if new:
        from vitsweep.train.trial.noop import refuse_noops  # late: it imports torch

        refuse_noops(plan, new)


def say_packs(config: DictConfig, todo: list[Cell]) -> None:
    """Say which of the cells can be one program, if the user asked for packs."""
    pack = todo[0].config["pack"]
    if pack == "auto" or not (said := packing_note(todo, pack)):
        return
    if not trains_packs(config):
        said = f"pack={pack}: this launcher trains every cell apart; packs need hydra/launcher=basic"
    log.info("%s", said)


def clear_away(directory: Path, after: list[CellStatus], liveness: LivenessCheck) -> None:
    """Remove the locks of owners that were killed, and the state of a cell that was done by then."""
    for now in after:
        if now.is_locked and now.status != "running" and remove_stale_lock(directory / now.cell.id, liveness):
            if now.status == "done":
                (directory / now.cell.id / "state.pt").unlink(missing_ok=True)  # nobody needs it any more


def prepare(config: DictConfig, directory: Path) -> None:
    """Make everything absolute and findable: workers may start in another directory, without our sys.path."""
    with open_dict(config):
        config.hydra.sweep.dir = str(directory)
    paths = [worker_environment()["PYTHONPATH"], str(PACKAGE_DIR / "_plugins")]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(os.pathsep.join(paths).split(os.pathsep)))


def conclude(after: list[CellStatus], plan: Plan, directory: Path, task: TaskFunction, tried: set[str]) -> None:
    """Print the table of this command's cells and set the exit code."""
    table_console().print(final_table(plan, [(now.cell, now.record) for now in after], directory))
    task.exit_code = 0 if all(now.status == "done" for now in after) else 1
    for now in after:
        if now.refusal and now.cell.id in tried:
            task.refuse(now.refusal)
