"""Trackers: where a cell's rows, pictures and outcome are copied to while it trains. Losing the copy loses nothing.

wandb is imported when a run starts and never before. Nothing that goes wrong with it reaches the training: the first
fault becomes one warning and the tracker turns itself off; `python -m vitsweep wandb sync` completes the copy later.
Each start logs all rows that metrics.jsonl has, so that every piece that a killed cell leaves is whole by itself.
"""

import dataclasses
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vitsweep.config.schema import TrackerConfig
from vitsweep.errors import UserError
from vitsweep.files import write_json
from vitsweep.study.plan import Plan, read_plan
from vitsweep.study.record import Record, read_rows
from vitsweep.tracking.client import (
    describe_error,
    has_open_run,
    make_settings,
    read_log_errors,
    release_service,
    run_with_timeout,
)
from vitsweep.tracking.mode import find_mode, has_key, is_reachable
from vitsweep.tracking.run import exit_code, history_row, prediction_tables, run_arguments, run_summary, without_paths

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 2.0
OFFLINE_TIMEOUT_SECONDS = 30.0  # nobody but wandb's helper on this machine is waited for, and a busy disk passes
WANDB_FOLDER = "wandb"
PICTURES_NAME = "pictures.json"
RECORD_COPY = "cell.json"  # not record.json: whoever looks for cells would take the folder for one
BEST_MODEL = "best.safetensors"
SENT_SUFFIX = ".synced"  # wandb's own: `wandb sync` writes such a file beside what it has sent
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
        timeout_seconds: longest wait for the server at the start, and again at the end.
        artifacts: whether the best weights and the record are logged as an artifact.
        run_id: of the run; empty for the record's own. An agent of a W&B sweep gives its runs ids of its own anyway.
        samples_load: whether this machine's load belongs to the run: not if it is told of a cell that ran before.
    """

    def __init__(
        self,
        config: TrackerConfig,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        artifacts: bool = False,
        run_id: str = "",
        samples_load: bool = True,
    ):
        self.config = config
        self.timeout_seconds = timeout_seconds
        self.artifacts = artifacts
        self.run_id = run_id
        self.samples_load = samples_load
        self.runs: list[dict[str, str]] = []
        self._run: wandb.Run | None = None
        self._directory = Path()
        self._pictures: dict[str, tuple[Path, str]] = {}
        self._last_epoch = 0
        self._is_complete = True
        self._is_refused = False

    def start(self, record: Record, directory: Path) -> None:
        mode = find_mode(self.config.mode)
        self._directory = Path(directory)
        if mode != "disabled":
            self._guarded(lambda: self._start(record, mode), "begin")

    def log(self, row: dict[str, Any]) -> None:
        if self._run is not None:
            self._guarded(lambda: self._log(row), "log")

    def image(self, name: str, path: Path, caption: str) -> None:
        self._pictures[name] = (Path(path), caption)

    def finish(self, record: Record) -> None:
        if self._run is not None:
            self._guarded(lambda: self._finish(record), "finish")
        elif self._is_refused:
            self._guarded(self._keep_pictures, "keep the pictures")
        self._run = None

    def _guarded(self, action: Callable[[], None], verb: str) -> None:
        try:
            action()
        except Exception as fault:  # a copy is worth less than the cell
            if isinstance(fault, TimeoutError):
                log.warning("the W&B server was too slow at the end of this run; %s", self._send("the rest of it"))
            else:
                log.warning("W&B could not %s: %s; the cell goes on without it", verb, describe_error(fault))
            self._abandon()

    def _abandon(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.finish(exit_code=1)  # else it would end with this process, as a success
        except Exception as fault:
            log.debug("W&B could not end the run either: %s", fault)

    def _send(self, what: str) -> str:
        return f"send {what} later with: python -m vitsweep wandb sync {self._directory}"

    def _start(self, record: Record, mode: str) -> None:
        # Its error reports would tell a third party the host's name, and in a sealed network cost a look-up.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        began = time.monotonic()
        if mode != "offline" and (reason := self._offline_reason()):
            log.warning("%s, so this cell is tracked offline; %s", reason, self._send("it"))
            mode = "offline"
        left = max(1.0, self.timeout_seconds - (time.monotonic() - began))
        rows = read_rows(self._directory)
        try:
            patience = OFFLINE_TIMEOUT_SECONDS if mode == "offline" else left
            self._run = self._open(record, mode, patience, resuming=bool(rows))
        except Exception as fault:
            if mode == "offline":
                raise
            log.warning(
                "W&B refuses this run (%s), so it is tracked offline; %s", describe_error(fault), self._send("it")
            )
            mode = "offline"
            self._run = self._open_again(record, left)
        if self._run is None:
            return
        self.runs = [{"id": self._run.id, "url": self._run.url if mode == "online" else "", "mode": mode}]
        self._run.define_metric("epoch", hidden=True)
        for key in HISTORY_KEYS:
            self._run.define_metric(key, step_metric="epoch")
        for row in rows:
            self._log(row)

    def _open_again(self, record: Record, patience: float) -> "wandb.Run | None":
        """The run that was refused, offline; None if wandb holds its id while the run of another cell is open."""
        if not has_open_run():
            release_service()
            return self._open(record, "offline", OFFLINE_TIMEOUT_SECONDS, resuming=False)
        # wandb's helper holds a refused run's id as long as it lives, and the neighbours' runs would end with it.
        # `wandb sync` makes what was begun on the disk whole from the record.
        try:
            return self._open(record, "offline", patience, resuming=False)
        except Exception as fault:
            log.debug("W&B cannot begin the run again beside others: %s", fault)
            self._is_refused = True
            return None

    def _offline_reason(self) -> str:
        if not has_key():  # on a terminal wandb would ask for one and wait
            return "W&B has no API key here (set WANDB_API_KEY or run `wandb login`)"
        if not is_reachable(self.timeout_seconds):
            return "the W&B server does not answer"
        return ""

    def _open(self, record: Record, mode: str, patience: float, *, resuming: bool) -> "wandb.Run":
        import wandb

        arguments = run_arguments(record, self.config.share_host, plan_beside(record, self._directory))
        return wandb.init(
            **arguments | ({"id": self.run_id} if self.run_id else {}),
            dir=self._directory,
            project=self.config.project,
            entity=self.config.entity,
            mode=mode,
            # Only a run that is under way on the server is gone on with. Otherwise one of that id is written over:
            # right for a piece that has all rows, and then sending it twice changes nothing.
            resume="allow" if resuming and mode != "offline" else None,
            reinit="create_new",
            allow_val_change=True,
            settings=make_settings(patience, self.config.share_host, self.samples_load),
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
        if self.artifacts and record.status == "done":
            self._log_artifact(record)
        self._run.finish(exit_code=exit_code(record))
        if self.runs[0]["mode"] == "online":
            self._mark_sent(Path(self._run.sync_dir))

    def _media(self, record: Record) -> dict[str, Any]:
        import wandb

        media: dict[str, Any] = {}
        for name, (path, caption) in self._pictures.items():
            media[name] = [wandb.Image(str(path), caption=caption)]
        for name, (columns, rows) in prediction_tables(self._directory, record.classes).items():
            # Told the types, wandb does not derive them from every cell anew: 0.1 s for 10,000 images instead of 0.6.
            types = [type(value) for value in rows[0]] if rows else None
            media[name] = wandb.Table(columns=columns, data=rows, dtype=types, optional=False)
            # Bound beforehand it is a plain file of the run. Unbound it would become an artifact, for which wandb asks
            # the server while training waits, and tells it the absolute path of its staging folder.
            media[name].bind_to_run(self._run, name, self._last_epoch + 1)
        self._keep_pictures()
        return media

    def _keep_pictures(self) -> None:
        # For `wandb sync`, in case that this run does not arrive and is made again from the record.
        if self._pictures:
            kept = [
                [name, os.path.relpath(path, self._directory), caption]
                for name, (path, caption) in self._pictures.items()
            ]
            write_json(self._directory / WANDB_FOLDER / PICTURES_NAME, kept)

    def _log_artifact(self, record: Record) -> None:
        import wandb

        shown = dataclasses.asdict(record)
        copy = self._directory / WANDB_FOLDER / RECORD_COPY
        write_json(copy, shown if self.config.share_host else without_paths(shown))
        artifact = wandb.Artifact(
            f"cell-{self._run.id}", type="model", metadata={"arm": record.arm, "seed": record.seed}
        )
        for name, path in {BEST_MODEL: self._directory / BEST_MODEL, "record.json": copy}.items():
            # wandb tells the server the path under which it found a file, so it gets one that leads from here.
            relative = os.path.relpath(path)
            if relative.startswith(os.pardir) and not self.config.share_host:
                log.warning(
                    "tracker.artifacts=true  sends W&B the path of %s, which is not under the working folder; "
                    "use tracker.share_host=true or work in a folder above it",
                    path,
                )
                return
            artifact.add_file(relative, name=name, policy="immutable", skip_cache=True)
        # Online wandb first asks the server, and without an answer it waits 19 seconds (wandb 0.31, measured).
        is_offline = self.runs[0]["mode"] == "offline"
        patience = OFFLINE_TIMEOUT_SECONDS if is_offline else self.timeout_seconds
        if not run_with_timeout(patience, lambda: self._run.log_artifact(artifact, aliases=["best"])):
            self._is_complete = False

    def _mark_sent(self, run_dir: Path) -> None:
        # wandb ends a run without complaint whose data the server has refused for good; only its own log tells.
        internal = run_dir / "logs" / "debug-internal.log"
        has_told = internal.exists() and internal.stat().st_size > 0
        if not has_told or any(read_log_errors(internal)) or not self._is_complete:
            log.warning("the W&B server did not take all of this run; %s", self._send("the rest"))
            return
        for path in run_dir.glob("run-*.wandb"):
            path.with_name(path.name + SENT_SUFFIX).touch()


def plan_beside(record: Record, directory: Path) -> Plan | None:
    """The plan that the cell belongs to, if it lies where a sweep has it."""
    try:
        plan = read_plan(directory.absolute().parents[1])
    except (UserError, IndexError):
        return None
    return plan if plan and plan.study == record.study else None


def make_tracker(config: TrackerConfig) -> Tracker:
    """The tracker that tracker.name asks for."""
    if config.name != "wandb":
        return NullTracker()
    return WandbTracker(config, timeout_seconds=config.patience_seconds, artifacts=config.artifacts)
