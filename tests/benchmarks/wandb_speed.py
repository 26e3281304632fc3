"""Cost of W&B per cell: the tracker's seconds by state of the server, time of a row, and rows after `sync`.

Cells without any work, with the real client and the fake server on loopback, so every second is the tracker's.

    python -m tests.benchmarks.wandb_speed
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.fake_wandb_server import KEY, FakeWandb
from tests.support.wandb_cells import ended, make_record, make_row, run_cell
from vitsweep.config.schema import TrackerConfig
from vitsweep.study.record import append_row, write_record
from vitsweep.tracking.client import release_service
from vitsweep.tracking.sync import sync
from vitsweep.tracking.tracker import WandbTracker

EPOCHS, ROWS, CELLS = 10, 1000, 30


def main() -> None:
    """Print a row for each server state, then the cost of a row and of thirty cells in one process."""
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        os.environ[name] = tempfile.mkdtemp()
    os.environ |= {"WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false", "NETRC": os.devnull}
    table = Table("server", "seconds a cell", "more than offline", "rows after sync", title=f"cells of {EPOCHS} epochs")
    offline = measure_cell(lambda server: None, lambda server: None, mode="offline")[0]
    table.add_row("none needed (offline)", f"{offline:.2f}", "", "")
    for name, (before, during) in moods().items():
        seconds, rows = measure_cell(before, during)
        table.add_row(name, f"{seconds:.2f}", f"{seconds - offline:+.2f}", f"{rows} of {EPOCHS}")
    Console(width=100).print(table)
    print(f"a row: {1e3 * row_seconds():.2f} ms; {CELLS} cells in one process: {many_cells()} runs, each with its rows")


def moods() -> dict[str, tuple[Callable, Callable]]:
    """Return name -> actions on the server before the cell, and after its first row."""

    def nothing(server: FakeWandb) -> None: ...

    def every_second(status: int) -> Callable:
        def refuse(server: FakeWandb) -> None:
            server.mood.period, server.mood.busy_status = 2, status

        return refuse

    def burst(status: int) -> Callable:
        return lambda server: server.mood.statuses.extend([status] * 3)

    return {
        "works": (nothing, nothing),
        "refuses connections": (lambda server: server.stop(), nothing),
        "black hole": (lambda server: server.mood.silent.set(), nothing),
        "dies under way": (nothing, lambda server: server.stop()),
        "falls silent under way": (nothing, lambda server: server.mood.silent.set()),
        "429 to every second request": (every_second(429), nothing),
        "500 to every second request": (every_second(500), nothing),
        "429 three times under way": (nothing, burst(429)),
        "500 three times under way": (nothing, burst(500)),
    }


def measure_cell(before: Callable, during: Callable, mode: str = "online") -> tuple[float, int]:
    """Return the seconds of one cell, with wandb's helper running, and the rows on a working server after a sync."""
    release_service()
    with tempfile.TemporaryDirectory() as folder, FakeWandb() as server:
        os.environ["WANDB_BASE_URL"] = server.url
        run_cell(Path(folder) / "warm", make_record(99), mode="offline")
        before(server)
        seconds = cell_seconds(Path(folder) / "cell", lambda: during(server), mode)
        server.mood.silent.clear()
        return seconds, rows_after_sync(Path(folder) / "cell")


def cell_seconds(directory: Path, during: Callable, mode: str) -> float:
    """Return the tracker's seconds in one cell; call `during` after the first row."""
    record = make_record()
    directory.mkdir()
    write_record(directory, record)
    tracker = WandbTracker(TrackerConfig(mode=mode, project="shelf"))
    began = time.monotonic()
    tracker.start(record, directory)
    for epoch in range(1, EPOCHS + 1):
        append_row(directory, make_row(epoch))
        tracker.log(make_row(epoch))
        if epoch == 1:
            during()
    write_record(directory, ended(record, directory, "done"))
    tracker.finish(record)
    return time.monotonic() - began


def rows_after_sync(cell: Path) -> int:
    """Return the number of rows on a new, empty server after `wandb sync`."""
    release_service()
    for marker in cell.rglob("*.synced"):
        marker.unlink()
    with FakeWandb() as server, redirect_stdout(StringIO()):
        os.environ["WANDB_BASE_URL"] = server.url
        assert sync(cell) == 0
        (run,) = server.runs.values()
        assert run.state == "finished" and run.summary["status"] == "done"
        return len(run.rows())


def row_seconds() -> float:
    """Return the seconds of one row, offline."""
    with tempfile.TemporaryDirectory() as folder:
        tracker = WandbTracker(TrackerConfig(mode="offline"))
        tracker.start(make_record(), Path(folder))
        began = time.monotonic()
        for epoch in range(1, ROWS + 1):
            tracker.log(make_row(epoch))
        seconds = (time.monotonic() - began) / ROWS
        tracker.finish(make_record(status="done"))
        release_service()
        return seconds


def many_cells() -> int:
    """Train CELLS cells in this process, compare each run with its rows, and return the number of runs."""
    release_service()
    with tempfile.TemporaryDirectory() as folder, FakeWandb() as server:
        os.environ["WANDB_BASE_URL"] = server.url
        for seed in range(CELLS):
            run_cell(Path(folder) / str(seed), make_record(seed), mode="online", last=seed % 3 + 1)
        release_service()
        for run in server.runs.values():
            seed = run.config["seed"]
            assert run.rows() == [make_row(epoch) for epoch in range(1, seed % 3 + 2)] and run.state == "finished"
        return len(server.runs)


if __name__ == "__main__":
    main()
