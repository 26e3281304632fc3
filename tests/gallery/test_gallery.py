"""The gallery on cells with real checkpoints: its panels, its notes about what is missing, its command."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from vitsweep.analysis.__main__ import main
from vitsweep.analysis.attention.looks import ViewSettings, merge_notes
from vitsweep.analysis.attention.maps import attention_maps
from vitsweep.analysis.gallery.gallery import MAX_ARMS, baseline_first, limit_cells, report_panels
from vitsweep.analysis.gallery.sheets import split_rows
from vitsweep.analysis.records.load import load

from tests.support.make_cells import change_record, make_cell, make_config, make_sweep
from vitsweep.data.load import load_data
from vitsweep.train.checkpoint import load_model

ARMS = {"patch_size=16": {"patch_size": 16}, "baseline": {}}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return make_sweep(tmp_path_factory.mktemp("sweep"), ARMS)


@pytest.fixture(scope="module")
def report(sweep, tmp_path_factory):
    """Folder, panels by name, and notes of the sweep's report."""
    folder = tmp_path_factory.mktemp("report")
    return folder, *panels_of(sweep, folder)


def panels_of(sweep, tmp_path):
    made = report_panels(load(sweep).cells, tmp_path)
    return {panel.name: panel for panel in made.panels}, made.notes


def one_cell(tmp_path):
    return make_cell(tmp_path / "sweep" / "baseline", "baseline", 0)


def note_of(sweep, tmp_path):
    """The only thing that a gallery without pictures says."""
    panels, notes = panels_of(sweep, tmp_path)
    assert not panels
    assert len(notes) == 1
    return notes[0]


def test_report_shows_every_arm_on_the_same_seven_images(report):
    _, panels, notes = report
    table = panels["rollout"].table
    assert not notes
    assert list(dict.fromkeys(table["arm"])) == ["baseline", "patch_size=16"]
    images = [group["image"].tolist() for _, group in table.groupby("arm")]
    assert images[0] == images[1]
    assert len(set(images[0])) == 7


def test_report_panels_lie_in_figures_with_words_and_numbers(report):
    folder, panels, _ = report
    assert list(panels) == ["rollout", "rollout-difference", "rollout-layers-baseline-seed0"]
    for panel in panels.values():
        assert panel.path.parent == folder / "figures"
        assert panel.path.read_bytes()[:4] == b"\x89PNG"
        assert panel.caption.endswith(".") and panel.alt.endswith(".") and len(panel.table)
    assert "class-agnostic" in panels["rollout"].caption
    assert "drawn once for all (seed 0)" in panels["rollout"].caption


def test_report_panels_are_the_same_bytes_every_time(sweep, report, tmp_path):
    second, _ = panels_of(sweep, tmp_path)
    for name, panel in report[1].items():
        assert panel.path.read_bytes() == second[name].path.read_bytes()
        assert panel.table.equals(second[name].table)


def test_numbers_behind_the_sheet_are_those_of_the_model(sweep, report):
    row = report[1]["rollout"].table.iloc[3]
    directory = sweep / "baseline" / "seed=0"
    data, model = load_data(make_config()), load_model(directory)
    found = attention_maps(model, data.test.image_NCHW[row["image"]].unsqueeze(0), {"mean": data.mean, "std": data.std})
    assert row["label"] == data.classes[data.test.label_N[row["image"]]]
    assert row["predicted"] == data.classes[found.logit_NK[0].argmax()]
    assert row["confidence"] == pytest.approx(found.probabilities.max(), abs=1e-5)
    assert row["max_lift"] == pytest.approx(16 * found.patches.max() / found.patches.sum(), rel=1e-4)
    assert row["prefix_mass"] == pytest.approx(found.mass_NT[0, 0], abs=1e-5)


def test_difference_panel_says_distance_noise_and_attainable_p(report):
    panel = report[1]["rollout-difference"]
    assert "with 2 seeds p cannot go below 0.5" in panel.caption
    assert panel.table["seeds"].unique().tolist() == ["0 1"]
    assert (panel.table["patches"] == 4).all()  # the common grid of 4 x 4 and 2 x 2


