"""`vitsweep extend DIR epochs=N`: equals the cell trained in one go, leaves the old one, refuses schedules that end."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.make_cells import make_config
from tests.support.make_records import make_sweep
from vitsweep.commands import extend
from vitsweep.config.convert import config_hash, to_dict
from vitsweep.config.schema import Config
from vitsweep.errors import ConfigError, RecordError
from vitsweep.run.worker import train_cell
from vitsweep.study.arms import Arm
from vitsweep.study.continuation.longer import fresh_command, longer_directory, longer_errors
from vitsweep.study.plan import Plan, make_plan, new_record, read_plan, write_plan
from vitsweep.study.record import read_record, read_rows, write_record


def small(epochs: int, **recipe: object) -> Config:
    """A ViT of one layer on a few shapes, with dropout, augmentation and a schedule that can go on."""
    config = make_config(num_hidden_layers=1, hidden_size=16, hidden_dropout_prob=0.1, num_attention_heads=2)
    config.device, config.precision, config.pack, config.tracker.name = "cpu", "fp32", "off", "none"
    config.recipe.batch_size, config.recipe.epochs, config.recipe.schedule = 32, epochs, "plateau"
    for name, value in recipe.items():
        setattr(config.recipe, name, value)
    return config


def study(directory: Path, config: Config, seeds: tuple[int, ...] = (0,)) -> Plan:
    """Freeze a plan of one arm."""
    arm = Arm(name="baseline", role="baseline", levels={}, overrides=[], config=config)
    plan = make_plan("small", "grid", ["data=shapes", f"recipe.epochs={config.recipe.epochs}"], [arm], list(seeds), {})
    plan.sweep_id = "5e"
    directory.mkdir(parents=True, exist_ok=True)
    write_plan(directory, plan)
    return plan


def trained(directory: Path, config: Config) -> Path:
    """Train a plan of one cell; return the cell's directory."""
    plan = study(directory, config)
    assert train_cell(directory, plan.cells[0].id) == "done"
    return directory / plan.cells[0].id


def outcome(cell: Path) -> dict:
    """Return all that a cell leaves apart from times: bytes of the weights, metrics, epochs and predictions."""
    found: dict = {path.name: path.read_bytes() for path in cell.glob("*.safetensors")}
    rows = [{k: v for k, v in row.items() if k not in ("time_seconds", "images_per_second")} for row in read_rows(cell)]
    with np.load(cell / "predictions.npz") as saved:
        found |= {name: saved[name].tobytes() for name in saved.files}
    return found | {"metrics": read_record(cell).metrics, "rows": rows}


