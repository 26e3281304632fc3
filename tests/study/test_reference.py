"""The reference sweep of an earlier version (tests/fixtures/reference): plan, hashes, W&B ids, records stay the same.

It was made by `python run.py --config-dir tests/fixtures/reference/conf -m study=reference sweep.isolate=none
device=cpu precision=fp32 pack=off tracker.mode=offline`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitsweep.config.composer import Composer
from vitsweep.config.convert import config_hash, from_dict
from vitsweep.config.hydra import make_loader
from vitsweep.run.worker import train_cell
from vitsweep.study.changes.extension import with_known_names
from vitsweep.study.plan import CELLS_PATTERN, CellId, read_plan, write_plan
from vitsweep.study.plan_builder import build_plan
from vitsweep.study.record import METRICS_NAME, PREDICTIONS_NAME, RECORD_NAME, read_record
from vitsweep.tracking.run import run_id

REFERENCE = Path(__file__).resolve().parents[1] / "fixtures" / "reference"
SWEEP = REFERENCE / "sweep"
CELLS = sorted(path.relative_to(SWEEP).as_posix() for path in SWEEP.glob(CELLS_PATTERN))
TRAINED = [cell for cell in CELLS if cell.startswith(("dropout=attention", "placebo")) and CellId.parse(cell).seed == 1]
OVERRIDES = "study=reference sweep.isolate=none device=cpu precision=fp32 pack=off tracker.mode=offline".split()
VOLATILE = {"code", "versions", "threads", "started", "finished", "time_seconds", "images_per_second", "peak_gib"}
TOLERANCE = 1e-3  # processors round differently


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep directory in which the reference study is planned anew, with the names that its arms had."""
    folder = tmp_path_factory.mktemp("reference")
    plan = build_plan(OVERRIDES, Composer(make_loader(str(REFERENCE / "conf")), "config"))
    write_plan(folder, with_known_names(plan, read_plan(SWEEP)))
    return folder


def assert_close(found: Any, stored: Any, key: str = "") -> None:
    """Raise unless structure, order of keys and values agree; floats may differ by TOLERANCE."""
    assert type(found) is type(stored), key
    if isinstance(stored, dict):
        # A machine's environment is recorded since a later version.
        assert [name for name in found if name != "environment"] == list(stored), key
        for name in stored.keys() - VOLATILE:
            assert_close(found[name], stored[name], f"{key}.{name}")
    elif isinstance(stored, list):
        assert len(found) == len(stored), key
        for a, b in zip(found, stored, strict=True):
            assert_close(a, b, key)
    elif isinstance(stored, float):
        assert found == pytest.approx(stored, abs=TOLERANCE), key
    else:
        assert found == stored, key


def test_plan_is_the_same_bytes(directory):
    assert (directory / "plan.json").read_bytes() == (SWEEP / "plan.json").read_bytes()


def test_plan_lists_the_stored_cells():
    plan = json.loads((SWEEP / "plan.json").read_text(encoding="utf-8"))
    assert sorted(cell["id"] for cell in plan["cells"]) == CELLS and len(CELLS) == 16 and len(TRAINED) == 2


@pytest.mark.parametrize("cell", CELLS)
def test_hashes_and_wandb_ids_are_the_stored_ones(cell):
    record = read_record(SWEEP / cell)
    assert config_hash(from_dict(record.config)) == record.config_hash
    assert [run_id(record)] == [run["id"] for run in record.wandb]
    assert str(CellId.of(record.arm, record.config_hash, record.seed)) == cell


@pytest.mark.parametrize("cell", TRAINED)
def test_cell_trains_to_the_stored_record(cell, directory):
    assert train_cell(directory, cell) == "done"
    found, stored = (json.loads((folder / cell / RECORD_NAME).read_text()) for folder in (directory, SWEEP))
    assert_close(found, stored)
    rows, before = ((folder / cell / METRICS_NAME).read_text().splitlines() for folder in (directory, SWEEP))
    assert_close([json.loads(row) for row in rows], [json.loads(row) for row in before])
    with np.load(directory / cell / PREDICTIONS_NAME) as new, np.load(SWEEP / cell / PREDICTIONS_NAME) as old:
        assert new.files == old.files
        assert all(new[name].shape == old[name].shape and new[name].dtype == old[name].dtype for name in old.files)
