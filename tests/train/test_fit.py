"""Training is deterministic, resumable bit by bit, stops on loss that is not finite, and learns."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

import vitsweep
from tests.support.make_cells import make_config
from vitsweep.config.convert import config_hash, to_dict
from vitsweep.config.schema import Config
from vitsweep.errors import LockLost, RecordError
from vitsweep.model.vit import ViT
from vitsweep.study.locks import CellLock
from vitsweep.study.record import KEPT, Record, epoch_checkpoints, read_record, read_rows
from vitsweep.train import fit, step
from vitsweep.train.checkpoint import drop_epochs, load_state, save_state
from vitsweep.train.fit import draw_pictures, run_cell
from vitsweep.train.stop import Interrupted

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 40  # enough for a signal to arrive in the middle


def weights(cell: Path, which: str = "last") -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(cell / f"{which}.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def start(folder: Path, *overrides: str) -> subprocess.Popen:
    """The command in a process of its own, saving its state whenever it can."""
    arguments = [*overrides, f"hydra.run.dir={folder}", "checkpoint_seconds=0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(ROOT / "run.py"), *arguments], env=environment)


def wait_for_epoch(process: subprocess.Popen, folder: Path, epoch: int) -> None:
    """Wait until the cell has written that many rows."""
    deadline = time.monotonic() + 120
    while len(read_rows(folder)) < epoch:
        assert process.poll() is None and time.monotonic() < deadline, "the cell ended or hangs"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def trained_once(tiny, tmp_path_factory) -> Path:
    """A finished cell, trained by the command in a process of its own."""
    folder = tmp_path_factory.mktemp("trained") / "cell"
    assert start(folder, *tiny).wait(120) == 0
    return folder


@pytest.fixture
def trained(trained_once, tmp_path) -> Path:
    """A copy of the finished cell, which a test may change."""
    return shutil.copytree(trained_once, tmp_path / "cell")


def test_cell_leaves_everything_that_the_contract_names(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "record.json",
        "metrics.jsonl",
        "predictions.npz",
        "best.safetensors",
        "last.safetensors",
        "final.pt",
        "environment",
        "run.log",
    }


def test_record_says_what_was_used(trained):
    record = read_record(trained)
    assert (record.status, record.epoch, record.attempts, record.role) == ("done", 2, 1, "baseline")
    assert record.num_images == {"train": 180, "val": 20, "test": 50}
    assert record.params == sum(tensor.numel() for tensor in weights(trained).values())
    assert record.started <= record.finished and record.time_seconds > 0 and record.images_per_second > 0
    assert len(record.data_fingerprint) == 64 and len(record.classes) == 10


def test_rows_have_the_contracts_columns(trained):
    rows = read_rows(trained)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert set(rows[0]) == {
        "epoch",
        "train/loss",
        "train/accuracy",
        "val/loss",
        "val/accuracy",
        "lr",
        "time_seconds",
        "images_per_second",
    }


def test_best_is_the_epoch_with_the_lowest_validation_loss(trained):
    losses = [row["val/loss"] for row in read_rows(trained)]
    best = read_record(trained).metrics["best"]
    assert best["epoch"] == 1 + losses.index(min(losses)) and best["val/loss"] == pytest.approx(min(losses))


@pytest.mark.parametrize(("lr", "best_epoch"), [(1e-4, 2), (1e-3, 1)])
def test_predictions_agree_with_the_record_and_with_the_loaded_model(vitsweep_main, tiny, tmp_path, lr, best_epoch):
    from vitsweep.config.convert import from_dict
    from vitsweep.data.augment import normalize
    from vitsweep.data.load import load_data

    vitsweep_main(*tiny, f"recipe.lr={lr}", f"hydra.run.dir={tmp_path}")
    record, predictions = read_record(tmp_path), np.load(tmp_path / "predictions.npz")
    assert record.metrics["best"]["epoch"] == best_epoch
    test = load_data(from_dict(record.config)).test
    assert np.array_equal(test.id_N.numpy(), predictions["id"])
    for kind, which in (("final", "last"), ("best", "best")):
        accuracy = (predictions[f"{kind}_class"] == predictions["label"]).mean()
        assert accuracy == pytest.approx(record.metrics[kind]["test/accuracy"])
        with torch.no_grad():
            logit_BK = vitsweep.load_model(tmp_path, which)(normalize(test.image_NCHW, **record.normalisation))
        assert np.array_equal(logit_BK.argmax(-1).numpy(), predictions[f"{kind}_class"])


def test_weights_of_every_second_epoch_are_kept_on_request(vitsweep_main, tiny, tmp_path):
    cell = tmp_path / "cell"
    vitsweep_main(*tiny, "recipe.epochs=5", "checkpoint_every_epochs=2", f"hydra.run.dir={cell}")
    kept = epoch_checkpoints(cell)
    assert [path.name for path in kept.values()] == ["epoch-002.safetensors", "epoch-004.safetensors"]
    assert not same(safetensors.torch.load_file(kept[4]), weights(cell))


def test_weights_of_epochs_that_are_trained_again_are_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for epoch in (1, 2, 1000):
        (tmp_path / "checkpoints" / f"epoch-{epoch:03d}.safetensors").touch()
    drop_epochs(tmp_path, last_epoch=1)
    assert list(epoch_checkpoints(tmp_path)) == [1]


def test_load_model_refuses_an_unknown_checkpoint(trained):
    with pytest.raises(RecordError, match="which=first  is unknown; allowed: best, ema, average, last"):
        vitsweep.load_model(trained, "first")


def test_load_model_says_that_a_checkpoint_is_gone(trained):
    (trained / "best.safetensors").unlink()
    with pytest.raises(RecordError, match="is not there"):
        vitsweep.load_model(trained)


def test_same_seed_gives_the_same_weights_bit_by_bit(vitsweep_main, tiny, tmp_path, trained):
    vitsweep_main(*tiny, f"hydra.run.dir={tmp_path / 'again'}")
    assert same(weights(trained), weights(tmp_path / "again"))


def test_another_seed_gives_other_weights(vitsweep_main, tiny, tmp_path, trained):
    vitsweep_main(*tiny, "seed=1", f"hydra.run.dir={tmp_path / 'other'}")
    assert not same(weights(trained), weights(tmp_path / "other"))


def test_finished_cell_is_not_touched_again(vitsweep_main, tiny, trained):
    before = (trained / "record.json").read_bytes()
    code, _, _ = vitsweep_main(*tiny, f"hydra.run.dir={trained}")
    assert code == 0 and (trained / "record.json").read_bytes() == before


def test_directory_of_another_cell_is_refused(vitsweep_main, tiny, trained):
    code, _, err = vitsweep_main(*tiny, "recipe.lr=0.5", f"hydra.run.dir={trained}")
    assert code == 2 and "holds another cell (" in err and "hydra.run.dir=" in err and "Traceback" not in err


@pytest.mark.parametrize(
    "signum, code",
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],  # 15 s each
)
def test_signal_saves_and_the_same_command_goes_on(vitsweep_main, tiny, tmp_path, signum, code):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    overrides = [*tiny, f"recipe.epochs={EPOCHS}"]
    process = start(broken, *overrides)
    wait_for_epoch(process, broken, 3)
    process.send_signal(signum)
    assert process.wait(60) == code
    assert read_record(broken).status == "interrupted" and (broken / "state.pt").exists()
    assert [vitsweep_main(*overrides, f"hydra.run.dir={folder}")[0] for folder in (broken, whole)] == [0, 0]
    assert read_record(broken).attempts == 2
    assert same(weights(whole), weights(broken)) and same(weights(whole, "best"), weights(broken, "best"))


@pytest.mark.slow  # 18 s; a signal is tried by default, and the chaos tests kill many cells
def test_kill_and_the_same_command_give_the_undisturbed_result(vitsweep_main, tiny, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    overrides = [*tiny, f"recipe.epochs={EPOCHS}", "recipe.schedule=cosine", "checkpoint_every_epochs=20"]
    for epoch in (2, 12):
        process = start(broken, *overrides)
        wait_for_epoch(process, broken, epoch)
        process.kill()
        process.wait()
    assert read_record(broken).status == "running"
    assert [vitsweep_main(*overrides, f"hydra.run.dir={folder}")[0] for folder in (broken, whole)] == [0, 0]
    keys = ("epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr")
    curves = [[[row[key] for key in keys] for row in read_rows(folder)] for folder in (whole, broken)]
    assert curves[0] == curves[1]
    kept = [{epoch: path.read_bytes() for epoch, path in epoch_checkpoints(f).items()} for f in (whole, broken)]
    assert kept[0] == kept[1] and list(kept[0]) == [20, 40]
    assert same(weights(whole), weights(broken)) and same(weights(whole, "best"), weights(broken, "best"))


def test_directory_of_a_running_cell_is_refused(vitsweep_main, tiny, tmp_path):
    with CellLock(tmp_path / "cell") as lock:
        lock.acquire()
        code, _, err = vitsweep_main(*tiny, f"hydra.run.dir={tmp_path / 'cell'}")
    assert code == 2 and "is in use by another process" in err and "Traceback" not in err
    assert not (tmp_path / "cell/record.json").exists()


def test_loss_that_is_not_finite_stops_before_the_step(vitsweep_main, tiny, tmp_path):
    cell = tmp_path / "cell"
    code, _, _ = vitsweep_main(*tiny, "recipe.lr=1e30", "recipe.optimizer=sgd", f"hydra.run.dir={cell}")
    record = read_record(cell)
    assert code == 1 and record.status == "diverged" and record.error["type"] == "NonFiniteLoss"
    assert "epoch 1, step" in record.error["message"]


def test_exception_in_training_is_recorded_with_its_traceback(vitsweep_main, tiny, tmp_path, monkeypatch):
    def broken(self, image_BCHW):
        raise RuntimeError("the fan fell off")

    monkeypatch.setattr(ViT, "forward", broken)
    code, _, _ = vitsweep_main(*tiny, f"hydra.run.dir={tmp_path / 'cell'}")
    record = read_record(tmp_path / "cell")
    assert code == 1 and record.status == "failed" and record.error["message"] == "the fan fell off"
    assert "train_step" in record.error["traceback"]


def test_state_of_another_configuration_is_not_resumed(tmp_path):
    save_state(tmp_path, {"config_hash": "other"})
    assert load_state(tmp_path, "mine") is None


def test_torn_state_is_not_resumed(tmp_path, caplog):
    (tmp_path / "state.pt").write_bytes(b"PK torn")
    assert load_state(tmp_path, "mine") is None
    assert "state.pt cannot be read" in caplog.text and "training from the start" in caplog.text


def attempt(folder: Path, config: Config, stop_at: int | None = None) -> Record:
    """Train a cell, or stop it after the state of an epoch was saved; as the commands do, from its earlier record."""
    record = Record(config=to_dict(config), config_hash=config_hash(config))
    if folder.exists():
        for name in KEPT:
            setattr(record, name, getattr(read_record(folder), name))
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted) if stop_at else nullcontext():
        real = fit.append_row

        def stop(directory: Path, row: dict) -> None:
            if row["epoch"] == stop_at:
                raise Interrupted
            real(directory, row)

        patch.setattr(fit, "append_row", stop)
        run_cell(config, record, folder)
    return read_record(folder)


def small() -> Config:
    """A cell that saves its state after every step."""
    config = make_config()
    config.recipe.epochs, config.recipe.batch_size, config.checkpoint_seconds = 4, 30, 0
    config.tracker.name, config.precision, config.device = "none", "fp32", "cpu"
    return config


def test_resumed_cell_keeps_its_number_of_threads(tmp_path):
    torch.set_num_threads(2)
    whole = attempt(tmp_path / "whole", small())
    attempt(tmp_path / "broken", small(), stop_at=3)
    torch.set_num_threads(1)
    record = attempt(tmp_path / "broken", small())
    assert (whole.threads, record.threads, record.attempts, torch.get_num_threads()) == (2, 2, 2, 1)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    assert attempt(tmp_path / "new", small()).threads == 1


def test_record_keeps_the_code_and_the_packs_that_a_cell_was_continued_from(tmp_path, monkeypatch):
    codes = [{"version": "1", "commit": commit, "dirty": False} for commit in "aabc"]
    for place, code in enumerate(codes):
        monkeypatch.setattr(step, "code_identity", lambda code=code: dict(code))
        record = attempt(tmp_path / "cell", small(), stop_at=place + 2 if place < 3 else None)
        assert record.code["commit"] == code["commit"] and record.pack == {}
    assert [code["commit"] for code in record.code["before"]] == ["a", "b"]


def test_history_of_code_that_was_thrown_away_is_not_kept(tmp_path, monkeypatch):
    for commit in "ab":
        monkeypatch.setattr(step, "code_identity", lambda commit=commit: {"commit": commit})
        record = attempt(tmp_path / "cell", small(), stop_at=2 if commit == "a" else None)
        (tmp_path / "cell" / "state.pt").unlink(missing_ok=True)
    assert record.code == {"commit": "b"}


def test_state_whose_rows_are_lost_is_not_continued(tmp_path, caplog):
    attempt(tmp_path / "cell", small(), stop_at=4)
    path = tmp_path / "cell" / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    attempt(tmp_path / "cell", small())
    assert "metrics.jsonl lacks rows of epochs 1 to 3; training from the start" in caplog.text
    assert [row["epoch"] for row in read_rows(tmp_path / "cell")] == [1, 2, 3, 4]


def test_state_of_other_images_is_not_continued_in_silence(tmp_path, caplog):
    attempt(tmp_path / "cell", small(), stop_at=3)
    state = torch.load(tmp_path / "cell" / "state.pt", weights_only=True)
    save_state(tmp_path / "cell", state | {"data_fingerprint": "other"})
    attempt(tmp_path / "cell", small())
    assert "the images are not those of the saved state; training from the start" in caplog.text


def test_cell_that_lost_its_lock_leaves_its_record_to_the_next_owner(tmp_path, monkeypatch):
    folder = tmp_path / "cell"
    with CellLock(folder) as lock:
        lock.acquire()
        real = fit.evaluate

        def lose(*given):
            lock.path.unlink(missing_ok=True)
            (folder / "record.json").write_text("done by another process")
            return real(*given)

        monkeypatch.setattr(fit, "evaluate", lose)
        with pytest.raises(LockLost):
            run_cell(small(), Record(config=to_dict(small())), folder)
    assert (folder / "record.json").read_text() == "done by another process"
    assert not read_rows(folder) and not (folder / "last.safetensors").exists()


def test_pictures_are_drawn_by_our_analysis_also_beside_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis/__init__.py").touch()
    (tmp_path / "analysis/pictures.py").write_text("def draw_cell(directory, model, data): return [('foreign',) * 3]")
    (tmp_path / "mine.py").write_text("def draw(directory, model, data): return [('mine', directory, model)]")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("vitsweep.analysis.pictures.draw_cell", lambda *given: [("ours", *given)])
    config, setup = Config(), SimpleNamespace(model="model", data="data")
    config.tracker.name = "wandb"  # pictures are drawn for a tracker
    assert config.tracker.pictures == "analysis.pictures.draw_cell"
    assert draw_pictures(config, tmp_path, setup) == [("ours", tmp_path, "model", "data")]
    config.tracker.pictures = "mine.draw"
    assert draw_pictures(config, tmp_path, setup) == [("mine", tmp_path, "model")]


def test_cell_learns(vitsweep_main, tmp_path):
    """A ViT of 16,000 parameters classifies the generated shapes far better than chance (10 %)."""
    data = ["data=shapes", "data.shapes_train=2500", "data.shapes_test=300", "recipe=quick", "data.train_limit=2000"]
    small = ["model.patch_size=8", "model.hidden_size=32", "model.num_hidden_layers=1", "model.num_attention_heads=4"]
    small += ["model.intermediate_size=64", "model.hidden_dropout_prob=0", "tracker=none", "precision=fp32"]
    gentle = ["recipe.epochs=8", "recipe.batch_size=32", "recipe.lr=5e-3"]
    code, _, err = vitsweep_main(*data, *small, *gentle, f"hydra.run.dir={tmp_path / 'cell'}")
    assert code == 0, err
    assert read_record(tmp_path / "cell").metrics["final"]["test/accuracy"] > 0.3


def test_record_is_strict_json(trained):
    json.loads((trained / "record.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} in the record"))
