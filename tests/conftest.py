"""Fixtures that every test may use; nothing here reaches the network or the user's own folders."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # also of processes that tests start: pytest -n 2 fills two cores

ON_REQUEST = ("slow", "hour", "chaos", "slurm", "ray")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what takes minutes or starts daemons, unless `-m` asks for it."""
    asked = config.getoption("-m")
    for item in items:
        for name in ON_REQUEST:
            if item.get_closest_marker(name) and name not in asked:
                item.add_marker(pytest.mark.skip(reason=f"on request: pytest -m {name}"))


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, with caches and W&B's files inside it."""
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / ".wandb-home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setenv("NETRC", str(tmp_path / ".no-netrc"))  # a developer's own key must not send real runs
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("VITSWEEP_DATA", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread a test: sums in a fixed order, and two test runs share a small machine fairly."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def untimed_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No estimate of a sweep's duration: it would time training steps, for some in a process that imports torch."""
    from vitsweep.run.timing import estimate  # not by its path: `vitsweep.run` is callable

    monkeypatch.setattr(estimate, "measure_shapes", lambda *_: {})


@pytest.fixture
def vitsweep_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, str]]:
    """Call the console command in this process: arguments -> exit code, output, error output."""

    def call(*arguments: str) -> tuple[int, str, str]:
        from hydra.core.global_hydra import GlobalHydra

        from vitsweep.cli import main

        GlobalHydra.instance().clear()
        monkeypatch.setattr("sys.argv", ["vitsweep", *arguments])
        capsys.readouterr()
        try:
            code = main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Overrides of a cell that trains in a moment: a model of 3,000 parameters on 180 generated images."""
    return [
        "data=shapes",
        "data.shapes_train=200",
        "data.shapes_test=50",
        "model.patch_size=16",
        "model.hidden_size=16",
        "model.num_hidden_layers=1",
        "model.num_attention_heads=2",
        "model.intermediate_size=16",
        "recipe.epochs=2",
        "recipe.batch_size=45",
        "precision=fp32",
        "tracker=none",
    ]
