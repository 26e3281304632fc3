"""What a W&B run file (run-<id>.wandb) holds: rows, summary, end. Reads torn files up to the tear.

wandb dropped its own reader in 0.30. The file is a LevelDB log: a header, then blocks of 32 KiB with records that are
cut at the blocks' borders; each record is one protocol buffer of wandb's. wandb is imported when a file is read.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK_BYTES, HEADER_BYTES, FILE_HEADER = 32768, 7, b":W&B"
FULL, FIRST, LAST = 1, 2, 4  # kinds of a piece; 3 is one between first and last


@dataclass(kw_only=True)
class RunFile:
    """The content of a run file as far as it can be read."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """History in the order of logging, wandb's own keys included."""
    summary: dict[str, Any] = field(default_factory=dict)
    """Last value of everything."""
    config: dict[str, Any] = field(default_factory=dict)
    """Configuration, wandb's own key `_wandb` included."""
    run: dict[str, Any] = field(default_factory=dict)
    """id, name, project, group, job_type, tags."""
    exit_code: int | None = None
    """None: the run did not end."""
    artifact_paths: list[str] = field(default_factory=list)
    """Where the files of its artifacts lie, as wandb will look for them."""

    @property
    def epochs(self) -> set[int]:
        """The epochs that have a row."""
        return {row["epoch"] for row in self.rows if "epoch" in row}


def read_run_file(path: Path) -> RunFile:
    """Everything up to the first tear; nothing at all of a file that was cut in its header."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = RunFile()
    for payload in payloads(path.read_bytes()):
        record = Record.FromString(payload)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            found.rows.append(decoded(record.history.item))
        elif kind == "summary":
            found.summary |= decoded(record.summary.update)
        elif kind == "run":
            run = record.run
            found.config |= decoded(run.config.update)
            found.run = {"id": run.run_id, "name": run.display_name, "project": run.project}
            found.run |= {"group": run.run_group, "job_type": run.job_type, "tags": list(run.tags), "host": run.host}
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
        elif kind == "artifact":
            found.artifact_paths += [entry.local_path for entry in record.artifact.manifest.contents]
    return found


def decoded(items: Any) -> dict[str, Any]:
    """Keys with the values that wandb keeps as JSON text, each in the dictionaries that its nested key names."""
    found: dict[str, Any] = {}
    for item in items:
        *outer, last = list(item.nested_key) or [item.key]
        place = found
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)
    return found


def payloads(content: bytes) -> Iterator[bytes]:
    """The records of a log, whole ones only, up to the first piece that is cut off or damaged."""
    if not content.startswith(FILE_HEADER):
        return
    pieces, place = b"", HEADER_BYTES
    while place + HEADER_BYTES <= len(content):
        left = BLOCK_BYTES - place % BLOCK_BYTES
        if left < HEADER_BYTES:  # too little room for a piece's header: the block is padded
            place += left
            continue
        checksum = int.from_bytes(content[place : place + 4], "little")
        size = int.from_bytes(content[place + 4 : place + 6], "little")
        kind, body = content[place + 6], content[place + HEADER_BYTES : place + HEADER_BYTES + size]
        if len(body) < size or zlib.crc32(bytes([kind]) + body) != checksum:
            return
        pieces = body if kind in (FULL, FIRST) else pieces + body
        if kind in (FULL, LAST):
            yield pieces
        place += HEADER_BYTES + size
