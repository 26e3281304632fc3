"""The environment of a record: one file a sweep for packages and patch, and never an error."""

import importlib.metadata
import json

import pytest

from tests.support.made_plans import made_plan
from vitsweep.study.provenance import environment
from vitsweep.study.provenance.environment import packages_text, read_environment_file, record_environment, vcs_line
from vitsweep.study.provenance.source_patch import SourcePatch


@pytest.fixture
def change(monkeypatch):
    """A checkout with one uncommitted change, of which twice the named files are left out."""
    names = [f"{number}.csv (not source code)" for number in range(2 * environment.MAX_NAMED)]
    monkeypatch.setattr(environment, "source_patch", lambda: SourcePatch(patch=b"diff --git\n", left_out=names))


def test_cells_of_a_sweep_share_the_files_of_one_environment(tmp_path, change):
    plan = made_plan(tmp_path, ["a", "b"], [0])
    found = [record_environment(tmp_path / cell.id, {"instructions": "AVX2"}) for cell in plan.cells]
    names = sorted(path.name for path in (tmp_path / "environment").iterdir())
    assert found[0] == found[1] and names == sorted([found[0]["packages"], found[0]["patch"]])
    assert read_environment_file(tmp_path / plan.cells[1].id, found[0]["patch"]) == "diff --git\n"


def test_single_run_keeps_its_own_files(tmp_path, change):
    found = record_environment(tmp_path / "run", {})
    assert (tmp_path / "run" / "environment" / found["packages"]).exists()


def test_left_out_files_are_counted_beyond_the_first(tmp_path, change):
    left_out = record_environment(tmp_path, {})["left_out"]
    assert len(left_out) == environment.MAX_NAMED + 1 and left_out[-1] == f"{environment.MAX_NAMED} more"


def test_an_error_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    (tmp_path / "environment").write_text("a file in its place")
    assert record_environment(tmp_path, {}) == {} and "the environment is not recorded" in caplog.text


def test_packages_are_those_of_importlib_metadata():
    lines = packages_text().splitlines()
    versions = dict(line.split("==") for line in lines if "==" in line)
    assert all(importlib.metadata.version(name) == version for name, version in versions.items())
    assert {"torch", "numpy", "rich"} <= set(versions) and len(lines) == len(set(lines))


def test_package_from_version_control_is_pinned_to_its_commit():
    class Distribution:
        def read_text(self, name: str) -> str:
            url = "https://user:pass@example.org/a.git"
            return json.dumps({"url": url, "vcs_info": {"vcs": "git", "commit_id": "1a2b"}})

    assert vcs_line(Distribution(), "a") == "a @ git+https://example.org/a.git@1a2b"


@pytest.mark.parametrize("name", [None, "", "gone.txt", "../record.json"])
def test_file_that_is_not_there_is_none(tmp_path, name):
    (tmp_path / "record.json").write_text("{}")
    assert read_environment_file(tmp_path, name) is None
