"""How wandb is called: the settings of a run, and what keeps its waits and its leftovers short."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb


LATE_SAMPLE = "sendSystemMetrics called after exit"


def run_with_timeout(seconds: float, action: Callable[[], object]) -> bool:
    """Whether an action succeeded in time; if not, it is left to itself in its thread."""
    faults: list[Exception] = []

    def run() -> None:
        try:
            action()
        except Exception as fault:
            faults.append(fault)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive() and not faults


def has_open_run() -> bool:
    """Whether a run of this process is under way, by wandb's own count; one that could not begin is none."""
    import wandb

    return wandb.setup().most_recent_active_run is not None


def release_service() -> None:
    """Stop wandb's helper process, which would otherwise hold the id of the run that it could not begin.

    All open runs of this process end with it.
    """
    import wandb

    wandb.teardown()


def make_settings(patience: float, share_host: bool, samples_load: bool = True) -> "wandb.Settings":
    """Settings of a run: what it may wait for, what it writes, what it tells of the machine.

    Args:
        patience: the longest wait for the server, seconds, at the start and again at the end.
        share_host: whether the machine may be described, its name, user and paths included.
        samples_load: whether the load of processor, memory and GPU is sampled while the run is open.
    """
    import wandb

    settings: dict[str, Any] = {
        "silent": True,
        "console": "off",
        "save_code": False,
        "init_timeout": patience,
        "finish_timeout": patience,
        "finish_timeout_raises": True,
        "x_transaction_log_flush_interval": 2.0,
        # Whole seconds: wandb cuts off the rest, and takes zero for its default of 2.
        "x_graphql_retry_wait_min_seconds": 1.0,
        "x_graphql_retry_wait_max_seconds": 2.0,
        "x_file_stream_retry_wait_min_seconds": 1.0,
        "x_file_stream_retry_wait_max_seconds": 2.0,
        "x_file_transfer_retry_wait_min_seconds": 1.0,
        "x_file_transfer_retry_wait_max_seconds": 2.0,
        "x_disable_stats": not samples_load,
    }
    if not share_host:
        settings |= {"host": "", "program": "", "x_executable": "", "disable_git": True}
        settings |= {"x_disable_meta": True, "x_save_requirements": False}
    # Names with x_ are wandb's own and may go with any version of it.
    known = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in settings.items() if name in known})


def read_log_errors(path: Path) -> Iterator[dict[str, Any]]:
    """The errors in a log of wandb's own, each with its `msg`; the log is the only place where it admits lost data.

    wandb also calls it an error if the machine's load is sampled once more while the run ends. Nothing of the run is
    lost with that sample, and a run file that has it would be called faulty each time that it is sent.
    """
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if str(entry.get("level", "")).startswith("ERROR") and LATE_SAMPLE not in entry.get("msg", ""):
            yield entry


def describe_error(fault: BaseException) -> str:
    """Type and first line of a fault, for a warning."""
    first_line = (str(fault).strip().splitlines() or [""])[0]
    return f"{type(fault).__name__}: {first_line}" if first_line else type(fault).__name__
