"""The real `wandb sweep` and `wandb agent`, called as a user does, against the fake server.

agent_command calls only the part of the agent that makes a cell's command and environment.
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
"""wandb's command line with an agent that polls every 0.3 seconds instead of every five."""


def environment() -> dict[str, str]:
    """Return an environment whose `python` runs the tests' interpreter and finds this checkout."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def wandb(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Call wandb's command line; fail the test if it fails."""
    Path(os.environ["WANDB_DIR"]).mkdir(exist_ok=True)  # wandb reports a missing folder as forbidden
    command = [sys.executable, "-c", IMPATIENT, *words]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def run_sweep(file: str, folder: Path, server: object) -> str:
    """Start a sweep, run one agent until it ends, and return its error output."""
    path = folder / file
    assert path.is_file(), f"{path} was written elsewhere or removed"  # wandb prints only that it cannot open it
    wandb("sweep", str(path), folder=folder)
    sweep_id = list(server.answers.sweeps)[-1]
    return wandb("agent", f"local/vitsweep/{sweep_id}", folder=folder).stderr


def agent_command(sweep: dict[str, Any], point: dict[str, Any], run_id: str, patch: pytest.MonkeyPatch) -> list[str]:
    """Return the command of wandb's agent for a point, and set its environment until the test ends.

    Args:
        sweep: content of the sweep file.
        point: parameter -> value.
        run_id: id of the run that W&B starts.
        patch: restores the environment.
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