@pytest.mark.parametrize(
    ("seeds", "blocks"), [([1, 1, 1], [3]), ([3, 3, 3], [6, 3]), ([4, 4], [4, 4]), ([8, 1], [6, 3]), ([1, 6], [1, 6])]
)
def test_rows_of_images_stand_above_whole_arms(seeds, blocks):
    sights = [SimpleNamespace(arm=str(arm)) for arm, count in enumerate(seeds) for _ in range(count)]
    made = split_rows(sights)
    assert [len(block) for block in made] == blocks
    assert [sight for block in made for sight in block] == sights


def test_gallery_of_one_arm_has_no_difference(tmp_path):
    one_cell(tmp_path)
    panels, notes = panels_of(tmp_path / "sweep", tmp_path)
    assert "rollout-difference" not in panels
    assert not notes


def test_gallery_without_a_finished_cell_says_so(tmp_path):
    make_cell(tmp_path / "sweep" / "baseline", "baseline", 0, status="failed")
    assert note_of(tmp_path / "sweep", tmp_path) == (
        "No rollout gallery: No cell has finished, so there is no model to look through."
    )


def test_gallery_without_checkpoints_names_what_is_missing(tmp_path):
    (one_cell(tmp_path) / "best.safetensors").unlink()
    note = note_of(tmp_path / "sweep", tmp_path)
    assert "No rollout of baseline, seed 0" in note and "best.safetensors" in note


def test_gallery_leaves_out_a_cell_without_checkpoint_and_shows_the_others(tmp_path):
    folder = make_sweep(tmp_path / "sweep", ARMS, seeds=1)
    (folder / "patch_size=16" / "seed=0" / "best.safetensors").unlink()
    panels, notes = panels_of(folder, tmp_path)
    assert panels["rollout"].table["arm"].unique().tolist() == ["baseline"]
    assert len(notes) == 1 and notes[0].startswith("No rollout of patch_size=16, seed 0")


def test_gallery_refuses_attention_that_is_not_finite(tmp_path):
    from safetensors.torch import load_file, save_file

    path = one_cell(tmp_path) / "best.safetensors"
    weights = load_file(path)
    weights["blocks.0.attention.qkv.weight"].fill_(torch.nan)
    save_file(weights, path)
    assert "No rollout of baseline, seed 0: attention  holds NaN" in note_of(tmp_path / "sweep", tmp_path)


def test_gallery_refuses_logits_that_are_not_finite(tmp_path):
    from safetensors.torch import load_file, save_file

    path = one_cell(tmp_path) / "best.safetensors"
    weights = load_file(path)
    weights["head.bias"].fill_(torch.nan)
    save_file(weights, path)
    assert note_of(tmp_path / "sweep", tmp_path).endswith("seed 0: the model's logits are not finite.")


def test_gallery_without_the_images_says_so_and_downloads_nothing(tmp_path, monkeypatch):
    directory = one_cell(tmp_path)
    config = json.loads((directory / "record.json").read_text())["config"]
    absent = {"name": "cifar10", "root": str(tmp_path / "nothing here"), "download": True}
    change_record(directory, config=config | {"data": config["data"] | absent})
    note = note_of(tmp_path / "sweep", tmp_path)
    assert note.startswith("No rollout gallery: ")
    assert "nothing here" in note


def test_gallery_refuses_other_images_than_those_trained_on(tmp_path):
    change_record(one_cell(tmp_path), data_fingerprint="0" * 64)
    assert "are not those that the cells were trained on (00000000)" in note_of(tmp_path / "sweep", tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_classes": 7}, "num_classes"),
        ({"image_size": 64}, "image"),
        ({"hidden_size": 48}, "does not fit the record's configuration"),
    ],
)
def test_gallery_refuses_a_checkpoint_of_another_model(tmp_path, changes, words):
    directory = one_cell(tmp_path)
    config = json.loads((directory / "record.json").read_text())["config"]
    change_record(directory, config=config | {"model": config["model"] | changes})
    assert words in note_of(tmp_path / "sweep", tmp_path)


