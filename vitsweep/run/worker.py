"""Training of planned cells under lock, alone or as a pack: what every launcher runs, in this process or another.

`python -m vitsweep cell DIR CELL ...` is such a process. The records keep the outcomes; the exit code adds what they
cannot. torch is imported late, so that a cell which is done or locked costs nothing.
"""

import dataclasses
import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from vitsweep.config.convert import from_dict
from vitsweep.errors import LockLost, UserError
from vitsweep.study.locks import CellLock
from vitsweep.study.plan import Cell, new_record, read_cell
from vitsweep.study.record import Record, code_identity, error_info, write_record
from vitsweep.study.status import FAILURES, CellStatus, cell_record, idle_status
from vitsweep.train.stop import Interrupted

log = logging.getLogger(__name__)

LOG_NAME = "run.log"
LOG_FORMAT = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"  # Hydra's own
DONE, FAILED, REFUSED, NO_SPACE, BUSY = 0, 1, 2, 74, 75
CODES = {"done": DONE, "failed": FAILED, "diverged": FAILED, "refused": REFUSED, "busy": BUSY, "left": BUSY}
"""Outcome -> exit code; of several cells the outcome that comes last here counts."""
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
GRACE_SECONDS = 60.0
"""Time that a cell has to save its state after it was asked to stop."""


class NoSpace(UserError):  # noqa: N818 - an event rather than a mistake
    """A full or read-only disk: the cell is not to blame, and every other one would end the same way."""


def train_cell(directory: Path, cell_id: str, retry: bool = False, wait: bool = False) -> str:
    """Train one cell and return its outcome; see train_cells."""
    return train_cells(directory, [cell_id], retry, wait=wait)[cell_id]


def train_cells(
    directory: Path, cell_ids: list[str], retry: bool = False, num_jobs: int = 1, wait: bool = False
) -> dict[str, str]:
    """Train cells of the plan in `directory`, several as one pack, except those that are done or locked.

    Args:
        directory: the sweep's.
        cell_ids: the cells' ids in plan.json; several must share a program (packs.py).
        retry: whether failed cells are trained again, from the start.
        num_jobs: number of jobs that share the device's memory, this one included.
        wait: whether to wait for a heartbeat of a lock's owner that cannot be seen from here; a sweep does so itself.

    Returns:
        id -> done, failed, diverged, refused (the record's error says what the user must change), busy (another
        process trains it) or left (the pack was too large; to be trained later).

    Raises:
        Interrupted: after a signal; the states are saved.
        NoSpace: the disk is full; the cells can continue later.
    """
    code_identity()  # of the code as this process imports it; a commit made later did not run
    outcomes: dict[str, str] = {}
    ready: dict[str, tuple[CellLock, Record]] = {}
    try:
        with ExitStack() as locks:
            for cell_id in cell_ids:
                lock = locks.enter_context(CellLock(directory / cell_id))
                found = claim_cell(directory, cell_id, lock, retry, wait)
                if isinstance(found, str):
                    outcomes[cell_id] = found
                else:
                    ready[cell_id] = (lock, found)
            size = choose_pack_size(directory, [record for _, record in ready.values()], num_jobs)
            for cell_id in list(ready)[size:]:
                outcomes[cell_id] = "left"
                ready.pop(cell_id)[0].release()
            records = {cell_id: record for cell_id, (_, record) in ready.items()}
            return outcomes | train_together(records, directory, lambda cell_id: ready[cell_id][0].release())
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise NoSpace(disk_message(directory, os.strerror(error.errno))) from error
        raise


def claim_cell(directory: Path, cell_id: str, lock: CellLock, retry: bool, wait: bool) -> Record | str:
    """Acquire the cell's lock and return its new record, or its outcome if it is not to be trained here."""
    plan, cell = read_cell(directory, cell_id)
    if not (lock.acquire_or_wait() if wait else lock.acquire()):
        return "busy"
    before = idle_status(cell, cell_record(directory, cell))
    if not before.is_wanted(retry):
        lock.release()
        return before.status
    if before.status in FAILURES and not before.has_outside_cause:
        from vitsweep.train.checkpoint import drop_state

        drop_state(directory / cell.id)
    return new_record(plan, cell, before.record)


def choose_pack_size(directory: Path, records: list[Record], num_jobs: int) -> int:
    """Return how many of the cells, which share a program, are trained together now."""
    if len(records) < 2:
        return len(records)
    from vitsweep.run.pack_size import choose_size

    try:
        return choose_size(directory, [record.config for record in records], records[0].config["pack"], num_jobs)
    except UserError:  # the device is missing; each cell is to report that by itself
        return 1


