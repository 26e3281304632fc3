"""Trackers: copy a cell's rows, pictures and outcome to W&B while it trains. The record on disk stays the truth.

wandb is imported when a run starts and never before. Its first error becomes one warning and turns the tracker off;
training continues and `python -m vitsweep wandb sync` completes the copy later. Each start logs all rows of
metrics.jsonl, so every run file that a killed cell leaves has all epochs before the kill.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitsweep.added_fields import to_values
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
from vitsweep.tracking.deleted_runs import MAX_NEW_IDS, is_deleted, mark_deleted, usable_id
from vitsweep.tracking.mode import find_mode, has_key, is_reachable
from vitsweep.tracking.privacy import without_paths
from vitsweep.tracking.run import exit_code, history_row, prediction_tables, run_arguments, run_id, run_summary
from vitsweep.tracking.temporary import own_temporary_folder

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 2.0
OFFLINE_TIMEOUT_SECONDS = 30.0  # waits only for wandb's helper on this machine; allows for a busy disk
WANDB_FOLDER = "wandb"
PICTURES_NAME = "pictures.json"
RECORD_COPY = "cell.json"  # not record.json, which would make the folder look like a cell
BEST_MODEL = "best.safetensors"
SENT_SUFFIX = ".synced"  # of wandb: `wandb sync` creates this file beside a run file that it sent
HISTORY_KEYS = ("train/*", "val/*", "lr", "time_seconds", "images_per_second")


class Tracker:
    """Tracker that does nothing (tracker=none), and the interface of the others."""

    def __init__(self) -> None:
        self.runs: list[dict[str, str]] = []
        """id, url and mode of each run, for the record."""
        self.is_complete = True
        """False once a backend has failed or did not finish."""

    def start(self, record: Record, directory: Path) -> None:
        """Start or resume the run of the cell in `directory`."""

    def log(self, row: dict[str, Any]) -> None:
        """Log one epoch's row of metrics.jsonl."""

    def image(self, name: str, path: Path, caption: str) -> None:
        """Add a picture; its file is read when the run finishes."""

    def finish(self, record: Record) -> None:
        """Log summary, tables and pictures, and end the run with the record's status."""


