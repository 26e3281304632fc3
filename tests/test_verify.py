"""verify and publish: every way in which report and records can disagree is found, and nothing else.

Kinds: properties (an untouched report verifies, a published one too), refusals (each kind of drift by its sentence).
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from vitsweep.analysis import verify as verify_module
from vitsweep.analysis.__main__ import main
from vitsweep.analysis.publish import publish
from vitsweep.analysis.report import report
from vitsweep.analysis.report.report import make_report
from vitsweep.analysis.verify import verify

from tests.support.make_records import make_cell, make_record, make_sweep
from vitsweep.config.convert import config_hash, to_dict
from vitsweep.config.schema import Config
from vitsweep.errors import RecordError
from vitsweep.study.record import read_record, write_record

ARMS = {"baseline": [0.80, 0.81, 0.80], "patch_size=8": [0.75, 0.755, 0.75]}


def write_empty(figure, folder: Path) -> str:
    """Write an empty picture in place of a drawn one."""
    (folder / f"{figure.name}.svg").write_text("<svg></svg>")
    return "<svg></svg>"


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    """Pictures are not what is verified, and drawing them takes most of the time."""
    for name in ("save_figure", "save_svg"):
        monkeypatch.setattr(report, name, write_empty)
    monkeypatch.setattr(verify_module, "save_svg", write_empty)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Path:
    """A sweep with its report, made once."""
    directory = make_sweep(tmp_path_factory.mktemp("untouched"), ARMS, epochs=10, images=2000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "save_figure", write_empty)
        make_report(directory, gallery="none")
    return directory


@pytest.fixture
def sweep(untouched: Path, tmp_path: Path) -> Path:
    """A copy of it, to be tampered with."""
    return Path(shutil.copytree(untouched, tmp_path / "sweep"))


def cell_of(sweep: Path, arm: str = "patch_size=8", seed: int = 0) -> Path:
    return next(sweep.glob(f"{arm}-*/seed={seed}"))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_untouched_report_verifies(sweep, capsys):
    assert main(["verify", str(sweep)]) == 0
    assert re.fullmatch(r"verified: \d+ numbers from 6 runs agree with the records\n", capsys.readouterr().out)


def test_report_with_other_options_verifies(sweep):
    make_report(sweep, gallery="none", metric="test/loss", sort="effect")
    assert verify(sweep) == []


def test_verify_leaves_the_report_as_it_was(sweep):
    before = {p: p.read_bytes() for p in sweep.rglob("*") if p.is_file()}
    verify(sweep)
    assert before == {p: p.read_bytes() for p in sweep.rglob("*") if p.is_file()}


def test_changed_number_in_a_csv_is_found(sweep, capsys):
    replace(sweep / "report/tables/arms.csv", "75.1666666667", "75.2")
    assert main(["verify", str(sweep)]) == 1
    assert (
        "tables/arms.csv: row 2, mean_percent: 75.2 in the report, 75.1666666667 recomputed" in capsys.readouterr().out
    )


@pytest.mark.parametrize("name", ["report.md", "index.html"])
def test_changed_number_in_a_text_is_found(sweep, name):
    replace(sweep / "report" / name, "75.17 \u00b1", "76.17 \u00b1")
    differences = verify(sweep)
    assert len(differences) == 1 and differences[0].startswith(f"{name}: ")
    assert "76.17 \u00b1" in differences[0] and "75.17 \u00b1" in differences[0]


def test_changed_number_in_the_results_is_found(sweep):
    replace(sweep / "report/results.json", '"verdict": "hurts"', '"verdict": "helps"')
    assert verify(sweep) == ["results.json: /arms/1/verdict: helps in the report, hurts recomputed"]


def test_differences_of_rounding_are_not_drift(sweep):
    replace(sweep / "report/tables/arms.csv", "75.1666666667", "75.16666666671")
    assert verify(sweep) == []


def test_numbers_that_a_page_sorts_by_may_differ_by_rounding_only(sweep):
    page = sweep / "report/index.html"
    (key,) = set(re.findall(r'data-sort="(75.1666666667)"', page.read_text()))
    replace(page, f'data-sort="{key}"', 'data-sort="75.16666666671"')
    assert verify(sweep) == []
    replace(page, 'data-sort="75.16666666671"', 'data-sort="75.167"')
    assert len(verify(sweep)) == 1


def test_changed_record_is_found(sweep):
    cell = cell_of(sweep)
    record = read_record(cell)
    record.metrics["final"]["test/accuracy"] = 0.76
    write_record(cell, record)
    differences = verify(sweep)
    name = cell.relative_to(sweep).as_posix()
    assert f"The record of {name} is not the one that the report was made from." in differences
    assert any("tables/arms.csv: row 2, mean" in difference for difference in differences)


def test_record_that_disagrees_with_its_predictions_is_found(sweep):
    path = cell_of(sweep) / "predictions.npz"
    arrays = dict(np.load(path))
    arrays["best_class"] = arrays["label"]
    np.savez(path, **arrays)
    assert verify(sweep) == [
        f"{cell_of(sweep).relative_to(sweep)} states 75.1500 % (best epoch), its predictions have 100.0000 %."
    ]


def test_missing_seed_is_found(sweep):
    (cell_of(sweep) / "record.json").unlink()
    make_report(sweep, gallery="none")
    assert verify(sweep) == [f"{cell_of(sweep).relative_to(sweep)} is planned: its seed is missing."]


def test_missing_seed_without_a_plan_is_found(tmp_path):
    make_sweep(tmp_path, {"baseline": [0.8, 0.81], "patch_size=8": [0.75]}, plan=None)
    make_report(tmp_path, gallery="none")
    assert verify(tmp_path) == ["patch_size=8 has no cell of seed 1, which other arms have."]


def test_interrupted_cell_is_a_missing_seed_and_a_failed_one_is_accounted_for(tmp_path):
    make_sweep(tmp_path, ARMS, plan=None)
    make_cell(tmp_path, make_record("baseline", 1, None, status="interrupted", metrics={}), epochs=2)
    make_cell(tmp_path, make_record("baseline", 2, None, status="failed", metrics={}), epochs=2)
    make_report(tmp_path, gallery="none")
    assert [difference.split(" ", 1)[1] for difference in verify(tmp_path)] == ["is interrupted: its seed is missing."]


def test_arm_that_was_started_and_left_out_is_found(sweep):
    path = sweep / "report/tables/arms.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("patch_size")))
    assert "Arm patch_size=8 was started and is not in the report." in verify(sweep)


def test_planned_arm_whose_cells_are_gone_from_plan_and_disk_is_found(sweep):
    plan = json.loads((sweep / "plan.json").read_text())
    plan["arms"].append({"arm": "lr=0.1", "role": "arm"})
    (sweep / "plan.json").write_text(json.dumps(plan))
    assert "Arm lr=0.1 is planned and has no cell." in verify(sweep)


def test_cells_that_the_report_leaves_out_are_found(sweep):
    make_cell(sweep, make_record("dropout=none", 0, 0.9, data_fingerprint="e" * 64))
    make_report(sweep, gallery="none")
    assert any("saw other images than the baseline" in difference for difference in verify(sweep))


def test_epochs_that_are_gone_are_found(sweep):
    path = cell_of(sweep) / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(True)[:7]))
    assert f"{cell_of(sweep).relative_to(sweep)} states 10 epochs, its metrics.jsonl has 7." in verify(sweep)


def test_missing_and_foreign_files_are_found(sweep):
    (sweep / "report/tables/runs.csv").rename(sweep / "report/tables/more.csv")
    differences = verify(sweep)
    assert {"tables/more.csv does not belong to the report.", "tables/runs.csv is missing from the report."} == set(
        differences
    )


def test_predictions_that_one_run_lacks_are_named(sweep):
    (cell_of(sweep) / "predictions.npz").unlink()
    make_report(sweep, gallery="none")
    assert verify(sweep) == [
        f"There are no predictions of {cell_of(sweep).relative_to(sweep)}; other runs have theirs."
    ]


@pytest.mark.parametrize("keep", [0, 1000])
def test_truncated_predictions_cost_their_part_only(sweep, tmp_path, capsys, keep):
    path = cell_of(sweep) / "predictions.npz"
    path.write_bytes(path.read_bytes()[:keep])
    make_report(sweep, gallery="none")
    (difference,) = verify(sweep)
    assert difference.startswith(f"The predictions of {cell_of(sweep).relative_to(sweep)} are not readable (")
    assert main(["publish", str(sweep), str(tmp_path / "out")]) == 0
    assert "has predictions that cannot be read" in capsys.readouterr().err
    with np.load(tmp_path / "out" / "examples.npz") as arrays:
        assert len(arrays["0/cells"]) == 5


def change_json(path: Path, *keys: str | int, to: object) -> None:
    values = part = json.loads(path.read_text())
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = to
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("metrics", "final", "val/accuracy"), 0.99, "final val/accuracy 0.99, the last row of metrics.jsonl has 0.7"),
        (("metrics", "final", "val/loss"), 0.1, "final val/loss 0.1, the last row of metrics.jsonl has"),
        (("metrics", "best", "epoch"), 1, "best epoch 1, the lowest validation loss is at epoch"),
        (("metrics", "final", "train/accuracy"), 1.5, "final/train/accuracy 1.5 is no accuracy"),
        (("seed",), 7, "its record is of patch_size=8, seed 7, whose directory is"),
        (("arm",), "other", "its record is of other, seed 0, whose directory is"),
    ],
)
def test_record_that_contradicts_itself_its_epochs_or_its_path_is_found(sweep, keys, value, words):
    change_json(cell_of(sweep) / "record.json", *keys, to=value)
    make_report(sweep, gallery="none")
    assert any(words in difference for difference in verify(sweep))
    assert words in (sweep / "report/index.html").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"claims": [{"claim": "all helps", "arm": "patch_size=8"}]}, "claims_hash"), ({"rope": 5.0}, "claims_hash")],
)
def test_claims_and_rope_that_were_rewritten_in_the_plan_are_found(sweep, change, words):
    plan = json.loads((sweep / "plan.json").read_text())
    (sweep / "plan.json").write_text(json.dumps(plan | change))
    text = make_report(sweep, gallery="none").read_text()
    assert "The claims or the ROPE were changed after the first run started" in text or "No claim stands" in text
    changed = f"{words} is not that of its claims, ROPE, error and looks"
    assert any(changed in difference for difference in verify(sweep))


def test_plan_that_was_rewritten_is_found(sweep):
    change_json(sweep / "plan.json", "arms", 1, "role", to="placebo")
    make_report(sweep, gallery="none")
    assert "plan.json: plan_hash is not that of its content; it was changed by hand." in verify(sweep)


def test_plan_whose_hashes_cannot_be_recomputed_is_named(sweep):
    plan = json.loads((sweep / "plan.json").read_text())
    del plan["design"]
    (sweep / "plan.json").write_text(json.dumps(plan))
    make_report(sweep, gallery="none")
    assert verify(sweep) == ["plan.json: its hashes cannot be recomputed, since fields are missing or of another kind."]


def test_configuration_that_is_not_that_of_its_hash_is_found(tmp_path):
    config = Config()
    record = make_record("baseline", 0, 0.8, config=to_dict(config), config_hash=config_hash(config))
    path = make_cell(tmp_path, record) / "record.json"
    make_report(tmp_path, gallery="none")
    assert verify(tmp_path) == []
    change_json(path, "config", "recipe", "lr", to=0.5)
    make_report(tmp_path, gallery="none")
    assert verify(tmp_path) == [f"{path.parent.relative_to(tmp_path)}: config_hash is not that of its configuration."]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("index.html", "</svg>", "<h1>All arms help</h1></svg>"),
        ("index.html", "</svg>", "<text>99 %</text></svg>"),
        ("figures/effects.svg", "</svg>", "<title>99 %</title></svg>"),
    ],
)
def test_text_inside_a_picture_is_verified(sweep, name, old, new):
    replace(sweep / "report" / name, old, new)
    differences = verify(sweep)
    assert differences and all(difference.startswith(f"{name}: ") for difference in differences)


def test_verify_without_a_report_is_refused(tmp_path, capsys):
    make_sweep(tmp_path, ARMS)
    assert main(["verify", str(tmp_path)]) == 2
    assert "holds no report; make it with `python -m vitsweep.analysis report" in capsys.readouterr().err


def test_published_directory_verifies(sweep, tmp_path):
    publish(sweep, tmp_path / "out")
    assert verify(tmp_path / "out") == []


def test_published_report_states_the_same_numbers(sweep, tmp_path):
    publish(sweep, tmp_path / "out")
    for name in ("tables/arms.csv", "report.md", "tables/images.csv"):
        assert (tmp_path / "out/report" / name).read_bytes() == (sweep / "report" / name).read_bytes()


def test_published_directory_keeps_the_reports_options_and_gallery(sweep, tmp_path):
    make_report(sweep, gallery="none", sort="effect")
    gallery = {"panels": [{"name": "rollout", "caption": "C", "alt": "A"}], "notes": ["N"]}
    (sweep / "report/gallery.json").write_text(json.dumps(gallery))
    Image.new("RGBA", (40, 20), "red").save(sweep / "report/figures/rollout.png")
    (sweep / "report/figures/rollout.csv").write_text("arm,x\nbaseline,1\n")
    make_report(sweep, gallery="keep", sort="effect")
    publish(sweep, tmp_path / "out")
    with Image.open(tmp_path / "out/report/figures/rollout.png") as picture:
        assert (picture.mode, set(picture.get_flattened_data())) == ("RGB", {(255, 0, 0)})
    assert '<img src="figures/rollout.png"' in (tmp_path / "out/report/index.html").read_text()
    assert json.loads((tmp_path / "out/report/results.json").read_text())["options"]["sort"] == "effect"


def test_published_directory_has_no_checkpoint_no_path_and_no_address(sweep, tmp_path):
    cell = cell_of(sweep)
    (cell / "best.safetensors").write_bytes(b"weights")
    record = read_record(cell)
    record.wandb = [{"id": "x", "url": "https://example.org/someone/x", "mode": "online"}]
    record.error = {"type": "E", "message": "m", "traceback": 'File "/home/someone/vitsweep/train.py", line 3'}
    write_record(cell, record)
    make_report(sweep, gallery="none")
    publish(sweep, tmp_path / "out")
    files = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert not [p for p in files if p.suffix in (".safetensors", ".pt")]
    texts = "".join(p.read_text() for p in files if p.suffix in (".json", ".jsonl", ".md", ".html", ".csv"))
    for private in ("/home/someone", "/somewhere/data", str(sweep), "example.org"):
        assert private not in texts


def test_published_directory_names_no_user(sweep, tmp_path):
    cell = cell_of(sweep)
    record = read_record(cell)
    record.config["data"] = {"root": "/home/alice smith/data", "mirror": "https://alice:smith@example.org/x"}
    record.error = {"type": "E", "message": "no //nas/alice and ~alice", "traceback": "at /a:/home/o'alice/x.py"}
    write_record(cell, record)
    make_report(sweep, gallery="none")
    gallery = {"panels": [], "notes": ["No picture (OSError: /home/alice, smith/x.png)."]}
    (sweep / "report/gallery.json").write_text(json.dumps(gallery))
    publish(sweep, tmp_path / "out")
    files = [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".json", ".jsonl", ".md", ".html", ".csv")]
    assert [p for p in files if "alice" in p.read_text() or "smith" in p.read_text()] == []


def test_publish_refuses_a_folder_that_holds_something(sweep, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").touch()
    with pytest.raises(RecordError, match="is not empty; give a new folder"):
        publish(sweep, tmp_path / "out")


def test_publish_refuses_a_sweep_without_report(tmp_path):
    make_sweep(tmp_path / "sweep", ARMS)
    with pytest.raises(RecordError, match="holds no report"):
        publish(tmp_path / "sweep", tmp_path / "out")
