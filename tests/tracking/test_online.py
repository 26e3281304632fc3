"""Tracker with a server: agrees with the record; obeys (resumes, never waits long, sends no names), come what may."""

import json
import logging
import re
import sys
import time
from pathlib import Path

import pytest

from tests.support.fake_wandb_server import KEY
from tests.support.odd_servers import drip, greet, raw_server
from tests.support.wandb_cells import PIXEL, ended, make_record, make_row, run_cell
from tests.support.wandb_fixtures import no_account, own_server, private_names  # noqa: F401
from vitsweep.config.schema import TrackerConfig
from vitsweep.study.record import append_row, write_record
from vitsweep.tracking.client import release_service
from vitsweep.tracking.run import run_id
from vitsweep.tracking.run_file import read_run_file
from vitsweep.tracking.sync import sync
from vitsweep.tracking.tracker import WandbTracker

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # wandb leaves a socket to the collector


def markers(directory: Path) -> list[Path]:
    """Return the marker files of the runs that have been sent."""
    return list(directory.glob("wandb/*run-2*/*.synced"))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage() for r in caplog.records if r.name == "vitsweep.tracking.tracker" and r.levelno >= logging.WARNING
    ]


def test_a_cell_arrives_as_one_whole_run(server, tmp_path):
    tracker = run_cell(tmp_path, make_record(), mode="auto", last=5, picture=True)
    (run,) = server.runs.values()
    assert run.rows() == [make_row(epoch) for epoch in range(1, 6)]
    assert (run.state, run.group, run.job_type) == ("finished", "tiny", "patch_size=8")
    assert (run.tags, run.display_name, run.project) == (["patch_size=8"], "patch_size=8 seed=0", "shelf")
    assert tracker.runs == [{"id": run.id, "url": f"{server.url}/local/shelf/runs/{run.id}", "mode": "online"}]
    assert markers(tmp_path)


def test_pictures_tables_and_system_metrics_arrive(server, tmp_path):
    run_cell(tmp_path, make_record(), mode="online", picture=True, seconds=0.2)
    (run,) = server.runs.values()
    media = {name: content for name, content in run.files.items() if name.startswith("media/")}
    assert PIXEL in media.values()
    tables = [json.loads(content) for name, content in media.items() if name.endswith(".table.json")]
    assert sorted(table["columns"][0] for table in tables) == ["image", "true"]
    assert any("system.proc.memory.rssMB" in event for event in run.events)


def test_epoch_is_the_axis_of_every_curve(server, tmp_path):
    run_cell(tmp_path, make_record(), mode="online")
    (run,) = server.runs.values()
    defined = [metric for metric in run.config["_wandb"]["m"] if isinstance(metric, dict)]
    globs = {metric.get("2") for metric in defined} | {metric.get("1") for metric in defined}
    assert {"train/*", "val/*", "lr", "epoch"} <= globs


@pytest.mark.parametrize(("end", "state"), [("done", "finished"), ("diverged", "failed"), ("failed", "failed")])
def test_state_is_right_for_every_end(server, tmp_path, end, state):
    run_cell(tmp_path, make_record(), mode="online", end=end)
    (run,) = server.runs.values()
    assert (run.state, run.summary["status"], len(run.rows())) == (state, end, 3)


def test_an_interrupted_cell_goes_on_in_the_same_run(server, tmp_path):
    run_cell(tmp_path, make_record(), mode="online", last=4, end="interrupted")
    run_cell(tmp_path, make_record(), mode="online", first=3, last=6)
    (run,) = server.runs.values()
    assert run.rows() == [make_row(epoch) for epoch in range(1, 7)]
    assert run.state == "finished" and "RunResumeStatus" in server.answers.operations


def test_a_cell_trained_again_from_the_start_replaces_its_run(server, tmp_path):
    run_cell(tmp_path / "old", make_record(), mode="online", last=5)
    run_cell(tmp_path / "new", make_record(), mode="online", last=3)
    (run,) = server.runs.values()
    assert run.rows() == [make_row(epoch) for epoch in (1, 2, 3)]


