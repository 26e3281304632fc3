"""One Slurm job of a study: train its cells by the local pool, answer Slurm's signals, submit what waits.

`vitsweep slurm job DIR part N` trains the cells of array task SLURM_ARRAY_TASK_ID of part N; `vitsweep slurm job DIR
last N` is the last job (last.py).
"""

import dataclasses
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

from vitsweep.errors import UserError
from vitsweep.files import write_json
from vitsweep.run.cluster.book import (
    LOCK_SECONDS_OF_JOB,
    MARKER,
    Book,
    Part,
    book_lock,
    output_path,
    read_book,
    require_book,
)
from vitsweep.run.cluster.resize import is_news, limit, lower_pending, mark_interrupted, submit_with_more
from vitsweep.run.cluster.scheduler import call, own_state
from vitsweep.run.cluster.size import arm_needs
from vitsweep.run.cluster.submit import submit_waiting
from vitsweep.run.pool import KILLED, MAX_CRASHES, Pool, modules_to_preload
from vitsweep.run.progress_table import describe_outcome
from vitsweep.run.slots import Slot, make_slots
from vitsweep.run.worker import DONE, FAILED, LOG_FORMAT, NO_SPACE, NoSpace
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import Cell, require_plan
from vitsweep.study.status import FAILURES, CellStatus, cell_statuses
from vitsweep.train.stop import SIGNALS, Interrupted

log = logging.getLogger(__name__)

STAY_SECONDS = 900.0
"""Time that a job which Slurm wants to end waits to be ended; longer than the grace time of most partitions."""


def main(arguments: list[str]) -> int:
    """Run the job that the arguments name.

    Returns:
        0 if its cells are done, 1 if some failed, 74 disk full, 128 + signal interrupted.
    """
    if len(arguments) != 3 or arguments[1] not in ("part", "last"):
        raise UserError("usage: vitsweep slurm job DIR part|last NUMBER")
    directory, number = Path(arguments[0]), int(arguments[2])
    print(f"{MARKER} {job_name()} on {socket.gethostname()}", flush=True)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stdout, force=True)
    if arguments[1] == "last":
        from vitsweep.run.cluster.last import run_last

        return run_last(directory, number)
    book = require_book(directory)
    return run_part(directory, book, book.part(number), int(os.environ["SLURM_ARRAY_TASK_ID"]))


def job_name() -> str:
    """Return this job's id as squeue shows it."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]


def run_part(directory: Path, book: Book, part: Part, index: int) -> int:
    """Train the cells of one array task and return the exit code."""
    plan = require_plan(directory)
    cells = [cell for cell in plan.cells if cell.id in part.groups[index]]
    for signum in SIGNALS:
        signal.signal(signum, stop_once)
    try:
        train(directory, book, part, cells)
        for signum in SIGNALS:  # what follows takes seconds, and a submission must not be cut in two
            signal.signal(signum, signal.SIG_IGN)
    except Interrupted as event:
        return handle_signal(event.signum, directory, part, index, cells)
    except NoSpace as error:
        log.error("%s", error)
        return NO_SPACE
    after = cell_statuses(directory, cells, LivenessCheck())
    if starved := [now.cell for now in after if lacked_memory(now)]:
        give_more_memory(directory, part, index, starved)
    advance(directory, [now.cell.id for now in after if now.status == "done"])
    return DONE if all(now.status == "done" for now in after) else FAILED


def give_more_memory(directory: Path, part: Part, index: int, starved: list[Cell]) -> None:
    """Submit cells again that lacked memory, if the job had asked for less than the launcher allows; they go on."""
    book = require_book(directory)
    new = [cell for cell in starved if cell.id not in book.unsized]
    if new and limit(book, book.part(part.number).size(index), "memory"):
        for cell in new:
            mark_interrupted(directory, cell)
        submit_with_more(directory, part, index, [cell.id for cell in new], "memory")


def lacked_memory(now: CellStatus) -> bool:
    """Return whether a cell failed because its process was killed, or could not allocate memory."""
    if now.status != "failed":
        return False
    message = (now.record.error or {}).get("message", "") if now.record else ""
    return KILLED in message or "allocate memory" in message


def stop_once(signum: int, frame: FrameType | None) -> None:
    """Raise Interrupted for the first signal; ignore the others, which Slurm sends until it ends the job."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(signum)


