"""Shell commands that rebuild a cell's code and environment, from its record and the files beside it."""

import os
import re
import shlex
from pathlib import Path

from vitsweep.study.provenance.environment import environment_folder, read_environment_file
from vitsweep.study.record import Record

TORCH_INDEX = "https://download.pytorch.org/whl/"
NOT_PACKAGES = ("python", "platform")
VENV = ".venv-reproduce"


def rebuild_commands(record: Record, cell: Path, command: str) -> list[str]:
    """Return lines for a shell: code, packages, then the cell's own command; comments say what is not known.

    Args:
        record: the cell's.
        cell: its directory.
        command: that trains it.
    """
    python = record.versions.get("python", "")
    lines = [f"# {record.arm}, seed {record.seed}: {code_text(record)}, Python {python or 'unknown'}"]
    lines += code_commands(record, cell)
    version = ".".join(python.split(".")[:2])
    lines += [f"python{version} -m venv {VENV} && . {VENV}/bin/activate", *package_commands(record, cell)]
    if record.code.get("commit"):
        lines.append("pip install --no-deps -e .")
    return [*lines, machine_text(record), f"{variables(record)}{command}"]


def code_text(record: Record) -> str:
    """Return version, commit and state of the code in words."""
    code = record.code
    commit = f", commit {code['commit'][:12]}" if code.get("commit") else ""
    is_changed = code.get("dirty") or record.environment.get("patch")
    return f"vitsweep {code.get('version', 'unknown')}{commit}{' with uncommitted changes' if is_changed else ''}"


def code_commands(record: Record, cell: Path) -> list[str]:
    """Return the commands, in a checkout of vitsweep, that bring the code back."""
    commit, environment = record.code.get("commit"), record.environment
    if not commit:
        return []
    lines = ["# in a checkout of vitsweep without uncommitted changes:", f"git checkout {commit}"]
    name = environment.get("patch")
    if name and read_environment_file(cell, name) is not None:
        lines.append(f"git apply {shlex.quote(file_path(cell, name))}")
    elif name:
        lines.append(f"# the patch {name} is not there any more")
    elif record.code.get("dirty") and not environment:
        lines.append("# its uncommitted changes were not recorded")
    lines += [f"# not in the patch: {left}" for left in environment.get("left_out", [])]
    before = [one["commit"][:12] for one in record.code.get("before", []) if one.get("commit")]
    return lines + ([f"# its first epochs were trained by commit {', '.join(before)}"] if before else [])


def file_path(cell: Path, name: str) -> str:
    """Return the path of a file of a cell's environment, relative paths and absolute ones as the cell was named."""
    found = environment_folder(cell) / name
    return os.path.relpath(found) if not Path(cell).is_absolute() else str(found)


def package_commands(record: Record, cell: Path) -> list[str]:
    """Return the commands that install the recorded versions."""
    name = record.environment.get("packages")
    text = read_environment_file(cell, name)
    if text is not None:
        file = shlex.quote(file_path(cell, str(name)))
        if record.code.get("commit") and re.search(r"^vitsweep[= ]", text, re.MULTILINE):
            return [f"grep -v '^vitsweep[= ]' {file} | pip install{torch_index(text)} -r /dev/stdin"]
        return [f"pip install{torch_index(text)} -r {file}"]
    known = {key: value for key, value in record.versions.items() if key not in NOT_PACKAGES and value != "unknown"}
    pins = [f"{key}=={value}" for key, value in known.items()]
    pins += [f"vitsweep=={record.code['version']}"] if not record.code.get("commit") and record.code else []
    missing = f"the list {name} is not there any more" if name else "an earlier version recorded these packages alone"
    return [f"# {missing}", f"pip install{torch_index(chr(10).join(pins))} {shlex.join(pins)}"]


def torch_index(text: str) -> str:
    """Return the option for the index that has a build of torch such as `2.11.0+cpu`; empty for PyPI's."""
    build = re.search(r"^torch==[^+\s]+\+(\w+)$", text, re.MULTILINE)
    return f" --extra-index-url {TORCH_INDEX}{build[1]}" if build else ""


def machine_text(record: Record) -> str:
    """Return a comment on the machine, whose kind decides the last bits of sums."""
    parts = [record.environment.get("cpu", ""), record.environment.get("system", "")]
    parts += [record.environment.get("instructions", ""), f"{record.threads} threads", record.device, record.precision]
    return f"# trained on: {', '.join(part for part in parts if part)}"


def variables(record: Record) -> str:
    """Return the variables that give torch the same threads and, on the CPU, the same instruction set."""
    if not record.threads:
        return ""
    found = f"OMP_NUM_THREADS={record.threads} "
    instructions = record.environment.get("instructions", "").lower()
    if record.device == "cpu" and instructions in ("default", "avx2", "avx512"):
        found += f"ATEN_CPU_CAPABILITY={instructions} "
    return found
