"""The sweeper's work: plan and check everything, train what is missing, continue after failures, print a summary."""

import copy
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from hydra.types import HydraContext
from omegaconf import DictConfig, read_write

from vitsweep.config.composer import Composer
from vitsweep.config.convert import from_dict
from vitsweep.config.override_rules import refuse_params
from vitsweep.config.schema import DataConfig, SweepConfig
from vitsweep.errors import ConfigError, DataError
from vitsweep.files import write_json
from vitsweep.paths import PACKAGE_DIR
from vitsweep.run.end.on_end import EndCommand
from vitsweep.run.launchers import BASIC, RAY, Sweep, launch_errors, run_through_hydra
from vitsweep.run.packs import packing_note
from vitsweep.run.plan_table import cells_left, is_on_cpu, print_plan
from vitsweep.run.pool import run_in_processes
from vitsweep.run.progress_table import final_table, make_progress, print_tables
from vitsweep.run.slots import make_slots
from vitsweep.run.timing.estimate import START_SECONDS, describe_report, describe_time, estimate_time
from vitsweep.run.workers import worker_environment
from vitsweep.study.changes.drop import beyond_lines, bring_back
from vitsweep.study.changes.extension import with_known_names
from vitsweep.study.identity import FingerprintFiller, image_key
from vitsweep.study.locks import LivenessCheck, remove_stale_lock
from vitsweep.study.plan import Cell, Plan, read_plan
from vitsweep.study.plan_builder import build_plan, freeze_plan, refuse, refuse_unstated_rules
from vitsweep.study.record import Record
from vitsweep.study.status import FAILURES, LOOKS_NAME, CellStatus, LooksVerdict, cell_statuses
from vitsweep.study.tuning.search import optuna_errors
from vitsweep.tracking.temporary import remove_stale_folders
from vitsweep.train.stop import StopSignals

log = logging.getLogger(__name__)

SUBMITIT = "hydra_plugins.hydra_submitit_launcher."


Judge = Callable[[Path], LooksVerdict]
"""Judge of a study at its looks, from the records of its directory; analysis.callback has it."""


class StudyTask(Protocol):
    """The part of cli.Task that a sweep sets."""

    exit_code: int
    end: EndCommand

    def __call__(self, composed: DictConfig) -> str: ...

    def refuse(self, message: str) -> None: ...


def run_sweep(config: DictConfig, context: HydraContext, task: StudyTask, overrides: list[str]) -> list[str]:
    """Train the cells that `overrides` describe; return their statuses and set the task's exit code.

    Raises:
        ConfigError: before anything starts, with the errors of all cells.
        RecordError: the sweep directory belongs to another study.
    """
    directory = Path(config.hydra.sweep.dir).absolute()
    composer = Composer(
        context.config_loader,
        config.hydra.job.config_name,
        list(config.hydra.overrides.hydra),
        FingerprintFiller(lambda: directory),
    )
    refuse(launch_errors(config))
    refuse_params(config)
    plan = build_plan(overrides, composer)
    refuse_unstated_rules(plan, directory)
    plan = with_known_names(plan, read_plan(directory))
    settings = SweepConfig(**plan.cells[0].config["sweep"])
    if settings.dry_run or settings.probe:
        print_plan(plan, directory, settings.probe)
    if settings.dry_run:
        return []
    judge = find_judge(context) if settings.until == "decided" else None
    refuse(library_errors(plan))
    if settings.detach:
        from vitsweep.run.cluster.detach import detach_errors, site_errors, submit_study

        refuse(detach_errors(config, plan) or site_errors(config, directory))
    training = SweepTraining(config, context, directory, settings)
    if back := bring_back(directory, plan):
        log.info("%d cell%s that had been dropped: brought back", len(back), "s" * (len(back) > 1))
    before = training.statuses(directory, plan.cells)
    todo = [status.cell for status in before if status.is_wanted(training.retry)]
    prepare(config, settings, directory, plan, todo)
    merged = freeze_and_compare(directory, plan)
    if settings.detach:
        on_end = task.end.command or config.sweep.get("on_end", "")
        return submit_study(config, settings, directory, merged, before, on_end)
    task.end.start(plan.study, directory, partial(cells_now, training, plan), config.sweep.get("on_end", ""))
    announce_time(training, plan, before)
    (directory / LOOKS_NAME).unlink(missing_ok=True)
    after = training(directory, plan, before) if judge is None else run_looks(training, directory, plan, judge)
    print_summary(after, merged, directory)
    if plan.tune and not any(status.refusal for status in after):
        from vitsweep.run.tuning.stages import run_tuning  # late: it imports Optuna

        looks = partial(run_looks, training, judge=judge) if judge else None
        tuned = run_tuning(merged, plan.cells, directory, training, looks)
        after, todo = after + tuned, todo + [status.cell for status in tuned]
    if left := sum(status.status in FAILURES and not status.has_outside_cause for status in after):
        log.warning("failed: %d of %d cells; sweep.retry=failed trains them again", left, len(after))
    task.exit_code = 0 if all(status.status == "done" for status in after) else 1
    for status in after:
        if status.refusal and (status.cell in todo or status.is_damaged):
            task.refuse(status.refusal)
    return [status.status for status in after]


