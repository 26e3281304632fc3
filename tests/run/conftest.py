"""A sweep of two learning rates and two seeds, in this process."""

import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.support.fake_training import Training
from tests.support.slurm_cluster import call, slurm_cluster, wait_for
from vitsweep.train import fit as train
from vitsweep.train.stop import SIGNALS


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Restore the handlers that a job of a cluster sets in this process; children would inherit an ignored signal."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def small(tiny: list[str]) -> list[str]:
    """The smallest cells, without the check at the start and the report at the end."""
    return [*tiny, "recipe.epochs=1", "sweep.check=false", "~hydra.callbacks.report"]


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    stand_in = Training()
    monkeypatch.setattr(train, "run_cell", stand_in)
    return stand_in


@pytest.fixture
def sweep(vitsweep_main, small) -> Callable[..., tuple[int, str, str]]:
    """Two learning rates and two seeds in this process; returns exit code, output and error output."""

    def call(*overrides: str, lr: str = "1e-3,2e-3", seed: str = "0,1") -> tuple[int, str, str]:
        swept = [f"recipe.lr={lr}", f"seed={seed}"]
        return vitsweep_main("-m", *small, *swept, "sweep.isolate=none", *overrides)

    return call


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """SLURM_CONF of a cluster; a module's CLUSTER holds the arguments of slurm_cluster."""
    words, options = getattr(request.module, "CLUSTER", ((), {}))
    with slurm_cluster(*words, **options) as conf:
        yield conf


@pytest.fixture
def slurm(cluster: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """A function that calls a Slurm command and returns what it prints; no job is left at the end."""
    monkeypatch.setenv("SLURM_CONF", cluster)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield call
    subprocess.run(["scancel", "--user", "root"], check=True)
    wait_for(lambda: call("squeue", "-h") == "", 60)
