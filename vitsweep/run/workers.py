"""Where cells' processes come from: one process that has imported torch and nothing else, forked for every cell.

Importing torch takes two to three seconds of a core, so a process started from nothing would pay them for every cell.
This one pays once; it never trains, never touches a GPU and has no state, so every cell gets an equally fresh process,
and what a cell leaks or breaks ends with it. A child runs in a session of its own: Ctrl-C reaches the parent alone,
which then asks the children to save their state.

Protocol, one JSON object a line. In: {"start": n, "directory", "cells", "retry", "environment", "threads", "num_jobs"}
or {"signal": n, "number": signum}. Out: {"ended": n, "code": exit code, negative for a signal}.
"""

import atexit
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from vitsweep.paths import PACKAGE_DIR

PRELOADED = ("vitsweep.train.fit", "vitsweep.run.worker", "torch._dynamo")  # the last by any optimizer, in two seconds
COMMAND = (sys.executable, "-m", "vitsweep.run.workers")
POLL_SECONDS = 0.05


class ForkServer:
    """The parent's side: starts cells, passes signals on, hears of their ends."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=worker_environment(),
            start_new_session=True,
        )
        self.heard = b""
        self.is_open = True

    def start(self, number: int, directory: Path, cell_ids: list[str], **rest: Any) -> None:
        """Fork a process that trains a cell, or several as one program; `number` names it in all that follows.

        Args:
            number: chosen by the caller, never used twice.
            directory: the sweep's.
            cell_ids: the cells' ids in their plan.
            rest: retry, environment (variables to set), threads (of torch; None: as it likes) and num_jobs (that share
                the device's memory).
        """
        self._say({"start": number, "directory": str(directory), "cells": cell_ids} | rest)

    def signal(self, number: int, signum: int) -> None:
        """Send a signal to a child, if it still lives."""
        self._say({"signal": number, "number": int(signum)})

    def ended(self, seconds: float) -> list[tuple[int, int]]:
        """(number, exit code) of every child that has ended, waiting up to `seconds` for the first.

        Raises:
            EOFError: the nursery itself has died; its children will stop by themselves.
        """
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return []
        block = os.read(self.process.stdout.fileno(), 65536)
        if not block:
            raise EOFError("the nursery has died")
        *lines, self.heard = (self.heard + block).split(b"\n")
        return [(event["ended"], event["code"]) for event in map(json.loads, lines)]

    def close(self) -> None:
        """End the nursery; children that still live stop by themselves."""
        self.is_open = False
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # it may have died with something unread in the pipe
                pipe.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as fault:
            raise EOFError("the nursery has died") from fault


def worker_environment() -> dict[str, str]:
    """This process's environment, in which a new Python finds vitsweep, also from a checkout and elsewhere."""
    environment = dict(os.environ)
    paths = [str(PACKAGE_DIR.parent), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    # NumPy's own threads would be forked in an unknown state, and nothing here needs them.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    return environment


def serve(incoming: int, outgoing: int) -> dict[str, Any] | None:
    """The nursery's loop. Returns a child's order in the child, and None in the nursery when its parent is gone."""
    children: dict[int, int] = {}  # pid -> number
    pending = b""
    while True:
        if select.select([incoming], [], [], POLL_SECONDS if children else None)[0]:
            block = os.read(incoming, 65536)
            if not block:
                return None
            *lines, pending = (pending + block).split(b"\n")
            for order in map(json.loads, lines):
                if "signal" in order:
                    pass_on(children, order)
                    continue
                nursery = os.getpid()
                pid = os.fork()
                if pid == 0:
                    os.close(incoming)
                    os.close(outgoing)
                    return order | {"parent": nursery}
                children[pid] = order["start"]
        try:
            report_ends(children, outgoing)
        except BrokenPipeError:
            return None


def pass_on(children: dict[int, int], order: dict[str, Any]) -> None:
    """Send the signal of an order to its child. One that has ended is still a zombie of ours, so no other is hit."""
    for pid, number in children.items():
        if number == order["signal"]:
            try:
                # Force takes along what the child has started itself; a request is for the child alone.
                (os.killpg if order["number"] == signal.SIGKILL else os.kill)(pid, order["number"])
            except ProcessLookupError:  # it has no group of its own yet
                os.kill(pid, order["number"])


def report_ends(children: dict[int, int], outgoing: int) -> None:
    """Tell the parent which children have ended since the last time."""
    for pid in list(children):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            message = {"ended": children.pop(pid), "code": os.waitstatus_to_exitcode(status)}
            os.write(outgoing, json.dumps(message).encode() + b"\n")


def become(order: dict[str, Any]) -> int:
    """A child's life: its own session, output and settings, then its cell."""
    from vitsweep.run import worker as work

    work.watch_parent(order["parent"])
    os.setsid()
    with suppress(OSError):  # when memory runs out, the kernel is to take the cell and not the sweep
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    os.environ.update(order["environment"])
    redirect(Path(order["directory"], order["cells"][0], work.LOG_NAME))
    if order["threads"] is not None:
        import torch

        torch.set_num_threads(order["threads"])
    return work.run(Path(order["directory"]), order["cells"], order["retry"], order["num_jobs"])


def redirect(path: Path) -> None:
    """Let everything that this process prints, a crash inside a library included, go to the end of a file."""
    with suppress(OSError):  # a full disk is told by the cell's own first write
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.devnull, "rb") as nothing, open(path, "ab") as end:
            os.dup2(nothing.fileno(), 0)
            os.dup2(end.fileno(), 1)
            os.dup2(end.fileno(), 2)


def main() -> None:
    """`python -m vitsweep.run.workers`, started by ForkServer alone."""
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # what an import prints must not be taken for a message
    for name in PRELOADED:
        importlib.import_module(name)
    order = serve(incoming, outgoing)
    if order is not None:
        leave(order)


def leave(order: dict[str, Any]) -> None:
    """Live a child's life and end the process, without taking apart every object of torch, which takes seconds."""
    try:
        code = become(order)
    except BaseException:  # whatever it is, it must not run on as a second nursery
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
