"""sweep.detach=true: check everything, submit a study's jobs and return."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from vitsweep.config.overrides import slug
from vitsweep.config.schema import SweepConfig
from vitsweep.run.cluster.book import Book, book_lock, jobs_folder, read_book
from vitsweep.run.cluster.checks import submission_errors, visibility_errors
from vitsweep.run.cluster.last import ON_END_VARIABLE
from vitsweep.run.cluster.options import launcher_settings, sbatch_options, setting_errors
from vitsweep.run.cluster.scheduler import queued_jobs
from vitsweep.run.cluster.size import arm_needs
from vitsweep.run.cluster.submit import grouped, submit_last, submit_waiting, write_script
from vitsweep.run.launchers import SLURM
from vitsweep.run.workers import worker_environment
from vitsweep.study.plan import Plan
from vitsweep.study.status import CellStatus

log = logging.getLogger(__name__)

NAME_LENGTH = 40
REPORT_CALLBACK = "report"


def detach_errors(config: DictConfig, plan: Plan) -> list[str]:
    """Return a message for each setting that jobs without the sweep's own process cannot obey."""
    if config.hydra.launcher._target_ != SLURM:
        return ["sweep.detach=true  submits jobs to Slurm; add hydra/launcher=submitit_slurm, or leave it out"]
    found = setting_errors(config)
    if plan.tune:
        found.append("sweep.detach=true  cannot search settings (study.tune); leave sweep.detach out, or `tune`")
    found += [
        f"hydra.callbacks.{name}  is not called by jobs; use sweep.on_end=COMMAND, or leave sweep.detach out"
        for name in config.hydra.callbacks or {}
        if name != REPORT_CALLBACK
    ]
    return found


def site_errors(config: DictConfig, directory: Path) -> list[str]:
    """Return a message for each reason against these jobs on this cluster; makes the study's directory."""
    options = sbatch_options(launcher_settings(config))
    if found := submission_errors(options):
        return found
    is_new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    found = visibility_errors(directory, options)
    if found and is_new:
        directory.rmdir()
    return found


def submit_study(
    config: DictConfig, settings: SweepConfig, directory: Path, plan: Plan, before: list[CellStatus], on_end: str
) -> list[str]:
    """Submit the cells that are wanted and have no job yet; return the statuses before.

    Args:
        plan: as frozen in `directory`.
        before: statuses of this command's cells.
        on_end: command for the end of the study; passed to the jobs by their environment.

    Raises:
        SlurmError: Slurm refuses the jobs, or does not answer.
        UserError: another process changes the study's jobs.
    """
    if on_end:
        os.environ[ON_END_VARIABLE] = on_end
    jobs_folder(directory).mkdir(parents=True, exist_ok=True)
    needs = arm_needs(directory, plan) if settings.size_jobs else {}
    with book_lock(directory):
        book = read_book(directory) or Book(name=job_prefix(plan, directory))
        update(book, config, settings, before[0].cell.config.get("pack", "off"))
        write_script(directory, book, worker_environment()["PYTHONPATH"])
        queued = queued_jobs(book.names)
        held = {cell for group in book.waiting for cell in group} | book.cells_of(queued).keys()
        wanted = [now for now in before if now.is_wanted(book.retry) and now.status != "running"]
        new = [now.cell for now in wanted if now.cell.id not in held]
        for cell in new:
            book.lost.pop(cell.id, None)
        book.needs = needs
        book.waiting += grouped(new, book)
        counts = f"{sum(now.status == 'done' for now in before)} done already"
        log.info("%s: %d cells, %s, %d have jobs, %d to submit", plan.study, len(before), counts, len(held), len(new))
        count = submit_waiting(directory, book) if book.waiting else 0
        if not (count or queued or book.waiting) and book.has_report and not has_page(directory):
            submit_last(directory, book, [])
    print_outcome(directory, book, count, plan.study)
    return [now.status for now in before]


def job_prefix(plan: Plan, directory: Path) -> str:
    """Return the begin of the names of a study's jobs, by which no other study's are found."""
    return f"{slug(plan.study)[:NAME_LENGTH]}.{(plan.sweep_id or slug(str(directory)))[-6:]}"


def update(book: Book, config: DictConfig, settings: SweepConfig, pack: str) -> None:
    """Take this command's settings for all jobs that are submitted from now on."""
    values: dict[str, Any] = launcher_settings(config)
    setup: Iterable[str] = values.get("setup") or []
    book.options, book.setup = sbatch_options(values), [str(line) for line in setup]
    book.parallel, book.jobs, book.pack = int(values.get("array_parallelism") or 0), settings.jobs, pack
    book.cells_per_job, book.size_jobs = settings.cells_per_job, settings.size_jobs
    book.max_queued, book.retry = settings.max_queued, settings.retry == "failed"
    book.has_report, book.is_cancelled = REPORT_CALLBACK in (config.hydra.callbacks or {}), False


def has_page(directory: Path) -> bool:
    """Return whether the study has a report."""
    return (directory / "report" / "index.html").exists()


def print_outcome(directory: Path, book: Book, count: int, study: str) -> None:
    """Log what was submitted, what waits, and how to follow and cancel it."""
    if count:
        ids = [part.job_id for part in book.parts[-3:]]
        log.info("submitted %d jobs (%s)", count, ", ".join(ids))
    if book.waiting and (count or book.last_id):
        waiting = sum(map(len, book.waiting))
        log.info("%d cells wait for room in the queue; jobs of the study submit them", waiting)
    elif book.waiting:
        log.warning("the queue is full and nothing was submitted; run the same command again when jobs have ended")
    log.info("follow %s: vitsweep attach %s   (status, cancel: vitsweep cancel %s)", study, directory, directory)
