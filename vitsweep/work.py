"""Trains one planned cell under its lock: what every engine runs, in this process or as one of its own.

`python -m vitsweep cell DIR CELL` is that process of its own. What happened is told by the record; the exit code tells
the parent the rest. torch comes late, so that a cell which is done or held by somebody else costs nothing.
"""

import errno
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from vitsweep.config import from_dict
from vitsweep.errors import RecordError, UserError
from vitsweep.locks import CellLock, Witness
from vitsweep.plan import Cell, Plan, read_plan
from vitsweep.record import PLAN_NAME, Record, write_record
from vitsweep.standing import ENDED_BADLY, at_rest, record_of
from vitsweep.stop import Interrupted

log = logging.getLogger(__name__)

LOG_NAME = "run.log"
LOG_FORMAT = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"  # Hydra's own
DONE, FAILED, REFUSED, NO_SPACE, BUSY = 0, 1, 2, 74, 75
CODES = {"done": DONE, "failed": FAILED, "diverged": FAILED, "refused": REFUSED, "busy": BUSY}
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
GRACE_SECONDS = 60.0
"""How long a cell may take to save its state after it was asked to stop."""


class NoSpace(UserError):  # noqa: N818 - an event rather than a mistake
    """The disk is full or read-only: nothing is wrong with the cell, and every other one would end the same way."""


def train_cell(directory: Path, cell_id: str, witness: Witness | None = None, retry: bool = False) -> str:
    """Train a cell of the plan in `directory`, unless it is done or somebody else is at it.

    Args:
        directory: the sweep's.
        cell_id: the cell's id in plan.json.
        witness: judges whoever holds the cell.
        retry: whether a cell that failed is trained again, from the start.

    Returns:
        done, failed, diverged, refused (the record's error says what the user must change) or busy.

    Raises:
        Interrupted: a signal asked for the end; the state is saved.
        NoSpace: the disk is full; the cell can go on later.
    """
    plan, cell = planned(directory, cell_id)
    try:
        with CellLock(directory / cell.id, witness) as lock:
            if not lock.acquire():
                return "busy"
            before = at_rest(cell, record_of(directory, cell))
            if not before.is_wanted(retry):
                return before.status
            if before.status in ENDED_BADLY and not before.refusal:
                from vitsweep.checkpoint import drop_state

                drop_state(directory / cell.id)
            return trained(new_record(plan, cell, before.record), directory / cell.id)
    except OSError as fault:
        if fault.errno in DISK_FAULTS:
            raise NoSpace(no_space(directory, os.strerror(fault.errno))) from fault
        raise


def trained(record: Record, folder: Path) -> str:
    """Run the cell that `record` describes and return how it ended."""
    from vitsweep.train import run_cell

    try:
        run_cell(from_dict(record.config), record, folder)
    except UserError as fault:
        log.error("%s seed %d refused: %s", record.arm, record.seed, fault)
        return "refused"
    except SystemExit as leaving:  # somebody's code in the cell asked for the end of the process; it ends the cell
        record.status, record.error = "failed", described(leaving)
        write_record(folder, record)
    fault = disk_fault(record)
    if fault:
        record.status, record.error = "interrupted", None
        with suppress(OSError):
            write_record(folder, record)
        raise NoSpace(no_space(folder, fault))
    return record.status


def planned(directory: Path, cell_id: str) -> tuple[Plan, Cell]:
    """A cell as plan.json froze it; YAML is not read again, so editing it changes nothing in a running study.

    Raises:
        RecordError: there is no such cell.
    """
    try:
        stamp = (directory / PLAN_NAME).stat()
    except FileNotFoundError as fault:
        raise RecordError(f"{directory}  has no {PLAN_NAME}; it is not the directory of a sweep") from fault
    plan, cells = frozen_plan(directory, stamp.st_mtime_ns, stamp.st_ino)
    if cell_id not in cells:
        raise RecordError(f"{cell_id}  is no cell of {directory / PLAN_NAME}; python -m vitsweep status lists them")
    return plan, cells[cell_id]


@lru_cache(maxsize=1)
def frozen_plan(directory: Path, mtime_ns: int, inode: int) -> tuple[Plan, dict[str, Cell]]:
    """The plan and its cells by id; read again only if the file is another one, for a thousand cells take 0.1 s."""
    plan = read_plan(directory)
    assert plan is not None
    return plan, {cell.id: cell for cell in plan.cells}


def new_record(plan: Plan, cell: Cell, earlier: Record | None) -> Record:
    """The record that a cell starts with, and what earlier attempts left in theirs."""
    record = Record(
        study=plan.study,
        role=cell.role,
        arm=cell.arm,
        levels=cell.levels,
        seed=cell.seed,
        overrides=cell.overrides,
        config=cell.config,
        config_hash=cell.config_hash,
        plan_hash=plan.plan_hash,
        claims_hash=plan.claims_hash,
    )
    if earlier is not None:
        for name in ("started", "attempts", "time_seconds", "wandb"):
            setattr(record, name, getattr(earlier, name))
    return record


def described(fault: BaseException) -> dict[str, str]:
    """An exception as the record keeps it."""
    text = "".join(traceback.format_exception(fault))
    return {"type": type(fault).__name__, "message": str(fault), "traceback": text}


def disk_fault(record: Record) -> str:
    """The disk's complaint that a cell failed of, or nothing."""
    if record.status != "failed" or record.error is None:
        return ""
    return next((os.strerror(n) for n in DISK_FAULTS if f"[Errno {n}]" in record.error["message"]), "")


def no_space(place: Path, complaint: str) -> str:
    """The sentence for a disk that takes no more."""
    return f"{place}  cannot be written ({complaint}); make room there, then the same command goes on from here"


def main(arguments: list[str]) -> int:
    """`python -m vitsweep cell DIR CELL [--retry]`: train one planned cell in this process.

    Returns:
        0 done, 1 failed, 2 refused, 74 disk full, 75 somebody else is at it, 128 + signal interrupted.
    """
    words = [word for word in arguments if word != "--retry"]
    if len(words) != 2:
        raise UserError("usage: python -m vitsweep cell DIR CELL [--retry]")
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, force=True)
    return exit_code(Path(words[0]).absolute(), words[1], retry="--retry" in arguments)


def exit_code(directory: Path, cell_id: str, retry: bool = False) -> int:
    """Train the cell and turn how it ended into an exit code."""
    try:
        return CODES[train_cell(directory, cell_id, retry=retry)]
    except Interrupted as event:
        log.info("%s", event)
        return 128 + event.signum
    except NoSpace as fault:
        log.error("%s", fault)
        return NO_SPACE


def watch_parent(parent: int) -> None:
    """Stop this process when its parent has died."""
    stop_unless(lambda: os.getppid() == parent)


def stop_unless(is_wanted: Callable[[], bool], seconds: float = 0.5) -> None:
    """Stop this process as soon as it is not wanted any more: first as asked, with its state saved, then by force."""

    def watch() -> None:
        while is_wanted():
            time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="watch", daemon=True).start()


if __name__ == "__main__":
    watch_parent(os.getppid())
    sys.exit(main(sys.argv[1:]))
