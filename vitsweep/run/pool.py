"""Pool of worker processes: several cells at a time, each in a process that can crash without harm to the others.

Each running cell has a slot: a GPU or a share of one, and some of the CPU's threads. A cell whose process crashes
(killed, out of memory, a crash in a library) continues from its last saved state in a new process; after MAX_CRASHES
without a further epoch it failed. Any cell of a pack may have caused a crash, so packs are halved, and a crash counts
only against a cell that ran alone. Cells that another start of the same sweep trains are left to it and checked again
later.
"""

import json
import logging
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from vitsweep.config.schema import SweepConfig
from vitsweep.run.packs import Packs
from vitsweep.run.slots import Slot, make_slots, visible_gpus
from vitsweep.run.worker import BUSY, GRACE_SECONDS, NO_SPACE, NoSpace, disk_message, record_failure
from vitsweep.run.workers import ForkServer, ServerDied
from vitsweep.study.locks import LivenessCheck, remove_stale_lock
from vitsweep.study.plan import Cell
from vitsweep.study.status import CellStatus, cell_status
from vitsweep.tracking.backends import BACKENDS

log = logging.getLogger(__name__)

MAX_CRASHES = 3
KILLED = "(out of memory?)"
"""Words of the error of a worker that was killed from outside."""
LOOK_SECONDS = 1.0
"""Pause between two checks of cells that another process trains, and between two updates of the progress table."""


