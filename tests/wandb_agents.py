"""The real `wandb sweep` and `wandb agent`, as a user calls them, against the server of a test."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPATIENT = "import wandb.wandb_agent as a; a.Agent.POLL_INTERVAL = 0.3; from wandb.cli.cli import cli; cli()"
"""wandb's command line, whose agent asks for work more often than every five seconds."""


def environment() -> dict[str, str]:
    """`python` is the one that runs the tests, and finds vitsweep without its being installed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def wandb(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Call wandb's command line; the test fails if it does."""
    command = [sys.executable, "-c", IMPATIENT, *words]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def run_sweep(file: str, folder: Path, server: object) -> str:
    """Start a sweep, let one agent do all of it, and return what the agent said."""
    wandb("sweep", file, folder=folder)
    sweep_id = list(server.answers.sweeps)[-1]
    return wandb("agent", f"local/vitsweep/{sweep_id}", folder=folder).stderr
