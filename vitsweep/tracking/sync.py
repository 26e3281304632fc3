"""`python -m vitsweep wandb sync DIR`: send the runs of all cells under DIR that the W&B server does not have yet.

Uses W&B's own `wandb sync`, and adds what it lacks: a run that is torn or behind its record is first rebuilt from the
record, a run whose data the server refused is not marked as sent, a run that was deleted there gets a new id, waits
end, and the exit code is 1 after a failure.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from vitsweep.errors import UserError, printable
from vitsweep.study.locks import LivenessCheck
from vitsweep.tracking.client import describe_error, read_log_errors, release_service
from vitsweep.tracking.deleted_runs import MAX_NEW_IDS, is_deleted, mark_deleted
from vitsweep.tracking.mode import NO_KEY, has_key, is_reachable, server_url
from vitsweep.tracking.pieces import Piece, can_send_as_is, find_pieces, missing_part, rebuild

ALL_SENT, SOME_FAILED = 0, 1
TIMEOUT_SECONDS = 10.0
RUNS_AT_ONCE = 4
TOO_SOON = (
    "TimeoutError"  # start of wandb's last line if its helper did not start within five seconds: nothing was sent
)
TRIES = 3
PIECES_A_CALL = 200  # keeps the command line short enough for every system
RUN_URL = re.compile(r"\[[^\]]*/(?P<id>[^/\]]+)\] View run .* at (?P<url>https?://\S+)")


def main(arguments: list[str]) -> int:
    """Run `wandb sync DIR`; see sync."""
    if len(arguments) != 1:
        raise UserError("usage: vitsweep wandb sync DIR")
    return sync(Path(arguments[0]))


def sync(directory: Path) -> int:
    """Send the runs that are not sent yet, and print a line for each run.

    Args:
        directory: of a study, or of any part of it.

    Returns:
        0, or 1 if a run could not be sent.

    Raises:
        UserError: the directory is missing, or a run must be sent and there is no API key.
    """
    directory = Path(directory).resolve()
    if not directory.is_dir():
        raise UserError(f"DIR={directory}  is not a directory; give the folder of a study or of a cell")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    liveness = LivenessCheck()
    pieces, errors = find_pieces(directory)
    unsent = []
    for piece in pieces:
        if liveness.is_held(piece.cell):
            print_line("running", piece, directory, "skipped; run this command again when the cell has ended")
        elif piece.is_sent:
            print_line("there", piece, directory, "sent before")
        else:
            unsent.append(piece)
    if unsent:
        send_all(unsent, directory)
    for error in errors:
        print(f"FAILED   {error}")
    if not pieces and not errors:
        print(f"no W&B runs under {directory}")
    return SOME_FAILED if errors or any(piece.error for piece in unsent) else ALL_SENT


def print_line(result: str, piece: Piece, directory: Path, remark: str) -> None:
    """Print one run's line."""
    name = os.path.relpath(piece.cell, directory)
    status = piece.record.status if piece.record else "no record"
    line = f"{result:8s} {piece.cell.name if name == os.curdir else name}  {status}  {remark}"
    print(printable(line.rstrip()), flush=True)


def send_all(pieces: list[Piece], directory: Path) -> None:
    """Send pieces, rebuilt where needed, set the `error` of those that fail, and print a line for each.

    Raises:
        UserError: there is no API key.
    """
    if not has_key():
        raise UserError(NO_KEY)
    if is_reachable(TIMEOUT_SECONDS):
        originals, rebuilt = prepare(pieces, directory)
        send(originals, Path.cwd())
        send(rebuilt, directory)
        replace_deleted(pieces, directory)
    else:
        for piece in pieces:
            piece.error = f"the W&B server does not answer ({server_url()}); check WANDB_BASE_URL"
    for piece in pieces:
        print_line("FAILED" if piece.error else "sent", piece, directory, piece.error or piece.url)


def prepare(pieces: list[Piece], directory: Path) -> tuple[list[Piece], list[Piece]]:
    """Split pieces into originals that can be sent and complete rebuilt ones; set the `error` of all others."""
    originals, rebuilt = [], []
    for piece in pieces:
        try:
            if can_send_as_is(piece):
                originals.append(piece)
            else:
                rebuild(piece, directory)
                rebuilt.append(piece)
        except Exception as error:  # one cell's disk or record must not keep the others back
            piece.error = describe_error(error)
    release_service()  # a run file is complete on disk only when wandb's helper has ended
    for piece in rebuilt:
        if part := missing_part(piece):
            piece.error = f"the run could not be rebuilt completely from its record (no {part}); run the command again"
    return originals, [piece for piece in rebuilt if not piece.error]


