"""Cells as Ray tasks: submit them, watch the records, submit again what a lost node left."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from vitsweep.run.launchers import Sweep
from vitsweep.run.pool import CrashCounter
from vitsweep.run.ray_cluster.checks import alive_nodes, fits, has_gpus
from vitsweep.run.ray_cluster.options import ray_settings
from vitsweep.run.worker import BUSY, GRACE_SECONDS, LOG_NAME, NO_SPACE, NoSpace, disk_message
from vitsweep.run.workers import worker_environment
from vitsweep.study.plan import Cell

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
CAPACITY_SECONDS = 30.0
"""Time between two looks whether the nodes that are left can train the cells that are left."""


def make_task(
    command: list[str], options: list[str], environment: dict[str, str], log_name: str
) -> Callable[[str], tuple[str, int]]:
    """Return the function of all tasks: cell id -> the id and the exit code of the process that trained the cell.

    Ray pickles it by value, so that a node needs no vitsweep in Ray's own Python. The process ends with the task: after
    ray.cancel with its state saved, else Ray kills it with its worker, or its own watch of that worker stops it.

    Args:
        command: of the process, up to the sweep's directory, which comes last.
        options: of the process, after the cell's id.
        environment: variables beside those of the node.
        log_name: file in the cell's folder for what the process prints.
    """
    grace = GRACE_SECONDS

    def train(cell_id: str) -> tuple[str, int]:
        import os
        import subprocess
        import time

        folder = os.path.join(command[-1], cell_id)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, log_name), "ab") as out:
            words = [*command, cell_id, *options]
            process = subprocess.Popen(
                words, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        try:
            while process.poll() is None:
                time.sleep(0.2)
        except KeyboardInterrupt:  # ray.cancel
            process.terminate()
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        return cell_id, process.returncode

    return train


class RayTasks:
    """Cells of a sweep that were submitted to the cluster to which this process is connected.

    Args:
        sweep: the sweep.
    """

    def __init__(self, sweep: Sweep):
        import ray

        self.settings = ray_settings(sweep.config)
        environment = {**self.settings.env, "PYTHONPATH": worker_environment()["PYTHONPATH"]}
        command = [sys.executable, "-m", "vitsweep.run.worker", str(sweep.directory)]
        options = ["--retry"] if sweep.retry else []
        self.task: Any = ray.remote(make_task(command, options, environment, LOG_NAME))
        self.has_gpus = has_gpus(alive_nodes())  # decided once: no cell moves to a CPU when the last GPU is lost
        self.submitted: dict[Any, Cell] = {}
        self.next_look = time.monotonic() + CAPACITY_SECONDS
        self.is_short = False

    def submit(self, cells: list[Cell]) -> None:
        """Submit each cell as a task that waits for a node with room."""
        for cell in cells:
            needs = self.settings.needs(cell.config["device"], self.has_gpus)
            others = {name: number for name, number in needs.items() if name not in ("CPU", "GPU")}
            task = self.task.options(
                name=cell.id,
                num_cpus=needs["CPU"],
                num_gpus=needs.get("GPU", 0),
                resources=others,
                max_retries=0,
            )
            self.submitted[task.remote(cell.id)] = cell

    def pop_ended(self, seconds: float) -> list[tuple[Cell, int | None]]:
        """Remove and return the cells whose tasks have ended `seconds` from now, with exit codes, None for lost."""
        import ray

        time.sleep(seconds)  # in ray.wait every signal would become a KeyboardInterrupt without its number
        refs = list(self.submitted)
        ended, _ = ray.wait(refs, num_returns=len(refs), timeout=0) if refs else ([], [])
        return [(self.submitted.pop(ref), self.code(ref)) for ref in ended]

    def code(self, ref: Any) -> int | None:
        """Return the exit code of an ended task's process; None if the task or its node was lost."""
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(ref)[1]
        except RayError as error:
            log.warning("a task was lost: %s: %s", type(error).__name__, str(error).partition("\n")[0])
            return None

    def look_for_room(self) -> None:
        """Log once when the nodes that are left cannot train any of the cells that are left."""
        if time.monotonic() < self.next_look or not self.submitted:
            return
        self.next_look = time.monotonic() + CAPACITY_SECONDS
        nodes = alive_nodes()
        needs = [self.settings.needs(cell.config["device"], self.has_gpus) for cell in self.submitted.values()]
        is_short = not any(fits(need, node) for need in needs for node in nodes)
        if is_short and not self.is_short:
            log.warning("no node of the Ray cluster has room for a cell any more; waiting for one (Ctrl-C ends that)")
        self.is_short = is_short

    def cancel(self) -> None:
        """Cancel all tasks and wait until those that run have saved their states."""
        import ray

        refs = list(self.submitted)
        for ref in refs:
            ray.cancel(ref)
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=GRACE_SECONDS)


def run_on_ray(sweep: Sweep, cells: list[Cell]) -> None:
    """Train the cells as tasks; return when each has ended.

    Raises:
        NoSpace: the disk is full.
        KeyboardInterrupt: also as Interrupted; the tasks have been cancelled.
    """
    tasks, waiting, crashes = RayTasks(sweep), list(cells), CrashCounter()
    lost: set[str] = set()  # their locks look alive for a while; that their processes died is counted afterwards
    try:
        while waiting or tasks.submitted:
            free = [cell for cell in waiting if not sweep.is_held(cell)]
            waiting = [cell for cell in waiting if cell not in free]
            tasks.submit([cell for cell in free if cell.id not in lost or sweep.must_relaunch(cell, crashes)])
            lost -= {cell.id for cell in free}
            for cell, code in tasks.pop_ended(POLL_SECONDS):
                if code == NO_SPACE:
                    raise NoSpace(disk_message(sweep.directory, "no space left, or read-only"))
                if code == BUSY or sweep.must_relaunch(cell, crashes):
                    waiting.append(cell)
                    lost |= {cell.id} if code != BUSY and sweep.status(cell).status == "running" else set()
            for cell in tasks.submitted.values():
                sweep.progress.update(sweep.status(cell))
            sweep.progress.update(None)
            tasks.look_for_room()
    except BaseException:
        tasks.cancel()
        raise
