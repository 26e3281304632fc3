"""The notebooks run from top to bottom, and their kept outputs are small, whole and free of this machine's paths."""

import shutil

import pytest

from tests.support.imports import ROOT

nbformat = pytest.importorskip("nbformat", reason="the extra `notebook`")

FOLDER = ROOT / "docs/notebooks"
NOTEBOOKS = ["first_study", "reading_a_study"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_kept_outputs_are_small_and_without_errors(name):
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    cells = nbformat.reads(text, as_version=4).cells
    nbformat.validate(nbformat.reads(text, as_version=4))
    assert len(text) < 700_000
    assert [cell.execution_count for cell in cells if cell.cell_type == "code"] == list(
        range(1, 1 + sum(cell.cell_type == "code" for cell in cells))
    )
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert outputs and not [output for output in outputs if output.output_type == "error"]
    assert not [path for path in ("/tmp/", "/home/", "/root/", "/work/") if path in text]


@pytest.mark.slow  # trains six cells and starts two kernels; .ci/run executes it
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_from_top_to_bottom(name, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="the extra `notebook`")
    (tmp_path / "results").symlink_to(ROOT / "docs/results")
    (tmp_path / "notebooks").mkdir()
    shutil.copy(FOLDER / f"{name}.ipynb", tmp_path / "notebooks")
    notebook = nbformat.read(tmp_path / "notebooks" / f"{name}.ipynb", as_version=4)
    where = {"metadata": {"path": str(tmp_path / "notebooks")}}
    nbclient.NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=where).execute()
