"""Tracker without a network: agrees with the record; never fatal, quick and complete; sends no private names."""

import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.wandb_cells import make_record, make_row, run_cell
from tests.support.wandb_fixtures import no_account, private_names  # noqa: F401
from vitsweep.config.schema import TrackerConfig
from vitsweep.tracking.run_file import RunFile, read_run_file
from vitsweep.tracking.several import make_tracker
from vitsweep.tracking.tracker import Tracker, WandbTracker


def run_files(directory: Path) -> list[Path]:
    """Run files of a cell, oldest first."""
    return sorted(directory.glob("wandb/*run-2*/run-*.wandb"))


def newest(directory: Path) -> RunFile:
    """The newest run file of a cell; wandb's helper writes its end a moment after the run has finished."""
    path, deadline = run_files(directory)[-1], time.monotonic() + 10
    while (content := read_run_file(path)).exit_code is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return content


def own_rows(content: RunFile) -> list[dict]:
    """Epoch rows without wandb's own keys."""
    return [{k: v for k, v in row.items() if not k.startswith("_")} for row in content.rows if "epoch" in row]


def test_tracker_logs_the_rows_it_receives(tmp_path):
    run_cell(tmp_path, make_record(), last=4)
    assert own_rows(newest(tmp_path)) == [make_row(epoch) for epoch in (1, 2, 3, 4)]


def test_tracker_names_the_run_by_study_arm_and_levels(tmp_path):
    run_cell(tmp_path, make_record(seed=3))
    run = newest(tmp_path).run
    assert (run["name"], run["project"], run["group"]) == ("patch_size=8 seed=3", "shelf", "tiny")
    assert (run["job_type"], run["tags"]) == ("patch_size=8", ["patch_size=8"])


def test_tracker_puts_flat_keys_beside_the_nested_configuration(tmp_path):
    run_cell(tmp_path, make_record(seed=3))
    config = newest(tmp_path).config
    assert config["model"] == {"patch_size": 8}
    flat = {key: config[key] for key in ("arm", "seed", "study", "role", "config_hash")}
    assert flat == {"arm": "patch_size=8", "seed": 3, "study": "tiny", "role": "arm", "config_hash": "ab" * 32}


def test_tracker_summarises_the_outcome(tmp_path):
    run_cell(tmp_path, make_record())
    summary = newest(tmp_path).summary
    assert (summary["status"], summary["params"], summary["epoch"]) == ("done", 1234, 3)
    assert (summary["final/test/accuracy"], summary["best/epoch"]) == (0.5, 1)


@pytest.mark.parametrize(
    ("status", "code"), [("done", 0), ("failed", 1), ("diverged", 1), ("interrupted", 143)], ids=str
)
def test_tracker_ends_the_run_as_the_record_says(tmp_path, status, code):
    run_cell(tmp_path, make_record(), end=status)
    content = newest(tmp_path)
    assert (content.exit_code, content.summary["status"]) == (code, status)


def test_tracker_leaves_out_values_that_are_no_numbers(tmp_path):
    tracker = WandbTracker(TrackerConfig(mode="offline"))
    tracker.start(make_record(), tmp_path)
    tracker.log({"epoch": 1, "train/loss": math.nan, "val/loss": None, "lr": 0.1})
    tracker.finish(make_record(status="diverged"))
    assert own_rows(newest(tmp_path)) == [{"epoch": 1, "lr": 0.1}]


def test_tracker_logs_pictures_and_prediction_tables_as_files_of_the_run(tmp_path):
    run_cell(tmp_path, make_record(), picture=True)
    media = newest(tmp_path).rows[-1]
    assert media["graph"]["captions"] == ["a pixel"]
    assert {media[name]["_type"] for name in ("test/confusion", "test/predictions")} == {"table-file"}
    files = run_files(tmp_path)[-1].parent / "files"
    assert (files / media["test/predictions"]["path"]).exists() and (files / media["graph"]["filenames"][0]).exists()


def test_tracker_writes_below_the_cell_only(tmp_path):
    run_cell(tmp_path / "cell", make_record(), picture=True)
    assert {path.name for path in tmp_path.iterdir()} <= {"cell", ".wandb-home", "netrc"}
    assert not list((tmp_path / ".wandb-home").rglob("*staging*"))


def test_a_resumed_piece_has_all_rows_and_none_twice(tmp_path):
    run_cell(tmp_path, make_record(), last=4, end="interrupted")
    run_cell(tmp_path, make_record(), first=3, last=6)
    second = newest(tmp_path)
    first = read_run_file(run_files(tmp_path)[0])
    assert first.run["id"] == second.run["id"]
    assert [row["epoch"] for row in own_rows(second)] == [1, 2, 3, 4, 5, 6]


def test_thirty_cells_in_one_process_are_thirty_runs_and_none_is_mixed(tmp_path):
    for seed in range(30):
        run_cell(tmp_path / str(seed), make_record(seed), last=2, end="failed" if seed == 7 else "done")
    found = [newest(tmp_path / str(seed)) for seed in range(30)]
    assert [content.config["seed"] for content in found] == list(range(30))
    assert [len(own_rows(content)) for content in found] == [2] * 30
    assert [content.exit_code for content in found] == [0] * 7 + [1] + [0] * 22
    assert len({content.run["id"] for content in found}) == 30


