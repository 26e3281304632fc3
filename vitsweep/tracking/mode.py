"""Where W&B would send a run: online, offline or disabled, decided without importing wandb; is anybody there.

wandb itself goes online by default, and then asks for a key or waits a minute and a half for a server that it cannot
reach. Here no key means offline, silently, and one small request finds out in time that there is no server.
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

DEFAULT_URL = "https://api.forge.coreweave.com"  # of wandb 0.31
DEFAULT_HOSTS = ("api.forge.coreweave.com", "api.wandb.ai")  # it accepts a netrc entry of either
TOO_BUSY = 429
OLD_NAMES = {"dryrun": "offline", "run": "online"}


def find_mode(wanted: str) -> str:
    """What tracker.mode=auto means here and now; any other wish is granted as it is.

    The order is wandb's own: WANDB_MODE, then the settings files that `wandb offline` and `wandb disabled` write.
    """
    if wanted != "auto":
        return wanted
    said = os.environ.get("WANDB_MODE") or read_settings().get("mode")
    if said:
        return OLD_NAMES.get(said, said)
    return "online" if has_key() else "offline"


def has_key() -> bool:
    """Whether wandb would find an API key or an identity token: environment, settings files, netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    return bool(read_settings().get("api_key")) or has_netrc_entry(server_hosts())


def is_reachable(seconds: float) -> bool:
    """Whether the server answers a request, asked again while it says that it is too busy or broken.

    Only a certain no counts as no: certificates that this Python does not know, or a proxy that only wandb knows,
    are left for wandb to judge.

    Args:
        seconds: the longest wait.
    """
    settings = read_settings()
    if any(os.environ.get(f"WANDB_{name.upper()}") or settings.get(name) for name in ("http_proxy", "https_proxy")):
        return True
    url = server_url()
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=left).close()
            return True
        except urllib.error.HTTPError as answer:
            answer.close()
            if answer.code != TOO_BUSY and answer.code < 500:
                return True
        except urllib.error.URLError as fault:
            return isinstance(fault.reason, ssl.SSLError)
        except OSError:  # a connection that broke, or an answer that did not come in time
            pass
        time.sleep(min(0.25, max(0.0, deadline - time.monotonic())))
    return False


def server_url() -> str:
    """Where the server is, without a slash at the end."""
    url = os.environ.get("WANDB_BASE_URL") or read_settings().get("base_url") or DEFAULT_URL
    return url.rstrip("/")


def server_hosts() -> tuple[str, ...]:
    """Host names, with ports where given, under which netrc may keep the key."""
    host = urlsplit(server_url()).netloc
    return DEFAULT_HOSTS if host in DEFAULT_HOSTS else (host,)


def has_netrc_entry(hosts: tuple[str, ...]) -> bool:
    """Whether the netrc file that wandb reads has a password for one of the hosts; an unreadable file has none."""
    candidates = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for path in (Path(name).expanduser() for name in candidates):
        try:
            entries = netrc.netrc(path)
        except (OSError, netrc.NetrcParseError):
            continue
        return any((entries.authenticators(host) or ("", "", ""))[2] for host in hosts)
    return False


def read_settings() -> dict[str, str]:
    """W&B's settings: the user's, overridden by those of the working folder."""
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
