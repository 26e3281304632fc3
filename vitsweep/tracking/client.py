"""Calls of the wandb package: a run's settings, its helper process and its log."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb


LATE_SAMPLE = "sendSystemMetrics called after exit"


def run_with_timeout(seconds: float, action: Callable[[], object]) -> bool:
    """Run `action` in a daemon thread; True if it finishes within `seconds` without error."""
    finished = threading.Event()

    def run() -> None:
        try:
            action()
        except Exception:
            return
        finished.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return finished.is_set()


def has_open_run() -> bool:
    """Return True if wandb counts a run of this process as open; a run that failed to start is not."""
    import wandb

    return wandb.setup().most_recent_active_run is not None


def release_service() -> None:
    """Stop wandb's helper process, and with it every open run of this process.

    A helper holds the id of a run that failed to start until it ends.
    """
    import wandb

    wandb.teardown()


def make_settings(timeout: float, share_host: bool, system_metrics: bool = True) -> "wandb.Settings":
    """Return the settings of a run.

    Args:
        timeout: longest wait for the server in seconds, at the start and again at the end.
        share_host: send the machine's name, user, paths, git state and packages.
        system_metrics: sample the load of processor, memory and GPU while the run is open.
    """
    import wandb

    settings: dict[str, Any] = {
        "silent": True,
        "console": "off",
        "save_code": False,
        "init_timeout": timeout,
        "finish_timeout": timeout,
        "finish_timeout_raises": True,
        "x_transaction_log_flush_interval": 2.0,
        "x_disable_stats": not system_metrics,
    }
    for client in ("graphql", "file_stream", "file_transfer"):
        # Whole seconds: wandb truncates, and replaces zero by its default of 2.
        settings |= {f"x_{client}_retry_wait_min_seconds": 1.0, f"x_{client}_retry_wait_max_seconds": 2.0}
    if not share_host:
        settings |= {"host": "", "program": "", "x_executable": "", "disable_git": True}
        settings |= {"x_disable_meta": True, "x_save_requirements": False}
    # Names with x_ are private to wandb and may disappear in any version.
    known = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in settings.items() if name in known})


def read_log_errors(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the errors of a wandb log file, each with its `msg`; wandb reports lost data nowhere else.

    Leaves out a system-metrics sample taken while the run ends: wandb logs it as an error, but no data of the run is
    lost with it.
    """
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if str(entry.get("level", "")).startswith("ERROR") and LATE_SAMPLE not in entry.get("msg", ""):
            yield entry


def describe_error(error: BaseException) -> str:
    """Return the type and the first line of an error, for a warning."""
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
