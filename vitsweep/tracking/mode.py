"""Mode of a W&B run (online, offline, disabled), API key and reachability of the server, without importing wandb.

wandb itself defaults to online, then prompts for a key or waits 90 seconds for an unreachable server. Here no key
means offline, and one small request detects a missing server.
"""

import configparser
import netrc
import os
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from vitsweep.tracking.client import run_with_timeout

DEFAULT_URL = "https://api.forge.coreweave.com"  # of wandb 0.31
DEFAULT_HOSTS = ("api.forge.coreweave.com", "api.wandb.ai")  # wandb accepts a netrc entry of either
TOO_BUSY = 429
NO_KEY = "WANDB_API_KEY  is not set, and netrc has no key for the server; set it or run `wandb login`"
OLD_NAMES = {"dryrun": "offline", "run": "online"}


def find_mode(mode: str) -> str:
    """Resolve tracker.mode=auto; return any other mode unchanged.

    Reads WANDB_MODE, then the settings files that `wandb offline` and `wandb disabled` write, as wandb does.
    """
    if mode != "auto":
        return mode
    if configured := os.environ.get("WANDB_MODE") or read_settings().get("mode"):
        return OLD_NAMES.get(configured, configured)
    return "online" if has_key() else "offline"


def has_key() -> bool:
    """Return True if wandb would find an API key or identity token in the environment, settings files or netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    return bool(read_settings().get("api_key")) or has_netrc_entry(server_hosts())


def is_reachable(seconds: float) -> bool:
    """Return False if the server does not answer as an HTTP server does; retry while it returns 429 or 5xx.

    A certificate that this Python does not know, or a proxy set for wandb only, counts as reachable.

    Args:
        seconds: longest wait, for a slow name server or a server that sends its answer byte by byte too.
    """
    settings = read_settings()
    if any(os.environ.get(f"WANDB_{name.upper()}") or settings.get(name) for name in ("http_proxy", "https_proxy")):
        return True
    # The timeout of urlopen bounds each read of a socket, not the whole request.
    return run_with_timeout(seconds, lambda: request_health(f"{server_url()}/healthz", time.monotonic() + seconds))


def request_health(url: str, deadline: float) -> None:
    """Send requests until one is answered.

    Raises:
        OSError: there was no answer until the deadline (time.monotonic()).
        HTTPException: the answer is not HTTP.
        ValueError: the URL is invalid.
    """
    while (left := deadline - time.monotonic()) > 0:
        try:
            urllib.request.urlopen(url, timeout=left).close()
            return
        except urllib.error.HTTPError as answer:
            answer.close()
            if answer.code != TOO_BUSY and answer.code < 500:
                return
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLError):
                return
            raise
        except OSError:  # broken connection, or no answer in time
            pass
        time.sleep(min(0.25, max(0.0, deadline - time.monotonic())))
    raise TimeoutError(url)


def server_url() -> str:
    """Return the URL of the server, without a trailing slash."""
    url = os.environ.get("WANDB_BASE_URL") or read_settings().get("base_url") or DEFAULT_URL
    return url.rstrip("/")


def server_hosts() -> tuple[str, ...]:
    """Return the host names (with port, if any) under which netrc may hold the key."""
    try:
        host = urlsplit(server_url()).netloc
    except ValueError:  # a bracket without its pair
        return ()
    return DEFAULT_HOSTS if host in DEFAULT_HOSTS else (host,)


def has_netrc_entry(hosts: tuple[str, ...]) -> bool:
    """Return True if the netrc file that wandb reads has a password for one of the hosts; ignore unreadable files."""
    candidates = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for path in (Path(name).expanduser() for name in candidates):
        try:
            entries = netrc.netrc(path)
        except (OSError, netrc.NetrcParseError):
            continue
        return any((entries.authenticators(host) or ("", "", ""))[2] for host in hosts)
    return False


def read_settings() -> dict[str, str]:
    """Return W&B's settings: the user's, overridden by those of the working folder."""
    user = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser() / "settings"
    local = Path(os.environ.get("WANDB_DIR") or ".") / "wandb" / "settings"
    found: dict[str, str] = {}
    for path in (user, local):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        if parser.has_section("default"):
            found |= dict(parser.items("default"))
    return found
