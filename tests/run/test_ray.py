"""Cells as Ray's tasks, without Ray: settings, checks before the first task, lost tasks. Kinds: obeys a property, says
the right words.
"""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.support.fake_ray import RayError, install, node
from tests.support.fake_training import SWEEP, statuses
from vitsweep.run.launchers import RAY, launch_errors
from vitsweep.run.ray_cluster import tasks
from vitsweep.run.ray_cluster.checks import make_probe
from vitsweep.run.ray_cluster.options import RaySettings
from vitsweep.run.ray_cluster.tasks import make_task
from vitsweep.run.worker import BUSY, NO_SPACE, train_cell


@pytest.fixture
def ray(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(tasks, "POLL_SECONDS", 0.01)
    fake = install(monkeypatch)
    fake.on_task = train
    return fake


@pytest.fixture
def study(vitsweep_main, small, training, ray):
    """The sweep of four cells on Ray."""

    def call(*overrides: str) -> tuple[int, str, str]:
        return vitsweep_main("-m", *small, "recipe.lr=1e-3,2e-3", "seed=0,1", "hydra/launcher=ray", *overrides)

    return call


def train(argument: str):
    """Run a task of either kind in this process: a probe sees everything, a cell trains."""
    if Path(argument).exists():
        return ""
    return argument, 0 if train_cell(SWEEP, argument) == "done" else 1


def cells(ray) -> list[str]:
    """Ids of the cells in the order of their tasks."""
    return [argument for argument, _ in ray.submitted if "seed=" in argument]


def test_every_cell_is_one_task_that_gets_only_its_id(study, ray, training):
    code, _, err = study()
    assert (code, statuses()) == (0, ["done"] * 4), err
    assert len(cells(ray)) == len(set(cells(ray))) == 4
    options = [options for argument, options in ray.submitted if "seed=" in argument]
    assert all((o["num_cpus"], o["num_gpus"], o["resources"], o["max_retries"]) == (1, 0, {}, 0) for o in options)
    assert not list(SWEEP.glob(".ray-*"))


def test_cell_of_a_lost_task_is_submitted_again(study, ray, training):
    lost = []

    def lose_first_of_each(argument):
        if "seed=" in argument and argument not in lost:
            lost.append(argument)
            raise RayError("node died\nmore")
        return train(argument)

    ray.on_task = lose_first_of_each
    code, out, err = study()
    assert (code, statuses(), len(cells(ray))) == (0, ["done"] * 4, 8)
    assert (out + err).count("a task was lost: RayError: node died\n") == 4


def test_cell_whose_task_is_lost_each_time_fails_alone(study, ray, training):
    def lose(argument):
        if argument.startswith("baseline") and argument.endswith("seed=0"):
            raise RayError("out of memory")
        return train(argument)

    ray.on_task = lose
    code, out, err = study()
    assert code == 1 and sorted(statuses()) == ["done"] * 3 + ["failed"] and "its worker died 3 times" in out + err
    assert len(cells(ray)) == 3 + 3


def test_cell_that_is_busy_elsewhere_is_no_loss(study, ray, training):
    busy = [BUSY] * 5
    ray.on_task = lambda argument: (argument, busy.pop()) if "seed=" in argument and busy else train(argument)
    assert study()[0] == 0 and statuses() == ["done"] * 4


def test_full_disk_stops_the_study_and_cancels_the_tasks(study, ray, training):
    ray.on_task = lambda argument: (argument, NO_SPACE) if "seed=" in argument else ""
    code, _, err = study()
    assert code == 2 and "no space left" in err and statuses() == ["planned"] * 4


def test_ctrl_c_cancels_the_tasks(study, ray, training, monkeypatch):
    monkeypatch.setattr(sys.modules["ray"], "wait", stop_once(sys.modules["ray"].wait))
    assert study()[0] == 130 and len(ray.cancelled) == 4


def stop_once(wait):
    """ray.wait that is interrupted at the first look at cells."""
    calls = []

    def call(refs, **options):
        calls.append(refs)
        if len(calls) == 2:  # the first one is that of the probes
            raise KeyboardInterrupt
        return wait(refs, **options)

    return call


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["hydra.launcher.num_cpus=0"], "hydra.launcher.num_cpus=0  must be a number above 0"),
        (["hydra.launcher.num_gpus=2"], "hydra.launcher.num_gpus=2  must be auto or a number from 0 to 1"),
        (["hydra.launcher.num_gpus=false"], "hydra.launcher.num_gpus=False  must be auto or a number"),
        (["hydra.launcher.address=ray://head:10001"], "hydra.launcher.address=ray://head:10001  must be auto or host:"),
        (["+hydra.launcher.resources.GPU=1"], "hydra.launcher.resources={'GPU': 1}  must map names"),
        (["+hydra.launcher.resources.memory=4e9"], "hydra.launcher.resources={'memory': 4000000000.0}  must map names"),
        (["+hydra.launcher.env.A=1"], "hydra.launcher.env={'A': 1}  must map names of variables to texts"),
        (["hydra.launcher.may_grow=1"], "hydra.launcher.may_grow=1  must be true or false"),
        (["+hydra.launcher.num_gpu=1"], "hydra.launcher.num_gpu  is unknown; did you mean num_gpus"),
        (["sweep.jobs=2"], "sweep.jobs=2  is not read by hydra/launcher=ray"),
        (["sweep.isolate=none"], "sweep.isolate=none  cannot train in this process with hydra/launcher=ray"),
        (["sweep.detach=true"], "sweep.detach=true  submits jobs to Slurm"),
        (["hydra.launcher.num_cpus=3"], "hydra/launcher=ray  has no node with CPU 3 for a cell; nodes: n1 (CPU 2), n2"),
        (["device=cuda"], "hydra/launcher=ray  has no node with CPU 1 GPU 1 for a cell (hydra.launcher.num_gpus, or "),
        (["+hydra.launcher.resources.big=1"], "hydra/launcher=ray  has no node with CPU 1 big 1 for a cell"),
    ],
)
def test_what_no_cell_can_obey_is_refused_before_a_task(study, ray, training, words, sentence):
    code, _, err = study(*words)
    assert code == 2 and err.startswith(sentence) and "Traceback" not in err
    assert not ray.submitted and not training.ran and not SWEEP.exists()


