"""Several trackers: obey (one that fails or hangs costs the others nothing), and are chosen by one override."""

import threading
from pathlib import Path

import pytest

from tests.support.wandb_cells import make_record, make_row
from vitsweep.config.composer import Composer
from vitsweep.config.convert import config_hash, from_dict, to_dict
from vitsweep.config.hydra import make_loader
from vitsweep.config.schema import TrackerConfig
from vitsweep.errors import ConfigError
from vitsweep.paths import install_command
from vitsweep.study.record import append_row
from vitsweep.tracking.backends.background import BackgroundTracker
from vitsweep.tracking.several import Trackers, make_tracker
from vitsweep.tracking.tracker import Tracker


class Notes(Tracker):
    """Tracker that notes its calls, and fails or blocks in one of them."""

    def __init__(self, fails: str = "", blocks: str = ""):
        super().__init__()
        self.calls: list = []
        self.fails, self.blocks, self.unblock = fails, blocks, threading.Event()

    def note(self, name: str, value: object) -> None:
        if name == self.blocks:
            self.unblock.wait()
        if name == self.fails:
            raise OSError("no space left")
        self.calls.append((name, value))

    def start(self, record, directory):
        self.note("start", record.epoch)

    def log(self, row):
        self.note("log", row["epoch"])

    def image(self, name, path, caption):
        self.note("image", name)

    def finish(self, record):
        self.note("finish", record.status)


ALL = [("start", 0), ("log", 1), ("log", 2), ("image", "rollout"), ("finish", "done")]


def track(tracker: Tracker, directory: Path, first: int = 1) -> None:
    record = make_record()
    tracker.start(record, directory)
    for epoch in range(first, 3):
        tracker.log(make_row(epoch))
    tracker.image("rollout", directory / "rollout.png", "")
    record.status = "done"
    tracker.finish(record)


def in_background(notes: Notes, seconds: float = 30.0) -> BackgroundTracker:
    return BackgroundTracker("notes", lambda: notes, seconds)


def test_backend_gets_every_call_in_order(tmp_path):
    notes = Notes()
    track(in_background(notes), tmp_path)
    assert notes.calls == ALL


def test_backend_gets_the_rows_of_earlier_attempts_first(tmp_path):
    append_row(tmp_path, make_row(1))
    notes = Notes()
    track(in_background(notes), tmp_path, first=2)
    assert notes.calls == [("start", 1), *ALL[1:]]


@pytest.mark.parametrize("call", ["start", "log", "image", "finish"])
def test_backend_that_fails_is_one_warning_and_costs_the_others_nothing(tmp_path, caplog, call):
    others = [Notes(), Notes()]
    trackers: list = [in_background(others[0]), in_background(Notes(fails=call)), others[1]]
    track(Trackers(trackers), tmp_path)
    assert [notes.calls for notes in others] == [ALL, ALL]
    (warning,) = caplog.messages
    assert f"notes could not {call}: OSError: no space left; training continues" in warning


@pytest.mark.parametrize("call", ["start", "log", "finish"])
def test_backend_that_hangs_is_left_behind(tmp_path, caplog, call):
    """The test ends: that is what it shows."""
    stuck, other = Notes(blocks=call), Notes()
    track(Trackers([in_background(stuck, seconds=0.05), other]), tmp_path)
    stuck.unblock.set()
    assert other.calls == ALL
    assert "notes did not finish within 0.05 s; training continues" in caplog.text


def test_backend_whose_library_cannot_be_loaded_is_one_warning(tmp_path, caplog):
    def fail() -> Tracker:
        raise ImportError("No module named 'alembic'")

    track(BackgroundTracker("mlflow", fail, 30.0), tmp_path)
    assert caplog.messages[0].startswith("mlflow could not be loaded: ImportError: No module named 'alembic'")


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(make_loader(None), "config")


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", []),
        ("wandb", ["wandb"]),
        ("tensorboard", ["tensorboard"]),
        ("[wandb,tensorboard]", ["wandb", "tensorboard"]),
        ("[tensorboard,wandb]", ["wandb", "tensorboard"]),
        ("[mlflow,trackio]", ["mlflow", "trackio"]),
    ],
)
def test_one_override_chooses_trackers(composer, choice, names):
    overrides = ["data=shapes", f"tracker={choice}"]
    config = composer(overrides)
    assert config.tracker.names == names
    assert to_dict(config) == to_dict(composer._compose(overrides))  # Hydra's own composition


@pytest.mark.parametrize("choice", ["wandb", "none"])
def test_old_choices_have_their_old_fields_alone(composer, choice):
    fields = {"name", "mode", "project", "entity", "pictures", "artifacts", "patience_seconds", "share_host"}
    assert set(to_dict(composer([f"tracker={choice}", "data=shapes"]))["tracker"]) == fields


def test_trackers_change_no_hash(composer):
    hashes = {config_hash(composer(["data=shapes", f"tracker={choice}"])) for choice in ("none", "[wandb,mlflow]")}
    assert len(hashes) == 1


def test_store_of_mlflow_is_absolute_in_a_plan(composer, tmp_path):
    config = composer(["data=shapes", "tracker=mlflow"])
    assert config.tracker.mlflow_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert from_dict(to_dict(config)).tracker == config.tracker


def test_store_of_the_environment_stays_out_of_the_plan(composer, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@lab:5000")
    config = composer(["data=shapes", "tracker=mlflow"])
    assert (config.tracker.mlflow_uri, config.tracker.store_uri) == ("", "http://user:secret@lab:5000")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tracker=[none,wandb]", r"tracker=\[none,wandb\]  must name each tracker once, without none"),
        ("tracker=[wandb,wandb]", r"must name each tracker once"),
        ("tracker.name=mlflow", r"tracker.name=mlflow  must be wandb or none; choose others by tracker=mlflow"),
        ("tracker.mlflow_uri=here", r"tracker.mlflow_uri=here  is read by tracker=mlflow only"),
        ("tracker=tensorbord", r"tracker=tensorbord  is unknown; allowed: .*did you mean tensorboard\?"),
        ("tracker=[wandb,tensorbord]", r"tracker=tensorbord  is unknown; allowed: .*did you mean tensorboard\?"),
    ],
)
def test_choice_that_nothing_would_read_is_refused(composer, override, message):
    with pytest.raises(ConfigError, match=message):
        composer(["data=shapes", override])


@pytest.mark.parametrize("mode", [[], ["-m", "seed=0,1"]], ids=["cell", "sweep"])
def test_tracker_without_its_library_is_refused_before_anything_starts(
    vitsweep_main, monkeypatch, tiny, tmp_path, mode
):
    monkeypatch.setattr("vitsweep.config.schema.find_spec", lambda name: None)
    code, _, err = vitsweep_main(*mode, *tiny, "tracker=trackio")
    sentence = "tracker=trackio  needs trackio, which is not installed; install it with: " + install_command("trackio")
    assert (code, err.strip()) == (2, sentence)
    assert not list(tmp_path.rglob("record.json"))


def test_single_tracker_needs_no_list_of_them():
    assert type(make_tracker(TrackerConfig(trackio=True))) is BackgroundTracker
