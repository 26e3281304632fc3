"""The real `wandb sweep` and `wandb agent`, as a user calls them, against the server of a test.

Or of the agent only what it makes of a sweep file: the command of a cell, and the environment that goes with it.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMPATIENT = "import wandb.wandb_agent as a; a.Agent.POLL_INTERVAL = 0.3; from wandb.cli.cli import cli; cli()"
"""wandb's command line, whose agent asks for work more often than every five seconds."""


def environment() -> dict[str, str]:
    """`python` is the one that runs the tests, and finds vitsweep without its being installed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def wandb(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Call wandb's command line; the test fails if it does."""
    Path(os.environ["WANDB_DIR"]).mkdir(exist_ok=True)  # wandb takes a folder that is not there for a forbidden one
    command = [sys.executable, "-c", IMPATIENT, *words]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def run_sweep(file: str, folder: Path, server: object) -> str:
    """Start a sweep, let one agent do all of it, and return what the agent said."""
    path = folder / file
    assert path.is_file(), f"{path} was written elsewhere or removed"  # wandb says only that it cannot open it
    wandb("sweep", str(path), folder=folder)
    sweep_id = list(server.answers.sweeps)[-1]
    return wandb("agent", f"local/vitsweep/{sweep_id}", folder=folder).stderr


def agent_command(sweep: dict[str, Any], point: dict[str, Any], run_id: str, patch: pytest.MonkeyPatch) -> list[str]:
    """What wandb's agent would run for a point, in whose environment this process is left until the test ends.

    Args:
        sweep: content of the sweep file.
        point: parameter -> value.
        run_id: of the run that W&B asks for.
        patch: undoes the environment.
    """
    from wandb import wandb_agent

    commands = []
    patch.setattr(wandb_agent, "AgentProcess", lambda command, **_: commands.append(command) or argparse.Namespace())
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        patch.setenv(name, "sweep001")
    agent = wandb_agent.Agent(api=None, queue=None, sweep_id="sweep001")
    agent._sweep_command = sweep["command"]
    arguments = {name: {"value": value} for name, value in point.items()}
    agent._command_run({"run_id": run_id, "args": arguments, "program": sweep["program"]})
    return commands[0]
