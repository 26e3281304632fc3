"""vs.run and vs.plan: words of the command line, refusals, and a caller whose process stays as it was.

Kinds: agrees with the command line, obeys properties (state of the process), refuses with the right words.
"""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from vitsweep.analysis.api.running import PREFIX
from vitsweep.analysis.api.words import sweep_words

import vitsweep as vs
from tests.api.conftest import PLACE, SMALL
from vitsweep.study.record import read_record


def words(*overrides, directory=None, config_dir=None, **settings) -> list[str]:
    return sweep_words(overrides, settings, directory, config_dir)


def test_settings_are_spelled_as_on_the_command_line():
    data = {"train_limit": None, "root": Path("/a b")}
    assert words("model.patch_size=4,8", seed=[0, 1], compile=False, data=data) == [
        "--multirun", "model.patch_size=4,8", "seed=0,1", "compile=false", "data.train_limit=null", "data.root='/a b'",
    ]  # fmt: skip
    assert words(directory="out/it's", config_dir="mine", seed=np.int64(3), recipe={"lr": (1e-3, 2e-3)}) == [
        "--multirun", "--config-dir=mine", "seed=3", "recipe.lr=0.001,0.002", "hydra.sweep.dir='out/it\\'s'",
    ]  # fmt: skip


BAD = {
    "option": (("-m", "seed=0"), {}, r"'-m'  is no override; write 'key=value'"),
    "no text": ((3,), {}, r"3  is no override"),
    "nothing": ((), {"seed": []}, r"seed=\[\]  sweeps over nothing"),
    "object": ((), {"seed": object()}, r"seed=<object .*  has no spelling on the command line"),
    "unknown key": (("model.dept=3",), {}, r"model.dept  is unknown; did you mean model/depth"),
    "rule": (("model.patch_size=5",), {"data": "shapes"}, r"model.patch_size=5  does not divide model.image_size=32"),
    "folder": ((), {"config_dir": "nowhere"}, r"--config-dir=nowhere  is not a folder"),
    "dry run": (("sweep.dry_run=true",), {}, r"sweep.dry_run=true  trains nothing; use vs.plan"),
    "probe": (("sweep.probe=true",), {}, r"sweep.probe=true  times steps; use the command line"),
}


@pytest.mark.parametrize("name", BAD)
def test_refusal_is_the_command_lines_sentence(name):
    overrides, settings, sentence = BAD[name]
    with pytest.raises(vs.UserError, match=sentence):
        vs.run(*overrides, **settings)
    assert not os.path.exists("outputs")


def test_plan_is_the_one_of_the_command_line(vitsweep_main, tiny):
    arguments = ["model.patch_size=16,8", "seed=0,1", *(word for word in tiny if "patch_size" not in word)]
    planned = vs.plan(*arguments)
    code, out, _ = vitsweep_main("-m", *arguments, "sweep.dry_run=true")
    shown = out.replace(f"{Path.cwd()}/", "")
    *lines, last = [line.rstrip() for line in shown.splitlines()]
    assert code == 0 and str(planned).splitlines() == lines and last.startswith("nothing was trained")
    assert planned.directory.name.startswith("patch_size-shapes-") and not planned.directory.exists()
    assert planned.cells["arm"].tolist() == ["baseline", "patch_size=8"] * 2


def test_planning_leaves_a_hydra_application_its_own(monkeypatch):
    own = object()
    monkeypatch.setattr(GlobalHydra.instance(), "hydra", own)
    with pytest.raises(vs.UserError):
        vs.plan("model.patch_size=5")
    assert GlobalHydra.instance().hydra is own


def state() -> tuple:
    """Return everything that a caller may rely on."""
    import matplotlib
    import torch

    root = logging.getLogger()
    threads, numbers = torch.get_num_threads(), torch.get_rng_state().sum().item()
    handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    return (
        *(os.getcwd(), dict(os.environ), sys.argv[:], root.level, root.handlers[:], logging.root.manager.disable),
        *(matplotlib.rcParams["backend"], threads, numbers, np.random.get_state()[1].sum(), handlers),
    )


def test_running_leaves_the_process_as_it_was_and_trains_nothing_twice(home, study, monkeypatch, capfd):
    monkeypatch.chdir(home)
    before, started = state(), study.cells["started"].tolist()
    again = vs.run("model.patch_size=4,8", seed=[0, 1], data="shapes", tracker="none", report=False, **SMALL)
    assert state() == before
    assert again.cells["started"].tolist() == started
    assert f"4 cells, 4 done already, 0 to do, in {PLACE}" in capfd.readouterr().out


@pytest.mark.slow  # a child that imports torch, as the default tests have one already
def test_error_after_the_start_is_a_user_error(home, monkeypatch, capfd):
    monkeypatch.chdir(home)
    limit = SMALL | {"data.train_limit": 2000}
    with pytest.raises(vs.UserError, match=r"^data.train_limit=2000  is more than there are: 180 training images"):
        vs.run(seed=[0, 1], data="shapes", tracker="none", directory="outputs/refused", **limit)


@pytest.mark.slow  # a sweep in a process of its own, with a fork server
def test_interrupt_stops_the_cells_and_is_recorded(tmp_path):
    long = SMALL | {"recipe.epochs": 4000, "checkpoint_seconds": 0.0}
    call = {"seed": 0, "data": "shapes", "tracker": "none", "report": False, "directory": "out"} | long

    def interrupt():
        while not list(tmp_path.glob("out/*/seed=0/metrics.jsonl")):
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        vs.run(**call)
    (cell,) = tmp_path.glob("out/*/seed=0")
    assert read_record(cell).status == "interrupted"
    assert vs.load("out")["baseline"][0].status == "interrupted"


@pytest.mark.parametrize(
    "line, shown",
    [
        ("[2026-11-30 16:31:48,123][vitsweep.run.pool][INFO] - 1/4 done", "1/4 done"),
        ("[2026-11-30 16:31:48,123][HYDRA] 4 cells", "4 cells"),
        ("[2026-11-30 16:31:48,123][a.b][WARNING] - no", "[2026-11-30 16:31:48,123][a.b][WARNING] - no"),
    ],
)
def test_log_lines_are_shown_without_time_and_module_unless_they_warn(line, shown):
    assert PREFIX.sub("", line) == shown
