"""files."""

import json
import math
import os
import secrets
from pathlib import Path
from typing import Any


def write_json(path: Path, values: Any) -> None:
    """Write JSON atomically: whoever reads sees the old file or the new one, also after a power cut."""
    write_atomically(path, (json.dumps(finite(values), indent=1) + "\n").encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step: temporary file beside it, fsync, rename."""
    # Not tempfile.mkstemp: its files are readable by their owner alone, and records are for sharing.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def finite(value: Any) -> Any:
    """The same nested value with NaN and infinities replaced by None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def remove_temporaries(directory: Path) -> None:
    """Remove what writers that were killed left behind: `.<name>.<pid>-<token>` of record.write_atomically."""
    for path in directory.glob(".*.*-????????"):
        if path.name.rpartition(".")[2].partition("-")[0].isdigit():
            path.unlink(missing_ok=True)
