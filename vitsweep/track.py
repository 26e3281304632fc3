"""Trackers: where a cell's rows, pictures and outcome are copied to while it trains. Losing the copy loses nothing.

wandb is imported when a run starts and never before. Nothing that goes wrong with it reaches the training: the first
fault becomes one warning and the tracker turns itself off; `python -m vitsweep wandb sync` completes the copy later.
Each start logs all rows that metrics.jsonl has, so that every piece that a killed cell leaves is whole by itself.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vitsweep.config import TrackerConfig
from vitsweep.record import Record, read_rows
from vitsweep.wandb_mode import find_mode, is_reachable
from vitsweep.wandb_run import exit_code, history_row, prediction_tables, run_arguments, run_summary

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.0
SENT_SUFFIX = ".synced"  # of wandb's own: `wandb sync` writes such a file beside what it has sent
SEND_LATER = "the cell is tracked offline, send it later with: python -m vitsweep wandb sync DIR"
SEND_REST = "send the rest later with: python -m vitsweep wandb sync DIR"
HISTORY_KEYS = ("train/*", "val/*", "lr", "time_seconds", "images_per_second")


class Tracker(Protocol):
    """What training tells while it runs."""

    runs: list[dict[str, str]]
    """id, url and mode of each run, for the record."""

    def start(self, record: Record, directory: Path) -> None:
        """Begin, or go on with, the run of the cell in `directory`."""

    def log(self, row: dict[str, Any]) -> None:
        """Pass on one epoch's row of metrics.jsonl."""

    def image(self, name: str, path: Path, caption: str) -> None:
        """Pass on a picture; the file is read when the run finishes."""

    def finish(self, record: Record) -> None:
        """End the run as the record says: summary, tables, pictures, state."""


class NullTracker:
    """tracker=none: tells nobody."""

    def __init__(self) -> None:
        self.runs: list[dict[str, str]] = []

    def start(self, record: Record, directory: Path) -> None: ...

    def log(self, row: dict[str, Any]) -> None: ...

    def image(self, name: str, path: Path, caption: str) -> None: ...

    def finish(self, record: Record) -> None: ...


