"""wandb sync: agrees with the records; sends each run whole and once, torn ones too; refuses with the right words."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.fake_wandb_server import KEY, FakeWandb
from tests.support.odd_servers import greet, raw_server
from tests.support.wandb_cells import make_record, make_row, run_cell
from tests.support.wandb_fixtures import no_account, own_server  # noqa: F401
from vitsweep.config.schema import TrackerConfig
from vitsweep.errors import UserError
from vitsweep.study.locks import CellLock
from vitsweep.study.record import read_record, read_rows
from vitsweep.tracking import sync as sync_module
from vitsweep.tracking.client import read_log_errors, release_service
from vitsweep.tracking.pieces import replay
from vitsweep.tracking.run import run_id
from vitsweep.tracking.sync import sync

ROOT = Path(__file__).parents[2]
ENDS = {0: "done", 1: "failed", 2: "diverged", 3: "interrupted"}


def start_cell(directory: Path, **options: object) -> subprocess.Popen:
    """Play a cell in a process of its own."""
    arguments = [f"{key}={json.dumps(value)}" for key, value in options.items()]
    return subprocess.Popen([sys.executable, "-m", "tests.support.wandb_cells", str(directory), *arguments], cwd=ROOT)


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Path:
    """A study whose cells ended in every way, all of them offline."""
    study = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_CACHE_DIR", str(study.parent / "home"))
        killed = start_cell(study / "arm/seed=4", seed=4, last=4, end="sigkill")
        stopped = start_cell(study / "arm/seed=5", seed=5, last=4, end="sigterm")
        for seed, end in ENDS.items():
            run_cell(study / f"arm/seed={seed}", make_record(seed), end=end, picture=end == "done")
        run_cell(study / "arm/seed=6", make_record(6), last=150)
        run_cell(study / "arm/seed=7", make_record(7))
        assert (killed.wait(60), stopped.wait(60)) == (-9, -15)
        run_cell(study / "arm/seed=5", make_record(5), first=3, last=6)
        release_service()
    (study / "arm/seed=7/record.json").unlink()
    for name, size in (("seed=1", 7), ("seed=6", 40000)):  # cut in the header, and in the second block
        (path,) = (study / "arm" / name).glob("wandb/offline-run-*/*.wandb")
        path.write_bytes(path.read_bytes()[:size])
    return study


@pytest.fixture
def study(played, tmp_path) -> Path:
    """A fresh copy of that study."""
    return Path(shutil.copytree(played, tmp_path / "study", symlinks=True))


def lines(capsys: pytest.CaptureFixture) -> dict[str, str]:
    """Cell -> the first word of its line."""
    printed = capsys.readouterr().out.splitlines()
    return {line.split()[1]: line.split()[0] for line in printed}


def test_every_run_arrives_with_the_rows_and_the_state_of_its_record(server, study, capsys):
    assert sync(study) == 0
    assert len(server.runs) == 8  # the eighth has no record and is sent as it is
    states = {0: "finished", 1: "failed", 2: "failed", 3: "failed", 4: "failed", 5: "finished", 6: "finished"}
    for seed, state in states.items():
        cell = study / f"arm/seed={seed}"
        run = server.runs[run_id(read_record(cell))]
        assert (seed, run.rows(), run.state) == (seed, read_rows(cell), state)
    statuses = {run.config["seed"]: run.summary["status"] for run in server.runs.values()}
    assert statuses == ENDS | {4: "interrupted", 5: "done", 6: "done", 7: "done"}
    assert lines(capsys) == {f"arm/seed={seed}": "sent" for seed in range(8)}
    sent_once(server, study, capsys)
    nothing_private(server, study)


def sent_once(server, study, capsys):
    """The same command again sends nothing."""
    before = len(server.requests)
    assert sync(study) == 0
    assert lines(capsys) == {f"arm/seed={seed}": "there" for seed in range(8)}
    assert len(server.requests) == before


def nothing_private(server, study):
    """Nothing that was sent names this machine, its user or its folders."""
    names = [socket.gethostname(), str(study), str(Path.home()), sys.executable]
    assert [name for name in names if len(name) > 2 and name.encode() in server.sent()] == []
    assert {run.host for run in server.runs.values()} == {None}


@pytest.mark.slow
def test_a_run_that_is_sent_again_has_each_row_once(server, study):
    cell = study / "arm/seed=0"
    sync(cell)
    (marker,) = cell.rglob("*.synced")
    marker.unlink()
    sync(cell)
    (run,) = server.runs.values()
    assert run.rows() == [make_row(epoch) for epoch in (1, 2, 3)]


@pytest.mark.slow
def test_a_cell_that_went_on_after_it_was_sent_is_sent_again_whole(server, tmp_path, capsys):
    run_cell(tmp_path / "cell", make_record(), last=2, end="interrupted")
    release_service()
    sync(tmp_path)
    run_cell(tmp_path / "cell", make_record(), first=2, last=4)
    release_service()
    assert sync(tmp_path) == 0
    (run,) = server.runs.values()
    assert (run.rows(), run.state) == ([make_row(epoch) for epoch in (1, 2, 3, 4)], "finished")


def test_a_run_whose_server_died_is_complete_after_sync(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with FakeWandb() as dying:
        monkeypatch.setenv("WANDB_BASE_URL", dying.url)
        run_cell(tmp_path / "0", make_record(0), mode="online", last=4, end="interrupted")
        tracker_dies(dying, tmp_path / "0", make_record(0), first=5, last=8)  # it went on in the server's run
        port, memory = dying.port, dying.answers
    release_service()
    with FakeWandb(port) as back:
        back.answers.runs = memory.runs
        assert sync(tmp_path) == 0
        (run,) = back.runs.values()
        assert (run.rows(), run.state) == ([make_row(epoch) for epoch in range(1, 9)], "finished")


def tracker_dies(server: FakeWandb, directory: Path, record, **options) -> None:
    """A cell whose server dies after its first row."""
    from vitsweep.tracking.tracker import WandbTracker

    log_row = WandbTracker.log
    with pytest.MonkeyPatch.context() as patch:

        def log(self, row):
            log_row(self, row)
            if row["epoch"] == options["first"]:
                server.stop()

        patch.setattr(WandbTracker, "log", log)
        run_cell(directory, record, mode="online", **options)


def test_a_complete_offline_run_is_sent_as_it_is_with_the_load_of_its_machine(server, tmp_path):
    run_cell(tmp_path / "cell", make_record(), seconds=0.2)
    release_service()
    assert sync(tmp_path) == 0
    (run,) = server.runs.values()
    assert any("system.proc.memory.rssMB" in event for event in run.events)
    assert len(list(tmp_path.glob("cell/wandb/*run-2*"))) == 1


def test_a_rebuilt_run_keeps_its_pictures_and_tables(server, study):
    cell = study / "arm/seed=0"
    (path,) = cell.glob("wandb/offline-run-*/*.wandb")
    path.write_bytes(path.read_bytes()[:100])
    sync(cell)
    (run,) = server.runs.values()
    assert run.history[-1]["graph"]["captions"] == ["a pixel"]
    assert {"test/confusion", "test/predictions"} <= set(run.history[-1])


def test_an_artifact_is_sent_from_wherever_the_study_was_moved(server, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = {"tracker": {"project": "shelf", "artifacts": True}}
    run_cell(Path("study/cell"), make_record(config=config), artifacts=True)
    release_service()
    monkeypatch.chdir(tmp_path)
    shutil.move("here/study/cell", "there")
    assert sync(tmp_path / "there") == 0
    (artifact,) = server.answers.artifacts.values()
    assert (artifact.state, sorted(artifact.files)) == ("COMMITTED", ["best.safetensors", "record.json"])
    assert str(tmp_path).encode() not in server.sent()


def test_a_rebuilt_artifact_is_sent_through_a_link_to_the_study(server, tmp_path):
    run_cell(tmp_path / "study/cell", make_record(config={"tracker": {"project": "shelf", "artifacts": True}}))
    release_service()
    (path,) = tmp_path.glob("study/cell/wandb/offline-run-*/*.wandb")
    path.write_bytes(path.read_bytes()[:100])
    (tmp_path / "link").symlink_to(tmp_path / "study")
    assert sync(tmp_path / "link") == 0
    assert [artifact.state for artifact in server.answers.artifacts.values()] == ["COMMITTED"]


def test_an_artifact_without_a_record_is_sent_from_the_folder_that_names_it(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = {"tracker": {"project": "shelf", "artifacts": True}}
    run_cell(Path("study/cell"), make_record(config=config), artifacts=True)
    release_service()
    Path("study/cell/record.json").unlink()
    monkeypatch.chdir(tmp_path / "study")
    assert sync(tmp_path / "study") == 1 and server.runs == {}
    assert "best.safetensors of its artifact is not there; start in the folder" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert sync(tmp_path / "study") == 0
    assert [artifact.state for artifact in server.answers.artifacts.values()] == ["COMMITTED"]


def test_a_cell_that_is_being_trained_is_skipped(server, study, capsys):
    with CellLock(study / "arm/seed=0") as lock:
        assert lock.acquire()
        assert sync(study / "arm/seed=0") == 0
    assert server.runs == {} and lines(capsys) == {"seed=0": "running"}


def test_a_run_that_the_server_refuses_is_reported_and_the_exit_code_is_1(server, study, capsys):
    server.mood.statuses = [None, None, 403, 403, 403, 403, 403]  # after the probe and the first answer
    assert sync(study / "arm/seed=0") == 1
    printed = capsys.readouterr().out
    assert re.match(r"FAILED   seed=0  done  .*403", printed)
    assert not list(study.glob("arm/seed=0/wandb/*/*.synced"))


def test_a_sync_that_did_not_start_is_tried_again(server, study, monkeypatch):
    calls, run_wandb_sync = [], sync_module.run_wandb_sync

    def hasty(*arguments):
        calls.append(arguments)
        return (
            "TimeoutError: Timed out waiting for response on lsa50pmlzpma"
            if len(calls) < 3
            else run_wandb_sync(*arguments)
        )

    monkeypatch.setattr(sync_module, "run_wandb_sync", hasty)
    assert sync(study / "arm/seed=0") == 0
    assert (len(calls), len(server.runs)) == (3, 1)


def test_a_sync_that_never_starts_is_reported(server, study, monkeypatch, capsys):
    monkeypatch.setattr(
        sync_module, "run_wandb_sync", lambda *_: "Traceback\nTimeoutError: Timed out waiting for response on x"
    )
    assert sync(study / "arm/seed=0") == 1
    assert "FAILED   seed=0  done  TimeoutError: Timed out" in capsys.readouterr().out


def test_a_late_sample_of_the_machines_load_is_no_error_and_lost_rows_are(tmp_path):
    late = {"level": "ERROR", "msg": "sender: sendSystemMetrics called after exit", "sync_path": "run-1.wandb"}
    lost = {"level": "ERROR+4", "msg": "filestream: fatal error", "sync_path": "run-1.wandb"}
    fine = {"level": "INFO", "msg": "sender: started", "sync_path": "run-1.wandb"}
    log = tmp_path / "debug-sync.log"
    log.write_text("".join(json.dumps(entry) + "\n" for entry in (fine, late, lost)) + '{"level": "ERR')
    assert list(read_log_errors(log)) == [lost]


def test_a_rebuilt_run_has_no_load_of_the_machine_that_rebuilds_it(study, monkeypatch):
    import wandb

    asked = []
    monkeypatch.setattr(wandb, "init", lambda **options: asked.append(options["settings"]) or 1 / 0)
    record = read_record(study / "arm/seed=0")
    replay(record, study / "arm/seed=0", TrackerConfig(mode="offline", project="shelf"))
    assert [settings.x_disable_stats for settings in asked] == [True]


def test_a_run_that_could_not_be_rebuilt_completely_is_not_sent(server, study, monkeypatch, capsys):
    rebuild = sync_module.rebuild

    def stopped(piece, directory):
        rebuild(piece, directory)
        release_service()
        piece.path.write_bytes(piece.path.read_bytes()[:300])  # as far as wandb's helper came

    monkeypatch.setattr(sync_module, "rebuild", stopped)
    (path,) = study.glob("arm/seed=0/wandb/offline-run-*/*.wandb")
    path.write_bytes(path.read_bytes()[:100])
    assert sync(study / "arm/seed=0") == 1
    assert re.match("FAILED   seed=0  done  .*could not be rebuilt completely from its record", capsys.readouterr().out)
    assert server.runs == {}


def test_one_that_fails_does_not_keep_the_others_back(server, study, capsys):
    (study / "arm/seed=2/record.json").write_text("{}")
    for seed in (1, 4, 5, 6, 7):
        shutil.rmtree(study / f"arm/seed={seed}")
    assert sync(study) == 1
    out = capsys.readouterr().out
    assert sorted(run.config["seed"] for run in server.runs.values()) == [0, 3]
    assert re.search(r"^FAILED   .*seed=2/record.json  is not a record", out, re.MULTILINE)


def test_a_server_that_is_gone_is_reported_in_seconds(server, study, capsys):
    server.stop()
    began = time.monotonic()
    assert sync(study) == 1
    assert time.monotonic() - began < 5
    assert set(lines(capsys).values()) == {"FAILED"}


def test_a_server_that_speaks_no_http_is_one_line_a_run(server, study, monkeypatch, capsys):
    with raw_server(greet) as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        assert sync(study / "arm/seed=0") == 1
    line = f"FAILED   seed=0  done  the W&B server does not answer ({url}); check WANDB_BASE_URL"
    assert capsys.readouterr().out == line + "\n"


def test_sync_without_a_key_says_what_to_do(study):
    with pytest.raises(UserError, match="WANDB_API_KEY  is not set.*or run `wandb login`"):
        sync(study)


def test_sync_of_no_directory_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere  is not a directory"):
        sync(tmp_path / "nowhere")


def test_a_folder_without_runs_is_reported(tmp_path, capsys):
    assert sync(tmp_path) == 0
    assert capsys.readouterr().out == f"no W&B runs under {tmp_path}\n"
