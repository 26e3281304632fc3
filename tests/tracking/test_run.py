"""A record as a W&B run: deterministic ids, bounded names, numbers as the record's, no paths."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.wandb_cells import CLASSES, make_record
from vitsweep.tracking.run import prediction_tables, run_arguments, run_config, run_id, run_summary, with_varied_keys


def test_id_is_the_same_for_the_same_cell():
    assert run_id(make_record(status="running")) == run_id(make_record(status="done", epoch=7, attempts=3))


@pytest.mark.parametrize(
    "change",
    [{"study": "other"}, {"seed": 1}, {"config_hash": "cd" * 32}, {"arm": "placebo", "role": "placebo"}],
    ids=str,
)
def test_id_distinguishes_cells(change):
    assert run_id(make_record(**change)) != run_id(make_record())


def test_id_has_no_character_that_wandb_rejects():
    assert re.fullmatch("[0-9a-f]{16}", run_id(make_record(study="a/b:c;d", arm="x=1,y=2#z?")))


def test_tags_are_the_levels_and_no_longer_than_wandb_takes():
    tags = run_arguments(make_record(levels={"patch_size": "8", "recipe": "r" * 80, "empty": ""}), False)["tags"]
    assert tags == ["patch_size=8", "recipe=" + "r" * 57, "empty="]


def test_group_and_job_type_are_study_and_arm():
    arguments = run_arguments(make_record(study="readme", arm="a" * 200), False)
    assert (arguments["group"], arguments["job_type"]) == ("readme", "a" * 128)


def test_config_is_plain_json():
    config = run_config(make_record(), share_host=False)
    assert json.loads(json.dumps(config)) == config


def test_axis_that_a_plan_varies_has_its_key_in_every_run():
    plan = SimpleNamespace(arms=[{"changes": {}}, {"changes": {"model.pos_embed": "none", "recipe.lr": 0.1}}])
    config = {"model": {"patch_size": 4}, "recipe": {"lr": 0.2}}
    assert with_varied_keys(config, plan) == {"model": {"pos_embed": "learned", "patch_size": 4}}


def test_config_keeps_what_a_record_needs_to_be_read_back():
    record = make_record(plan_hash="p", data_fingerprint="f", versions={"torch": "2.11"})
    used = run_config(record, share_host=False)["record"]
    found = (used["plan_hash"], used["data_fingerprint"], used["versions"], used["classes"], used["levels"])
    assert found == ("p", "f", {"torch": "2.11"}, CLASSES, {"patch_size": "8"})


def test_summary_has_every_metric_and_nothing_unknown():
    metrics = {"final": {"test/accuracy": 0.5, "val/loss": float("inf")}, "best": {"epoch": 2, "test/accuracy": 0.6}}
    summary = run_summary(make_record(status="done", metrics=metrics, peak_gib=None), share_host=False)
    assert (summary["final/test/accuracy"], summary["best/test/accuracy"], summary["best/epoch"]) == (0.5, 0.6, 2)
    assert not {"final/val/loss", "peak_gib", "error"} & set(summary)


def test_summary_names_the_error_without_its_traceback():
    error = {"type": "OSError", "message": "cannot read '/home/ada/x y.png'", "traceback": "File '/home/ada/a.py'"}
    assert run_summary(make_record(error=error), share_host=False)["error"] == "OSError: cannot read <path>"


def test_names_and_tags_have_no_paths():
    record = make_record(arm="root=/home/ada/a b", levels={"root": "/home/ada/a b"})
    arguments = run_arguments(record, share_host=False)
    assert "ada" not in json.dumps(arguments) and "ada" in json.dumps(run_arguments(record, share_host=True))


def test_confusion_counts_images_by_true_and_predicted_class(tmp_path):
    arrays = {"id": [5, 6, 7], "label": [0, 0, 2], "best_class": [0, 1, 2], "best_probability": [0.9, 0.4, 0.7]}
    np.savez(tmp_path / "predictions.npz", **{name: np.array(values) for name, values in arrays.items()})
    columns, rows = prediction_tables(tmp_path, CLASSES)["test/confusion"]
    assert columns == ["true", "predicted", "images"]
    assert [row for row in rows if row[2]] == [["cat", "cat", 1], ["cat", "dog", 1], ["owl", "owl", 1]]
    assert len(rows) == 9


def test_prediction_table_has_a_row_of_scalars_for_each_image(tmp_path):
    arrays = {"id": [5, 6], "label": [0, 0], "best_class": [0, 1], "best_probability": np.float32([0.9, 0.4])}
    np.savez(tmp_path / "predictions.npz", **{name: np.array(values) for name, values in arrays.items()})
    _, rows = prediction_tables(tmp_path, CLASSES)["test/predictions"]
    assert rows == [[5, "cat", "cat", 0.9, True], [6, "cat", "dog", 0.4, False]]


def test_a_cell_without_predictions_has_no_tables(tmp_path):
    assert prediction_tables(tmp_path, CLASSES) == {}
