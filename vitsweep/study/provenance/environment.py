"""Environment of a cell for its record: installed packages, uncommitted changes, and the machine.

Packages and patch are files named by their hash in the `environment` folder of the sweep (of a single run: its own),
so that a sweep of one environment holds one copy, whatever its number of cells.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import Any

from vitsweep.files import write_atomically
from vitsweep.study.provenance.source_patch import source_patch
from vitsweep.study.record import PLAN_NAME

log = logging.getLogger(__name__)

FOLDER = "environment"
MAX_NAMED = 20
"""Files that a record names as left out of the patch; the others are counted."""
HEADER = re.compile(r"^(Name|Version):\s*(.+?)\s*$", re.MULTILINE)


def environment_folder(cell: Path) -> Path:
    """Return the folder with a cell's packages and patch: beside the sweep's plan, else the cell's own."""
    cell = Path(cell).absolute()
    if cell.name.startswith("seed=") and (cell.parents[1] / PLAN_NAME).exists():
        return cell.parents[1] / FOLDER
    return cell / FOLDER


def record_environment(cell: Path, machine: dict[str, Any]) -> dict[str, Any]:
    """Write packages and patch of this process and return the `environment` of a cell's record.

    An error becomes a warning: a description must not end a run.

    Args:
        machine: what torch knows of the device.
    """
    try:
        found = source_patch()
        files = {"packages": ("packages", "txt", packages_text().encode()), "patch": ("changes", "patch", found.patch)}
        names = {key: save(environment_folder(cell), *file) for key, file in files.items() if file[2]}
        more = len(found.left_out) - MAX_NAMED
        left_out = found.left_out[:MAX_NAMED] + ([f"{more} more"] if more > 0 else [])
        return names | ({"left_out": left_out} if left_out else {}) | host() | machine
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("the environment is not recorded: %s: %s", type(error).__name__, error)
        return {}


def save(folder: Path, kind: str, suffix: str, content: bytes) -> str:
    """Write content to `<kind>-<hash>.<suffix>`, unless it is there; return the name."""
    name = f"{kind}-{hashlib.sha256(content).hexdigest()[:12]}.{suffix}"
    if not (folder / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, content)
    return name


@cache
def packages_text() -> str:
    """Return a line for pip for each installed distribution, sorted: `name==version`, or `name @ git+URL@commit`."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name, version = name_and_version(distribution)
        key = re.sub(r"[-_.]+", "-", name or "").lower()
        if name and version and key not in found:  # the first on the path is imported
            found[key] = vcs_line(distribution, name) or f"{name}=={version}"
    return "".join(f"{found[key]}\n" for key in sorted(found))


def name_and_version(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    """Return name and version, from the first lines of METADATA: the parser of mails takes 3 ms for each."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    values = dict(reversed(HEADER.findall(text.partition("\n\n")[0])))
    return values.get("Name", ""), values.get("Version", "")


def vcs_line(distribution: importlib.metadata.Distribution, name: str) -> str:
    """Return the line of a package that was installed from version control; empty for others, local folders too."""
    try:
        source = json.loads(distribution.read_text("direct_url.json") or "{}")
        info = source["vcs_info"]
        url = re.sub(r"(?<=://)[^/@]*@", "", source["url"])  # without user and password
        return (
            f"{name} @ {info['vcs']}+{url}@{info['commit_id']}" if "://" in url and not url.startswith("file") else ""
        )
    except (ValueError, KeyError, TypeError):
        return ""


@cache
def host() -> dict[str, Any]:
    """Return CPU model, cores and operating system; no name of the host."""
    return {"cpu": cpu_model(), "cores": os.cpu_count() or 0, "system": platform.platform()}


def cpu_model() -> str:
    """Return the CPU's model name, or its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            names = (line.partition(":")[2].strip() for line in stream if line.startswith("model name"))
            return next(names, "") or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def read_environment_file(cell: Path, name: str | None) -> str | None:
    """Return the text of a file of a cell's environment; None if the record names none, or if it is gone."""
    if not name or Path(name).name != name:
        return None
    for folder in dict.fromkeys((environment_folder(cell), Path(cell).absolute() / FOLDER)):
        try:
            return (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    return None


def warm() -> None:
    """Compute what all cells of this process share, so that workers forked from it inherit it."""
    source_patch(), packages_text(), host()