def test_gallery_leaves_out_a_model_without_attention_and_names_it(tmp_path):
    one_cell(tmp_path)
    make_cell(tmp_path / "sweep" / "resnet", "resnet", 0, name="resnet")
    panels, notes = panels_of(tmp_path / "sweep", tmp_path)
    assert panels["rollout"].table["arm"].unique().tolist() == ["baseline"]
    assert notes == [
        "No rollout of resnet, seed 0: model=ResNet  has no attention blocks, so there is no rollout of it."
    ]


def test_gallery_refuses_a_model_of_another_class_count(tmp_path, monkeypatch):
    from vitsweep.config.schema import ModelConfig
    from vitsweep.model.vit import ViT

    one_cell(tmp_path)
    seven = ViT(ModelConfig(num_classes=7, hidden_size=24, num_hidden_layers=1, num_attention_heads=4), seed=0)
    monkeypatch.setattr("vitsweep.train.checkpoint.load_model", lambda *_: seven.eval())
    assert "the model has 7 classes, the data have 10" in note_of(tmp_path / "sweep", tmp_path)


def test_cells_on_other_data_are_named_and_left_out(tmp_path):
    folder = make_sweep(tmp_path / "sweep", ARMS, seeds=1)
    change_record(folder / "patch_size=16" / "seed=0", data_fingerprint="0" * 64)
    panels, notes = panels_of(folder, tmp_path)
    assert notes == ["Trained on other data, so not shown: patch_size=16 seed 0."]
    assert panels["rollout"].table["arm"].unique().tolist() == ["baseline"]


def test_notes_of_several_seeds_become_one():
    notes = [
        "One.",
        *(f"No rollout of a, seed {seed}: gone." for seed in (0, 1, 2, 7)),
        "No rollout of a, seed 1: odd.",
    ]
    assert merge_notes([*notes, "One."]) == [
        "One.",
        "No rollout of a, seeds 0-2, 7: gone.",
        "No rollout of a, seed 1: odd.",
    ]


def test_report_shows_no_more_arms_than_it_can_wait_for(sweep):
    row = load(sweep).cells.iloc[[0]]
    frames = [row.assign(arm=f"arm {n}", role="arm") for n in range(MAX_ARMS + 3)]
    notes = []
    kept = limit_cells(pd.concat(frames, ignore_index=True), notes)
    assert kept["arm"].nunique() == MAX_ARMS
    assert notes == [f"3 of {MAX_ARMS + 3} arms are left out; see python -m vitsweep.analysis gallery."]


def test_command_draws_every_view_with_words_and_numbers(sweep, tmp_path, capsys):
    keep_epochs(sweep / "baseline" / "seed=0")
    views = ["sheet", "pairs", "difference", "layers", "heads", "training", "measures", "faithful"]
    arguments = ["gallery", str(sweep), "--images", "2", "--out", str(tmp_path), "--count", "4", "--view", *views]
    assert main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert len(pictures) == len([line for line in printed if line.endswith(".png")]) == 13
    for name in pictures:
        assert (tmp_path / name).with_suffix(".csv").exists() and (tmp_path / name).with_suffix(".txt").exists()
    assert printed[-1] == (
        "No rollout of patch_size=16, seed 0, over training: its epochs were not kept; see checkpoint_every_epochs."
    )


def keep_epochs(directory):
    folder = directory / "checkpoints"
    folder.mkdir(exist_ok=True)
    for epoch in (1, 2, 10):
        (folder / f"epoch-{epoch:03d}.safetensors").write_bytes((directory / "last.safetensors").read_bytes())


