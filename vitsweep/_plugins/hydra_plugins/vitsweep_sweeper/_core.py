"""The sweeper's work: plan and check everything, run what is missing, go on past failures, say how it ended."""

import logging
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from rich.console import Console

from vitsweep.board import final_table
from vitsweep.compose import Composer
from vitsweep.errors import RecordError
from vitsweep.frozen import CELL_KEY, FrozenLoader
from vitsweep.plan import Cell, extend, read_plan, write_plan
from vitsweep.planner import plan_of
from vitsweep.record import Record, read_record

log = logging.getLogger(__name__)


def sweep(config: DictConfig, context: HydraContext, task: TaskFunction, overrides: list[str]) -> list[str]:
    """Run the cells that `overrides` describe; returns their statuses and leaves the exit code in the task.

    Raises:
        ConfigError: before anything is started, with all faults of all cells.
        RecordError: the sweep directory belongs to another study.
    """
    directory = Path(config.hydra.sweep.dir).absolute()
    plan = plan_of(overrides, Composer(context.config_loader, config.hydra.job.config_name))
    wanted = plan.cells
    earlier = read_plan(directory)
    if earlier is not None:
        plan = extend(earlier, plan, directory)
    todo = [cell for cell in wanted if not is_done(directory, cell)]
    directory.mkdir(parents=True, exist_ok=True)
    write_plan(directory, plan)
    log.info("%s: %d cells, %d done already, in %s", plan.study, len(wanted), len(wanted) - len(todo), directory)
    if todo:
        launch(config, context, task, directory, todo)
    records = [(cell, record_of(directory, cell)) for cell in wanted]
    Console().print(final_table(plan, records, directory))
    statuses = [record.status if record else "planned" for _, record in records]
    if not getattr(task, "faults", []):
        task.exit_code = 0 if all(status == "done" for status in statuses) else 1
    return statuses


def record_of(directory: Path, cell: Cell) -> Record | None:
    """The cell's record, or None if it was never started."""
    try:
        return read_record(directory / cell.id)
    except FileNotFoundError:
        return None


def is_done(directory: Path, cell: Cell) -> bool:
    """Whether the cell's record says so, for this very configuration and seed.

    Raises:
        RecordError: the cell's directory holds something else.
    """
    record = record_of(directory, cell)
    if record is None:
        return False
    if (record.config_hash, record.seed, record.arm) != (cell.config_hash, cell.seed, cell.arm):
        raise RecordError(f"{directory / cell.id}  holds another cell; move that folder away")
    return record.status == "done"


def launch(config: DictConfig, context: HydraContext, task: TaskFunction, directory: Path, todo: list[Cell]) -> None:
    """Hand the cells' ids to Hydra's launcher."""
    with open_dict(config):
        config.hydra.sweep.dir = str(directory)  # absolute: workers may have another working directory
    frozen = HydraContext(config_loader=FrozenLoader(context.config_loader), callbacks=context.callbacks)
    launcher = Plugins.instance().instantiate_launcher(config=config, task_function=task, hydra_context=frozen)
    launcher.launch([[f"+{CELL_KEY}={cell.id}"] for cell in todo], initial_job_idx=0)
