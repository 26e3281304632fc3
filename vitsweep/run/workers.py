"""Fork server: a process that imports torch once and forks a worker for each cell or pack of cells.

Importing torch takes two to three seconds of a core. The server never trains and never touches a GPU, so each worker
starts equally fresh, and what a cell leaks or breaks ends with its worker. A worker has its own session: Ctrl-C reaches
the sweep alone, which then asks the workers to save their state.

multiprocessing's own fork server does not fit: Process.start() blocks until torch is imported, and a Ctrl-C in that
time leaves a worker that the sweep does not know; each worker would import the main module again; one server serves
the whole process, and daemonic processes (joblib's multiprocessing backend) may not use it.
"""

import atexit
import importlib
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from vitsweep.paths import PACKAGE_DIR
from vitsweep.run import worker
from vitsweep.run.slots import Slot
from vitsweep.study.provenance.environment import warm
from vitsweep.study.record import code_identity

PRELOAD = ("vitsweep.train.fit",)
COMMAND = (sys.executable, "-m", "vitsweep.run.workers")
POLL_SECONDS = 0.05
SCHEDULER_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR2") if hasattr(signal, name))
"""Signals that a scheduler sends to every process of a job; the server outlives them, its workers save their state."""


class ServerDied(RuntimeError):  # noqa: N818 - an event rather than a mistake
    """The fork server was killed or failed to start; its workers stop by themselves."""


class ForkServer:
    """The sweep's side of the fork server: starts and signals workers and reports their exits.

    Args:
        preload: modules that the server imports for all workers, if they are installed.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self.connection, other_end = Pipe()
        with other_end:
            self.process = subprocess.Popen(
                [*COMMAND, str(other_end.fileno()), *preload],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what an import prints is no output of the sweep
                pass_fds=[other_end.fileno()],
                env=worker_environment(),
                start_new_session=True,
            )

    def start(self, number: int, directory: Path, cell_ids: list[str], retry: bool, slot: Slot) -> None:
        """Fork a worker that trains cells; return at once.

        Args:
            number: identifies the worker; never used twice.
            directory: the sweep's.
            cell_ids: one cell of the plan, or several that form one pack.
            retry: whether failed cells are trained again.
            slot: the worker's GPU and threads.

        Raises:
            ServerDied: the fork server does not run.
        """
        self._send("start", number, (directory, cell_ids, retry, slot))

    def signal(self, number: int, signum: int) -> None:
        """Send a signal to a worker, if it is still alive.

        Raises:
            ServerDied: the fork server does not run.
        """
        self._send("signal", number, int(signum))

    def poll(self, seconds: float) -> tuple[int, int] | None:
        """Return (number, exit code) of a worker that has exited, or None after `seconds` without one.

        The exit code is negative for a signal.

        Raises:
            ServerDied: the fork server does not run.
        """
        try:
            return self.connection.recv() if self.connection.poll(seconds) else None
        except (EOFError, ConnectionError) as error:
            raise ServerDied from error

    def close(self) -> None:
        """Stop the server; workers that are still alive stop by themselves."""
        self.connection.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _send(self, *message: object) -> None:
        try:
            self.connection.send(message)
        except ConnectionError as error:
            raise ServerDied from error


def worker_environment() -> dict[str, str]:
    """Return a copy of this process's environment in which a new Python finds vitsweep from any folder."""
    environment = dict(os.environ)
    paths = [str(PACKAGE_DIR.parent), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    # NumPy's own threads would be forked in an unknown state, and nothing here needs them.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    return environment


def serve(connection: Connection) -> None:
    """Fork and signal workers as ordered and report their exits, until the sweep closes the connection."""
    workers: dict[int, int] = {}  # number -> process id
    with suppress(EOFError, ConnectionError):
        while True:
            if connection.poll(POLL_SECONDS if workers else None):
                order, number, value = connection.recv()
                if order == "signal":
                    send_signal(workers.get(number), value)
                else:
                    workers[number] = fork_worker(connection, *value)
            for number, pid in list(workers.items()):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    del workers[number]
                    connection.send((number, os.waitstatus_to_exitcode(status)))


def send_signal(pid: int | None, signum: int) -> None:
    """Send a signal to a worker; None: it has exited. Until it is waited for no other process gets its id."""
    if pid is None:
        return
    try:
        # SIGKILL also ends what the worker has started itself; a request is for the worker alone.
        (os.killpg if signum == signal.SIGKILL else os.kill)(pid, signum)
    except ProcessLookupError:  # it has no process group of its own yet
        os.kill(pid, signum)


def fork_worker(connection: Connection, directory: Path, cell_ids: list[str], retry: bool, slot: Slot) -> int:
    """Fork a worker; return its process id in the server, never return in the worker."""
    server = os.getpid()
    with warnings.catch_warnings():
        # Python 3.12 warns of any thread, such as those of torch; the server has run no parallel code.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        connection.close()
        run_worker(server, directory, cell_ids, retry, slot)
    return pid


def run_worker(server: int, directory: Path, cell_ids: list[str], retry: bool, slot: Slot) -> NoReturn:
    """Train the cells in this process, a fork of `server`, and exit without the seconds of torch's own clean-up."""
    try:
        set_up_worker(server, directory / cell_ids[0] / worker.LOG_NAME, slot)
        code = worker.run(directory, cell_ids, retry, slot.num_jobs)
    except BaseException:  # of any kind: the worker must not continue as a second server
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def set_up_worker(server: int, log: Path, slot: Slot) -> None:
    """Give this process its own signals, session, GPU, threads and output; stop it when the server dies."""
    for signum in SCHEDULER_SIGNALS:
        signal.signal(signum, signal.SIG_DFL)
    worker.watch_parent(server)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has it ignored
    with suppress(OSError):  # out of memory, the kernel shall choose the worker, not the sweep
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    if slot.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.gpu
    redirect_output(log)
    if slot.threads is not None:
        import torch

        torch.set_num_threads(slot.threads)


def redirect_output(log: Path) -> None:
    """Append everything that this process prints, including a crash report of a library, to `log`."""
    with suppress(OSError):  # the cell's own first write reports a full disk
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as end:
            os.dup2(end.fileno(), 1)
            os.dup2(end.fileno(), 2)


def main() -> None:
    """Run the fork server; `python -m vitsweep.run.workers FD MODULE ...`, started by ForkServer alone."""
    for signum in SCHEDULER_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    for name in PRELOAD:
        importlib.import_module(name)
    for name in sys.argv[2:]:
        with suppress(Exception):  # the cells warn
            importlib.import_module(name)
    code_identity()  # workers inherit it with the code: a commit made during the sweep did not run
    warm()
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
