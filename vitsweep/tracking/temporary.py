"""Folder for wandb's temporary files and sockets, one a process; what a killed process leaves, the next one removes.

wandb removes its temporary files when a process ends by itself, and leaves them in the system's folder when it is
killed. A process holds a lock on its folder while it lives, so a folder without one is stale.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX, LOCK_NAME = "vitsweep-wandb-", "lock"
LONGEST_PATH = 104  # of a socket on macOS; Linux allows 108
LONGEST_SOCKET = 46  # a name as wandb_symon-4194304-4194304-1796011583914.sock

_folders: dict[int, str] = {}
"""Process id -> folder; a fork has its parent's entry and must not remove its folder."""


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Create temporary files, of this process and of those it starts, in a folder of this process.

    Only for wandb: torch keeps caches in the system's folder, for the next process. The folder also replaces a user's
    cache folder that is missing or cannot be written: wandb's helper would print its log instead, and make a cache in
    the working folder.
    """
    folder, system = process_folder(), tempfile.tempdir
    if folder is None:
        yield
        return
    names = ("TMPDIR",) if has_cache_folder() else ("TMPDIR", "XDG_CACHE_HOME")
    before = {name: os.environ.get(name) for name in names}
    os.environ |= dict.fromkeys(names, folder)
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = system
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def has_cache_folder() -> bool:
    """Return True if the user has a cache folder that can be written or made, as wandb's helper looks for it."""
    home = os.environ.get("HOME")
    place = os.environ.get("XDG_CACHE_HOME") or (home and os.path.join(home, ".cache"))
    if not place:
        return False
    if not os.path.exists(place):
        try:
            os.makedirs(place)
            os.rmdir(place)  # it was a trial
        except OSError:
            return False
        return True
    return os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)


def process_folder() -> str | None:
    """Return this process's folder, and remove it when the process ends; None if no socket's path would fit."""
    pid = os.getpid()
    if not Path(_folders.get(pid, "missing")).is_dir():
        remove_stale_folders()
        if len(tempfile.gettempdir()) + len(f"/{PREFIX}12345678/") + LONGEST_SOCKET > LONGEST_PATH:
            return None
        _folders[pid] = make_locked_folder()
        atexit.register(remove_folder, pid)
    return _folders[pid]


def make_locked_folder() -> str:
    """Make a folder, and lock it until this process ends."""
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        lock = os.open(Path(folder, LOCK_NAME), os.O_CREAT | os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(folder, LOCK_NAME).exists():
            return folder
        os.close(lock)  # another process found the folder before it was locked, and removed it


def remove_folder(pid: int) -> None:
    """Remove the folder of process `pid`, if this is that process."""
    if os.getpid() == pid and pid in _folders:
        shutil.rmtree(_folders.pop(pid), ignore_errors=True)


def remove_stale_folders() -> None:
    """Remove the folders of processes that were killed."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK_NAME}"):
        try:
            with open(lock, "rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # of a live process, or of another user
            continue
