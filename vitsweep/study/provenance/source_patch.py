"""Uncommitted changes of vitsweep's checkout as one patch for `git apply`: tracked changes and untracked source files.

git is called read-only: with a copy of its index, since `git diff` rewrites one whose times are out of date, without
optional locks and external programs. Left out, and named: files that are not source, files
that look like secrets by name or content, files above FILE_LIMIT, and what exceeds PATCH_LIMIT in all.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path, PurePosixPath

from vitsweep.paths import PACKAGE_DIR
from vitsweep.study.provenance.git import run_git

PATCH_LIMIT = 1 << 20
"""Largest size of a patch, bytes."""
FILE_LIMIT = 1 << 18
"""Largest size of a changed file, and of its part of the patch, bytes."""
MAX_FILES = 500
"""Largest number of changed files that are read."""
SOURCE_SUFFIXES = frozenset(".py .pyi .yaml .yml .toml .cfg .ini .sh .c .cc .cpp .cu .h .hpp .pyx".split())
SECRET_NAME = re.compile(
    r"(?i)(^|/)(\.env|\.netrc|\.?secrets?\b|credentials?\b|id_(rsa|ed25519|ecdsa))|passw|api_?key|\.token"
)
SECRET_CONTENT = re.compile(
    rb"wandb_v1_\w{20}|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{40}|\bhf_[A-Za-z0-9]{30}|\bsk-[\w-]{30}"
    rb"|AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY"
    rb"|(?i:api.?key|token|passw(?:or)?d|secret)(?:\W{1,4}[0-9a-f]{32}|[\"']?\s*[:=]\s*[\"'][\w/+-]{12,}[\"'])"
)
DIFF = (
    "diff HEAD --relative --no-renames --no-ext-diff --no-textconv --no-color --full-index --unified=3 "
    "--src-prefix=a/ --dst-prefix=b/ --ignore-submodules"
).split()


@dataclass(kw_only=True)
class SourcePatch:
    """Uncommitted changes; empty for a clean checkout, and without a checkout."""

    patch: bytes = b""
    """For `git apply` in the checkout, at the record's commit."""
    left_out: list[str] = field(default_factory=list)
    """`path (reason)` of each change that the patch lacks."""


@cache
def source_patch() -> SourcePatch:
    """Return the uncommitted changes of the checkout that this process imports vitsweep from."""
    return make_patch(PACKAGE_DIR.parent) if (PACKAGE_DIR.parent / "run.py").exists() else SourcePatch()


def make_patch(checkout: Path) -> SourcePatch:
    """Return the uncommitted changes below a folder of a git checkout; empty without git, repository or commit."""
    place = run_git(checkout, "rev-parse", "--git-path", "index")
    if place is None:
        return SourcePatch()
    with tempfile.TemporaryDirectory() as folder:
        with suppress(OSError):  # no index: nothing was ever added
            shutil.copyfile(checkout / os.fsdecode(place.rstrip(b"\n")), Path(folder, "index"))
        return patch_of_index(checkout, Path(folder, "index"))


def patch_of_index(checkout: Path, index: Path) -> SourcePatch:
    """Return the uncommitted changes, with an index that git may write."""
    git = partial(run_git, checkout, GIT_INDEX_FILE=str(index))
    changed = git(*DIFF, "--name-only", "-z")
    if changed is None:
        return SourcePatch()  # no git, no repository, no commit yet, or git took too long
    found = SourcePatch()
    tracked = kept_names(checkout, changed, found)
    parts = tracked_parts(git, tracked, found) if tracked else {}
    others = git("ls-files", "--others", "--exclude-standard", "-z") or b""
    # A folder of data without a .gitignore is no change of the code: other untracked files are not even named.
    sources = b"\0".join(name for name in others.split(b"\0") if is_source(os.fsdecode(name)))
    parts |= {name: added_file(checkout, name) for name in kept_names(checkout, sources, found)}
    size = 0
    for name in sorted(parts):
        if reason := refusal(parts[name], size):
            found.left_out.append(f"{name} ({reason})")
            continue
        found.patch += parts[name]
        size += len(parts[name])
    return found


def is_source(name: str) -> bool:
    """Return True for a file that can be part of the code or its configuration."""
    return PurePosixPath(name).suffix in SOURCE_SUFFIXES


def kept_names(checkout: Path, names: bytes, found: SourcePatch) -> list[str]:
    """Return the names, separated by NUL, of files that a patch may hold; note the others."""
    kept = []
    for name in filter(None, map(os.fsdecode, names.split(b"\0"))):
        if reason := name_refusal(checkout, name):
            found.left_out.append(f"{name!r} ({reason})" if not name.isprintable() else f"{name} ({reason})")
        else:
            kept.append(name)
    found.left_out += [f"{name} (more than {MAX_FILES} changed files)" for name in kept[MAX_FILES:]]
    return kept[:MAX_FILES]


def name_refusal(checkout: Path, name: str) -> str:
    """Return why a changed file is left out by its name, kind or size; empty for one that is kept."""
    path = checkout / name
    if not is_source(name):
        return "not source code"
    if SECRET_NAME.search(name):
        return "named like a secret"
    if not name.isprintable() or '"' in name or "\\" in name:
        return "unusual name"
    if path.is_symlink():
        return "symbolic link"
    if path.is_file() and path.stat().st_size > FILE_LIMIT:
        return f"above {FILE_LIMIT >> 10} KiB"
    return ""


def tracked_parts(git: Callable[..., bytes | None], names: list[str], found: SourcePatch) -> dict[str, bytes]:
    """Return name -> its part of the diff against the last commit."""
    text = git(*DIFF, "--", *names)
    if text is None:
        found.left_out += [f"{name} (git failed)" for name in names]
        return {}
    parts = [b"diff --git " + part for part in re.split(rb"^diff --git ", text, flags=re.MULTILINE)[1:]]
    own = {name: f"diff --git a/{name} b/{name}\n".encode() for name in names}
    return {name: part for name, start in own.items() for part in parts if part.startswith(start)}


def added_file(checkout: Path, name: str) -> bytes:
    """Return the part of a patch that adds an untracked file; empty if it cannot be read."""
    try:
        content = (checkout / name).read_bytes()
        mode = 0o100755 if os.access(checkout / name, os.X_OK) else 0o100644
    except OSError:
        return b""
    start = f"diff --git a/{name} b/{name}\nnew file mode {mode:o}\n".encode()
    if not content:
        return start
    lines = content.split(b"\n")
    is_ended = lines[-1] == b""
    lines = lines[:-1] if is_ended else lines
    tab = "\t" if " " in name else ""  # ends a name with blanks
    start += f"--- /dev/null\n+++ b/{name}{tab}\n@@ -0,0 +1,{len(lines)} @@\n".encode()
    return (
        start
        + b"".join(b"+" + line + b"\n" for line in lines)
        + (b"" if is_ended else b"\\ No newline at end of file\n")
    )


def refusal(part: bytes, size: int) -> str:
    """Return why a part of a patch is left out; empty for one that is kept.

    Args:
        part: of one file.
        size: of the patch before it, bytes.
    """
    if not part:
        return "cannot be read"
    if b"\0" in part or re.search(rb"^Binary files .* differ$", part, re.MULTILINE):
        return "binary"
    if SECRET_CONTENT.search(part):
        return "looks like a secret"
    if len(part) > FILE_LIMIT:
        return f"above {FILE_LIMIT >> 10} KiB"
    return f"the patch would exceed {PATCH_LIMIT >> 10} KiB" if size + len(part) > PATCH_LIMIT else ""
