"""docs/results/sitting.sh: a study goes on from nothing but its archive, which holds records and no checkpoints."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from vitsweep.study.record import read_record

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "results" / "sitting.sh"
STUDY = ["study=parts", "study.design=ofat"]
TINY = ["data=shapes", "data.shapes_train=100", "data.shapes_test=20", "recipe=quick", "data.train_limit=20"]
TINY += ["recipe.epochs=1", "recipe.batch_size=10", "device=cpu", "tracker=none", "sweep.isolate=none"]


def sit(folder: Path, archive: Path, *overrides: str, minutes: str = "9") -> subprocess.CompletedProcess:
    """One sitting on a machine of its own: a folder that only the archive reaches."""
    environment = os.environ | {"SWEEP_DIR": str(folder / "sweep"), "PYTHON": sys.executable}
    command = ["bash", str(SCRIPT), str(archive), minutes, *overrides]
    return subprocess.run(command, env=environment, cwd=SCRIPT.parents[2], capture_output=True, text=True)


def records(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as packed:
        names = [name for name in packed.getnames() if name.endswith("record.json")]
        return {name: packed.extractfile(name).read() for name in names}


@pytest.mark.slow  # two sweeps in processes of their own
def test_sitting_goes_on_from_the_archive_alone(tmp_path):
    archive = tmp_path / "kept" / "study.tar.gz"
    first = sit(tmp_path / "one", archive, *STUDY, *TINY, "study.seeds=[0]")
    assert first.returncode == 0, first.stderr
    before = records(archive)
    assert len(before) == 4
    second = sit(tmp_path / "two", archive, *STUDY, *TINY, "study.seeds=[0,1]")
    assert second.returncode == 0, second.stderr
    after = records(archive)
    assert len(after) == 8 and before.items() <= after.items()  # trained once, to the byte
    found = [read_record(tmp_path / "two" / "sweep" / Path(name).parent) for name in after]
    assert {(record.seed, record.status) for record in found} == {(0, "done"), (1, "done")}
    # The second machine has no weights of the cells that the first one drew.
    drawn = [json.loads((tmp_path / name / "sweep/report/gallery.json").read_text()) for name in ("one", "two")]
    assert drawn[0] == drawn[1]
    with tarfile.open(archive) as packed:
        kinds = {Path(name).suffix for name in packed.getnames()}
        assert {".json", ".jsonl", ".npz", ".html"} <= kinds and not kinds & {".safetensors", ".pt", ".log"}


@pytest.mark.parametrize("minutes, study", [("soon", "study=parts"), ("9", "parts")])
def test_sitting_without_minutes_or_a_study_says_how_it_is_used(tmp_path, minutes, study):
    refused = sit(tmp_path, tmp_path / "a.tar.gz", study, minutes=minutes)
    assert refused.returncode == 2
    assert "ARCHIVE.tar.gz MINUTES study=NAME" in refused.stderr and not (tmp_path / "a.tar.gz").exists()


@pytest.mark.slow  # two sweeps in processes of their own
def test_record_that_another_machine_finished_beats_this_ones_unfinished_one(tmp_path):
    archive = tmp_path / "study.tar.gz"
    assert sit(tmp_path / "one", archive, *STUDY, *TINY, "study.seeds=[0]").returncode == 0
    finished = records(archive)
    (record,) = [path for path in (tmp_path / "one").rglob("record.json") if "baseline" in str(path)]
    record.write_text(record.read_text().replace('"status": "done"', '"status": "interrupted"'))
    os.utime(record, (0, 0))  # this machine was interrupted before the other one finished the cell
    assert sit(tmp_path / "one", archive, *STUDY, *TINY, "study.seeds=[0]").returncode == 0
    assert records(archive) == finished
