"""Hydra's launchers under a sweep: jobs that are lost, engines that train for real, two commands at once.

The engines start processes in a foreign directory. Kinds: obeys a property.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from tests.support.fake_training import ALL, SWEEP
from vitsweep.run import launchers
from vitsweep.run.hydra_task import CellLoader, CellTask
from vitsweep.run.launchers import Sweep
from vitsweep.run.workers import worker_environment
from vitsweep.study.locks import LOCK_NAME
from vitsweep.study.plan import read_plan
from vitsweep.study.record import read_record

ROOT = Path(__file__).resolve().parents[2]


def command(small: list[str], *overrides: str) -> list[str]:
    """`run.py -m` with two arms and two seeds, for another process."""
    return [sys.executable, str(ROOT / "run.py"), "-m", *small, "recipe.lr=1e-3,2e-3", "seed=0,1", *overrides]


class LossyLauncher:
    """A launcher that sends jobs elsewhere: it pickles what it is given, runs two jobs and then loses its worker."""

    def __init__(self, sweep: Sweep, task: CellTask) -> None:
        self.config = sweep.config
        self.loader, self.task = pickle.loads(pickle.dumps((CellLoader(sweep.context.config_loader), task)))

    def launch(self, job_overrides: list[list[str]], initial_job_idx: int) -> None:
        for number, overrides in enumerate(job_overrides[:2], initial_job_idx):
            config = self.loader.load_sweep_config(self.config, overrides)
            with open_dict(config):
                config.hydra.job.id, config.hydra.job.num = str(number), number
            HydraConfig.instance().set_config(config)
            self.task(config)
        raise RuntimeError("a worker died")


def test_cells_that_a_launcher_lost_are_launched_again(sweep, training, monkeypatch):
    monkeypatch.setattr(launchers, "make_launcher", LossyLauncher)
    code, out, err = sweep("hydra.launcher._target_=hydra_plugins.lossy.LossyLauncher")
    assert code == 0 and training.ran == ALL
    assert (out + err).count("LossyLauncher: RuntimeError: a worker died") == 2


ENGINES = {
    "joblib": (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], "hydra_plugins.hydra_joblib_launcher"),
    "joblib in its workers": (
        ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "sweep.isolate=none"],
        "hydra_plugins.hydra_joblib_launcher",
    ),
    "submitit": (["hydra/launcher=submitit_local", "sweep.jobs=2"], "hydra_plugins.hydra_submitit_launcher"),
}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_engine_trains_every_cell_once(small, tmp_path, engine):
    overrides, package = ENGINES[engine]
    pytest.importorskip(package)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command(small, *overrides), check=True, capture_output=True, env=environment, timeout=300)
    records = [read_record(SWEEP / cell.id) for cell in read_plan(SWEEP).cells]
    assert [(record.status, record.attempts) for record in records] == [("done", 1)] * 4
    assert list(SWEEP.rglob(LOCK_NAME)) == []
    assert all((SWEEP / cell.id / "run.log").stat().st_size for cell in read_plan(SWEEP).cells)


@pytest.mark.slow  # 17 s: two real commands with their processes; the chaos tests start many
def test_two_commands_at_once_share_the_work(small):
    environment = worker_environment() | {"OMP_NUM_THREADS": "1"}
    starts = [subprocess.Popen(command(small), stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    said = [start.communicate(timeout=300)[0].decode() for start in starts]
    assert [start.returncode for start in starts] == [0, 0]
    records = [read_record(SWEEP / cell.id) for cell in read_plan(SWEEP).cells]
    assert [(record.status, record.attempts) for record in records] == [("done", 1)] * 4
    assert all((SWEEP / cell.id / "run.log").stat().st_size for cell in read_plan(SWEEP).cells)
    assert all("test accuracy after the last epoch" in text for text in said)
