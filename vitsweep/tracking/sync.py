"""`python -m vitsweep wandb sync DIR`: send the runs of all cells under DIR that the W&B server does not have yet.

W&B's own `wandb sync` does the sending. But it takes a run that was torn by a crash for whole, calls a run sent whose
data the server refused, waits for ever for a server that is gone, and ends with 0 whatever happened. Here a piece that
lacks something the record has is made again from the record first, and every run gets its line.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from vitsweep.errors import UserError
from vitsweep.study.locks import Witness
from vitsweep.tracking.client import describe_error, read_log_errors, release_service
from vitsweep.tracking.mode import has_key, is_reachable, server_url
from vitsweep.tracking.pieces import Piece, find_pieces, make_whole, missing_part
from vitsweep.tracking.run_file import read_run_file

ALL_SENT, SOME_FAILED = 0, 1
TIMEOUT_SECONDS = 10.0
RUNS_AT_ONCE = 4
TOO_SOON = "TimeoutError"  # wandb's last words when its helper did not begin within five seconds: nothing was sent
TRIES = 3
PIECES_A_CALL = 200  # so that the command line stays short enough for every system
SHOWN_AT = re.compile(r"\[[^\]]*/(?P<id>[^/\]]+)\] View run .* at (?P<url>https?://\S+)")


def main(arguments: list[str]) -> int:
    """`wandb sync DIR`; see sync."""
    if len(arguments) != 1:
        raise UserError("usage: python -m vitsweep wandb sync DIR")
    return sync(Path(arguments[0]))


def sync(directory: Path) -> int:
    """Send what is not sent yet, and print a line for each run.

    Args:
        directory: of a study, or of any part of it.

    Returns:
        0, or 1 if a run could not be sent.

    Raises:
        UserError: there is no such directory, or something to send and no API key.
    """
    directory = Path(directory).resolve()
    if not directory.is_dir():
        raise UserError(f"DIR={directory}  is not a directory; give the folder of a study or of a cell")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    witness = Witness()
    pieces, faults = find_pieces(directory)
    waiting = []
    for piece in pieces:
        if witness.is_held(piece.cell):
            tell("running", piece, directory, "left alone; send it when it has ended")
        elif piece.is_sent:
            tell("there", piece, directory, "sent before")
        else:
            waiting.append(piece)
    if waiting:
        send_all(waiting, directory)
    for fault in faults:
        print(f"FAILED   {fault}")
    if not pieces and not faults:
        print(f"no W&B runs under {directory}")
    return SOME_FAILED if faults or any(piece.fault for piece in waiting) else ALL_SENT


def tell(what: str, piece: Piece, directory: Path, remark: str) -> None:
    """Print one run's line."""
    name = os.path.relpath(piece.cell, directory)
    status = piece.record.status if piece.record else "no record"
    print(f"{what:8s} {piece.cell.name if name == os.curdir else name}  {status}  {remark}".rstrip(), flush=True)


def send_all(pieces: list[Piece], directory: Path) -> None:
    """Send pieces, made whole where needed, and tell of each; their `fault` says what went wrong.

    Raises:
        UserError: there is no API key.
    """
    if not has_key():
        raise UserError("WANDB_API_KEY  is not set, and netrc has no key for the server; set it or run `wandb login`")
    if is_reachable(TIMEOUT_SECONDS):
        send_from_bases(pieces, directory)
    else:
        for piece in pieces:
            piece.fault = f"the W&B server does not answer ({server_url()})"
    for piece in pieces:
        tell("FAILED" if piece.fault else "sent", piece, directory, piece.fault or piece.url)


def send_from_bases(pieces: list[Piece], directory: Path) -> None:
    """Send pieces from the folders where the paths in them lead to their files."""
    by_base: dict[Path, list[Piece]] = {}
    for piece in pieces:
        try:
            by_base.setdefault(make_whole(piece, directory), []).append(piece)
        except Exception as fault:  # one cell's disk or record must not keep the others back
            piece.fault = describe_error(fault)
    release_service()  # what was made is on the disk only when wandb's helper has ended
    for base, group in by_base.items():
        whole = [piece for piece in group if not piece.is_remade or is_whole(piece)]
        for start in range(0, len(whole), PIECES_A_CALL):
            send(whole[start : start + PIECES_A_CALL], base)


