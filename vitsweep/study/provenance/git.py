"""Git commands that only read, for the code's identity and its uncommitted changes."""

import os
import subprocess
from pathlib import Path

GIT_SECONDS = 5.0
"""Time after which git is given up, for each call."""
READ_ONLY = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
"""Variables with which `git status` does not write the index, and nothing is asked or translated."""
PLAIN = ("-c", "core.quotePath=false", "-c", "core.fsmonitor=false")


def run_git(checkout: Path, *arguments: str, **environment: str) -> bytes | None:
    """Return the output of a git command that reads only; None for any failure.

    Args:
        environment: further variables.
    """
    command = ["git", "-C", str(checkout), *PLAIN, *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, check=True, timeout=GIT_SECONDS, env=os.environ | READ_ONLY | environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