class CrashCounter:
    """Crashes of each cell's process since the cell last finished an epoch."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[int, int]] = {}  # id -> (crashes, epochs finished at the last one)

    def count(self, status: CellStatus) -> int:
        """Count one more crash of the cell and return how many there are."""
        epoch = status.record.epoch if status.record else 0
        crashes, before = self.known.get(status.cell.id, (0, 0))
        self.known[status.cell.id] = (crashes + 1 if epoch <= before else 1, epoch)
        return self.known[status.cell.id][0]


class Pool:
    """Workers of one fork server, as many at a time as there are slots; leaving `with` stops the server.

    Args:
        directory: the sweep's.
        slots: room for cells.
        retry: whether failed cells are trained again.
        on_status: called with each new status of a cell, and about once a second with None.
        liveness: check of the owners of cells' locks.
        pack: auto, off or a number, as configured.
        preload: modules that the fork server imports for all workers.
    """

    def __init__(
        self,
        directory: Path,
        slots: list[Slot],
        retry: bool,
        on_status: Callable[[CellStatus | None], None],
        liveness: LivenessCheck,
        pack: str = "off",
        preload: Sequence[str] = (),
    ):
        self.directory, self.retry, self.on_status, self.liveness = directory, retry, on_status, liveness
        self.free, self.preload = list(slots), preload
        self.packs = Packs(directory, pack, len(slots))
        self.running: dict[int, tuple[list[Cell], Slot]] = {}  # by the worker's number
        self.attempts: dict[str, int] = {}  # of each cell by id, when this pool last started it
        self.waiting: deque[Cell] = deque()
        self.crashes = CrashCounter()
        self.refused: set[str] = set()  # requirements that a cell failed on
        self.disk_full = ""
        self.server: ForkServer | None = None
        self.num_server_deaths = 0  # since a worker last exited
        self.num_started = 0  # workers so far, and the number of the last one

    def run(self, cells: list[Cell]) -> None:
        """Train the cells; return when each has ended, here or in another start of the sweep.

        Raises:
            NoSpace: the disk is full; running cells have been stopped.
            KeyboardInterrupt: also as Interrupted; running cells have been stopped.
        """
        self.waiting.extend(cells)
        looked = -LOOK_SECONDS
        try:
            while (self.waiting and not self.disk_full) or self.running:
                if time.monotonic() - looked >= LOOK_SECONDS:
                    looked = time.monotonic()
                    self.requeue()
                    self.fill()
                    self.on_status(None)
                if self.poll(LOOK_SECONDS / 5):
                    self.fill()
        except BaseException as error:
            # A worker has a session of its own: it sees no Ctrl-C, and its record is to say what stopped it.
            self.stop(
                getattr(error, "signum", signal.SIGINT) if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
            )
            raise
        if self.disk_full:
            raise NoSpace(self.disk_full)

    def fill(self) -> None:
        """Start waiting cells in free slots; skip those that others train, drop those that others have finished."""
        for cell in list(self.waiting):
            if not self.free or self.disk_full:
                return
            if cell not in self.waiting:  # started in the pack of an earlier one
                continue
            status = self.status(cell)
            if self.is_startable(status):
                self.start(self.packs.group_with(cell, self.waiting, lambda c: self.is_startable(self.status(c))))
                continue
            if status.status == "running":
                self.liveness.announce(self.directory / cell.id)
            else:
                self.waiting.remove(cell)
            self.on_status(status)

    def status(self, cell: Cell) -> CellStatus:
        """Return the cell's status as it is on disk."""
        return cell_status(self.directory, cell, self.liveness)

    def is_startable(self, status: CellStatus) -> bool:
        """Return whether a waiting cell with this status can be started now."""
        is_refused = requirements(status.cell) in self.refused
        return status.status != "running" and status.is_wanted(self.retry) and not is_refused

    def requeue(self) -> None:
        """Requeue cells that their worker released because the pack was too large to be efficient."""
        for number, (cells, slot) in self.running.items():
            if len(cells) <= self.packs.size(cells[0]):
                continue
            held = [cell for cell in cells if self.liveness.is_held(self.directory / cell.id)]
            if not held:  # the worker has not begun, or has just ended
                continue
            released = [cell for cell in cells if cell not in held and self.is_untouched(cell)]
            self.running[number] = ([cell for cell in cells if cell not in released], slot)
            for cell in reversed(released):
                self.waiting.appendleft(cell)
                self.on_status(CellStatus(cell=cell, status="planned"))

    def start(self, cells: list[Cell]) -> None:
        """Start a worker for a cell or a pack in a free slot."""
        if self.server is None:
            self.server = ForkServer(self.preload)
        slot = self.free.pop(0)
        self.num_started += 1
        self.running[self.num_started] = (cells, slot)
        for cell in cells:
            with suppress(ValueError):
                self.waiting.remove(cell)
            self.attempts[cell.id] = self.num_attempts(cell)
            # A worker's own first look at another machine's heartbeat cannot show that it has stopped.
            remove_stale_lock(self.directory / cell.id, self.liveness)
            self.on_status(CellStatus(cell=cell, status="running"))
        with suppress(ServerDied):  # poll() raises it too, and requeues the cells
            self.server.start(self.num_started, self.directory, [cell.id for cell in cells], self.retry, slot)

    def poll(self, seconds: float) -> bool:
        """Wait up to `seconds` for a worker to exit and handle it; return whether a slot has become free."""
        if self.server is None:
            time.sleep(seconds)
            return False
        try:
            found = self.server.poll(seconds)
        except ServerDied:
            self.replace_server()
            return True
        if found is None:
            return False
        self.num_server_deaths = 0
        number, code = found
        cells, slot = self.running.pop(number)
        self.free.append(slot)
        for cell in reversed(cells):  # each is put at the front of the queue, so they keep their order
            self.handle_exit(cell, code, len(cells))
        return True

    def replace_server(self) -> None:
        """Requeue all running cells; their orphaned workers stop by themselves and hold the cells' locks until then.

        Raises:
            RuntimeError: the server has died repeatedly without any worker exiting.
        """
        self.num_server_deaths += 1
        if self.num_server_deaths > MAX_CRASHES:
            command = f"{sys.executable} -m vitsweep.run.workers"
            raise RuntimeError(f"the fork server ({command}) exits at once; run the sweep with sweep.isolate=none")
        log.warning("the fork server was killed; starting another")
        self.close()
        for cells, slot in self.running.values():
            self.waiting.extendleft(reversed(cells))
            self.free.append(slot)
        self.running.clear()

    def num_attempts(self, cell: Cell) -> int:
        """Return how often the cell's training has been started, according to its record."""
        record = self.status(cell).record
        return record.attempts if record else 0

    def is_untouched(self, cell: Cell) -> bool:
        """Return whether the cell's training has not begun since this pool last started it."""
        return self.num_attempts(cell) == self.attempts.get(cell.id, 0)

    def handle_exit(self, cell: Cell, code: int, num_together: int) -> None:
        """Handle the exit of a worker that ran `num_together` cells, for one of them."""
        status = self.status(cell)
        if code == NO_SPACE:
            self.disk_full = disk_message(self.directory, "no space left, or read-only")
        elif status.status == "running":  # in another process, or in an orphan of a dead fork server
            self.waiting.append(cell)
        elif code == BUSY and status.is_wanted(self.retry) and self.is_untouched(cell):
            # Another process held the cell, or its pack was too large; a failure in its record is an earlier start's.
            self.waiting.appendleft(cell)
            status = CellStatus(cell=cell, status="planned")
        elif status.status in ("planned", "interrupted"):
            if code == BUSY:
                self.waiting.appendleft(cell)
            else:
                status = self.handle_crash(status, code, num_together)
        if status.refusal:
            self.refused.add(requirements(cell))
        self.on_status(status)

    def handle_crash(self, status: CellStatus, code: int, num_together: int) -> CellStatus:
        """Requeue a cell whose worker crashed, or record its failure if it has crashed alone too often."""
        cell, crashes = status.cell, 0
        if num_together > 1:
            self.packs.halve(cell, num_together)
        else:
            crashes = self.crashes.count(status)
        if crashes >= MAX_CRASHES:
            self.packs.restore(cell)
            return record_failure(self.directory, cell, f"its process {describe_exit(code)}, {crashes} times")
        log.warning("%s: its process %s; continuing from the last saved state", cell.id, describe_exit(code))
        self.waiting.appendleft(cell)
        return status

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """Ask all workers to save their state and exit; kill them after GRACE_SECONDS or a second Ctrl-C."""
        if self.server is None:
            return
        try:
            self.signal_all(signum)
            deadline = time.monotonic() + GRACE_SECONDS
            while self.running and time.monotonic() < deadline:
                if found := self.server.poll(LOOK_SECONDS):
                    self.running.pop(found[0])
            self.signal_all(signal.SIGKILL)
        except ServerDied:
            pass  # its workers stop by themselves
        except KeyboardInterrupt:
            self.signal_all(signal.SIGKILL)
            raise

    def close(self) -> None:
        """Stop the fork server; start() starts another when needed."""
        if self.server is not None:
            self.server.close()
            self.server = None

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def signal_all(self, signum: int) -> None:
        """Send a signal to every worker."""
        if self.server is not None:
            for number in self.running:
                self.server.signal(number, signum)


