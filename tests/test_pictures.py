"""Pictures of one cell: what they show and that drawing them leaves no trace.

Kinds: is deterministic, obeys a property.
"""

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from vitsweep.analysis.pictures import best_row, draw_cell, graph_caption

from tests.support.make_cells import make_cell, make_config, write_rows
from vitsweep.data.load import load_data
from vitsweep.train.checkpoint import load_model


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    directory = make_cell(tmp_path_factory.mktemp("sweep") / "baseline", "baseline", 0)
    return directory, load_model(directory), load_data(make_config())


def test_draw_cell_gives_name_file_and_caption_of_both_pictures(cell):
    pictures = draw_cell(*cell)
    assert [name for name, _, _ in pictures] == ["training", "rollout"]
    for _, path, caption in pictures:
        assert path.parent == cell[0] / "pictures"
        assert path.read_bytes()[:4] == b"\x89PNG"
        assert caption.endswith(".")


def test_draw_cell_repeats_itself_byte_by_byte(cell):
    first = [path.read_bytes() for _, path, _ in draw_cell(*cell)]
    assert first == [path.read_bytes() for _, path, _ in draw_cell(*cell)]


def test_draw_cell_leaves_the_model_and_matplotlib_as_they_were(cell):
    directory, model, data = cell
    model.train()
    settings, figures = dict(matplotlib.rcParams), plt.get_fignums()
    draw_cell(directory, model, data)
    assert model.training
    assert dict(matplotlib.rcParams) == settings
    assert plt.get_fignums() == figures


def test_draw_cell_without_rows_shows_the_rollout_alone(tmp_path, cell):
    directory = make_cell(tmp_path / "cell", "baseline", 0, data=cell[2])
    (directory / "metrics.jsonl").unlink()
    assert [name for name, _, _ in draw_cell(directory, *cell[1:])] == ["rollout"]


def test_draw_cell_of_a_model_without_attention_shows_the_training_alone(cell):
    pictures = draw_cell(cell[0], torch.nn.Conv2d(3, 10, 3), cell[2])
    assert [name for name, _, _ in pictures] == ["training"]


def test_draw_cell_after_a_single_epoch(tmp_path, cell):
    directory = make_cell(tmp_path / "cell", "baseline", 0, data=cell[2])
    write_rows(directory, (2.0,))
    _, _, caption = draw_cell(directory, *cell[1:])[0]
    assert caption.startswith("1 epoch.")


def test_best_row_is_the_lowest_validation_loss_and_skips_what_is_unknown():
    rows = [{"epoch": e, "val/loss": loss, "val/accuracy": 0.5} for e, loss in enumerate([None, 1.2, 1.1, 1.3], 1)]
    assert best_row(rows)["epoch"] == 3
    assert "Lowest validation loss 1.100 at epoch 3" in graph_caption(rows)
    assert best_row(rows[:1]) is None
    assert graph_caption(rows[:1]).startswith("1 epoch.")
