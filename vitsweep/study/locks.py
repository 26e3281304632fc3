"""Cell locks: the process that trains a cell holds `.lock` in its directory, so no cell is trained twice at once.

The lock names its owner (host, process, start time of the process) and has a heartbeat: its modification time,
renewed every few seconds. On the owner's machine liveness is that of the process. From another machine or container,
after a restart, and where the system hides other users' processes, the heartbeat is watched: the owner is dead if it
does not change for STALE_SECONDS of the watcher's monotonic time, so no two clocks are compared.

A process that was suspended may have lost its lock without knowing it. So every write into a locked directory asks the
lock first (files.write_guards): a missing or foreign one raises LockLost, and nothing is written.
"""

import json
import logging
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from vitsweep.errors import LockLost
from vitsweep.files import remove_temporaries, write_guards
from vitsweep.study.record import EPOCHS_FOLDER

try:
    import fcntl
except ImportError:  # Windows: no guard, the exclusive creation of the file has to do
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

LOCK_NAME = ".lock"
HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 120.0  # above a minute, since NFS may show a file's times that late
CONFIRM_SECONDS = 30.0
"""Time without a heartbeat after which a user may remove a lock that the disk's own clock calls stale, too."""


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


def is_running(pid: int, start: str) -> bool | None:
    """Return whether a process still runs here; None if there is one with this pid that the system does not show.

    Its start time excludes another process with the same pid. /proc may hide the processes of other users (hidepid),
    and macOS has none.
    """
    if os.path.exists(f"/proc/{pid}/stat"):  # false also without permission
        return bool(start) and start_time(pid) == start
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return None


def read_lock(directory: Path) -> LockInfo | None:
    """Return the lock in a cell's directory, or None if there is none."""
    path = directory / LOCK_NAME
    try:
        with open(path, encoding="utf-8") as stream:  # opening makes NFS ask the server for the file's times
            heartbeat = os.fstat(stream.fileno()).st_mtime_ns
            text = stream.read()
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

    def __init__(self, stale_seconds: float | None = None):
        self.stale_seconds = STALE_SECONDS if stale_seconds is None else stale_seconds
        self.machine = this_machine()
        self.seen: dict[Path, tuple[LockInfo, float]] = {}
        self.alive: set[tuple[Path, Owner | None]] = set()  # whose heartbeat has changed
        self.announced: set[tuple[Path, Owner | None]] = set()

    def is_dead(self, directory: Path, lock: LockInfo) -> bool:
        """Return whether the owner is known to be dead; for another machine's, after calls over `stale_seconds`."""
        if (running := self.is_running_here(lock.owner)) is not None:
            return not running
        if lock.owner is None and fcntl is not None:
            # Incomplete: being written now, or its writer was killed. With exclusive access no process writes.
            with suppress(FileNotFoundError), exclusive_access(directory):
                again = read_lock(directory)
                return again is not None and again.owner is None
        first = self.seen.get(directory)
        if first is None or first[0] != lock:
            if first is not None and first[0].owner == lock.owner:
                self.alive.add((directory, lock.owner))
            self.seen[directory] = (lock, time.monotonic())
            return False
        return time.monotonic() - first[1] >= self.stale_seconds

    def is_running_here(self, owner: Owner | None) -> bool | None:
        """Return whether an owner's process runs on this machine; None if only its heartbeat can show that."""
        if owner is None or owner.host != self.machine:
            return None
        return is_running(owner.pid, owner.start_time)

    def is_held(self, directory: Path) -> bool:
        """Return whether a lock is there whose owner is not known to be dead."""
        lock = read_lock(directory)
        return lock is not None and not self.is_dead(directory, lock)

    def is_settled(self, directory: Path, lock: LockInfo) -> bool:
        """Return whether waiting cannot show more about an owner: it is visible here, or its heartbeat has changed."""
        return self.is_running_here(lock.owner) is not None or (directory, lock.owner) in self.alive

    def announce(self, directory: Path) -> None:
        """Log whom a locked cell waits for and for how long; once for each owner."""
        lock = read_lock(directory)
        if lock is None or (directory, lock.owner) in self.announced:
            return
        self.announced.add((directory, lock.owner))
        name = f"{directory.parent.name}/{directory.name}"
        if self.is_running_here(lock.owner):
            log.info("%s: trained by %s; waiting for its end", name, describe_owner(lock.owner))
            return
        log.info(
            "%s: locked by %s; waiting up to %.0f s for its next heartbeat (last: %s ago), then taking it over; "
            "if that process is dead: python -m vitsweep reset %s --stale",
            name,
            describe_owner(lock.owner),
            self.stale_seconds,
            age_text(directory),
            directory.parent.parent,
        )


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
        self.is_lost = False
        self.heartbeat: threading.Thread | None = None

    def acquire_or_wait(self) -> bool:
        """Take the lock; if only a heartbeat can show that its owner lives, wait for one, for at most `stale_seconds`.

        Returns:
            False if a live owner holds the lock.
        """
        while not self.acquire():
            lock = read_lock(self.directory)
            if lock is not None and self.liveness.is_settled(self.directory, lock):
                return False
            self.liveness.announce(self.directory)
            time.sleep(min(1.0, self.liveness.stale_seconds / 10))
        return True

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
        self.is_lost = False
        write_guards[os.path.abspath(self.directory)] = self.require
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
        write_guards.pop(os.path.abspath(self.directory), None)
        with exclusive_access(self.directory):
            if self._is_ours():
                self.path.unlink(missing_ok=True)

    def require(self) -> None:
        """Check that the lock is still this process's own.

        Raises:
            LockLost: it is missing or another process's.
        """
        if self.is_lost or not self._is_ours():
            self.is_lost = True
            raise LockLost(
                f"{self.directory}  was taken over by another process, since this one had no heartbeat (suspended, "
                "or its disk stalled); it stops and writes nothing more there"
            )

    def _is_free(self) -> bool:
        lock = read_lock(self.directory)
        if lock is None:
            return True
        # An incomplete lock under exclusive access: its writer was killed, or the disk was full.
        if (lock.owner is not None or fcntl is None) and not self.liveness.is_dead(self.directory, lock):
            return False
        if lock.owner is not None:
            log.info("%s: taken over from %s, which is gone", self.directory, describe_owner(lock.owner))
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
                self.require()
                os.utime(self.path)
            except LockLost as error:
                log.critical("%s", error)
                return
            except OSError as error:
                log.warning("%s: no heartbeat (%s)", self.path, error)

    def __enter__(self) -> "CellLock":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def remove_stale_lock(directory: Path, liveness: LivenessCheck) -> bool:
    """Remove the lock and temporary files of a killed owner; return False if a live process holds the cell."""
    if read_lock(directory) is None:
        return True
    with CellLock(directory, liveness) as lock:
        return lock.acquire()