def test_cluster_that_grows_gets_what_it_does_not_have_yet(study, ray, training):
    assert study("hydra.launcher.num_cpus=3", "hydra.launcher.may_grow=true")[0] == 0 and len(cells(ray)) == 4


def test_missing_ray_is_one_sentence(monkeypatch):
    monkeypatch.setattr("vitsweep.run.ray_cluster.options.find_spec", lambda name: None)
    config = OmegaConf.create({"hydra": {"launcher": {"_target_": RAY}, "overrides": {"hydra": []}}})
    (message,) = launch_errors(config)
    assert message.startswith("hydra/launcher=ray  needs the package ray, which is not installed; ")
    assert "[ray]" in message


def test_address_where_nothing_listens_is_one_sentence(study):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = study(f"hydra.launcher.address={address}")
    assert code == 2 and err.startswith(f"hydra.launcher.address={address}  finds no Ray cluster at {address}; start")


def test_refused_connection_is_one_sentence(study, ray):
    ray.refusal = ConnectionError("Could not find any running Ray instance. Please specify")
    code, _, err = study()
    words = "hydra.launcher.address=auto  cannot be used (ConnectionError: Could not find any running Ray instance); "
    assert code == 2 and err.count(words) == 1 and not SWEEP.exists()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("directory", "is not seen by node n2 (::1); use a folder on a disk that all nodes share"),
        ("No module named torch", "cannot start vitsweep on node n2 (::1): No module named torch; install vitsweep"),
    ],
)
def test_node_that_cannot_train_is_named(study, ray, training, answer, words):
    ray.nodes = [node("n1", CPU=0), node("n2")]
    ray.on_task = lambda mark: answer
    code, _, err = study()
    assert code == 2 and words in err and len(ray.submitted) == 1 and not SWEEP.exists()


def test_finished_study_needs_no_cluster(study, ray, training):
    study()
    ray.refusal = ConnectionError("gone")
    assert study()[0] == 0


@pytest.mark.parametrize(
    ("settings", "device", "has_gpus", "gpus"),
    [
        ({}, "cpu", True, 0),
        ({}, "auto", True, 1),
        ({}, "auto", False, 0),
        ({}, "cuda", False, 1),
        ({"num_gpus": 0.25}, "auto", True, 0.25),
        ({"num_gpus": 0}, "auto", True, 0),
    ],
)
def test_gpus_of_a_cell(settings, device, has_gpus, gpus):
    assert RaySettings(**settings).needs(device, has_gpus).get("GPU", 0) == gpus


def test_task_returns_id_and_code_and_keeps_the_output(tmp_path):
    code = "import os, sys; print(sys.argv[1:], os.environ['COLOUR']); sys.exit(3)"
    task = make_task([sys.executable, "-c", code, str(tmp_path)], ["--retry"], {"COLOUR": "blue"}, "out.log")
    assert task("a/seed=0") == ("a/seed=0", 3)
    assert (tmp_path / "a/seed=0/out.log").read_text() == f"{[str(tmp_path), 'a/seed=0', '--retry']} blue\n"


def test_cancelled_task_lets_its_process_save(tmp_path):
    code = "import signal, sys, time; signal.signal(15, lambda *_: (print('saved'), sys.exit(0)))"
    code += "; print('begun'); time.sleep(60)"
    task = make_task([sys.executable, "-uc", code, str(tmp_path)], [], {}, "out.log")
    log = tmp_path / "cell" / "out.log"

    def interrupt() -> None:
        while not log.exists() or "begun" not in log.read_text():
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        task("cell")
    assert log.read_text() == "begun\nsaved\n"


def test_probe_looks_for_the_file_and_starts_python(tmp_path):
    mark = tmp_path / "mark"
    probe = make_probe(sys.executable, os.environ.get("PYTHONPATH", "") or str(Path(__file__).parents[2]))
    assert probe(str(mark)) == "directory"
    mark.touch()
    assert probe(str(mark)) == ""
    assert "No such file" in make_probe(str(tmp_path / "python"), "")(str(mark))
