"""Atomic writes, each allowed by its directory's guard: a reader sees the old file or the new one, no part of it."""

import json
import logging
import math
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from vitsweep.errors import printable

write_guards: dict[str, Callable[[], None]] = {}
"""Absolute directory -> check before each write there or one level below; raises if this process has lost it."""


def check_writable(directory: Path) -> None:
    """Call the write guard of a directory, if this process holds one."""
    if write_guards:
        path = os.path.abspath(directory)
        for guarded in (path, os.path.dirname(path)):
            if guard := write_guards.get(guarded):
                guard()


def write_json(path: Path, values: Any) -> None:
    """Write values as JSON atomically, NaN and infinities as null."""
    write_atomically(path, json_bytes(values))


def json_bytes(values: Any) -> bytes:
    """Return what write_json writes."""
    return (json.dumps(finite(values), indent=1) + "\n").encode()


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to a temporary file beside `path`, sync it to disk, and rename it to `path`."""
    check_writable(path.parent)
    # Not tempfile.mkstemp: only the owner can read its files, and records are shared.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        check_writable(path.parent)  # again: a stalled disk may have held up the sync for minutes
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def finite(value: Any) -> Any:
    """Replace NaN and infinities by None in nested dictionaries, lists and tuples; tuples become lists."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def remove_temporaries(directory: Path) -> None:
    """Remove the files `.<name>.<pid>-<token>` that killed writers left in a directory."""
    for path in directory.glob(".*.*-????????"):
        if path.name.rpartition(".")[2].partition("-")[0].isdigit():
            path.unlink(missing_ok=True)


class PipeOutput:
    """Standard output that drops what nothing reads any more: a closed pipe (`| head -1`) ends no training.

    Args:
        stream: the stream to write to.
    """

    def __init__(self, stream: Any):
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text; return its length."""
        try:
            return self.stream.write(text)
        except BrokenPipeError:
            self.drop()
            return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self.stream.flush()
        except BrokenPipeError:
            self.drop()

    def drop(self) -> None:
        """Let all further output go nowhere."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class PrintableLogRecord(logging.LogRecord):
    """Log record whose message has no control characters, which foreign names and errors may hold."""

    def getMessage(self) -> str:  # noqa: N802 - a name of the standard library
        return printable(super().getMessage())


def protect_output() -> None:
    """Prepare the standard streams and the log of a command.

    Opens streams that the caller has closed (`>&-`), keeps a closed pipe from ending the command, and makes control
    characters of logged names and errors visible.
    """
    logging.setLogRecordFactory(PrintableLogRecord)
    for handle, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(handle)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(handle, "w" if handle else "r", closefd=False))  # noqa: SIM115
    if sys.stdout is sys.__stdout__ or sys.__stdout__ is None:
        sys.stdout = PipeOutput(sys.stdout)


def is_screen(stream: IO[str]) -> bool:
    """Return whether a stream is a terminal that can move its cursor; one with TERM=dumb cannot."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