@pytest.mark.parametrize("number", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_cells_of_one_process_are_as_many_runs(server, tmp_path, number):
    for seed in range(number):
        run_cell(tmp_path / str(seed), make_record(seed), mode="online", last=2)
    assert sorted(run.config["seed"] for run in server.runs.values()) == list(range(number))
    assert {(run.state, len(run.rows())) for run in server.runs.values()} == {("finished", 2)}


def test_cells_that_are_trained_together_are_kept_apart(server, tmp_path):
    trackers = [WandbTracker(TrackerConfig(mode="online", project="shelf")) for _ in range(3)]
    for seed, tracker in enumerate(trackers):
        (tmp_path / str(seed)).mkdir()
        tracker.start(make_record(seed), tmp_path / str(seed))
    for epoch in (1, 2):
        for seed, tracker in enumerate(trackers):
            tracker.log(make_row(epoch) | {"val/loss": 10 * seed + epoch})
    for seed, tracker in enumerate(trackers):
        tracker.finish(make_record(seed, status="diverged" if seed == 1 else "done"))
    release_service()
    found = {run.config["seed"]: run for run in server.runs.values()}
    assert {seed: [row["val/loss"] for row in run.rows()] for seed, run in found.items()} == {
        0: [1, 2],
        1: [11, 12],
        2: [21, 22],
    }
    assert [found[seed].state for seed in (0, 1, 2)] == ["finished", "failed", "finished"]


def refuse_run(server, patch: pytest.MonkeyPatch, refused: str) -> None:
    """Let the server turn down what is asked about one run, and answer the others."""
    answer = server.answers.graphql

    def graphql(body, url):
        return {"errors": [{"message": "permission denied"}]} if refused in json.dumps(body) else answer(body, url)

    patch.setattr(server.answers, "graphql", graphql)


def test_a_run_that_is_refused_ends_none_of_its_neighbours(server, tmp_path):
    trackers = [WandbTracker(TrackerConfig(mode="online", project="shelf")) for _ in range(3)]
    folders = [tmp_path / str(seed) for seed in range(3)]
    for seed, (tracker, folder) in enumerate(zip(trackers, folders, strict=True)):
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            refuse_run(server, patch, run_id(make_record(1)))
            tracker.start(make_record(seed), folder)
    (folders[1] / "graph.png").write_bytes(PIXEL)
    trackers[1].image("graph", folders[1] / "graph.png", "a pixel")
    for epoch in (1, 2):
        for tracker, folder in zip(trackers, folders, strict=True):
            append_row(folder, make_row(epoch))
            tracker.log(make_row(epoch))
    for seed, (tracker, folder) in enumerate(zip(trackers, folders, strict=True)):
        record = ended(make_record(seed), folder, "done")
        write_record(folder, record)
        tracker.finish(record)
    release_service()
    assert sorted(run.config["seed"] for run in server.runs.values() if run.rows()) == [0, 2]
    assert sync(tmp_path) == 0  # the refused one is made whole from its record
    runs = {run.config["seed"]: run for run in server.runs.values()}
    assert {seed: (run.state, run.rows()) for seed, run in runs.items()} == {
        seed: ("finished", [make_row(1), make_row(2)]) for seed in range(3)
    }
    assert PIXEL in runs[1].files.values()


def test_nothing_that_was_sent_names_host_user_or_place(jane_doe, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = make_record(overrides=[f"data.root={tmp_path}/images"], config={"data": {"root": f"{tmp_path}/images"}})
    run_cell(tmp_path / "cell", record, mode="online", picture=True, artifacts=True)
    sent = server.sent()
    names = ["jane_doe", str(tmp_path), tmp_path.name, str(Path.home()), sys.executable, sys.prefix]
    assert len(sent) > 20000 and [name for name in names if name.encode() in sent] == []
    assert [run.host for run in server.runs.values()] == [None]


def test_the_key_is_in_no_file(server, tmp_path):
    run_cell(tmp_path, make_record(), mode="online", picture=True, artifacts=True)
    release_service()
    guilty = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert guilty == []


def test_best_weights_and_record_are_an_artifact_when_asked(server, tmp_path):
    run_cell(tmp_path, make_record(), mode="online", artifacts=True)
    (artifact,) = server.answers.artifacts.values()
    assert (artifact.type, artifact.state) == ("model", "COMMITTED")
    assert sorted(artifact.files) == ["best.safetensors", "record.json"]
    weights = server.answers.blobs[f"{artifact.id}/best.safetensors"]
    assert weights == (tmp_path / "best.safetensors").read_bytes()


def test_no_artifact_unless_asked(server, tmp_path):
    run_cell(tmp_path, make_record(), mode="online")
    assert server.answers.artifacts == {}


def test_an_artifact_from_outside_is_not_sent_with_its_path(server, tmp_path, monkeypatch, caplog):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run_cell(tmp_path / "elsewhere", make_record(), mode="online", artifacts=True)
    assert server.answers.artifacts == {}
    assert "use tracker.share_host=true or start in a folder above it" in warnings(caplog)[0]


def timed_cell(directory: Path, during=None, last: int = 3, **optional) -> tuple[float, WandbTracker]:
    """Seconds that a cell of no work takes with its tracker; `during` happens after the first row."""
    log_row = WandbTracker.log

    def log(self, row):
        log_row(self, row)
        if row["epoch"] == 1 and during:
            during()

    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WandbTracker, "log", log)
        tracker = run_cell(directory, make_record(), mode="online", last=last, **optional)
    return time.monotonic() - began, tracker


@pytest.fixture
def warm(tmp_path, monkeypatch):
    """wandb imported and its helper started, so that a test times the server's part alone."""
    run_cell(tmp_path / "warm", make_record(99), mode="offline")


def test_a_refused_connection_means_offline_at_once(server, tmp_path, warm, caplog):
    server.stop()
    seconds, tracker = timed_cell(tmp_path / "cell")
    assert seconds < 2 and tracker.runs[0]["mode"] == "offline"
    assert "is tracked offline; send it later with: python -m vitsweep wandb sync" in warnings(caplog)[0]


def test_a_black_hole_costs_seconds(server, tmp_path, warm):
    server.mood.silent.set()
    seconds, tracker = timed_cell(tmp_path / "cell")
    assert 1.5 < seconds < 5 and tracker.runs[0]["mode"] == "offline"


@pytest.mark.parametrize("answer", [drip, greet], ids=lambda answer: answer.__name__)
def test_a_server_without_a_whole_http_answer_means_offline(server, tmp_path, monkeypatch, caplog, answer):
    with raw_server(answer) as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        tracker = run_cell(tmp_path / "cell", make_record(), mode="online")
    assert tracker.runs[0]["mode"] == "offline"
    assert re.match("the W&B server does not answer, so this cell is tracked offline; send it", warnings(caplog)[0])
    assert len(warnings(caplog)) == 1
    release_service()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    assert sync(tmp_path) == 0 and [run.state for run in server.runs.values()] == ["finished"]


def test_a_server_that_dies_under_way_costs_seconds_and_no_row(server, tmp_path, warm, caplog):
    seconds, _ = timed_cell(tmp_path / "cell", server.stop)
    assert seconds < 5 and "too slow at the end" in warnings(caplog)[0]
    release_service()
    (path,) = (tmp_path / "cell").glob("wandb/run-*/run-*.wandb")
    content = read_run_file(path)
    assert (content.epochs, content.exit_code, markers(tmp_path / "cell")) == ({1, 2, 3}, 0, [])


@pytest.mark.slow
def test_a_server_that_falls_silent_costs_seconds(server, tmp_path, warm):
    seconds, _ = timed_cell(tmp_path / "cell", server.mood.silent.set)
    assert seconds < 5 and not markers(tmp_path / "cell")


@pytest.mark.slow
def test_a_server_that_dies_before_the_artifact_costs_seconds(server, tmp_path, warm, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seconds, _ = timed_cell(tmp_path / "cell", server.stop, artifacts=True)
    assert seconds < 5 and not markers(tmp_path / "cell")


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500])
def test_every_second_request_refused_costs_seconds(server, tmp_path, warm, status):
    server.mood.period, server.mood.busy_status = 2, status
    seconds, _ = timed_cell(tmp_path / "cell")
    assert seconds < 5


