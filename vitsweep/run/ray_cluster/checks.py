"""Connection to a Ray cluster, and checks before the first task: resources, and what the nodes see."""

import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from vitsweep.config.schema import SweepConfig
from vitsweep.run.ray_cluster.options import KEY, RaySettings, ray_settings, sweep_errors
from vitsweep.run.workers import worker_environment
from vitsweep.study.plan import Cell

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
"""Time in which the head must accept a connection; Ray itself tries for minutes."""
PROBE_SECONDS = 60.0
"""Time in which a node starts Python twice."""

Node = dict[str, Any]


def cluster_errors(config: DictConfig, sweep: SweepConfig, cells: list[Cell], directory: Path) -> list[str]:
    """Connect to the cluster; return a message for each reason against these cells on it."""
    settings = ray_settings(config)
    if found := sweep_errors(sweep) or connection_errors(settings.address):
        return found
    nodes = alive_nodes()
    if found := [] if settings.may_grow else resource_errors(settings, cells, nodes):
        return found
    return probe_errors(settings, cells, nodes, directory)


def connection_errors(address: str) -> list[str]:
    """Connect to the cluster, once a process; return a message if that fails."""
    import ray

    if ray.is_initialized():
        return []
    chosen = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    remedy = "start one with `ray start --head`, or name its head with hydra.launcher.address=host:port"
    if chosen != "auto" and not is_reachable(chosen):
        return [f"{KEY}.address={address}  finds no Ray cluster at {chosen}; {remedy}"]
    log.info("connecting to the Ray cluster at %s", chosen)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=chosen, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of many kinds
        reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        return [f"{KEY}.address={address}  cannot be used ({type(error).__name__}: {reason}); {remedy}"]
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray's would end the process without saving states
    return []


def is_reachable(address: str) -> bool:
    """Return whether something listens at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError):
        return False
    return True


def alive_nodes() -> list[Node]:
    """Return the cluster's nodes that are alive, as Ray describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def has_gpus(nodes: list[Node]) -> bool:
    """Return whether a node has a GPU."""
    return any(node["Resources"].get("GPU", 0) for node in nodes)


def fits(needs: dict[str, float], node: Node) -> bool:
    """Return whether a node, when it is idle, has what a cell needs."""
    return all(node["Resources"].get(name, 0) >= number for name, number in needs.items())


def cell_needs(settings: RaySettings, cells: list[Cell], nodes: list[Node]) -> list[dict[str, float]]:
    """Return what each cell asks of a node."""
    is_gpu_cluster = has_gpus(nodes)
    return [settings.needs(cell.config["device"], is_gpu_cluster) for cell in cells]


def resource_errors(settings: RaySettings, cells: list[Cell], nodes: list[Node]) -> list[str]:
    """Return a message for each request of a cell that no node fulfils."""
    lacking = {amounts(n): n for n in cell_needs(settings, cells, nodes) if not any(fits(n, node) for node in nodes)}
    there = ", ".join(sorted({f"{node['NodeManagerHostname']} ({amounts(node['Resources'])})" for node in nodes}))
    remedy = f"ask for less, or set {KEY}.may_grow=true where nodes start on demand"
    return [
        f"hydra/launcher=ray  has no node with {text} for a cell{gpu_hint(needs, nodes)}; nodes: {there}; {remedy}"
        for text, needs in lacking.items()
    ]


def gpu_hint(needs: dict[str, float], nodes: list[Node]) -> str:
    """Return the settings that ask for a GPU, if no node has one."""
    return f" ({KEY}.num_gpus, or device=cuda, asks for the GPU)" if needs.get("GPU") and not has_gpus(nodes) else ""


def amounts(resources: dict[str, float]) -> str:
    """Return resources as text, without those that Ray itself adds to every node."""
    own = ("node:", "object_store_memory", "memory", "accelerator_type:")
    return " ".join(f"{name} {number:g}" for name, number in sorted(resources.items()) if not name.startswith(own))


def probe_errors(settings: RaySettings, cells: list[Cell], nodes: list[Node], directory: Path) -> list[str]:
    """Return a message for each node that may train a cell but does not see the study's directory, or this program.

    A file that only this check writes is looked for, since the same path may exist on a node's own disk.
    """
    needs = cell_needs(settings, cells, nodes)
    able = [node for node in nodes if any(fits(need, node) for need in needs)]
    is_new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    mark = directory / f".ray-{secrets.token_hex(8)}"
    try:
        mark.touch()
        answers = ask_nodes(able, str(mark), worker_environment()["PYTHONPATH"])
    finally:
        mark.unlink(missing_ok=True)
    found = [describe_answer(node, answer, directory) for node, answer in zip(able, answers, strict=True) if answer]
    if found and is_new:
        directory.rmdir()
    return found


def ask_nodes(nodes: list[Node], mark: str, python_path: str) -> list[str]:
    """Return for each node an empty text, `directory`, or what Python says; nodes that do not answer count as good."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = ray.remote(make_probe(sys.executable, python_path))
    refs = [
        probe.options(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        ).remote(mark)
        for node in nodes
    ]
    ended, late = ray.wait(refs, num_returns=len(refs), timeout=PROBE_SECONDS) if refs else ([], [])
    if late:
        log.warning(
            "%d of %d nodes of the Ray cluster do not answer within %.0f s", len(late), len(refs), PROBE_SECONDS
        )
    return [answer_of(ref) if ref in ended else "" for ref in refs]


def answer_of(ref: Any) -> str:
    """Return a probe's answer; empty if its node was lost."""
    import ray
    from ray.exceptions import RayError

    try:
        return ray.get(ref)
    except RayError as error:
        log.warning("a node of the Ray cluster could not be asked: %s", str(error).partition("\n")[0])
        return ""


def make_probe(python: str, python_path: str) -> Callable[[str], str]:
    """Return the task that looks for a file and starts Python; it imports nothing that a node may lack."""

    def probe(mark: str) -> str:
        import os
        import subprocess

        if not os.path.exists(mark):
            return "directory"
        environment = {**os.environ, "PYTHONPATH": python_path}
        try:
            words = [python, "-c", "import vitsweep.run.worker"]
            done = subprocess.run(words, env=environment, capture_output=True, text=True)
        except OSError as error:
            return str(error)
        return (done.stderr.strip().splitlines() or ["it ended"])[-1] if done.returncode else ""

    return probe


def describe_answer(node: Node, answer: str, directory: Path) -> str:
    """Return the message about a node's answer."""
    name = f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
    if answer == "directory":
        return f"hydra.sweep.dir={directory}  is not seen by {name}; use a folder on a disk that all nodes share"
    remedy = f"install vitsweep there in the same folder, or on a disk that all nodes share ({sys.executable})"
    return f"hydra/launcher=ray  cannot start vitsweep on {name}: {answer}; {remedy}"