class WandbTracker(Tracker):
    """One W&B run for one cell, online or offline.

    Args:
        config: mode, project, entity and what may be shared.
        timeout_seconds: longest wait for the server at the start, and again at the end.
        artifacts: log the best weights and the record as an artifact.
        run_id: id of the run; empty for the record's own. An agent of a W&B sweep overrides it.
        system_metrics: sample this machine's load; False for a cell that was trained before.
    """

    def __init__(
        self,
        config: TrackerConfig,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        artifacts: bool = False,
        run_id: str = "",
        system_metrics: bool = True,
    ):
        super().__init__()
        self.config = config
        self.timeout_seconds = timeout_seconds
        self.artifacts = artifacts
        self.run_id = run_id
        self.system_metrics = system_metrics
        self._run: wandb.Run | None = None
        self._directory = Path()
        self._pictures: dict[str, tuple[Path, str]] = {}
        self._last_epoch = 0
        self._is_complete = True
        self._keeps_pictures_only = False  # the run was refused, and `wandb sync` will rebuild it

    def start(self, record: Record, directory: Path) -> None:
        mode = find_mode(self.config.mode)
        self._directory = Path(directory)
        if mode != "disabled":
            self._try(lambda: self._start(record, mode), "start")

    def log(self, row: dict[str, Any]) -> None:
        if (run := self._run) is not None:
            self._try(lambda: self._log(run, row), "log")

    def image(self, name: str, path: Path, caption: str) -> None:
        self._pictures[name] = (Path(path), caption)

    def finish(self, record: Record) -> None:
        if (run := self._run) is not None:
            self._try(lambda: self._finish(run, record), "finish")
        elif self._keeps_pictures_only:
            self._try(self._save_pictures, "save the pictures")
        self._run = None

    def _try(self, action: Callable[[], None], verb: str) -> None:
        try:
            action()
        except Exception as error:  # the copy must never stop the cell
            if isinstance(error, TimeoutError):
                log.warning("the W&B server was too slow at the end of this run; %s", self._sync_hint("the rest"))
            else:
                hint = "use tracker=none to train without W&B" if verb == "start" else self._sync_hint("the rest")
                log.warning("W&B could not %s: %s; training continues; %s", verb, describe_error(error), hint)
            self._abandon()

    def _abandon(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.finish(exit_code=1)  # else it would end with this process, as a success
        except Exception as error:
            log.debug("W&B could not end the run either: %s", error)

    def _sync_hint(self, what: str) -> str:
        return f"send {what} later with: python -m vitsweep wandb sync {self._directory}"

    def _start(self, record: Record, mode: str) -> None:
        # wandb's error reports send a third party the host's name, and cost a look-up in a network without internet.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        began = time.monotonic()
        if mode != "offline" and (reason := self._offline_reason()):
            log.warning("%s, so this cell is tracked offline; %s", reason, self._sync_hint("it"))
            mode = "offline"
        left = max(1.0, self.timeout_seconds - (time.monotonic() - began))
        rows = read_rows(self._directory)
        try:
            timeout = OFFLINE_TIMEOUT_SECONDS if mode == "offline" else left
            with own_temporary_folder():
                self._run = self._open_usable(record, mode, timeout, resuming=bool(rows))
        except Exception as error:
            if mode == "offline":
                raise
            log.warning(
                "W&B refuses this run (%s), so it is tracked offline; %s", describe_error(error), self._sync_hint("it")
            )
            mode = "offline"
            with own_temporary_folder():
                self._run = self._open_again(record, left)
        if self._run is None:
            return
        self.runs = [{"id": self._run.id, "url": (self._run.url or "") if mode == "online" else "", "mode": mode}]
        self._run.define_metric("epoch", hidden=True)
        for key in HISTORY_KEYS:
            self._run.define_metric(key, step_metric="epoch")
        for row in rows:
            self._log(self._run, row)

    def _open_usable(self, record: Record, mode: str, timeout: float, *, resuming: bool) -> "wandb.Run":
        """Open the run, under a new id if the server answers that the run of its id was deleted."""
        for _ in range(MAX_NEW_IDS):
            try:
                return self._open(record, mode, timeout, resuming=resuming)
            except Exception as error:
                # The agent of a W&B sweep starts its run itself, under an id of its own.
                if not is_deleted(str(error)) or "WANDB_SWEEP_ID" in os.environ:
                    raise
                deleted = self._own_id(record)
                mark_deleted(self._directory, deleted)
                log.warning("the W&B run %s of this cell was deleted in W&B, so the cell gets a new run", deleted)
        return self._open(record, mode, timeout, resuming=resuming)

    def _own_id(self, record: Record) -> str:
        return usable_id(self._directory, self.run_id or run_id(record))

    def _open_again(self, record: Record, timeout: float) -> "wandb.Run | None":
        """Open a refused run offline; None if wandb's helper holds its id while another cell's run is open."""
        if not has_open_run():
            release_service()
            return self._open(record, "offline", OFFLINE_TIMEOUT_SECONDS, resuming=False)
        # The helper holds a refused run's id until it ends, and would end the other cells' runs with it.
        # `wandb sync` rebuilds from the record what was started on disk.
        try:
            return self._open(record, "offline", timeout, resuming=False)
        except Exception as error:
            log.debug("W&B cannot start the run again beside others: %s", error)
            self._keeps_pictures_only = True
            return None

    def _offline_reason(self) -> str:
        if not has_key():  # on a terminal wandb would prompt for one
            return "W&B has no API key here (set WANDB_API_KEY or run `wandb login`)"
        if not is_reachable(self.timeout_seconds):
            return "the W&B server does not answer"
        return ""

    def _open(self, record: Record, mode: str, timeout: float, *, resuming: bool) -> "wandb.Run":
        import wandb

        arguments = run_arguments(record, self.config.share_host, plan_beside(record, self._directory))
        return wandb.init(
            **arguments | {"id": self._own_id(record)},
            dir=self._directory,
            project=self.config.project,
            entity=self.config.entity,
            mode=mode,  # type: ignore[arg-type]  # wandb checks it: it may come from WANDB_MODE
            # Resume only a started run on the server. Otherwise a run of that id is overwritten, which is right
            # for a run file with all rows: sending it twice changes nothing.
            resume="allow" if resuming and mode != "offline" else None,
            reinit="create_new",
            allow_val_change=True,
            settings=make_settings(timeout, self.config.share_host, self.system_metrics),
        )

    def _log(self, run: "wandb.Run", row: dict[str, Any]) -> None:
        # The step is the epoch, so that the server ignores the epochs that a resumed cell logs again.
        run.log(history_row(row), step=row["epoch"], commit=True)
        self._last_epoch = row["epoch"]

    def _finish(self, run: "wandb.Run", record: Record) -> None:
        media = self._media(run, record)
        if media:
            run.log(media, step=self._last_epoch + 1, commit=True)
        run.summary.update(run_summary(record, self.config.share_host))
        if self.artifacts and record.status == "done":
            self._log_artifact(run, record)
        run.finish(exit_code=exit_code(record))
        if self.runs[0]["mode"] == "online":
            self._mark_sent(Path(run.sync_dir))

    def _media(self, run: "wandb.Run", record: Record) -> dict[str, Any]:
        import wandb

        media: dict[str, Any] = {}
        for name, (path, caption) in self._pictures.items():
            media[name] = [wandb.Image(str(path), caption=caption)]
        for name, (columns, rows) in prediction_tables(self._directory, record.classes).items():
            # Given types save wandb from inferring them per cell: 0.1 s for 10,000 images instead of 0.6.
            types = [type(value) for value in rows[0]] if rows else None
            media[name] = wandb.Table(columns=list(columns), data=rows, dtype=types, optional=False)
            # A bound table is a plain file of the run. An unbound one becomes an artifact, for which wandb blocks on
            # the server and sends the absolute path of its staging folder.
            media[name].bind_to_run(run, name, self._last_epoch + 1)
        self._save_pictures()
        return media

    def _save_pictures(self) -> None:
        # `wandb sync` needs them to rebuild a run that did not arrive.
        if self._pictures:
            saved = [
                [name, os.path.relpath(path, self._directory), caption]
                for name, (path, caption) in self._pictures.items()
            ]
            write_json(self._directory / WANDB_FOLDER / PICTURES_NAME, saved)

    def _log_artifact(self, run: "wandb.Run", record: Record) -> None:
        import wandb

        shown = to_values(record)
        copy = self._directory / WANDB_FOLDER / RECORD_COPY
        write_json(copy, shown if self.config.share_host else without_paths(shown))
        artifact = wandb.Artifact(f"cell-{run.id}", type="model", metadata={"arm": record.arm, "seed": record.seed})
        for name, path in {BEST_MODEL: self._directory / BEST_MODEL, "record.json": copy}.items():
            # wandb sends the path under which it opened a file, so open it relative to the working folder.
            relative = os.path.relpath(path)
            if relative.startswith(os.pardir) and not self.config.share_host:
                log.warning(
                    "tracker.artifacts=true  would send W&B the path of %s, which is outside the working folder; "
                    "use tracker.share_host=true or start in a folder above it",
                    path,
                )
                return
            artifact.add_file(relative, name=name, policy="immutable", skip_cache=True)
        # Online, wandb first asks the server, and waits 19 seconds for an answer (measured, wandb 0.31).
        is_offline = self.runs[0]["mode"] == "offline"
        timeout = OFFLINE_TIMEOUT_SECONDS if is_offline else self.timeout_seconds
        if not run_with_timeout(timeout, lambda: run.log_artifact(artifact, aliases=["best"])):
            self._is_complete = False

    def _mark_sent(self, run_dir: Path) -> None:
        # wandb ends a run without error even if the server refused its data; only its own log says so.
        internal = run_dir / "logs" / "debug-internal.log"
        has_log = internal.exists() and internal.stat().st_size > 0
        if not has_log or any(read_log_errors(internal)) or not self._is_complete:
            log.warning("the W&B server did not accept all of this run; %s", self._sync_hint("the rest"))
            return
        for path in run_dir.glob("run-*.wandb"):
            path.with_name(path.name + SENT_SUFFIX).touch()


def plan_beside(record: Record, directory: Path) -> Plan | None:
    """Return the plan of the cell's sweep, if it lies two folders above the cell."""
    try:
        plan = read_plan(directory.absolute().parents[1])
    except (UserError, IndexError):
        return None
    return plan if plan and plan.study == record.study else None
