"""The patch of uncommitted changes applies with git, and leaves out secrets, data and what is too large."""

import os
import subprocess
from pathlib import Path

import pytest

from vitsweep.study.provenance import source_patch
from vitsweep.study.provenance.source_patch import FILE_LIMIT, make_patch

IDENTITY = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return its output."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | IDENTITY).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with two committed files."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text("one\ntwo\n")
    (folder / "gone.py").write_text("x\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> content of every file outside of .git."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_patch_brings_a_fresh_clone_to_the_same_files(checkout, tmp_path):
    (checkout / "a.py").write_text("one\n2\n")
    (checkout / "gone.py").unlink()
    (checkout / "conf").mkdir()
    (checkout / "conf" / "with blank.yaml").write_text("a: 1")  # no newline at its end
    (checkout / "empty.py").write_text("")
    (checkout / "späte.py").write_text("ü\r\n\n")
    (tmp_path / "changes.patch").write_bytes(make_patch(checkout).patch)
    git(tmp_path, "clone", "-q", str(checkout), "fresh")
    git(tmp_path / "fresh", "apply", str(tmp_path / "changes.patch"))
    assert contents(tmp_path / "fresh") == contents(checkout)


def test_patch_of_a_clean_checkout_with_a_detached_head_is_empty(checkout):
    git(checkout, "checkout", "-q", "--detach")
    assert make_patch(checkout) == source_patch.SourcePatch()


@pytest.mark.parametrize("how", ["no repository", "no commit", "no git"])
def test_patch_without_git_is_empty(tmp_path, monkeypatch, how):
    if how == "no commit":
        git(tmp_path, "init", "-q")
    if how == "no git":
        monkeypatch.setenv("PATH", "")
    (tmp_path / "a.py").write_text("x")
    assert make_patch(tmp_path).patch == b""


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("notes.py", "key = 'ghp_" + "a" * 36 + "'\n", "looks like a secret"),
        ("settings.yaml", "api_key: " + "0f" * 16 + "\n", "looks like a secret"),
        ("secrets.yaml", "a: 1\n", "named like a secret"),
        ("large.py", "#" * (FILE_LIMIT + 1), "above 256 KiB"),
        ("zero.py", "a\0b", "binary"),
    ],
)
def test_untracked_file_is_left_out_and_named(checkout, name, content, reason):
    (checkout / name).write_text(content)
    found = make_patch(checkout)
    assert (found.patch, found.left_out) == (b"", [f"{name} ({reason})"])


def test_secret_in_a_tracked_file_is_left_out_and_the_other_change_kept(checkout):
    (checkout / "a.py").write_text("password = 'correct-horse-battery'\n")
    (checkout / "gone.py").write_text("y\n")
    found = make_patch(checkout)
    assert found.left_out == ["a.py (looks like a secret)"] and b"+y" in found.patch and b"horse" not in found.patch


def test_changed_data_is_named_and_untracked_data_is_not(checkout):
    (checkout / "table.csv").write_text("1\n")
    git(checkout, "add", "table.csv")
    (checkout / "other.csv").write_text("2\n")
    assert make_patch(checkout).left_out == ["table.csv (not source code)"]


def test_patch_is_limited_in_size(checkout, monkeypatch):
    for name in ("b.py", "c.py"):
        (checkout / name).write_text("x" * 500)
    monkeypatch.setattr(source_patch, "PATCH_LIMIT", 1000)
    found = make_patch(checkout)
    assert found.patch.count(b"diff --git") == 1 and found.left_out == ["c.py (the patch would exceed 0 KiB)"]


def test_git_is_only_read(checkout):
    os.utime(checkout / "a.py", (1, 1))  # its entry in the index is out of date now
    before = {path: path.read_bytes() for path in (checkout / ".git").rglob("*") if path.is_file()}
    make_patch(checkout)
    assert {path: path.read_bytes() for path in (checkout / ".git").rglob("*") if path.is_file()} == before
