"""Trains a planned cell, or several as one program, under lock: what every engine runs, here or in another process.

`python -m vitsweep cell DIR CELL ...` is that process of its own. What happened is told by the records; the exit code
tells the parent the rest. torch comes late, so that a cell which is done or held by somebody else costs nothing.
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
from vitsweep.errors import UserError
from vitsweep.study.locks import CellLock, LivenessCheck
from vitsweep.study.plan import new_record, read_cell
from vitsweep.study.record import Record, error_info, write_record
from vitsweep.study.status import FAILURES, cell_record, idle_status
from vitsweep.train.stop import Interrupted

log = logging.getLogger(__name__)

LOG_NAME = "run.log"
LOG_FORMAT = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"  # Hydra's own
DONE, FAILED, REFUSED, NO_SPACE, BUSY = 0, 1, 2, 74, 75
CODES = {"done": DONE, "failed": FAILED, "diverged": FAILED, "refused": REFUSED, "busy": BUSY, "left": BUSY}
"""Of several cells the code is that of the one which comes last here."""
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
GRACE_SECONDS = 60.0
"""How long a cell may take to save its state after it was asked to stop."""


class NoSpace(UserError):  # noqa: N818 - an event rather than a mistake
    """The disk is full or read-only: nothing is wrong with the cell, and every other one would end the same way."""


def train_cell(directory: Path, cell_id: str, liveness: LivenessCheck | None = None, retry: bool = False) -> str:
    """train_cells for one cell; returns how it ended."""
    return train_cells(directory, [cell_id], liveness, retry)[cell_id]


def train_cells(
    directory: Path, cell_ids: list[str], liveness: LivenessCheck | None = None, retry: bool = False, num_jobs: int = 1
) -> dict[str, str]:
    """Train cells of the plan in `directory`, as one program if they are several, unless done or in others' hands.

    Args:
        directory: the sweep's.
        cell_ids: the cells' ids in plan.json; several must be of one program (packs.py).
        liveness: judges whoever holds a cell.
        retry: whether cells that failed are trained again, from the start.
        num_jobs: how many jobs share the device's memory, this one included.

    Returns:
        id -> done, failed, diverged, refused (the record's error says what the user must change), busy (somebody else
        is at it) or left (so many do not go together here; to be trained later).

    Raises:
        Interrupted: a signal asked for the end; the states are saved.
        NoSpace: the disk is full; the cells can go on later.
    """
    told: dict[str, str] = {}
    ready: dict[str, tuple[CellLock, Record]] = {}
    try:
        with ExitStack() as locks:
            for cell_id in cell_ids:
                plan, cell = read_cell(directory, cell_id)
                lock = locks.enter_context(CellLock(directory / cell.id, liveness))
                if not lock.acquire():
                    told[cell_id] = "busy"
                    continue
                before = idle_status(cell, cell_record(directory, cell))
                if not before.is_wanted(retry):
                    told[cell_id] = before.status
                    lock.release()
                    continue
                if before.status in FAILURES and not before.refusal:
                    from vitsweep.train.checkpoint import drop_state

                    drop_state(directory / cell.id)
                ready[cell_id] = (lock, new_record(plan, cell, before.record))
            left = list(ready)[going_together(directory, [record for _, record in ready.values()], num_jobs) :]
            for cell_id in left:
                told[cell_id] = "left"
                ready.pop(cell_id)[0].release()
            records = {cell_id: record for cell_id, (_, record) in ready.items()}
            return told | trained(records, directory, lambda cell_id: ready[cell_id][0].release())
    except OSError as fault:
        if fault.errno in DISK_FAULTS:
            raise NoSpace(no_space(directory, os.strerror(fault.errno))) from fault
        raise


def going_together(directory: Path, records: list[Record], num_jobs: int) -> int:
    """How many of the cells, all of one program, are trained together now.

    Raises:
        UserError: the device is not there; then each cell is to say so by itself.
    """
    if len(records) < 2:
        return len(records)
    from vitsweep.run.pack_size import choose_size

    try:
        return choose_size(directory, [record.config for record in records], records[0].config["pack"], num_jobs)
    except UserError:
        return 1


def trained(records: dict[str, Record], directory: Path, let_go: Callable[[str], None]) -> dict[str, str]:
    """Run the cells that the records describe and return how each ended.

    Args:
        let_go: gives a cell's lock back; called for a cell that has ended while others of its program go on.

    Raises:
        NoSpace: the disk is full.
    """
    cells = [(from_dict(record.config), record, directory / cell_id) for cell_id, record in records.items()]
    faults: list[BaseException | None] = [None] * len(cells)
    if len(cells) == 1:
        from vitsweep.train.fit import run_cell

        try:
            run_cell(*cells[0])
        except (UserError, SystemExit) as fault:
            faults = [fault]
    elif cells:
        from vitsweep.train.pack import run_pack

        for _, _, folder in cells[1:]:
            point_to_log(folder, cells[0][2])

        def let_go_at(place: int) -> None:
            cell_id, record = list(records.items())[place]
            if not disk_fault(record):  # then its record is not final
                let_go(cell_id)

        faults = run_pack(cells, let_go_at)
    ends = {c: ended(r, directory / c, fault) for (c, r), fault in zip(records.items(), faults, strict=True)}
    for record in records.values():
        if fault := disk_fault(record):
            raise NoSpace(no_space(directory, fault))
    return ends


def ended(record: Record, folder: Path, fault: BaseException | None) -> str:
    """How a cell ended, of what its training raised; completes a record that could not be."""
    if isinstance(fault, UserError):
        log.error("%s seed %d refused: %s", record.arm, record.seed, fault)
        return "refused"
    if isinstance(fault, SystemExit):  # somebody's code in the cell asked for the end of the process; it ends the cell
        record.status, record.error = "failed", error_info(fault)
        write_record(folder, record)
    elif fault is not None:
        raise fault
    if disk_fault(record):
        with suppress(OSError):
            write_record(folder, dataclasses.replace(record, status="interrupted", error=None))
    return record.status


def point_to_log(folder: Path, other: Path) -> None:
    """Say in a cell's log where its lines are, which are in one process with those of another cell."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOG_NAME, "a", encoding="utf-8") as stream:
        stream.write(f"trained as one program with other cells; the log is {other / LOG_NAME}\n")


