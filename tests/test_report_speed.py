"""The promise about large sweeps (tests/benchmarks/report_speed.py), guarded at a tenth of its size.

Kind: property. CPU seconds are counted, so that a busy machine does not fail the test; figures are not drawn, since
their cost does not grow with the sweep.
"""

import importlib.util
import time
from pathlib import Path

import pytest

from analysis import report
from analysis.load import load

BENCHMARK = Path(__file__).resolve().parent / "benchmarks" / "report_speed.py"
TENTH = 0.1


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("report_speed", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sweep(benchmark, tmp_path_factory) -> Path:
    """A hundred cells of 200 epochs and 1,000 test images."""
    directory = tmp_path_factory.mktemp("sweep")
    benchmark.make(directory, arms=20, seeds=5, epochs=200, images=1000)
    return directory


def test_loading_a_hundred_cells_takes_a_tenth_of_the_promise(benchmark, sweep):
    load(sweep)
    start = time.process_time()
    load(sweep)
    assert time.process_time() - start < benchmark.LIMITS["load_seconds"] * TENTH


def test_report_of_a_hundred_cells_is_quick_and_small(benchmark, sweep, monkeypatch):
    monkeypatch.setattr(report, "save", lambda figure, folder: "<svg></svg>")
    report.make_report(sweep, gallery="none")
    start = time.process_time()
    page = report.make_report(sweep, gallery="none")
    assert time.process_time() - start < benchmark.LIMITS["report_seconds"] * TENTH
    assert page.stat().st_size < benchmark.LIMITS["page_mb"] * 1e6 * TENTH
