"""Destination of a run: agrees with wandb's own order of settings; a server that does not answer costs seconds."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.fake_wandb_server import FakeWandb
from tests.support.odd_servers import drip, greet, raw_server
from tests.support.wandb_fixtures import no_account  # noqa: F401
from vitsweep.tracking.mode import find_mode, has_key, is_reachable


def test_without_key_a_run_is_offline():
    assert find_mode("auto") == "offline"


def test_with_a_key_a_run_is_online(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert find_mode("auto") == "online"


@pytest.mark.parametrize(
    ("said", "mode"), [("offline", "offline"), ("disabled", "disabled"), ("dryrun", "offline"), ("run", "online")]
)
def test_wandb_mode_decides_over_the_key(monkeypatch, said, mode):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_MODE", said)
    assert find_mode("auto") == mode


@pytest.mark.parametrize("wanted", ["online", "offline", "disabled"])
def test_what_the_configuration_says_decides_over_wandb_mode(monkeypatch, wanted):
    monkeypatch.setenv("WANDB_MODE", "disabled" if wanted != "disabled" else "online")
    assert find_mode(wanted) == wanted


def test_wandb_offline_of_a_folder_is_heeded(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/settings").write_text("[default]\nmode = offline\n")
    assert find_mode("auto") == "offline"


def test_broken_settings_are_none(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/settings").write_bytes(b"\xff\xfe no settings")
    assert find_mode("auto") == "offline"


@pytest.mark.parametrize(
    ("host", "found"), [("api.wandb.ai", True), ("api.forge.coreweave.com", True), ("github.com", False)]
)
def test_netrc_keeps_the_key_by_host(tmp_path, host, found):
    (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {'k' * 40}\n")
    assert has_key() is found


def test_netrc_key_of_an_own_server(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example:8080/")
    (tmp_path / "netrc").write_text("machine wandb.example:8080\n  login user\n  password k\n")
    assert has_key()


def test_a_broken_netrc_has_no_key(tmp_path):
    (tmp_path / "netrc").write_text("machine machine machine")
    assert not has_key()


def test_wandb_finds_the_same_key(tmp_path, monkeypatch):
    from wandb.sdk.lib import wbauth

    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example:8080")
    (tmp_path / "netrc").write_text(f"machine wandb.example:8080\n  login user\n  password {'k' * 40}\n")
    assert has_key() is (wbauth.read_netrc_auth(host="http://wandb.example:8080") is not None)


def test_the_mode_is_found_without_importing_wandb():
    code = (
        "import sys; from vitsweep.tracking.mode import find_mode; find_mode('auto'); assert 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_refused_connection_is_known_at_once(monkeypatch):
    with FakeWandb() as gone:
        monkeypatch.setenv("WANDB_BASE_URL", gone.url)
    began = time.monotonic()
    assert not is_reachable(5.0)
    assert time.monotonic() - began < 1.0


def test_a_silent_server_is_waited_for_no_longer_than_asked(server_in_mood):
    server_in_mood.mood.silent.set()
    began = time.monotonic()
    assert not is_reachable(0.5)
    assert 0.4 < time.monotonic() - began < 1.5


@pytest.mark.parametrize("answer", [drip, greet], ids=lambda answer: answer.__name__)
def test_a_server_without_a_whole_http_answer_counts_as_gone(monkeypatch, answer):
    with raw_server(answer) as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        assert not is_reachable(1.0)


@pytest.mark.parametrize("url", ["localhost:8080", "http://[bad", "http://a b", "http://nowhere.invalid:port"])
def test_an_invalid_address_counts_as_gone_and_has_no_key(monkeypatch, url):
    monkeypatch.setenv("WANDB_BASE_URL", url)
    assert not is_reachable(1.0) and not has_key()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server_in_mood, status):
    server_in_mood.mood.statuses = [status, status]
    assert is_reachable(3.0)


def test_a_server_that_stays_busy_counts_as_gone(server_in_mood):
    server_in_mood.mood.statuses = [503] * 100
    assert not is_reachable(0.6)


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_is_an_answer(server_in_mood, status):
    server_in_mood.mood.statuses = [status]
    assert is_reachable(1.0)


def test_a_proxy_that_only_wandb_knows_is_left_to_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://nowhere.invalid")
    monkeypatch.setenv("WANDB_HTTPS_PROXY", "http://proxy.example:3128")
    assert is_reachable(0.5)


@pytest.fixture
def server_in_mood(monkeypatch):
    """A server without an account; is_reachable needs none."""
    with FakeWandb() as running:
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        yield running
