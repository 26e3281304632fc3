"""`vitsweep reproduce --check`: the same cell again agrees exactly; else the spread of the arm's seeds decides."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from tests.support.make_cells import make_config
from tests.support.make_records import make_record, make_sweep
from vitsweep.commands import reproduce
from vitsweep.commands.rerun import EXACT, OUTSIDE, UNKNOWN, WITHIN, arm_records, check_metrics, verdict
from vitsweep.config.convert import config_hash, to_dict
from vitsweep.errors import RecordError, UserError
from vitsweep.study.record import Record, read_record, write_record
from vitsweep.train.fit import run_cell

ACCURACIES = [0.70, 0.72, 0.71, 0.69]


@pytest.fixture(scope="module")
def cell(tmp_path_factory) -> Path:
    """A single run that was trained."""
    folder = tmp_path_factory.mktemp("outputs") / "cell"
    folder.mkdir()
    config = make_config(num_hidden_layers=1, hidden_size=16, num_attention_heads=2)
    config.device, config.precision, config.tracker.name, config.recipe.epochs = "cpu", "fp32", "none", 1
    record = Record(config=to_dict(config), config_hash=config_hash(config))
    assert run_cell(config, record, folder).status == "done"
    return folder


def test_cell_trained_again_agrees_exactly_and_stays_as_it_is(cell, capsys):
    before = {path: path.read_bytes() for path in cell.rglob("*") if path.is_file()}
    threads = torch.get_num_threads()
    assert reproduce.main([str(cell), "--check"]) == 0
    assert "agrees exactly: all 13 metrics are equal" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in cell.rglob("*") if path.is_file()} == before
    assert torch.get_num_threads() == threads


def test_changed_record_of_a_single_run_does_not_agree(cell, capsys, tmp_path):
    record = read_record(cell)
    record.metrics["final"]["test/accuracy"] += 0.1
    record.versions["numpy"] = "1.0"
    write_record(tmp_path, record)
    assert reproduce.main([str(tmp_path), "--check"]) == 1
    text = capsys.readouterr().out
    assert "does not agree exactly, and with one finished seed the arm's spread is not known" in text
    assert "libraries: numpy  1.0 then" in text and "final/test/accuracy" in text and "val/loss" not in text


def again(record: Record, shift: float) -> Record:
    """Return a record whose final test accuracy is shifted."""
    final = record.metrics["final"] | {"test/accuracy": record.metrics["final"]["test/accuracy"] + shift}
    return dataclasses.replace(record, metrics=record.metrics | {"final": final})


def test_bound_is_the_t_quantile_of_the_difference_of_two_seeds():
    seeds = [make_record("baseline", seed, accuracy) for seed, accuracy in enumerate(ACCURACIES)]
    check = next(c for c in check_metrics(seeds[0], seeds[0], seeds) if c.name == "final/test/accuracy")
    expected = stats.t.ppf(1 - 0.05 / 2 / 13, 3) * math.sqrt(2) * np.std(ACCURACIES, ddof=1)
    assert check.bound == pytest.approx(expected)


@pytest.mark.parametrize(
    ("shift", "num_seeds", "expected"), [(0.0, 4, EXACT), (0.01, 4, WITHIN), (0.2, 4, OUTSIDE), (0.01, 1, UNKNOWN)]
)
def test_spread_of_the_seeds_decides(shift, num_seeds, expected):
    seeds = [make_record("baseline", seed, accuracy) for seed, accuracy in enumerate(ACCURACIES)]
    assert verdict(check_metrics(seeds[0], again(seeds[0], shift), seeds[:num_seeds])) == expected


def test_metric_that_is_gone_does_not_agree():
    seeds = [make_record("baseline", seed, accuracy) for seed, accuracy in enumerate(ACCURACIES)]
    lost = dataclasses.replace(seeds[0], metrics={"final": {}, "best": {}})
    assert verdict(check_metrics(seeds[0], lost, seeds)) == OUTSIDE


def test_seeds_are_those_of_the_cells_arm(tmp_path):
    make_sweep(tmp_path, {"baseline": ACCURACIES, "patch_size=8": [0.1, 0.2]}, epochs=1)
    cell = next(tmp_path.glob("baseline-*")) / "seed=2"
    assert [record.seed for record in arm_records(cell, read_record(cell))] == [0, 1, 2, 3]


def test_cell_is_found_by_the_name_of_its_arm(tmp_path):
    make_sweep(tmp_path, {"baseline": ACCURACIES}, epochs=1)
    found, record = reproduce.find_cell(tmp_path / "baseline" / "seed=3")
    assert (found.name, record.seed) == ("seed=3", 3)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["baseline/seed=9"], RecordError, "seed=9 is no seed of baseline; allowed: seed=0"),
        (["baseline"], RecordError, "has no record.json; name a cell's directory"),
        (["baseline/seed=0", "--data-root", "x"], UserError, "--data-root  is read by --check alone"),
        (["baseline/seed=0", "--check"], RecordError, "is failed; only finished cells can be checked"),
    ],
)
def test_wrong_input_is_refused(tmp_path, words, error, message):
    make_sweep(tmp_path, {"baseline": ACCURACIES}, epochs=1)
    failed = next(tmp_path.glob("baseline-*")) / "seed=0"
    write_record(failed, dataclasses.replace(read_record(failed), status="failed"))
    with pytest.raises(error, match=message):
        reproduce.main([str(tmp_path / words[0]), *words[1:]])