def is_whole(piece: Piece) -> bool:
    """Whether a piece that was made again has all that its record has; else its `fault` says what it lacks."""
    if lacking := missing_part(piece, read_run_file(piece.path)):
        piece.fault = f"the run could not be made whole from its record (no {lacking}); try again"
    return not piece.fault


def send(pieces: list[Piece], base: Path) -> None:
    """Send pieces with wandb's own command, and note where they are shown or why they did not arrive."""
    for piece in pieces:
        piece.marker.unlink(missing_ok=True)
    options = ["--include-online", "--include-synced", "-n", str(RUNS_AT_ONCE)]
    command = [sys.executable, "-m", "wandb", "sync", *options, *(str(piece.path) for piece in pieces)]
    said, faults = call_until_begun(command, base, seconds=120 + 60 * len(pieces))
    urls = {match["id"]: match["url"] for match in SHOWN_AT.finditer(said)}
    last_words = last_line(said)
    for piece in pieces:
        piece.url = urls.get(piece.id, "")
        piece.fault = faults.get(piece.path.resolve(), "" if piece.marker.exists() else last_words)
        if piece.fault:
            piece.marker.unlink(missing_ok=True)


def call_until_begun(command: list[str], base: Path, seconds: float) -> tuple[str, dict[Path, str]]:
    """Run `wandb sync` in `base`, again if it gave up before it began; returns what it printed, and its faults."""
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory() as scratch:
            said = call(command, base, Path(scratch), seconds)
            faults = logged_faults(Path(scratch))
        if not last_line(said).startswith(TOO_SOON):
            break
    return said, faults


def last_line(said: str) -> str:
    """The last words of `wandb sync`."""
    return (said.strip().splitlines() or ["wandb sync said nothing"])[-1]


def call(command: list[str], base: Path, scratch: Path, seconds: float) -> str:
    """Run `wandb sync` in `base` and return what it printed; its exit code tells nothing."""
    try:
        done = subprocess.run(
            command,
            cwd=base,
            env=sync_environment(scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return "wandb sync took too long"
    return done.stderr


def sync_environment(scratch: Path) -> dict[str, str]:
    """The environment of `wandb sync`: logs where we read them, an end to its patience, nothing about this machine."""
    # Without WANDB_SERVICE it starts a helper of its own, which looks for files from the right folder.
    inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return inherited | {
        "WANDB_DIR": str(scratch),
        "WANDB_BASE_URL": server_url(),
        "WANDB_HOST": "",
        "WANDB_PROGRAM": "",
        "WANDB_HTTP_TIMEOUT": "20",
        "WANDB__GRAPHQL_RETRY_MAX": "6",
        "WANDB__GRAPHQL_RETRY_WAIT_MAX_SECONDS": "5",
        "WANDB__FILE_STREAM_RETRY_MAX": "6",
        "WANDB__FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "5",
        "WANDB__FILE_STREAM_TIMEOUT_SECONDS": "20",
        "WANDB__FILE_TRANSFER_RETRY_MAX": "6",
        "WANDB__FILE_TRANSFER_RETRY_WAIT_MAX_SECONDS": "5",
    }


def logged_faults(scratch: Path) -> dict[Path, str]:
    """Run file -> first error in wandb's log of the sync; wandb also calls runs sent whose data were refused."""
    found: dict[Path, str] = {}
    for path in scratch.rglob("debug-sync*.log"):
        for entry in read_log_errors(path):
            if "sync_path" in entry:
                said = ", ".join(str(entry[key]) for key in ("msg", "status", "error") if key in entry)
                found.setdefault(Path(entry["sync_path"]).resolve(), said)
    return found
