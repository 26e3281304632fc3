"""Cells read from W&B: runs of a project, or run files on disk where no record lies beside them.

History is read whole (scan_history), because W&B's `history` returns 500 sampled rows, different ones at each call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from vitsweep.errors import RecordError
from vitsweep.study.plan import CellId
from vitsweep.study.record import Record
from vitsweep.tracking.mode import has_key, server_url
from vitsweep.tracking.read_back import RemoteRun, read_runs, rebuild_plan, rebuild_record

PREFIX = "wandb:"
NOT_IN_WANDB = (
    "Read from {place}, not from records: predictions of single images, checkpoints and tracebacks are not there, so "
    "comparisons image by image and attention rollouts are left out."
)


@dataclass(kw_only=True)
class WandbCells:
    """Cells of a study as W&B has them."""

    cells: list[tuple[str, Record, list[dict[str, Any]]]]
    """Id, record and rows of each cell."""
    plan: dict[str, Any] | None
    problems: list[str]


def is_wandb_source(text: str) -> bool:
    """Return True if an argument names runs of W&B rather than a directory."""
    return text.startswith(PREFIX)


def parse_source(source: str) -> tuple[str, str]:
    """Split `wandb:entity/project?group=study` into `entity/project` and `study`.

    Raises:
        RecordError: it has another form.
    """
    url = urlsplit(source.removeprefix(PREFIX))
    key, _, group = url.query.partition("=")
    if not url.path.strip("/") or url.path.count("/") > 1 or key != "group" or not group or "&" in group:
        raise RecordError(f"{source}  must be wandb:ENTITY/PROJECT?group=STUDY; the group is the study's name")
    return url.path.strip("/"), unquote(group)  # not parse_qs, for which the + of patch_size+lr is a space


def report_folder(source: str) -> Path:
    """Return the report's folder of such runs: outputs/wandb/<project>/<study>/report."""
    project, group = parse_source(source)
    return Path("outputs/wandb", project.rpartition("/")[2], group.replace("/", "-"), "report")


def fetch_cells(source: str) -> WandbCells:
    """Fetch the runs of a group from the server.

    Raises:
        RecordError: no key, no answer, no such project, or no run of that group.
    """
    project, group = parse_source(source)
    if not has_key():
        raise RecordError(f"{source}  needs an API key for {server_url()}; set WANDB_API_KEY or run `wandb login`")
    runs = call_wandb(source, lambda: project_runs(project, group))
    if not runs:
        raise RecordError(f"{source}  has no runs; the group is the study's name, as W&B's run table shows it")
    return to_cells(runs, source)


def project_runs(project: str, group: str) -> list[RemoteRun]:
    """Fetch every run of a group with its whole history."""
    import wandb

    found = []
    for run in wandb.Api().runs(project, filters={"group": group}, order="+created_at"):
        run.load_full_data()  # lists of runs come without configuration and summary
        found.append(
            RemoteRun(
                id=run.id,
                config=dict(run.config),
                summary=dict(run.summary_metrics),
                rows=list(run.scan_history(use_cache=False)),  # a run that was sent again has other rows
                is_running=run.state == "running",
            )
        )
    return found


def call_wandb(source: str, action: Callable[[], list[RemoteRun]]) -> list[RemoteRun]:
    """Call W&B, with its errors as RecordError.

    Raises:
        RecordError: the server cannot be reached or refuses.
    """
    import requests
    import wandb

    try:
        return action()
    except (wandb.errors.Error, requests.RequestException, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RecordError(f"{source}  cannot be read from {server_url()} ({first}); check the name, the key") from error


def read_run_files(directory: Path) -> WandbCells | None:
    """Read the cells of the run files under a directory; None if there are none."""
    runs = read_runs(directory)
    return to_cells(runs, "W&B's run files") if runs else None


def to_cells(runs: list[RemoteRun], place: str) -> WandbCells:
    """Convert runs to cells; of several runs of one cell the most complete counts."""
    problems = [NOT_IN_WANDB.format(place=place)]
    foreign = [run.id for run in runs if not run.is_cell]
    if foreign:
        problems.append(f"Left out {', '.join(foreign)}: no cell of vitsweep, or killed before it sent its settings.")
    best: dict[str, tuple[tuple, Record, list[dict]]] = {}
    own = [run for run in runs if run.is_cell]
    records = {run.id: rebuild_record(run) for run in own}
    own, left_out = one_sweep(own, records)
    problems += left_out
    for run in own:
        record = records[run.id]
        key = str(CellId.of(record.arm, record.config_hash, record.seed))
        rank = (record.status == "done", len(run.epochs), record.finished)
        if key not in best or rank > best[key][0]:
            best[key] = (rank, record, run.epochs)
    if len(own) > len(best):
        problems.append(f"{len(own) - len(best)} runs repeat a cell; the most complete run of each is used.")
    cells = [(cell, record, rows) for cell, (_, record, rows) in sorted(best.items())]
    return WandbCells(cells=cells, plan=rebuild_plan(own), problems=problems)


def one_sweep(runs: list[RemoteRun], records: dict[str, Record]) -> tuple[list[RemoteRun], list[str]]:
    """Keep the runs of the sweep that has most, if people ran one study each; with a sentence about the others.

    Sweeps that share no cell are parts of one study, such as agents without a common directory: all are kept.
    """
    cells: dict[str, set[tuple]] = {}
    for record in records.values():
        cells.setdefault(record.sweep_id, set()).add((record.arm, record.config_hash, record.seed))
    if len(cells) < 2 or sum(map(len, cells.values())) == len(set().union(*cells.values())):
        return runs, []
    main = max(sorted(cells), key=lambda sweep: len(cells[sweep]))
    kept = [run for run in runs if records[run.id].sweep_id == main]
    note = f"{len(cells)} sweeps have this name: {len(runs) - len(kept)} runs that are not of the largest are left out."
    return kept, [note]
