"""The promise about the page of a large sweep (tests/benchmarks/report_speed.py), guarded at a tenth of its size.

Kind: property. Figures are not drawn, since their size does not grow with the sweep. Times are the benchmark's.
"""

import importlib.util
from pathlib import Path

import pytest
from vitsweep.analysis.report import report

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "report_speed.py"
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


def test_report_of_a_hundred_cells_is_small(benchmark, sweep, monkeypatch):
    monkeypatch.setattr(report, "save_figure", lambda figure, folder: "<svg></svg>")
    page = report.make_report(sweep, gallery="none")
    assert page.stat().st_size < benchmark.LIMITS["page_mb"] * 1e6 * TENTH