def run_in_processes(
    directory: Path,
    cells: list[Cell],
    settings: SweepConfig,
    on_status: Callable[[CellStatus | None], None],
    liveness: LivenessCheck,
) -> None:
    """Train the cells in worker processes, as many at a time as `settings.jobs` allows.

    Raises:
        NoSpace: the disk is full; running cells have been stopped.
        KeyboardInterrupt: also as Interrupted; running cells have been stopped.
    """
    slots = make_slots(settings.jobs, len(cells), all(cell.config["device"] == "cpu" for cell in cells))
    pack = cells[0].config.get("pack", "off")
    preload = modules_to_preload(cells)
    with Pool(directory, slots, settings.retry == "failed", on_status, liveness, pack, preload) as pool:
        pool.run(cells)


def modules_to_preload(cells: list[Cell]) -> list[str]:
    """Return modules that take a second or more to import and that some of the cells use."""
    found = [module for name, (module, _) in BACKENDS.items() if cells[0].config["tracker"].get(name)]
    configs = [cell.config for cell in cells]
    if any(config["model"].get("name") == "resnet" for config in configs):
        found.append("torchvision.models.resnet")
    if any(config["recipe"].get("auto_augment", "none") != "none" for config in configs):
        found.append("vitsweep.data.augmentation.policies")
    compiled = ("on", "auto") if visible_gpus() else ("on",)
    if any(config.get("compile") in compiled for config in configs):
        found.append("torch._dynamo")
    return found


def requirements(cell: Cell) -> str:
    """Return the data and device that a cell needs, as text; when one cell lacks them, all with the same text do."""
    return json.dumps([cell.config["data"], cell.config["device"], cell.config["precision"]], sort_keys=True)


def describe_exit(code: int) -> str:
    """Describe how a process exited: `ended with code 3`, `was ended by SIGKILL (out of memory?)`."""
    if code >= 0:
        return f"ended with code {code}"
    hint = f" {KILLED}" if code == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"