def test_a_cell_that_left_its_run_open_does_not_lend_it_to_the_next(tmp_path):
    lost = WandbTracker(TrackerConfig(mode="offline"))
    lost.start(make_record(0), tmp_path / "0")
    run_cell(tmp_path / "1", make_record(1))
    assert newest(tmp_path / "1").config["seed"] == 1


def test_tracker_draws_no_random_numbers(tmp_path):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    run_cell(tmp_path, make_record(), picture=True)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states


@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_an_error_of_wandb_is_one_warning_and_training_continues(tmp_path, monkeypatch, caplog, broken):
    import wandb

    def fail(*_, **__):
        raise wandb.errors.CommError("the sky is falling\nwith details")

    monkeypatch.setattr(*((wandb, "init") if broken == "init" else (wandb.Run, broken)), fail)
    run_cell(tmp_path, make_record())
    hint = f"send the rest later with: python -m vitsweep wandb sync {tmp_path}"
    hint = "use tracker=none to train without W&B" if broken == "init" else hint
    assert [record.getMessage() for record in caplog.records if record.name == "vitsweep.tracking.tracker"] == [
        f"W&B could not {'start' if broken == 'init' else broken}: CommError: the sky is falling; "
        f"training continues; {hint}"
    ]


def test_a_run_that_broke_in_the_middle_does_not_end_as_a_success(tmp_path, monkeypatch):
    tracker = WandbTracker(TrackerConfig(mode="offline"))
    tracker.start(make_record(), tmp_path)
    tracker.log({"epoch": 1, "train/loss": object()})  # nothing that JSON has
    run_cell(tmp_path / "next", make_record(1))
    assert newest(tmp_path).exit_code == 1


def test_a_tracker_that_was_never_started_does_nothing(tmp_path):
    tracker = WandbTracker(TrackerConfig(mode="offline"))
    tracker.log(make_row(1))
    tracker.finish(make_record(status="failed"))
    assert tracker.runs == []


def test_online_without_a_key_is_offline_and_sends_nothing(tmp_path, caplog):
    tracker = run_cell(tmp_path, make_record(), mode="online")
    assert tracker.runs[0]["mode"] == "offline"
    assert "W&B has no API key here (set WANDB_API_KEY or run `wandb login`)" in caplog.text


def test_disabled_leaves_no_file(tmp_path):
    tracker = run_cell(tmp_path / "cell", make_record(), mode="disabled")
    assert tracker.runs == [] and not (tmp_path / "cell/wandb").exists()


def test_tracker_none_does_nothing():
    assert type(make_tracker(TrackerConfig(name="none"))) is Tracker


def test_wandb_is_not_imported_before_a_run_starts():
    code = (
        "import sys; from vitsweep.config.schema import TrackerConfig\n"
        "from vitsweep.tracking.several import make_tracker\n"
        "from pathlib import Path; from vitsweep.study.record import Record\n"
        "for config in (TrackerConfig(name='none'), TrackerConfig(mode='disabled')):\n"
        "    tracker = make_tracker(config); tracker.start(Record(), Path('.')); tracker.log({'epoch': 1})\n"
        "    tracker.finish(Record(status='done'))\n"
        "assert 'wandb' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("said", [None, "true"])
def test_error_reports_are_off_unless_the_user_wants_them(tmp_path, monkeypatch, said):
    monkeypatch.delenv("WANDB_ERROR_REPORTING")
    if said:
        monkeypatch.setenv("WANDB_ERROR_REPORTING", said)
    run_cell(tmp_path, make_record())
    assert os.environ.pop("WANDB_ERROR_REPORTING") == (said or "false")


def test_no_host_user_or_path_is_in_what_would_be_sent(tmp_path, jane_doe):
    private = tmp_path / "home-of-jane_doe"
    record = make_record(
        overrides=[f"data.root={private}/my data"],
        config={"data": {"root": f"{private}/my data"}},
        error={"type": "OSError", "message": f"cannot read '{private}/x y'", "traceback": f'File "{private}/a.py"'},
    )
    run_cell(private / "cell", record, end="failed", picture=True)
    newest(private / "cell")
    files = run_files(private / "cell") + list((private / "cell").glob("wandb/*run-2*/files/**/*"))
    content = b"".join(path.read_bytes() for path in files if path.is_file())
    names = ["jane_doe", str(tmp_path), str(Path.home()), sys.executable, sys.prefix]
    assert len(content) > 2000 and [name for name in names if name.encode() in content] == []


def test_share_host_sends_the_host_along(tmp_path, jane_doe):
    run_cell(tmp_path, make_record(config={"data": {"root": "/data/images"}}), share_host=True)
    content = newest(tmp_path)
    assert (content.run["host"], content.config["data"]) == ("host-of-jane_doe", {"root": "/data/images"})