def contents(directory: Path) -> dict[Path, bytes]:
    """Return path -> content of all files below a directory."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "recipe",
    [
        {"ema_decay": 0.9, "average_last": 2, "plateau_patience": 0, "lr": 0.03},
        {"schedule": "constant", "optimizer": "sgd", "warmup_epochs": 1.0},
    ],
)
def test_longer_cell_is_bit_for_bit_the_one_trained_in_one_go(tmp_path, recipe):
    old = trained(tmp_path / "old", small(2, **recipe))
    before = contents(tmp_path / "old")
    assert extend.main([str(tmp_path / "old"), "epochs=4", "--plan"]) == 0
    longer = tmp_path / "old-epochs=4"
    cell = longer / read_plan(longer).cells[0].id
    assert (read_record(cell).status, read_record(cell).epoch) == ("interrupted", 2)
    assert train_cell(longer, read_plan(longer).cells[0].id) == "done"
    whole = trained(tmp_path / "whole", small(4, **recipe))
    assert cell.name == whole.name and cell.parent.name == whole.parent.name and outcome(cell) == outcome(whole)
    assert contents(tmp_path / "old") == before
    record = read_record(cell)
    expected = {"study": "small", "cell": f"{old.parent.name}/seed=0", "sweep_id": "5e", "epochs": 2}
    assert record.continued_from == expected | {"config_hash": read_record(old).config_hash}
    assert record.attempts == 1 and record.time_seconds > read_record(old).time_seconds


@pytest.fixture
def finished(tmp_path) -> Path:
    """A finished study of two seeds; its checkpoints are empty files."""
    plan = study(tmp_path / "study", small(2), (0, 1))
    for cell in plan.cells:
        folder = tmp_path / "study" / cell.id
        folder.mkdir(parents=True)
        record = new_record(plan, cell, None)
        record.status, record.epoch, record.metrics = "done", 2, {"ema": {}}
        write_record(folder, record)
        for name in ("final.pt", "last.safetensors", "best.safetensors", "ema.safetensors", "metrics.jsonl"):
            (folder / name).write_bytes(b"")
    return tmp_path / "study"


@pytest.fixture
def without_states(monkeypatch) -> None:
    """Prepare cells without the states, which are empty files here."""
    monkeypatch.setattr("vitsweep.train.checkpoint.save_continued", lambda *arguments: None)


def test_plan_is_that_of_so_many_epochs_and_names_its_origin(finished, without_states):
    extend.main([str(finished), "epochs=3", "--plan"])
    plan = read_plan(finished.with_name("study-epochs=3"))
    assert plan.study == "small-epochs=3" and plan.cells[0].config_hash == config_hash(small(3))
    assert plan.cells[1].overrides == ["data=shapes", "recipe.epochs=3", "seed=1"]
    assert plan.continued_from == {"study": "small", "directory": "../study", "sweep_id": "5e", "epochs": [2]}


def test_same_command_again_changes_nothing(finished, without_states):
    extend.main([str(finished), "epochs=3", "--plan"])
    before = contents(finished.with_name("study-epochs=3"))
    extend.main([str(finished), "epochs=3", "--plan"])
    assert contents(finished.with_name("study-epochs=3")) == before


def test_longer_study_can_be_extended_again(finished, without_states):
    extend.main([str(finished), "epochs=3", "--plan"])
    longer = finished.with_name("study-epochs=3")
    for cell in read_plan(longer).cells:
        record = read_record(longer / cell.id)
        record.status, record.epoch = "done", 3
        write_record(longer / cell.id, record)
        for name in ("final.pt", "last.safetensors", "best.safetensors"):
            (longer / cell.id / name).write_bytes(b"")
    extend.main([str(longer), "epochs=5", "--plan"])
    plan = read_plan(finished.with_name("study-epochs=5"))
    assert (plan.study, plan.continued_from["epochs"]) == ("small-epochs=5", [2, 3])


def test_failed_cells_start_anew(finished, without_states, capsys):
    plan = read_plan(finished)
    record = read_record(finished / plan.cells[1].id)
    record.status = "diverged"
    write_record(finished / plan.cells[1].id, record)
    extend.main([str(finished), "epochs=3", "--plan"])
    longer = finished.with_name("study-epochs=3")
    assert "1 cells continue those of" in (text := capsys.readouterr().out) and "1 that failed there start anew" in text
    assert [(longer / cell.id).exists() for cell in read_plan(longer).cells] == [True, False]


@pytest.mark.parametrize(
    ("recipe", "epochs", "words"),
    [
        ({"schedule": "cosine"}, 4, "recipe.schedule=cosine has brought the learning rate to its end at epoch 2.*"
         "allowed: constant, plateau; train a fresh study: vitsweep run -m data=shapes seed=0,1 recipe.epochs=4"),
        ({"average_last": 2}, 3, "would need weights of epoch 2, which are gone; allowed: at least 4"),
        ({}, 2, "epochs=2  must be more than the 2 that the cells have"),
    ],
)  # fmt: skip
def test_recipe_that_cannot_go_on_is_refused(tmp_path, recipe, epochs, words):
    study(tmp_path, small(2, **recipe), (0, 1))
    with pytest.raises(ConfigError, match=words):
        extend.main([str(tmp_path), f"epochs={epochs}", "--plan"])


def test_one_sentence_names_all_arms_that_one_reason_stops(tmp_path):
    plan = study(tmp_path, small(2, schedule="cosine"), (0, 1))
    plan.cells[1].arm = "b"
    assert [error.partition(": ")[0] for error in longer_errors(plan, 4)] == ["epochs=4  cannot continue baseline, b"]


def test_arms_of_different_lengths_and_looks_are_refused(tmp_path):
    plan = study(tmp_path, small(2), (0, 1))
    plan.cells[1].arm, plan.cells[1].config = "b", to_dict(small(3))
    write_plan(tmp_path, plan)
    with pytest.raises(ConfigError, match="would undo the arms' own recipe.epochs .2, 3."):
        extend.main([str(tmp_path), "epochs=9"])
    plan.looks = [2, 4]
    write_plan(tmp_path, plan)
    with pytest.raises(ConfigError, match="with looks at .2, 4. seeds cannot be changed"):
        extend.main([str(tmp_path), "epochs=9"])


@pytest.mark.parametrize("name", ["final.pt", "last.safetensors", "best.safetensors", "ema.safetensors"])
def test_pruned_cell_is_refused_and_nothing_written(finished, name):
    plan = read_plan(finished)
    (finished / plan.cells[1].id / name).unlink()
    with pytest.raises(
        RecordError, match="lacks the final state of 1 of 2 finished cells, such as baseline-.*fresh study"
    ):
        extend.main([str(finished), "epochs=3"])
    assert not finished.with_name("study-epochs=3").exists()


def test_damaged_state_is_refused(finished):
    with pytest.raises(RecordError, match="cannot be continued"):
        extend.main([str(finished), "epochs=3", "--plan"])


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_study_that_has_not_finished_is_refused(finished, status):
    plan = read_plan(finished)
    record = read_record(finished / plan.cells[0].id)
    record.status = status
    write_record(finished / plan.cells[0].id, record)
    with pytest.raises(RecordError, match=f"is {status}; finish the study first"):
        extend.main([str(finished), "epochs=3"])
    shutil.rmtree(finished / plan.cells[0].id)
    with pytest.raises(RecordError, match="has not been trained; finish the study first"):
        extend.main([str(finished), "epochs=3"])


def test_other_study_in_the_directory_is_refused(finished, without_states):
    study(finished.with_name("study-epochs=3"), small(3), (0, 1))
    with pytest.raises(RecordError, match="holds another study; move that folder away"):
        extend.main([str(finished), "epochs=3", "--plan"])


@pytest.mark.parametrize("word", ["epochs=", "epochs=0", "epochs=1.5", "epochs=two"])
def test_what_is_no_number_of_epochs_is_refused(finished, word):
    with pytest.raises(ConfigError, match="must be a number of epochs, such as 200"):
        extend.main([str(finished), word])


def test_directory_of_the_arms_own_settings_goes_beside_the_study(tmp_path):
    study(tmp_path / "study", small(2))
    assert longer_directory(tmp_path / "study" / "tuned", 9) == tmp_path / "study-tuned-epochs=9"


def test_fresh_study_of_a_file_is_named_by_it(tmp_path):
    plan = study(tmp_path, small(2))
    plan.study = "readme_small"
    assert fresh_command(plan, 9) == "train a fresh study: vitsweep run study=readme_small recipe.epochs=9"


def test_report_says_that_results_were_seen_before(tmp_path):
    from vitsweep.analysis.records.load import load
    from vitsweep.analysis.records.selection import select
    from vitsweep.analysis.statistics.validity.changed_later import extension_sentence

    make_sweep(tmp_path, {"baseline": [0.5, 0.6], "patch_size=8": [0.6, 0.7]}, epochs=1)
    values = json.loads((tmp_path / "plan.json").read_text()) | {"continued_from": {"epochs": [100]}}
    (tmp_path / "plan.json").write_text(json.dumps(values))
    sentence = extension_sentence(select(load(tmp_path)))
    assert sentence.startswith("The runs continue those of 100 epochs") and sentence.endswith("become at most 10 %.")


def test_mean_of_the_last_epochs_starts_anew(tmp_path):
    from vitsweep.train.checkpoint import load_final

    cell = trained(tmp_path, small(2, average_last=2))
    assert load_final(cell)["averages"]["average"]["n_averaged"] == torch.tensor(0)
