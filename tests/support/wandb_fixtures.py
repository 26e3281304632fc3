"""Fixtures for tests that use the real W&B client: alone with its own folders, and with a server on loopback."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_wandb_server import KEY, FakeWandb
from vitsweep.tracking.client import release_service


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove netrc, settings and environment of any W&B account, and the helper process of an earlier test.

    The helper's address is in the environment too (WANDB_SERVICE): if monkeypatch restored it after the helper ended,
    every later run would go to a missing helper.
    """
    release_service()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        if not name.endswith("_DIR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(name="server")
def own_server(no_account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWandb]:
    """Yield a running fake W&B server whose key is in the environment.

    wandb's helper process reads the environment once, so it lives exactly as long as the server.
    """
    release_service()
    with FakeWandb() as running:
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield running
        assert running.errors == []
    release_service()


@pytest.fixture(name="jane_doe")
def private_names(no_account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a user and a host whose names contain `jane_doe`, easy to find in what is sent."""
    monkeypatch.setenv("USER", "jane_doe")
    monkeypatch.setenv("LOGNAME", "jane_doe")
    monkeypatch.setattr(socket, "gethostname", lambda: "host-of-jane_doe")
    release_service()
    yield
    release_service()
