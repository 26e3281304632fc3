"""Former place of the fake W&B server, for scripts outside this project; see tests/support/fake_wandb_server.py."""

from tests.support.fake_wandb_server import KEY, FakeWandb

__all__ = ["KEY", "FakeWandb"]
