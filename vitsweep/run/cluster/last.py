"""The last job of a study: submit again what was lost, wait for other jobs, then write the report.

It starts when all jobs that were queued at its submission have ended. As long as some are left, it submits a successor
that starts after them, so that the study needs no process outside of Slurm.
"""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from vitsweep.run.cluster.book import CANCELLED, NEVER_STARTED, Book, book_lock, lost_reason, require_book, write_book
from vitsweep.run.cluster.job import job_name
from vitsweep.run.cluster.scheduler import queued_jobs
from vitsweep.run.cluster.size import arm_needs
from vitsweep.run.cluster.submit import active_parts, grouped, submit_last, submit_waiting
from vitsweep.run.end.on_end import EndCommand
from vitsweep.run.pool import MAX_CRASHES
from vitsweep.run.worker import record_failure
from vitsweep.study.locks import STALE_SECONDS, LivenessCheck
from vitsweep.study.plan import Plan, require_plan
from vitsweep.study.status import CellStatus, cell_statuses

log = logging.getLogger(__name__)

ON_END_VARIABLE = "VITSWEEP_ON_END"
"""Environment variable with sweep.on_end, which may hold a secret and is kept out of files."""
NOT_FOR_ITS_SIZE = ("preemption", "node")
"""Words of reasons for which a job was lost that more time and memory would not have changed."""
POLL_SECONDS = 5.0
LATER = "now+300"
"""Start of a successor that waits for a process outside of the study's jobs, or for room in the queue."""


def run_last(directory: Path, number: int) -> int:
    """Run the last job with this number; return 0 if all cells are done or it has a successor, else 1."""
    plan, liveness = require_plan(directory), LivenessCheck()
    strangers = wait_for_strangers(directory, plan, liveness)
    needs = arm_needs(directory, plan)
    with book_lock(directory):
        book = require_book(directory)
        if number != book.last_number or book.is_cancelled:
            log.info("cancelled, or replaced by a later job; nothing to do")
            return 0
        book.needs = needs
        if must_go_on(directory, plan, book, liveness, strangers):
            return 0
    return finish(directory, plan, book.has_report)


def wait_for_strangers(directory: Path, plan: Plan, liveness: LivenessCheck) -> list[str]:
    """Watch cells that are locked although none of the study's jobs runs; return those whose owner lives.

    An owner on a node that died shows itself only by a heartbeat that stands still.
    """
    deadline = time.monotonic() + STALE_SECONDS + 2 * POLL_SECONDS
    while True:
        book = require_book(directory)
        queued = book.cells_of(queued_jobs(book.names))
        statuses = cell_statuses(directory, plan.cells, liveness)
        found = [now.cell.id for now in statuses if now.status == "running" and now.cell.id not in queued]
        if not found or time.monotonic() > deadline:
            return found
        log.info("waiting for the end of %d cells that other processes hold, such as %s", len(found), found[0])
        time.sleep(POLL_SECONDS)


def must_go_on(directory: Path, plan: Plan, book: Book, liveness: LivenessCheck, strangers: list[str]) -> bool:
    """Submit lost cells and waiting ones, and a successor if anything is left to wait for; return whether it is."""
    own = os.environ["SLURM_JOB_ID"]
    queued = [job for job in queued_jobs(book.names) if job.job_id != own]
    held = {cell for group in book.waiting for cell in group} | book.cells_of(queued).keys()
    wanted = [now for now in cell_statuses(directory, plan.cells, liveness) if now.is_wanted(retry=False)]
    lost = [now for now in wanted if now.cell.id not in held and now.status != "running"]
    again = [now.cell for now in lost if is_recoverable(directory, book, now)]
    if again:
        log.info("%d cells were lost with their jobs and are submitted again, such as %s", len(again), again[0].id)
    book.retry = book.retry and bool(book.waiting)
    book.waiting += grouped(again, book)
    if book.waiting and submit_waiting(directory, book, own_id=own):
        return True
    active = active_parts(book, queued)
    if not (book.waiting or strangers or active):
        write_book(directory, book)
        return False
    submit_last(directory, book, active, begin="" if active else LATER)
    return True


def is_recoverable(directory: Path, book: Book, now: CellStatus) -> bool:
    """Return whether a cell without a job is to be submitted again; record its failure after MAX_CRASHES losses.

    A job that a person cancelled is not; nor is one that left the queue without having started, which only a person
    can cause.
    """
    place = book.places().get(now.cell.id)
    if place is None:
        return False
    reason = lost_reason(directory, *place)
    if reason in (CANCELLED, NEVER_STARTED):
        log.warning("%s: its job was %s; the same command submits it again", now.cell.id, reason)
        return False
    epoch = now.record.epoch if now.record else 0
    before, times = book.lost.get(now.cell.id, (0, 0))
    book.lost[now.cell.id] = [epoch, times + 1 if epoch <= before else 1]
    if book.lost[now.cell.id][1] < MAX_CRASHES:
        is_sized = bool(place[0].size(place[1])) and now.cell.id not in book.unsized
        if is_sized and not any(words in reason for words in NOT_FOR_ITS_SIZE):
            book.unsized.append(now.cell.id)
            reason += "; it comes again with the launcher's limits"
        log.info("%s: its job was %s", now.cell.id, reason)
        return True
    record_failure(directory, now.cell, f"its jobs were lost {MAX_CRASHES} times, the last one {reason}")
    return False


def finish(directory: Path, plan: Plan, has_report: bool) -> int:
    """Write the report and run sweep.on_end; return 0 if all cells are done, else 1."""
    if has_report:
        command = [sys.executable, "-m", "vitsweep", "report", str(directory)]
        if code := subprocess.run(command).returncode:
            log.warning("no report (exit code %d). Try: python -m vitsweep report %s", code, directory)
    after = cell_statuses(directory, plan.cells, LivenessCheck())
    code = 0 if all(now.status == "done" for now in after) else 1
    end = EndCommand(os.environ.get(ON_END_VARIABLE, ""))
    end.start(plan.study, directory, lambda: [(now.cell.id, now.status, now.record) for now in after])
    end.run(code)
    left = [now for now in after if now.status != "done"]
    log.info("job %s: %d of %d cells done", job_name(), len(after) - len(left), len(after))
    for now in left:
        log.info("%s: %s", now.cell.id, now.status)
    return code