def train_together(records: dict[str, Record], directory: Path, release: Callable[[str], None]) -> dict[str, str]:
    """Train the cells that the records describe and return their outcomes by id.

    Args:
        release: releases a cell's lock; called for a cell that has ended while others of its pack still train.

    Raises:
        NoSpace: the disk is full.
    """
    cells = [(from_dict(record.config), record, directory / cell_id) for cell_id, record in records.items()]
    errors: list[BaseException | None] = [None] * len(cells)
    if len(cells) == 1:
        from vitsweep.train.fit import run_cell

        try:
            run_cell(*cells[0])
        except (UserError, SystemExit) as error:  # LockLost, too
            errors = [error]
    elif cells:
        from vitsweep.train.train_pack import run_pack

        for _, _, folder in cells[1:]:
            refer_to_log(folder, cells[0][2])

        def release_place(place: int) -> None:
            cell_id, record = list(records.items())[place]
            if not disk_error(record):  # then its record is not final
                release(cell_id)

        errors = run_pack(cells, release_place)
    outcomes = {i: finish(r, directory / i, error) for (i, r), error in zip(records.items(), errors, strict=True)}
    for record in records.values():
        if message := disk_error(record):
            raise NoSpace(disk_message(directory, message))
    return outcomes


def finish(record: Record, folder: Path, error: BaseException | None) -> str:
    """Complete the record of a cell whose training raised `error` and return its outcome."""
    if isinstance(error, LockLost):
        log.error("%s seed %d: %s", record.arm, record.seed, error)
        return "busy"
    if isinstance(error, UserError):
        log.error("%s seed %d refused: %s", record.arm, record.seed, error)
        return "refused"
    if isinstance(error, SystemExit):  # code inside the cell asked to end the process; it ends the cell only
        record.status, record.error = "failed", error_info(error)
        write_record(folder, record)
    elif error is not None:
        raise error
    if disk_error(record):
        with suppress(OSError):
            write_record(folder, dataclasses.replace(record, status="interrupted", error=None))
    return record.status


def refer_to_log(folder: Path, other: Path) -> None:
    """Write into a cell's log that its pack logs to another cell's."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOG_NAME, "a", encoding="utf-8") as stream:
        stream.write(f"trained as one program with other cells; the log is {other / LOG_NAME}\n")


def record_failure(directory: Path, cell: Cell, reason: str) -> CellStatus:
    """Record the failure of a cell whose process crashed, unless another process trains it; return its status."""
    with CellLock(directory / cell.id) as lock:
        if lock.acquire():
            record = cell_record(directory, cell) or new_record(read_cell(directory, cell.id)[0], cell, None)
            if record.status not in ("done", *FAILURES):
                log.error("%s: %s", cell.id, reason)
                record.status, record.error = "failed", {"type": "Died", "message": reason, "traceback": ""}
                write_record(directory / cell.id, record)
    return idle_status(cell, cell_record(directory, cell))


def disk_error(record: Record) -> str:
    """Return the system's message if a full or read-only disk made the cell fail, else an empty string."""
    if record.status != "failed" or record.error is None:
        return ""
    return next((os.strerror(n) for n in DISK_ERRORS if f"[Errno {n}]" in record.error["message"]), "")


def disk_message(place: Path, reason: str) -> str:
    """Return the message about a disk that cannot be written."""
    return f"{place}  cannot be written ({reason}); free some space there and run the command again to continue"


def main(arguments: list[str]) -> int:
    """Train planned cells in this process: `python -m vitsweep cell DIR CELL ... [--retry]`.

    Returns:
        0 done, 1 failed, 2 refused, 74 disk full, 75 another process trains it, 128 + signal interrupted.
    """
    words = [word for word in arguments if word != "--retry"]
    if len(words) < 2:
        raise UserError("usage: vitsweep cell DIR CELL ... [--retry]")
    return run(Path(words[0]).absolute(), words[1:], retry="--retry" in arguments, wait=True)


def run(directory: Path, cell_ids: list[str], retry: bool = False, num_jobs: int = 1, wait: bool = False) -> int:
    """Train the cells as a process's only work: set up logging and return the exit code; see train_cells."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, force=True)
    try:
        outcomes = train_cells(directory, cell_ids, retry, num_jobs, wait).values()
        return CODES[max(outcomes, key=list(CODES).index)]
    except Interrupted as event:
        log.info("%s", event)
        return 128 + event.signum
    except NoSpace as error:
        log.error("%s", error)
        return NO_SPACE


def watch_parent(parent: int) -> None:
    """Stop this process when its parent dies."""
    stop_unless(lambda: os.getppid() == parent)


def stop_unless(condition: Callable[[], bool], seconds: float = 0.5) -> None:
    """Check a condition in a thread; once it is false, ask this process to save its state and exit, later kill it."""

    def watch() -> None:
        while condition():
            time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="watch", daemon=True).start()


if __name__ == "__main__":
    watch_parent(os.getppid())
    sys.exit(main(sys.argv[1:]))
