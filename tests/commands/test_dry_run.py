"""Dry run in any spelling: prints state and time, writes nothing, trains nothing; the end of a single run."""

import os
from pathlib import Path

import pytest

from tests.support.make_images import make_pixels, write_folders
from vitsweep.config.command_line import is_dry_run, order_words
from vitsweep.run.end.single import describe_result, next_commands
from vitsweep.study.record import METRIC_NAMES, Record


def tree() -> dict[str, int]:
    """Path -> time of its last change of all files and folders below the working folder."""
    return {str(path): os.stat(path).st_mtime_ns for path in Path.cwd().rglob("*")}


@pytest.mark.parametrize(
    "words",
    [
        ["sweep.dry_run=true"],
        ["sweep.dry_run=True", "-m"],
        ["++sweep.dry_run=yes"],
        ["+sweep.dry_run=1", "seed=1"],
        ["sweep={dry_run:true}"],
        ["--sweep.dry_run=on"],
        ["sweep.dry_run=false", "sweep.dry_run=true"],
        ["study=parts", "sweep.dry_run=true"],
        ["sweep.probe=true"],
    ],
)
def test_dry_run_is_found_in_every_spelling(words):
    assert is_dry_run(order_words(words))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["sweep.dry_run=false"],
        ["sweep.dry_run=true", "sweep.dry_run=false"],
        ["sweep.dry_run=true", "--cfg", "job"],
        ["-m", "sweep.probe=true"],  # prints the plan, then trains
    ],
)
def test_other_words_are_no_dry_run(words):
    assert not is_dry_run(order_words(words))


@pytest.mark.parametrize("words", [[], ["-m", "model.bias=true,false"]])
def test_dry_run_writes_nothing(vitsweep_main, tiny, words):
    before = tree()
    code, out, _ = vitsweep_main(*words, *tiny, "sweep.dry_run=true")
    assert code == 0 and "nothing was trained, downloaded or written" in out
    assert tree() == before


def test_dry_run_on_own_images_keeps_no_cache(vitsweep_main, tiny):
    write_folders(Path("images"), make_pixels(train=12, test=4, classes=["cat", "dog"]))
    before = tree()
    own = ["data=image_folder", "data.root=images", "model.num_classes=2", *tiny[3:]]
    code, out, err = vitsweep_main(*own, "sweep.dry_run=true")
    assert (code, err) == (0, "") and tree() == before


def test_result_of_a_run_names_accuracy_parameters_and_time():
    metrics = {"final": dict.fromkeys(METRIC_NAMES, 0.25)}
    record = Record(status="done", metrics=metrics, params=1234, time_seconds=90.0)
    assert describe_result(record) == "done, test accuracy 25.00 %, test loss 0.250, 1,234 parameters, 90 s"


def test_next_commands_are_a_report_and_a_comparison(monkeypatch):
    monkeypatch.setattr("sys.argv", ["run.py"])
    lines = next_commands(["data=shapes", "model.patch_size=8", "seed=3"], "outputs/single/a b")
    assert lines[1] == "  python -m vitsweep report 'outputs/single/a b'"
    sweep = "  python run.py -m data=shapes model.patch_size=8 model.num_hidden_layers=4,8 seed=0,1,2"
    assert lines[3] == sweep
