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
    """Nobody's netrc, settings or environment, and no helper process of an earlier test.

    Its address is in the environment too (WANDB_SERVICE): restored by monkeypatch after the helper has ended, it would
    send every later run to a helper that is gone.
    """
    release_service()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        if not name.endswith("_DIR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(name="server")
def own_server(no_account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWandb]:
    """A W&B server with an account that this test's environment has the key of.

    wandb reads the environment once in the life of its helper process, which therefore lives as long as the server.
    """
    release_service()
    with FakeWandb() as running:
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield running
        assert running.faults == []
    release_service()


@pytest.fixture(name="somebody")
def private_names(no_account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user and a machine that are easily found again in what is sent; every name of theirs has `somebody` in it."""
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setenv("LOGNAME", "somebody")
    monkeypatch.setattr(socket, "gethostname", lambda: "host-of-somebody")
    release_service()
    yield
    release_service()
