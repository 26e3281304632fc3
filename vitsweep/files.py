"""Atomic writes, each allowed by its directory's guard: a reader sees the old file or the new one, no part of it."""

import json
import math
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    write_atomically(path, (json.dumps(finite(values), indent=1) + "\n").encode())


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