class WandbTracker:
    """One W&B run for one cell, online or offline.

    Args:
        config: mode, project, entity and what may be shared.
    """

    def __init__(self, config: TrackerConfig):
        self.config = config
        self.runs: list[dict[str, str]] = []
        self._run: wandb.Run | None = None
        self._directory = Path()
        self._pictures: dict[str, tuple[Path, str]] = {}
        self._last_epoch = 0

    def start(self, record: Record, directory: Path) -> None:
        mode = find_mode(self.config.mode)
        self._directory = directory
        if mode != "disabled":
            self._guarded(lambda: self._start(record, mode), "begin")

    def log(self, row: dict[str, Any]) -> None:
        self._guarded(lambda: self._log(row), "log")

    def image(self, name: str, path: Path, caption: str) -> None:
        self._pictures[name] = (path, caption)

    def finish(self, record: Record) -> None:
        self._guarded(lambda: self._finish(record), "finish")
        self._run = None

    def _guarded(self, action: Callable[[], None], verb: str) -> None:
        if self._run is None and verb != "begin":
            return
        try:
            action()
        except TimeoutError:
            log.warning("the W&B server was too slow at the end of this run; %s", SEND_REST)
            self._abandon()
        except Exception as fault:  # a copy is worth less than the cell
            log.warning("W&B could not %s: %s; the cell goes on without it", verb, described(fault))
            self._abandon()

    def _abandon(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.finish(exit_code=1)  # else the next cell's start would end it as a success
        except Exception as fault:
            log.debug("W&B could not end the run either: %s", fault)

    def _start(self, record: Record, mode: str) -> None:
        # Its error reports would tell a third party the host's name, and in a sealed network cost a look-up.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        rows = read_rows(self._directory)
        began = time.monotonic()
        if mode != "offline" and not is_reachable(PATIENCE_SECONDS):
            log.warning("the W&B server does not answer; %s", SEND_LATER)
            mode = "offline"
        patience = max(1.0, PATIENCE_SECONDS - (time.monotonic() - began))
        try:
            self._run = self._open(record, mode, patience, resuming=bool(rows))
        except Exception as fault:
            if mode == "offline":
                raise
            log.warning("W&B refuses this run (%s); %s", described(fault), SEND_LATER)
            mode = "offline"
            release_service()
            self._run = self._open(record, mode, patience, resuming=bool(rows))
        self.runs = [{"id": self._run.id, "url": self._run.url if mode == "online" else "", "mode": mode}]
        self._run.define_metric("epoch", hidden=True)
        for key in HISTORY_KEYS:
            self._run.define_metric(key, step_metric="epoch")
        for row in rows:
            self._log(row)

    def _open(self, record: Record, mode: str, patience: float, *, resuming: bool) -> "wandb.Run":
        import wandb

        return wandb.init(
            **run_arguments(record, self.config.share_host),
            dir=self._directory,
            project=self.config.project,
            entity=self.config.entity,
            mode=mode,
            # Without rows of an earlier attempt the server's run of that id, if there is one, is begun anew.
            resume="allow" if resuming else None,
            reinit="finish_previous",
            allow_val_change=True,
            settings=make_settings(patience, self.config.share_host),
        )

    def _log(self, row: dict[str, Any]) -> None:
        # The step is the epoch, so that the server ignores the epochs that a resumed cell tells again.
        self._run.log(history_row(row), step=row["epoch"], commit=True)
        self._last_epoch = row["epoch"]

    def _finish(self, record: Record) -> None:
        media = self._media(record)
        if media:
            self._run.log(media, step=self._last_epoch + 1, commit=True)
        self._run.summary.update(run_summary(record, self.config.share_host))
        self._run.finish(exit_code=exit_code(record))
        if self.runs[0]["mode"] == "online":
            self._mark_sent(Path(self._run.sync_dir))

    def _mark_sent(self, run_dir: Path) -> None:
        # wandb ends a run without complaint whose data the server has refused for good; only its own log tells.
        internal = run_dir / "logs" / "debug-internal.log"
        if not internal.exists() or '"level":"ERROR' in internal.read_text(encoding="utf-8", errors="replace"):
            log.warning("the W&B server did not take all of this run; %s", SEND_REST)
            return
        for path in run_dir.glob("run-*.wandb"):
            path.with_name(path.name + SENT_SUFFIX).touch()

    def _media(self, record: Record) -> dict[str, Any]:
        import wandb

        media: dict[str, Any] = {
            name: [wandb.Image(str(path), caption=caption)] for name, (path, caption) in self._pictures.items()
        }
        tables = prediction_tables(self._directory, record.classes)
        for name, (columns, rows) in tables.items():
            media[name] = wandb.Table(columns=columns, data=rows)
            # Bound beforehand it is a plain file of the run. Unbound it would become an artifact, for which wandb asks
            # the server while training waits, and leaves its staging folder's absolute path in the run's file.
            media[name].bind_to_run(self._run, name, self._last_epoch + 1)
        return media


def release_service() -> None:
    """Stop wandb's helper process, which would otherwise hold the id of the run that it could not begin."""
    import wandb

    wandb.teardown()


def make_settings(patience: float, share_host: bool) -> "wandb.Settings":
    """Settings of a run: what it may wait for, what it writes, what it tells of the machine.

    Args:
        patience: the longest wait for the server, seconds, at the start and again at the end.
        share_host: whether the machine may be described, its name, user and paths included.
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
        "x_graphql_retry_wait_min_seconds": 0.25,
        "x_graphql_retry_wait_max_seconds": 2.0,
        "x_file_stream_retry_wait_min_seconds": 0.25,
        "x_file_stream_retry_wait_max_seconds": 2.0,
        "x_file_transfer_retry_wait_min_seconds": 0.25,
        "x_file_transfer_retry_wait_max_seconds": 2.0,
    }
    if not share_host:
        settings |= {"host": "", "program": "", "x_executable": "", "disable_git": True}
        settings |= {"x_disable_meta": True, "x_save_requirements": False}
    # Names with x_ are wandb's own and may go with any version of it.
    known = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in settings.items() if name in known})


def described(fault: BaseException) -> str:
    """Type and first line of a fault, for a warning."""
    first_line = (str(fault).strip().splitlines() or [""])[0]
    return f"{type(fault).__name__}: {first_line}" if first_line else type(fault).__name__


def make_tracker(config: TrackerConfig) -> Tracker:
    """The tracker that tracker.name asks for."""
    return WandbTracker(config) if config.name == "wandb" else NullTracker()
