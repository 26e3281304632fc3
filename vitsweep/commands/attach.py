"""`vitsweep attach DIR`: follow a study whose jobs were submitted by sweep.detach=true, from any machine that sees DIR.

Shows the same progress as the sweep itself and ends with its table when no job is left. Ctrl-C ends the command, not
the jobs. Writes nothing.
"""

import logging
import time
from pathlib import Path

from vitsweep.commands.command_arguments import parse_directory
from vitsweep.errors import UserError
from vitsweep.run.cluster.book import describe_jobs, require_book
from vitsweep.run.cluster.scheduler import queued_jobs
from vitsweep.run.progress_table import final_table, make_progress, print_tables
from vitsweep.run.worker import LOG_FORMAT
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import Plan, require_plan
from vitsweep.study.status import cell_statuses

USAGE = "attach DIR"
POLL_SECONDS = 2.0
QUEUE_SECONDS = 10.0
"""Pause between two questions to Slurm, which many users ask."""


def main(arguments: list[str]) -> int:
    """Follow the study to its end; return 0 if all cells are done, else 1.

    Raises:
        RecordError: the directory has no jobs.
        SlurmError: Slurm does not answer.
    """
    directory, words = parse_directory(arguments, USAGE)
    if words:
        raise UserError(f"usage: vitsweep {USAGE}")
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    book, plan, liveness = require_book(directory), require_plan(directory), LivenessCheck()
    print(describe_jobs(book, queued_jobs(book.names)))
    follow(directory, plan, liveness)
    after = cell_statuses(directory, plan.cells, liveness)
    print_tables(final_table(plan, [(now.cell, now.record) for now in after], directory))
    page = directory / "report" / "index.html"
    if page.exists():
        print(f"report: {page}")
    return 0 if all(now.status == "done" for now in after) else 1


def follow(directory: Path, plan: Plan, liveness: LivenessCheck) -> None:
    """Show the progress until no job of the study waits or runs."""
    asked, queued = -QUEUE_SECONDS, True
    with make_progress(cell_statuses(directory, plan.cells, liveness), directory) as progress:
        while queued:
            if time.monotonic() - asked >= QUEUE_SECONDS:
                asked, queued = time.monotonic(), bool(queued_jobs(require_book(directory).names))
            for now in cell_statuses(directory, plan.cells, liveness):
                progress.update(now)
            progress.update(None)
            if queued:
                time.sleep(POLL_SECONDS)