@pytest.mark.parametrize("status", [pytest.param(429, marks=pytest.mark.slow), 500])
def test_a_refusal_in_between_costs_no_data(server, tmp_path, warm, status):
    def burst():
        server.mood.statuses = [status]

    seconds, _ = timed_cell(tmp_path / "cell", burst)
    (run,) = server.runs.values()
    assert seconds < 5 and len(run.rows()) == 3 and run.state == "finished" and markers(tmp_path / "cell")


def test_data_that_the_server_refuses_do_not_count_as_sent(server, tmp_path, caplog):
    def refuse():
        server.mood.statuses = [403] * 20

    timed_cell(tmp_path / "cell", refuse)
    assert not markers(tmp_path / "cell")
    assert "did not accept all of this run" in warnings(caplog)[-1]


def test_a_wrong_key_means_offline(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    tracker = run_cell(tmp_path, make_record(), mode="online")
    assert tracker.runs[0]["mode"] == "offline"
    assert "W&B refuses this run (AuthenticationError" in warnings(caplog)[0]


def test_the_next_cell_is_online_again_when_the_server_is_back(server, tmp_path):
    server.mood.statuses = [403] * 3
    first = run_cell(tmp_path / "0", make_record(0), mode="online")
    server.mood.statuses = []
    second = run_cell(tmp_path / "1", make_record(1), mode="online")
    assert second.runs[0]["mode"] == "online" and [r.config["seed"] for r in server.runs.values() if r.rows()][-1] == 1
    assert first.runs[0]["mode"] == "offline"