class SweepTraining:
    """Training of cells with the launcher of one start, in the sweep's directory or one below it.

    Args:
        config: Hydra's.
        context: Hydra's.
        directory: the sweep's.
        settings: `sweep` of the configuration.
    """

    def __init__(self, config: DictConfig, context: HydraContext, directory: Path, settings: SweepConfig):
        self.config, self.context, self.directory, self.settings = config, context, directory, settings
        self.liveness = LivenessCheck()

    @property
    def retry(self) -> bool:
        """Return whether failed cells are trained again."""
        return self.settings.retry == "failed"

    def statuses(self, directory: Path, cells: list[Cell]) -> list[CellStatus]:
        """Return the status of each cell."""
        return cell_statuses(directory, cells, self.liveness)

    def __call__(self, directory: Path, plan: Plan, before: list[CellStatus]) -> list[CellStatus]:
        """Train what is missing of the cells with these statuses; return their new ones.

        Args:
            directory: with the plan.json that has the cells.
            plan: that plan.
            before: the cells' statuses.

        Raises:
            NoSpace: the disk is full.
            KeyboardInterrupt: also as Interrupted; everything that ran has been asked to stop.
        """
        cells = [status.cell for status in before]
        todo = [status.cell for status in before if status.is_wanted(self.retry)]
        done = sum(status.status == "done" for status in before)
        begun = sum(status.status == "interrupted" for status in before)
        rest = f"{len(todo)} to do" + (f" ({begun} of them begun)" if begun else "")
        log.info("%s: %d cells, %d done already, %s, in %s", plan.study, len(before), done, rest, directory)
        if todo:
            self._train(directory, before, todo)
        after = self.statuses(directory, cells) if todo else before
        remove_stale_locks(directory, after, self.liveness)
        return after

    def _train(self, directory: Path, before: list[CellStatus], todo: list[Cell]) -> None:
        config = self.config if directory == self.directory else copy.deepcopy(self.config)
        log_packing(config, todo)
        make_absolute(config, directory)
        try:
            with StopSignals(), make_progress(before, directory) as progress:
                run_cells(Sweep(config, self.context, directory, self.settings, self.liveness, progress), todo)
        except KeyboardInterrupt:  # workers may have been killed
            cells = [status.cell for status in before]
            remove_stale_locks(directory, self.statuses(directory, cells), self.liveness)
            raise
        finally:
            remove_stale_folders()


def library_errors(plan: Plan) -> list[str]:
    """Return a message for each library that the plan needs and that is not installed."""
    return (optuna_errors() if plan.tune else []) + from_dict(plan.cells[0].config).tracker.missing_libraries()


def prepare(config: DictConfig, settings: SweepConfig, directory: Path, plan: Plan, todo: list[Cell]) -> None:
    """Connect to the launcher's cluster, compare new arms with the baseline, and fetch images.

    Raises:
        ConfigError: one of these says that the cells cannot be trained.
    """
    if config.hydra.launcher._target_ == RAY and (todo or plan.tune):
        from vitsweep.run.ray_cluster.checks import cluster_errors

        refuse(cluster_errors(config, settings, todo or plan.cells, directory))
    if settings.check:
        check_arms(directory, plan, todo)
    fetch_missing(todo)


def fetch_missing(todo: list[Cell]) -> None:
    """Download the images of these cells where they are missing, once for all and before a plan is written.

    Raises:
        ConfigError: they cannot be had.
    """
    from vitsweep.data.sources import fetch_images  # late: numpy, Pillow

    errors = []
    for config in {image_key(cell.config["data"], cell.config["model"]): cell.config for cell in todo}.values():
        try:
            fetch_images(DataConfig(**config["data"]), config["model"]["image_size"], config["model"]["num_channels"])
        except DataError as error:
            errors.append(str(error))
    refuse(errors)


def announce_time(training: SweepTraining, plan: Plan, before: list[CellStatus]) -> None:
    """Log how long the cells that are left will take on this machine, if that is known or can be timed in seconds.

    Cells of another launcher may run on other machines, so nothing is timed for them.
    """
    todo = cells_left(before, training.settings)
    is_basic = training.config.hydra.launcher._target_ == BASIC
    if not todo or not is_basic:
        return
    jobs = training.settings.jobs if training.settings.isolate == "process" else "1"
    slots = make_slots(jobs, len(todo), is_on_cpu(plan))
    estimate = estimate_time(plan, todo, slots, training.directory, START_SECONDS)
    if estimate is not None:
        most = "at most " if training.settings.until == "decided" else ""
        log.info("expected: %s%s; then %s", most, describe_time(estimate), describe_report(len(plan.cells)))


def cells_now(training: SweepTraining, plan: Plan) -> list[tuple[str, str, Record | None]]:
    """Return id, status and record of each cell of the plan as they are now."""
    return [(now.cell.id, now.status, now.record) for now in training.statuses(training.directory, plan.cells)]


