"""Cell locks: the process that trains a cell holds `.lock` in its directory, so no cell is trained twice at once.

The lock names its owner (host, process, start time of the process) and has a heartbeat: its modification time,
renewed every few seconds. On the owner's machine liveness is that of the process. From another machine the heartbeat
is watched: the owner is dead if it does not change for STALE_SECONDS of the watcher's monotonic time, so no two clocks
are compared.
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
"""Exit code of a process whose heartbeat expired, so that another machine took its cell over."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Holder of a lock; the token distinguishes two locks of one process."""

    host: str
    pid: int
    start_time: str
    token: str


@dataclass(frozen=True, kw_only=True)
class LockInfo:
    """A lock as read: its owner (None if the file is incomplete) and its heartbeat (modification time, ns)."""

    owner: Owner | None
    heartbeat: int


def this_machine() -> str:
    """Return an identifier of host, boot and process name space: processes that can be looked up from here share it."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def start_time(pid: int) -> str:
    """Return a process's start in kernel ticks since boot; empty if it is dead or the system does not provide it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def is_running(pid: int, start: str) -> bool:
    """Return whether a process still runs here; its start time excludes another process with the same pid."""
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
    """Return the lock in a cell's directory, or None if there is none."""
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
    """Liveness of lock owners, by process or by observed heartbeat.

    Args:
        stale_seconds: time without a change after which the heartbeat of another machine counts as stopped.
    """

    def __init__(self, stale_seconds: float = STALE_SECONDS):
        self.stale_seconds = stale_seconds
        self.machine = this_machine()
        self.seen: dict[Path, tuple[LockInfo, float]] = {}

    def is_dead(self, directory: Path, lock: LockInfo) -> bool:
        """Return whether the owner is known to be dead; for another machine's, after calls over `stale_seconds`."""
        if lock.owner is not None and lock.owner.host == self.machine:
            return not is_running(lock.owner.pid, lock.owner.start_time)
        if lock.owner is None and fcntl is not None:
            # Incomplete: being written now, or its writer was killed. With exclusive access nobody writes.
            with suppress(FileNotFoundError), exclusive_access(directory):
                again = read_lock(directory)
                return again is not None and again.owner is None
        first = self.seen.get(directory)
        if first is None or first[0] != lock:
            self.seen[directory] = (lock, time.monotonic())
            return False
        return time.monotonic() - first[1] >= self.stale_seconds

    def is_held(self, directory: Path) -> bool:
        """Return whether a lock is there whose owner is not known to be dead."""
        lock = read_lock(directory)
        return lock is not None and not self.is_dead(directory, lock)


class CellLock:
    """Lock of a cell, with a thread that renews its heartbeat.

    Args:
        directory: the cell's; created if missing.
        liveness: check of an earlier owner.
        heartbeat_seconds: time between two heartbeats.
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
        """Take the lock unless a live owner holds it; return whether it was taken.

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
        """Release the lock, if held."""
        if self.heartbeat is None:
            return
        self.stopped.set()
        self.heartbeat.join()
        self.heartbeat = None
        with exclusive_access(self.directory):
            if self._is_ours():
                self.path.unlink(missing_ok=True)

    def _is_free(self) -> bool:
        lock = read_lock(self.directory)
        if lock is None:
            return True
        # An incomplete lock under exclusive access: its writer was killed, or the disk was full.
        if (lock.owner is not None or fcntl is None) and not self.liveness.is_dead(self.directory, lock):
            return False
        if lock.owner is not None:
            log.info("%s: taken over from process %d, which is gone", self.directory, lock.owner.pid)
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
        return self._is_ours()  # some network disks report a lack of space only now, by an empty file

    def _is_ours(self) -> bool:
        lock = read_lock(self.directory)
        return lock is not None and lock.owner == self.owner

    def _keep_heartbeat(self) -> None:
        while not self.stopped.wait(self.heartbeat_seconds):
            try:
                lock = read_lock(self.directory)
                if lock is not None and lock.owner != self.owner:
                    # Another machine trains the cell now: write nothing more.
                    log.critical("%s: heartbeat expired; another process took this cell over; exiting", self.directory)
                    os._exit(LOCK_LOST_EXIT_CODE)
                os.utime(self.path)
            except OSError as error:
                log.warning("%s: no heartbeat (%s)", self.path, error)

    def __enter__(self) -> "CellLock":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def remove_stale_lock(directory: Path, liveness: LivenessCheck) -> bool:
    """Remove the lock and temporary files of a killed owner; return False if a live process holds the cell."""
    with CellLock(directory, liveness) as lock:
        return lock.acquire()


@contextmanager
def exclusive_access(directory: Path) -> Iterator[None]:
    """Exclude this machine's other processes while a lock or a plan in `directory` is read and changed.

    The kernel drops this lock with the process. On disks without it, the exclusive creation of the lock file still lets
    only one of two processes succeed.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
