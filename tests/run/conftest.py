"""A sweep of two learning rates and two seeds, in this process."""

from collections.abc import Callable

import pytest

from tests.support.fake_training import Training
from vitsweep.train import fit as train


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