def replace_deleted(pieces: list[Piece], directory: Path) -> None:
    """Send runs whose id the server refuses, because the run of that id was deleted there, under new ids."""
    for left in reversed(range(MAX_NEW_IDS + 1)):
        deleted = [piece for piece in pieces if is_deleted(piece.error)]
        for piece in deleted:
            if piece.record is None:
                piece.error = f"its run was deleted in W&B; use a new id: wandb sync --id NEW_ID {piece.path}"
                continue
            mark_deleted(piece.cell, piece.id)
            piece.error = "" if left else "deleted in W&B under each id so far; run the command again for a new id"
        retry = [piece for piece in deleted if not piece.error]
        if not retry:
            return
        send(prepare(retry, directory)[1], directory)


def send(pieces: list[Piece], folder: Path) -> None:
    """Send pieces with `wandb sync`, run in `folder`, and set the `url` or the `error` of each."""
    for start in range(0, len(pieces), PIECES_A_CALL):
        send_batch(pieces[start : start + PIECES_A_CALL], folder)


def send_batch(pieces: list[Piece], folder: Path) -> None:
    """Send pieces with one call of `wandb sync`; see send."""
    for piece in pieces:
        piece.marker.unlink(missing_ok=True)
    options = ["--include-online", "--include-synced", "-n", str(RUNS_AT_ONCE)]
    command = [sys.executable, "-m", "wandb", "sync", *options, *(str(piece.path) for piece in pieces)]
    output, errors = sync_with_retries(command, folder, seconds=120 + 60 * len(pieces))
    urls = {match["id"]: match["url"] for match in RUN_URL.finditer(output)}
    for piece in pieces:
        piece.url = urls.get(piece.id, "")
        piece.error = errors.get(piece.path.resolve(), "" if piece.marker.exists() else last_line(output))
        if piece.error:
            piece.marker.unlink(missing_ok=True)


def sync_with_retries(command: list[str], folder: Path, seconds: float) -> tuple[str, dict[Path, str]]:
    """Run `wandb sync`, again if its helper did not start; return its output and the logged error of each run file."""
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory() as scratch:
            Path(scratch, "wandb").mkdir()  # else the command's log would stay in the system's temporary folder
            output = run_wandb_sync(command, folder, Path(scratch), seconds)
            errors = read_sync_errors(Path(scratch))
        if not last_line(output).startswith(TOO_SOON):
            break
    return output, errors


def last_line(output: str) -> str:
    """Return the last line of `wandb sync`'s output."""
    return (output.strip().splitlines() or ["wandb sync printed nothing"])[-1]


def run_wandb_sync(command: list[str], folder: Path, scratch: Path, seconds: float) -> str:
    """Run `wandb sync` in `folder` and return its output; its exit code is always 0."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=sync_environment(scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return f"wandb sync took more than {seconds:.0f} s; run the command again"
    return done.stderr


def sync_environment(scratch: Path) -> dict[str, str]:
    """Return the environment of `wandb sync`: its files in `scratch`, bounded retries, no name of this machine."""
    # Without WANDB_SERVICE it starts its own helper, which opens files relative to the right folder.
    inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    settings = {
        "WANDB_DIR": str(scratch),
        "TMPDIR": str(scratch),
        "WANDB_BASE_URL": server_url(),
        "WANDB_HOST": "",
        "WANDB_PROGRAM": "",
        "WANDB_HTTP_TIMEOUT": "20",
        "WANDB__FILE_STREAM_TIMEOUT_SECONDS": "20",
    }
    for client in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER"):
        settings |= {f"WANDB__{client}_RETRY_MAX": "6", f"WANDB__{client}_RETRY_WAIT_MAX_SECONDS": "5"}
    return inherited | settings


def read_sync_errors(scratch: Path) -> dict[Path, str]:
    """Return run file -> first error in wandb's log; `wandb sync` also marks runs as sent whose data were refused."""
    found: dict[Path, str] = {}
    for path in scratch.rglob("debug-sync*.log"):
        for entry in read_log_errors(path):
            if "sync_path" in entry:
                message = ", ".join(str(entry[key]) for key in ("msg", "status", "error") if key in entry)
                found.setdefault(Path(entry["sync_path"]).resolve(), " ".join(message.split()))
    return found