def disk_fault(record: Record) -> str:
    """The disk's complaint that a cell failed of, or nothing."""
    if record.status != "failed" or record.error is None:
        return ""
    return next((os.strerror(n) for n in DISK_FAULTS if f"[Errno {n}]" in record.error["message"]), "")


def no_space(place: Path, complaint: str) -> str:
    """The sentence for a disk that takes no more."""
    return f"{place}  cannot be written ({complaint}); make room there, then the same command goes on from here"


def main(arguments: list[str]) -> int:
    """`python -m vitsweep cell DIR CELL ... [--retry]`: train a planned cell, or several as one program.

    Returns:
        0 done, 1 failed, 2 refused, 74 disk full, 75 somebody else is at it, 128 + signal interrupted.
    """
    words = [word for word in arguments if word != "--retry"]
    if len(words) < 2:
        raise UserError("usage: python -m vitsweep cell DIR CELL ... [--retry]")
    return run(Path(words[0]).absolute(), words[1:], retry="--retry" in arguments)


def run(directory: Path, cell_ids: list[str], retry: bool = False, num_jobs: int = 1) -> int:
    """A process's whole work: train the cells, log it, and turn how they ended into an exit code; see train_cells."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, force=True)
    try:
        found = train_cells(directory, cell_ids, retry=retry, num_jobs=num_jobs).values()
        return CODES[max(found, key=list(CODES).index)]
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