def find_judge(context: HydraContext) -> Judge:
    """Return the method of a callback that judges a study at its looks.

    Raises:
        ConfigError: no callback has it.
    """
    for callback in context.callbacks.callbacks:
        if hasattr(callback, "judge_looks"):
            return callback.judge_looks
    rule = "needs the callback that judges the looks; keep hydra.callbacks.report, or use sweep.until=all"
    raise ConfigError([f"sweep.until=decided  {rule}"])


def run_looks(training: SweepTraining, directory: Path, plan: Plan, judge: Judge) -> list[CellStatus]:
    """Train what each look needs, until the judge needs nothing that was not tried; return the needed cells' statuses.

    The judge knows records only, so that a sweep that was killed goes on as if it had not been, and several starts of
    one study agree. A cell that cannot be trained ends the loop, since its look stays incomplete.
    """
    place = {seed: number for number, seed in enumerate(plan.seeds)}
    tried: set[str] = set()
    shown = 0
    while True:
        verdict = judge(directory)
        write_json(directory / LOOKS_NAME, vars(verdict))
        for line in verdict.lines[shown:]:
            log.info("%s", line)
        shown = len(verdict.lines)
        cells = [cell for cell in plan.cells if place[cell.seed] < verdict.needed.get(cell.arm, 0)]
        before = training.statuses(directory, cells)
        todo = [now for now in before if now.is_wanted(training.retry) and now.cell.id not in tried]
        if not todo:
            return before
        tried |= {now.cell.id for now in todo}
        training(directory, plan, todo)


def run_cells(sweep: Sweep, cells: list[Cell]) -> None:
    """Train the cells with the launcher that is configured; return when each has ended.

    The basic launcher with sweep.isolate=process stands for vitsweep's pool of processes. Of submitit's launchers only
    the settings are used (slurm.py), and Ray's tasks are our own. Every other launcher is called as Hydra calls it.

    Raises:
        NoSpace: the disk is full.
        KeyboardInterrupt: also as Interrupted; everything that ran has been asked to stop.
    """
    if sweep.config.hydra.launcher._target_.startswith(SUBMITIT):
        from vitsweep.run.slurm import run_jobs

        run_jobs(sweep, cells)
    elif sweep.config.hydra.launcher._target_ == RAY:
        from vitsweep.run.ray_cluster.tasks import run_on_ray

        run_on_ray(sweep, cells)
    elif sweep.is_basic and sweep.settings.isolate == "process":
        run_in_processes(sweep.directory, cells, sweep.settings, sweep.progress.update, sweep.liveness)
    else:
        run_through_hydra(sweep, cells)


def check_arms(directory: Path, plan: Plan, todo: list[Cell]) -> None:
    """Compare the trial steps of new arms with the baseline's; arms of an earlier start were compared then.

    Raises:
        ConfigError: arms that change nothing.
    """
    earlier = read_plan(directory)
    known = {cell.config_hash for cell in earlier.cells} if earlier else set()
    new = {cell.arm for cell in todo if cell.role == "arm" and cell.config_hash not in known}
    if new:
        from vitsweep.train.trial.noop import refuse_noops  # late: it imports torch

        refuse_noops(plan, new)


def freeze_and_compare(directory: Path, plan: Plan) -> Plan:
    """Freeze the plan, log the arms and seeds that it has beyond what this start asks for, and return it."""
    merged = freeze_plan(directory, plan)
    for line in beyond_lines(merged, directory):
        log.warning("%s", line)
    return merged


def log_packing(config: DictConfig, todo: list[Cell]) -> None:
    """Log how many packs the cells form, if the user asked for packs."""
    pack = todo[0].config["pack"]
    if pack != "auto" and (note := packing_note(todo, pack)):
        if config.hydra.launcher._target_ != BASIC:
            note = f"pack={pack}: this launcher trains each cell by itself; packs need hydra/launcher=basic"
        log.info("%s", note)


def remove_stale_locks(directory: Path, statuses: list[CellStatus], liveness: LivenessCheck) -> None:
    """Remove the locks of processes that were killed, and the training state of cells that were done by then."""
    for status in statuses:
        cell = directory / status.cell.id
        if status.is_locked and status.status != "running" and remove_stale_lock(cell, liveness):
            if status.status == "done":
                (cell / "state.pt").unlink(missing_ok=True)


def make_absolute(config: DictConfig, directory: Path) -> None:
    """Make the sweep directory and PYTHONPATH absolute; workers may start in another folder, without our sys.path."""
    with read_write(config.hydra):
        config.hydra.sweep.dir = str(directory)
    paths = [worker_environment()["PYTHONPATH"], str(PACKAGE_DIR / "_plugins")]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(os.pathsep.join(paths).split(os.pathsep)))


def print_summary(statuses: list[CellStatus], plan: Plan, directory: Path) -> None:
    """Print the table of this command's cells."""
    print_tables(final_table(plan, [(status.cell, status.record) for status in statuses], directory))
