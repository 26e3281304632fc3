"""Reports of a small sweep, with and without drawn figures."""

from pathlib import Path

import pytest
from vitsweep.analysis.report import report
from vitsweep.analysis.report.report import make_report

from tests.support.make_records import make_sweep
from tests.support.report_pages import ARMS


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """A finished two-arm sweep with its report, figures drawn."""
    directory = make_sweep(tmp_path_factory.mktemp("sweep"), ARMS, images=200)
    make_report(directory, gallery="none")
    return directory


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are not drawn: tests of words and tables need none, and drawing takes most of the time."""
    monkeypatch.setattr(report, "save_figure", lambda figure, folder: "<svg></svg>")
