"""Cells in processes of their own, several at a time: whatever a cell does, it harms no other and not the sweep.

Each running cell has a slot: a GPU or a share of one, and a part of the CPU's threads. A cell whose process dies
without a word (killed, out of memory, a crash in a library) goes on from its last saved state in a new process; after
MAX_DEATHS without an epoch more it counts as failed. Of several cells that were one program any may be the cause, so
they go on fewer at a time, and a death is counted only against a cell that was alone. Cells that another start of the
same sweep is at are left to it, and looked at again later.
"""

import json
import logging
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from vitsweep.config.schema import SweepConfig
from vitsweep.run.deaths import Deaths, give_up, num_attempts
from vitsweep.run.packs import Packs
from vitsweep.run.slots import Slot, make_slots
from vitsweep.run.worker import BUSY, GRACE_SECONDS, NO_SPACE, NoSpace, no_space
from vitsweep.run.workers import ForkServer
from vitsweep.study.locks import LivenessCheck
from vitsweep.study.plan import Cell
from vitsweep.study.status import CellStatus, cell_record, cell_status

log = logging.getLogger(__name__)

MAX_DEATHS = 3
LOOK_SECONDS = 1.0
"""Pause between two looks at cells that somebody else is at, and between two pictures of the board."""


class Pool:
    """Runs cells in the nursery's processes, as many at a time as there are slots; `with` ends the nursery.

    Args:
        directory: the sweep's.
        slots: room for cells.
        retry: whether cells that failed are trained again.
        tell: called with each cell's standing when its process has ended, and about once a second with None.
        liveness: judges who is at a cell.
        pack: which cells are trained as one program, as configured.
    """

    def __init__(
        self,
        directory: Path,
        slots: list[Slot],
        retry: bool,
        tell: Callable[[CellStatus | None], None],
        liveness: LivenessCheck,
        pack: str = "off",
    ):
        self.directory, self.retry, self.tell, self.liveness = directory, retry, tell, liveness
        self.free = list(slots)
        self.packs = Packs(directory, pack, len(slots))
        self.running: dict[int, tuple[list[Cell], Slot]] = {}
        self.attempts: dict[str, int] = {}  # of each cell by id, when it was last started from here
        self.waiting: deque[Cell] = deque()
        self.deaths = Deaths()
        self.refused: set[str] = set()
        self.disk_full = ""
        self.nursery: ForkServer | None = None
        self.orphaned = 0  # nurseries that died since a cell last ended
        self.started = 0  # processes so far, and the name of the last one

    def run(self, cells: list[Cell]) -> None:
        """Train the cells; returns when each has ended, here or in another start's hands.

        Raises:
            NoSpace: the disk takes no more; what was under way has been stopped.
            KeyboardInterrupt: also as Interrupted; the same.
        """
        self.waiting.extend(cells)
        looked = -LOOK_SECONDS
        try:
            while (self.waiting and not self.disk_full) or self.running:
                if time.monotonic() - looked >= LOOK_SECONDS:
                    looked = time.monotonic()
                    self.take_back()
                    self.fill()
                    self.tell(None)
                if self.hear(LOOK_SECONDS / 5):
                    self.fill()
        except BaseException:
            self.stop()
            raise
        if self.disk_full:
            raise NoSpace(self.disk_full)

    def fill(self) -> None:
        """Give free slots to the first waiting cells that nobody is at; forget those that others have finished."""
        for cell in list(self.waiting):
            if not self.free or self.disk_full:
                return
            if cell not in self.waiting:  # it went with an earlier one
                continue
            now = cell_status(self.directory, cell, self.liveness)
            if now.status == "running":
                self.tell(now)
                continue
            self.waiting.remove(cell)
            if now.is_wanted(self.retry) and needs(cell) not in self.refused:
                self.start(self.packs.group_with(cell, self.waiting, self.is_startable))
            else:
                self.tell(now)

    def take_back(self) -> None:
        """Let cells wait again that their job has let go, since so many of them are not worth one program."""
        for number, (cells, slot) in self.running.items():
            if len(cells) <= self.packs.size(cells[0]):
                continue
            held = [cell for cell in cells if self.liveness.is_held(self.directory / cell.id)]
            if not held:  # it has not begun, or has just ended
                continue
            let_go = [cell for cell in cells if cell not in held and self.is_untouched(cell)]
            self.running[number] = ([cell for cell in cells if cell not in let_go], slot)
            for cell in reversed(let_go):
                self.waiting.appendleft(cell)
                self.tell(CellStatus(cell=cell, status="planned"))

    def is_startable(self, cell: Cell) -> bool:
        """Whether a waiting cell could be started at once."""
        now = cell_status(self.directory, cell, self.liveness)
        return now.status != "running" and now.is_wanted(self.retry) and needs(cell) not in self.refused

    def start(self, cells: list[Cell]) -> None:
        """Start a cell, or several as one program, in a free slot."""
        if self.nursery is None:
            self.nursery = ForkServer()
        slot = self.free.pop(0)
        self.started += 1
        self.running[self.started] = (cells, slot)
        for cell in cells:
            with suppress(ValueError):
                self.waiting.remove(cell)
            self.attempts[cell.id] = num_attempts(cell_record(self.directory, cell))
            self.tell(CellStatus(cell=cell, status="running"))
        environment = {} if slot.gpu is None else {"CUDA_VISIBLE_DEVICES": slot.gpu}
        with suppress(EOFError):  # hear() finds out as well, and puts everything right
            self.nursery.start(
                self.started,
                self.directory,
                [cell.id for cell in cells],
                retry=self.retry,
                environment=environment,
                threads=slot.threads,
                num_jobs=slot.num_jobs,
            )

    def hear(self, seconds: float) -> bool:
        """Wait for the ends of cells; whether a slot has become free."""
        if self.nursery is None:
            time.sleep(seconds)
            return False
        try:
            ends = self.nursery.ended(seconds)
        except EOFError:
            self.replace_nursery()
            return True
        self.orphaned = 0 if ends else self.orphaned
        for number, code in ends:
            cells, slot = self.running.pop(number)
            self.free.append(slot)
            for cell in reversed(cells):  # what must go on does so in the order that it had
                self.settle(cell, code, len(cells))
        return bool(ends)

    def replace_nursery(self) -> None:
        """The nursery was killed. Its children stop by themselves; until then their locks keep us off those cells.

        Raises:
            RuntimeError: it dies again and again with no cell coming to an end, so something is wrong with it.
        """
        self.orphaned += 1
        if self.orphaned > MAX_DEATHS:
            raise RuntimeError(f"{sys.executable} -m vitsweep.run.workers ends at once; try it with sweep.isolate=none")
        log.warning("the process that cells are forked from was killed; starting another")
        self.close()
        for cells, slot in self.running.values():
            self.waiting.extendleft(reversed(cells))
            self.free.append(slot)
        self.running.clear()

    def is_untouched(self, cell: Cell) -> bool:
        """Whether nobody has begun to train the cell since it was last started from here."""
        return num_attempts(cell_record(self.directory, cell)) == self.attempts.get(cell.id, 0)

    def settle(self, cell: Cell, code: int, num_together: int) -> None:
        """Draw the consequences of a cell's process having ended, which had so many cells."""
        now = cell_status(self.directory, cell, self.liveness)
        if code == NO_SPACE:
            self.disk_full = no_space(self.directory, "no space left, or read-only")
        elif now.status == "running":  # by somebody else, or its process is just about to see that the nursery has died
            self.waiting.append(cell)
        elif code == BUSY and now.is_wanted(self.retry) and self.is_untouched(cell):
            # Others were at it, or it was one too many for its pack; a failure in its record is an earlier start's.
            self.waiting.appendleft(cell)
            now = CellStatus(cell=cell, status="planned")
        elif now.status in ("planned", "interrupted"):
            if code == BUSY:
                self.waiting.appendleft(cell)
            else:
                now = self.mourn(cell, code, num_together)
        if now.refusal:
            self.refused.add(needs(cell))
        self.tell(now)

    def mourn(self, cell: Cell, code: int, num_together: int) -> CellStatus:
        """A cell's process died without a word: let it go on in a new one, unless it has died alone too often."""
        now = cell_status(self.directory, cell, self.liveness)
        deaths = self.deaths.count(now) if num_together == 1 else 0
        if num_together > 1:
            self.packs.halve(cell, num_together)
        if deaths >= MAX_DEATHS:
            self.packs.restore(cell)
            return give_up(self.directory, cell, f"its process {last_word(code)}, {deaths} times")
        log.warning("%s: its process %s; it goes on in a new one", cell.id, last_word(code))
        self.waiting.appendleft(cell)
        return now

    def stop(self) -> None:
        """Ask what is running to save its state and end; after a time, or on a second Ctrl-C, by force."""
        if self.nursery is None:
            return
        try:
            self.signal_all(signal.SIGTERM)
            deadline = time.monotonic() + GRACE_SECONDS
            while self.running and time.monotonic() < deadline:
                for number, _ in self.nursery.ended(LOOK_SECONDS):
                    self.running.pop(number)
            self.signal_all(signal.SIGKILL)
        except EOFError:
            pass  # the nursery is dead, so its children stop by themselves
        except KeyboardInterrupt:
            self.signal_all(signal.SIGKILL)
            raise

    def close(self) -> None:
        """End the nursery; it is started again when it is needed."""
        if self.nursery is not None:
            self.nursery.close()
            self.nursery = None

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def signal_all(self, signum: int) -> None:
        """Send a signal to every running cell."""
        for number in self.running:
            self.nursery.signal(number, signum)


def run_in_processes(
    directory: Path,
    cells: list[Cell],
    settings: SweepConfig,
    tell: Callable[[CellStatus | None], None],
    liveness: LivenessCheck,
) -> None:
    """Train the cells in processes of their own, as many at a time as `settings.jobs` says.

    Raises:
        NoSpace: the disk takes no more.
        KeyboardInterrupt: also as Interrupted; what was under way has been stopped.
    """
    slots = make_slots(settings.jobs, len(cells), all(cell.config["device"] == "cpu" for cell in cells))
    pack = cells[0].config.get("pack", "off")
    with Pool(directory, slots, settings.retry == "failed", tell, liveness, pack) as pool:
        pool.run(cells)


def needs(cell: Cell) -> str:
    """What a cell asks of the machine; if one is refused for want of it, so is every other that asks the same."""
    return json.dumps([cell.config["data"], cell.config["device"], cell.config["precision"]], sort_keys=True)


def last_word(code: int) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"ended with code {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"
