"""The commands that rebuild an environment: exact versions, the patch, and a comment on what is not known."""

from pathlib import Path

from tests.support.make_records import make_record
from vitsweep.study.provenance.rebuild import rebuild_commands
from vitsweep.study.record import Record

PACKAGES = "numpy==2.4.6\ntorch==2.14.1+cpu\nvitsweep==0.1.0\n"
COMMAND = "vitsweep seed=0"


def commands(tmp_path: Path, **changes: object) -> list[str]:
    """Return the commands for a single run in `tmp_path` with these fields."""
    return rebuild_commands(make_record("baseline", 0, 0.5, **changes), tmp_path, COMMAND)


def recorded(tmp_path: Path) -> dict:
    """Write packages and patch; return the record's environment."""
    folder = tmp_path / "environment"
    folder.mkdir()
    (folder / "packages-1.txt").write_text(PACKAGES)
    (folder / "changes-1.patch").write_text("diff --git a/a b/a\n")
    names = {"packages": "packages-1.txt", "patch": "changes-1.patch"}
    return names | {"instructions": "AVX2", "cpu": "EPYC", "left_out": ["b.csv (not source code)"]}


def test_recorded_environment_is_rebuilt_exactly(tmp_path):
    folder = tmp_path / "environment"
    assert commands(tmp_path, environment=recorded(tmp_path)) == [
        "# baseline, seed 0: vitsweep 0.1.0, commit 1a2b3c4d with uncommitted changes, Python 3.11.9",
        "# in a checkout of vitsweep without uncommitted changes:",
        "git checkout 1a2b3c4d",
        f"git apply {folder}/changes-1.patch",
        "# not in the patch: b.csv (not source code)",
        "python3.11 -m venv .venv-reproduce && . .venv-reproduce/bin/activate",
        f"grep -v '^vitsweep[= ]' {folder}/packages-1.txt | pip install "
        "--extra-index-url https://download.pytorch.org/whl/cpu -r /dev/stdin",
        "pip install --no-deps -e .",
        "# trained on: EPYC, AVX2, 2 threads, cpu, fp32",
        "OMP_NUM_THREADS=2 ATEN_CPU_CAPABILITY=avx2 vitsweep seed=0",
    ]


def test_installed_version_needs_no_checkout(tmp_path):
    code = {"version": "0.1.0", "commit": "", "dirty": False}
    lines = commands(tmp_path, environment=recorded(tmp_path), code=code)
    assert not [line for line in lines if "git" in line or "-e ." in line]
    assert lines[2].endswith(f"-r {tmp_path}/environment/packages-1.txt")


def test_record_of_an_earlier_version_gives_what_it_has(tmp_path):
    code = {"version": "0.1.0", "commit": "1a2b3c4d", "dirty": True}
    lines = commands(tmp_path, code=code)
    assert "# its uncommitted changes were not recorded" in lines
    assert "# an earlier version recorded these packages alone" in lines
    assert "pip install torch==2.14.1 numpy==2.4.6" in lines and lines[-1] == "OMP_NUM_THREADS=2 vitsweep seed=0"


def test_files_that_are_gone_are_named(tmp_path):
    lines = commands(tmp_path, environment={"packages": "packages-1.txt", "patch": "changes-1.patch"})
    assert "# the patch changes-1.patch is not there any more" in lines
    assert "# the list packages-1.txt is not there any more" in lines


def test_code_that_a_cell_was_continued_from_is_named(tmp_path):
    code = {"version": "1", "commit": "b" * 40, "dirty": False, "before": [{"commit": "a" * 40}]}
    assert f"# its first epochs were trained by commit {'a' * 12}" in commands(tmp_path, code=code)


def test_empty_record_gives_its_command(tmp_path):
    assert rebuild_commands(Record(), tmp_path, COMMAND)[-1] == COMMAND
