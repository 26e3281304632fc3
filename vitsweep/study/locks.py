"""One lock a cell: whoever trains it holds `.lock` in its directory, so no cell is ever trained twice at once.

The lock names its owner (host, process, the process's start) and carries a heartbeat: its modification time, renewed
every few seconds. Whether an owner is alive is never read off a clock. On the owner's own machine the process itself is
looked up; from another machine the heartbeat is watched, and only one that stands still for STALE_SECONDS of the
watcher's own waiting is dead. So a clock that jumps, here or there, changes nothing.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from vitsweep.files import remove_temporaries
from vitsweep.study.record import EPOCHS_FOLDER

try:
    import fcntl
except ImportError:  # Windows: no guard, the exclusive creation of the file has to do
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

LOCK_NAME = ".lock"
HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 120.0  # above a minute, since NFS may show a file's times that late
LOCK_LOST_EXIT_CODE = 70
"""Exit code of a process that stood still so long that another machine took its cell over."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who holds a lock; the token tells two owners apart that are the same process."""

    host: str
    pid: int
    start_time: str
    token: str


@dataclass(frozen=True, kw_only=True)
class LockInfo:
    """A lock as it was found: its owner, None if the file is torn, and the heartbeat at that moment."""

    owner: Owner | None
    heartbeat: int


def this_machine() -> str:
    """Names everything whose processes can be looked up from here: host, boot and process name space."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def start_time(pid: int) -> str:
    """When a process was started, in the kernel's own ticks since boot; empty where that is not told, or it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def is_running(pid: int, start: str) -> bool:
    """Whether this very process still runs here; its start guards against a number that was given out again."""
    if Path("/proc/self/stat").exists():
        return bool(start) and start_time(pid) == start
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def read_lock(directory: Path) -> LockInfo | None:
    """The lock in a cell's directory, or None if nobody holds it."""
    path = directory / LOCK_NAME
    try:
        heartbeat = path.stat().st_mtime_ns
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return LockInfo(owner=owner_from_json(text), heartbeat=heartbeat)
    except (ValueError, TypeError, AttributeError):
        return LockInfo(owner=None, heartbeat=heartbeat)


def owner_to_json(owner: Owner) -> str:
    """Return an owner as the lock file keeps it; `start_time` is stored as `born`."""
    values = asdict(owner)
    return json.dumps({"born" if key == "start_time" else key: value for key, value in values.items()})


def owner_from_json(text: str) -> Owner:
    """Return the owner that a lock file names.

    Raises:
        ValueError, TypeError: the text is not a whole lock.
    """
    values = json.loads(text)
    return Owner(**{"start_time" if key == "born" else key: value for key, value in values.items()})


class LivenessCheck:
    """Judges whether a lock's owner lives, from what it has seen of it.

    Args:
        stale_seconds: how long a heartbeat from another machine must stand still, watched, to count as stopped.
    """

    def __init__(self, stale_seconds: float = STALE_SECONDS):
        self.stale_seconds = stale_seconds
        self.machine = this_machine()
        self.seen: dict[Path, tuple[LockInfo, float]] = {}

    def is_dead(self, directory: Path, hold: LockInfo) -> bool:
        """Whether the owner is known to be dead; from another machine that takes `stale_seconds` of asking."""
        if hold.owner is not None and hold.owner.host == self.machine:
            return not is_running(hold.owner.pid, hold.owner.start_time)
        if hold.owner is None and fcntl is not None:
            # Torn: its writer is at it this very moment, or was killed there. Under the guard nobody writes.
            with suppress(FileNotFoundError), exclusive_access(directory):
                again = read_lock(directory)
                return again is not None and again.owner is None
        first = self.seen.get(directory)
        if first is None or first[0] != hold:
            self.seen[directory] = (hold, time.monotonic())
            return False
        return time.monotonic() - first[1] >= self.stale_seconds

    def is_held(self, directory: Path) -> bool:
        """Whether somebody holds the cell, as far as is known."""
        hold = read_lock(directory)
        return hold is not None and not self.is_dead(directory, hold)


class CellLock:
    """The right to train a cell; a thread keeps its heartbeat going.

    Args:
        directory: the cell's own; made if it is not there.
        liveness: judges an earlier owner.
        heartbeat_seconds: pause between two heartbeats.
    """

    def __init__(
        self, directory: Path, liveness: LivenessCheck | None = None, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ):
        self.directory, self.path = directory, directory / LOCK_NAME
        self.liveness, self.heartbeat_seconds = liveness or LivenessCheck(), heartbeat_seconds
        self.owner = Owner(
            host=self.liveness.machine, pid=os.getpid(), start_time=start_time(os.getpid()), token=secrets.token_hex(8)
        )
        self.stopped = threading.Event()
        self.heartbeat: threading.Thread | None = None

    def acquire(self) -> bool:
        """Take the lock if nobody alive holds it; a dead owner's is taken over.

        Raises:
            OSError: the directory cannot be written.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with exclusive_access(self.directory):
            if not self._is_free() or not self._create():
                return False
            remove_temporaries(self.directory)
            remove_temporaries(self.directory / EPOCHS_FOLDER)
        self.stopped.clear()
        self.heartbeat = threading.Thread(target=self._keep_heartbeat, name="heartbeat", daemon=True)
        self.heartbeat.start()
        return True

    def release(self) -> None:
        """Give the lock back; does nothing without it."""
        if self.heartbeat is None:
            return
        self.stopped.set()
        self.heartbeat.join()
        self.heartbeat = None
        with exclusive_access(self.directory):
            if self._is_ours():
                self.path.unlink(missing_ok=True)

    def _is_free(self) -> bool:
        hold = read_lock(self.directory)
        if hold is None:
            return True
        # A torn lock under the guard: its writer was killed on the way, or the disk was full.
        if (hold.owner is not None or fcntl is None) and not self.liveness.is_dead(self.directory, hold):
            return False
        if hold.owner is not None:
            log.info("%s: taken over from process %d, which is gone", self.directory, hold.owner.pid)
        self.path.unlink(missing_ok=True)
        return True

    def _create(self) -> bool:
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(handle, owner_to_json(self.owner).encode())
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return self._is_ours()  # some network disks tell of a lack of space only now, by an empty file

    def _is_ours(self) -> bool:
        hold = read_lock(self.directory)
        return hold is not None and hold.owner == self.owner

    def _keep_heartbeat(self) -> None:
        while not self.stopped.wait(self.heartbeat_seconds):
            try:
                hold = read_lock(self.directory)
                if hold is not None and hold.owner != self.owner:
                    # Another machine waited for our heartbeat in vain and trains the cell now: not one byte more.
                    log.critical("%s: this process stood still and has lost the cell", self.directory)
                    os._exit(LOCK_LOST_EXIT_CODE)
                os.utime(self.path)
            except OSError as fault:
                log.warning("%s: no heartbeat (%s)", self.path, fault)

    def __enter__(self) -> "CellLock":
        return self

    def __exit__(self, kind: type | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def remove_stale_lock(directory: Path, liveness: LivenessCheck) -> bool:
    """Remove the lock and the unfinished files of an owner that was killed; False if somebody is at the cell again."""
    with CellLock(directory, liveness) as lock:
        return lock.acquire()


@contextmanager
def exclusive_access(directory: Path) -> Iterator[None]:
    """Alone among this machine's processes while a lock or a plan in `directory` is looked at and changed.

    The kernel keeps this lock and drops it with the process. Where a disk does not offer it, the exclusive creation of
    the lock file still lets only one of two newcomers win.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