def test_command_shows_training_in_the_order_of_epochs(sweep, tmp_path):
    keep_epochs(sweep / "baseline" / "seed=0")
    arguments = ["gallery", str(sweep), "--arms", "baseline", "--images", "1", "--view", "training"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    lines = (tmp_path / "rollout-training-baseline-seed0.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in lines] == ["epoch", "0", "1", "2", "10"]


def test_training_view_says_whose_weights_it_shows_and_how_contrast_grew(sweep, tmp_path):
    keep_epochs(sweep / "baseline" / "seed=0")
    main(["gallery", str(sweep), "--arms", "baseline", "--images", "1", "--view", "training", "--out", str(tmp_path)])
    caption, _, alt = (tmp_path / "rollout-training-baseline-seed0.txt").read_text().splitlines()
    assert "weights before the first epoch (0) and after those named" in caption
    assert "lowest validation loss" not in caption
    assert (
        alt.startswith("Overlays of attention maps over training. Strongest patch on average: x")
        and "(epoch 10)" in alt
    )


def test_training_view_begins_with_the_weights_that_training_began_with(sweep, tmp_path):
    from vitsweep.model.build import make_model

    keep_epochs(sweep / "baseline" / "seed=0")
    main(["gallery", str(sweep), "--arms", "baseline", "--images", "1", "--view", "training", "--out", str(tmp_path)])
    row = pd.read_csv(tmp_path / "rollout-training-baseline-seed0.csv").iloc[0]
    data = load_data(make_config())
    image_NCHW = data.test.image_NCHW[row["image"]].unsqueeze(0)
    found = attention_maps(make_model(make_config()), image_NCHW, {"mean": data.mean, "std": data.std})
    assert row["max_lift"] == pytest.approx(16 * found.patches.max() / found.patches.sum(), rel=1e-4)


@pytest.mark.parametrize("variant", ["rollout", "max", "min", "topk", "calibrated", "last", "relevance"])
def test_command_knows_every_variant(sweep, tmp_path, variant):
    arguments = ["gallery", str(sweep), "--arms", "baseline", "--seeds", "0", "--images", "1", "--view", "sheet"]
    assert main([*arguments, "--variant", variant, "--out", str(tmp_path)]) == 0
    caption = (tmp_path / "rollout.txt").read_text()
    assert ("class-agnostic" in caption) == (variant != "relevance")


def test_command_keeps_the_asked_for_order_of_arms(sweep, tmp_path):
    arguments = ["gallery", str(sweep), "--images", "1", "--view", "sheet", "--out", str(tmp_path)]
    assert main([*arguments, "--arms", "patch_size=16", "baseline"]) == 0
    assert (tmp_path / "rollout.csv").read_text().splitlines()[1].startswith("patch_size=16,0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arms", "depth=9"], "--arms depth=9  is not there; allowed: baseline, patch_size=16"),
        (["--images", "all"], "--images all  is not understood"),
        (["--images", "class=cat"], "--images class=cat  is unknown; allowed: blue cross"),
        (["--alpha", "2"], "alpha=2.0  must lie in [0, 1]"),
    ],
)
def test_command_refuses(sweep, tmp_path, capsys, arguments, words):
    assert main(["gallery", str(sweep), "--out", str(tmp_path), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_columns_are_means_over_the_same_images(sweep):
    from vitsweep.analysis.attention.columns import cell_measures
    from vitsweep.analysis.statistics.measure_effects import measure_differences

    frame, notes = cell_measures(baseline_first(load(sweep).cells), ViewSettings(), 6)
    assert not notes
    assert len(frame) == 4 and (frame["images"] == 6).all()
    assert frame["rollout/entropy"].between(0, 1).all()
    agreement = frame.set_index(["arm", "seed"])["rollout/seed_agreement"]
    assert agreement["baseline", 0] == pytest.approx(agreement["baseline", 1])
    changes = measure_differences(frame, "baseline").set_index(["measure", "arm"]).loc[:, "patch_size=16", :]
    of_arm, of_base = (
        frame[frame["arm"] == arm]["rollout/max_lift"].to_numpy() for arm in ("patch_size=16", "baseline")
    )
    assert changes.loc["rollout/max_lift", "delta"] == pytest.approx((of_arm - of_base).mean())
    assert (changes["pairs"] == 2).all()