def remove_stale_lock_elsewhere(directory: Path) -> bool:
    """Remove a lock whose owner this machine cannot see, sooner than an unasked takeover; return whether it is gone.

    Two signs must agree that the owner is dead: the last heartbeat is older than STALE_SECONDS by the clock of the disk
    itself, and none comes while it is watched for CONFIRM_SECONDS.
    """
    lock = read_lock(directory)
    if lock is None:
        return True
    liveness = LivenessCheck(CONFIRM_SECONDS)
    if liveness.is_running_here(lock.owner) is None and heartbeat_age(directory) < STALE_SECONDS:
        return False
    with CellLock(directory, liveness) as ours:
        return ours.acquire_or_wait()


def heartbeat_age(directory: Path) -> float:
    """Return the seconds since a lock's last heartbeat, by the clock that gives new files in its directory a time."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix=LOCK_NAME) as new:
        now = os.fstat(new.fileno()).st_mtime
    return now - (directory / LOCK_NAME).stat().st_mtime


def describe_owner(owner: Owner | None) -> str:
    """Return process and host of an owner, as text."""
    return f"process {owner.pid} on {owner.host.partition(' ')[0]}" if owner else "a process that left an empty lock"


def seconds_since_heartbeat(directory: Path) -> float:
    """Return the time since a lock's last heartbeat by this machine's clock; for information only. 0 without a lock."""
    try:
        return max(0.0, time.time() - (directory / LOCK_NAME).stat().st_mtime)
    except OSError:
        return 0.0


def age_text(directory: Path) -> str:
    """Return the time since a lock's last heartbeat as text: `40 s`, `3 min`, `2 days`."""
    seconds = seconds_since_heartbeat(directory)
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


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