def train(directory: Path, book: Book, part: Part, cells: list[Cell]) -> None:
    """Train the cells in worker processes; return when each has ended, here or in another job.

    Raises:
        NoSpace: the disk is full.
        Interrupted: all workers have saved their states and exited.
    """
    slots = job_slots(book.jobs, cells)
    preload = modules_to_preload(cells)
    with Pool(directory, slots, part.retry, log_status, LivenessCheck(), book.pack, preload) as pool:
        pool.run(cells)


def job_slots(jobs: str, cells: list[Cell]) -> list[Slot]:
    """Divide the GPUs and cores that Slurm gave to this job."""
    slots = make_slots(jobs, len(cells), all(cell.config["device"] == "cpu" for cell in cells))
    cpus = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if not cpus.isdigit() or (len(slots) == 1 and "OMP_NUM_THREADS" in os.environ):
        return slots
    return [dataclasses.replace(slot, threads=max(1, int(cpus) // len(slots))) for slot in slots]


def log_status(status: CellStatus | None) -> None:
    """Log the end of a cell."""
    if status is not None and status.status in ("done", *FAILURES):
        log.info("%s", describe_outcome(status))


def handle_signal(signum: int, directory: Path, part: Part, index: int, cells: list[Cell]) -> int:
    """Do what the sender of a signal expects once the states are saved; return the exit code.

    USR2 comes from Slurm before the time limit: the cells are submitted again with more time if the job had less than
    the launcher allows; else the job is requeued, unless several of its time limits brought no further epoch. SIGTERM
    comes before Slurm preempts or cancels it; a job that ended by itself within the grace time would not be requeued,
    so it waits.
    """
    log.info("stopped by %s, states saved", signal.Signals(signum).name)
    is_late = signum == getattr(signal, "SIGUSR2", None)
    left = unfinished(directory, part, cells)
    if is_late and (not left or submit_with_more(directory, part, index, left, "time")):
        advance(directory, [cell.id for cell in cells if cell.id not in left])
        return 128 + signum
    if is_late and progresses(directory, part, index, cells):
        log.info("requeued before its time limit; it goes on from the saved states")
        call("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
    elif signum != signal.SIGTERM:
        return 128 + signum
    deadline = time.monotonic() + STAY_SECONDS
    while time.monotonic() < deadline and own_state() == "RUNNING":
        time.sleep(2)
    return 128 + signum


def unfinished(directory: Path, part: Part, cells: list[Cell]) -> list[str]:
    """Return the ids of the cells that this job would still train."""
    statuses = cell_statuses(directory, cells, LivenessCheck())
    return [now.cell.id for now in statuses if now.is_wanted(part.retry)]


def progresses(directory: Path, part: Part, index: int, cells: list[Cell]) -> bool:
    """Return whether the cells have finished a further epoch within the last MAX_CRASHES time limits of this job."""
    epochs = sum(now.record.epoch for now in cell_statuses(directory, cells, LivenessCheck()) if now.record)
    path = output_path(directory, part, index).with_suffix(".json")
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {"epochs": 0, "times": 0}
    times = 1 if epochs > before["epochs"] else before["times"] + 1
    write_json(path, {"epochs": epochs, "times": times})
    if times < MAX_CRASHES:
        return True
    log.error("%d time limits of this job brought no further epoch; set a larger hydra.launcher.timeout_min", times)
    return False


def advance(directory: Path, done: list[str]) -> None:
    """Lower the limits of queued jobs after an arm's first cell, and submit the study's next jobs if there is room.

    What cannot be done now is left to later jobs.

    Args:
        done: ids of the cells that this job has trained to their end.
    """
    book = read_book(directory)
    if book is None or book.is_cancelled or (not book.waiting and book.last_id and not is_news(book, done)):
        return
    try:
        needs = arm_needs(directory, require_plan(directory)) if is_news(book, done) else {}
        with book_lock(directory, LOCK_SECONDS_OF_JOB):
            book = require_book(directory)
            if needs and (count := lower_pending(directory, book, needs)):
                log.info("%d jobs that wait ask for less time or memory, by the cells done so far", count)
            is_open = not book.is_cancelled and (book.waiting or not book.last_id)
            if is_open and (count := submit_waiting(directory, book, least=True)):
                log.info("submitted %d jobs; %d wait for room", count, len(book.waiting))
    except UserError as error:
        log.warning("%s; a later job submits the rest", error)
