"""Reader of W&B run files (run-<id>.wandb): configuration, rows, summary, exit code. Reads a torn file up to the tear.

wandb dropped its own reader in 0.30. The file is a LevelDB log: a header, then blocks of 32 KiB whose fragments join to
records, each one a protocol buffer of wandb's. wandb is imported when a file is read.
"""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER_NAME = re.compile(r"(?:offline-)?run-(?P<time>\d{8}_\d{6})-[^/]+?(?:-(?P<number>\d+))?$")
BLOCK_BYTES, HEADER_BYTES, FILE_HEADER = 32768, 7, b":W&B"
FULL, FIRST, LAST = 1, 2, 4  # kinds of a fragment; 3 lies between first and last


@dataclass(kw_only=True)
class RunFile:
    """Readable content of a run file."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """History in the order of logging, wandb's own keys included."""
    summary: dict[str, Any] = field(default_factory=dict)
    """Last value of every key."""
    config: dict[str, Any] = field(default_factory=dict)
    """Configuration, wandb's own key `_wandb` included."""
    run: dict[str, Any] = field(default_factory=dict)
    """id, name, project, group, job_type, tags, host."""
    exit_code: int | None = None
    """Exit code of the run, None if it did not end."""
    artifact_paths: list[str] = field(default_factory=list)
    """Paths of the artifacts' files, as wandb will open them."""

    @property
    def epochs(self) -> set[int]:
        """Epochs that have a row."""
        return {row["epoch"] for row in self.rows if "epoch" in row}


def find_run_files(directory: Path) -> list[Path]:
    """Return all run files under a directory, oldest first by the times in their folders' names."""
    found = []
    for path in directory.rglob("run-*.wandb"):
        if name := FOLDER_NAME.match(path.parent.name):
            found.append((name["time"], int(name["number"] or 0), path))
    return [path for _, _, path in sorted(found)]


def read_run_file(path: Path) -> RunFile:
    """Read a run file up to its first tear; a file cut in its header is empty."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # chosen at import, by version

    found = RunFile()
    for payload in read_payloads(path.read_bytes()):
        record = Record.FromString(payload)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            found.rows.append(decode_items(record.history.item))
        elif kind == "summary":
            found.summary |= decode_items(record.summary.update)
        elif kind == "run":
            run = record.run
            found.config |= decode_items(run.config.update)
            found.run = {"id": run.run_id, "name": run.display_name, "project": run.project}
            found.run |= {"group": run.run_group, "job_type": run.job_type, "tags": list(run.tags), "host": run.host}
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
        elif kind == "artifact":
            found.artifact_paths += [entry.local_path for entry in record.artifact.manifest.contents]
    return found


def decode_items(items: Any) -> dict[str, Any]:
    """Decode wandb's JSON items to a nested dictionary; a nested key names the path to its value."""
    found: dict[str, Any] = {}
    for item in items:
        *outer, last = list(item.nested_key) or [item.key]
        target = found
        for key in outer:
            target = target.setdefault(key, {})
        target[last] = json.loads(item.value_json)
    return found


def read_payloads(content: bytes) -> Iterator[bytes]:
    """Yield the complete records of a log, up to the first fragment that is cut off or damaged."""
    if not content.startswith(FILE_HEADER):
        return
    payload, place = b"", HEADER_BYTES
    while place + HEADER_BYTES <= len(content):
        left = BLOCK_BYTES - place % BLOCK_BYTES
        if left < HEADER_BYTES:  # padding: too little room for a fragment's header
            place += left
            continue
        checksum = int.from_bytes(content[place : place + 4], "little")
        size = int.from_bytes(content[place + 4 : place + 6], "little")
        kind, body = content[place + 6], content[place + HEADER_BYTES : place + HEADER_BYTES + size]
        if len(body) < size or zlib.crc32(bytes([kind]) + body) != checksum:
            return
        payload = body if kind in (FULL, FIRST) else payload + body
        if kind in (FULL, LAST):
            yield payload
        place += HEADER_BYTES + size
