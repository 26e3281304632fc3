"""Where W&B would send a run: online, offline or disabled, decided without importing wandb and without a network.

wandb itself goes online by default and then fails or asks for a key. Here no key means offline, silently.
"""

import configparser
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_HOSTS = ("api.forge.coreweave.com", "api.wandb.ai")  # wandb 0.31 accepts a netrc entry of either
OLD_NAMES = {"dryrun": "offline", "run": "online"}


def find_mode(wanted: str) -> str:
    """What tracker.mode=auto means here and now; any other wish is granted as it is.

    The order is wandb's own: WANDB_MODE, then the settings files that `wandb offline` and `wandb disabled` write.
    """
    if wanted != "auto":
        return wanted
    said = os.environ.get("WANDB_MODE") or settings_files().get("mode")
    if said:
        return OLD_NAMES.get(said, said)
    return "online" if has_key() else "offline"


def has_key() -> bool:
    """Whether wandb would find an API key or an identity token: environment, settings files, netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    return bool(settings_files().get("api_key")) or in_netrc(server_hosts())


def server_hosts() -> tuple[str, ...]:
    """Host names, with ports where given, under which netrc may keep the key."""
    url = os.environ.get("WANDB_BASE_URL") or settings_files().get("base_url")
    return (urlsplit(url).netloc,) if url else DEFAULT_HOSTS


def in_netrc(hosts: tuple[str, ...]) -> bool:
    """Whether the netrc file that wandb reads has a password for one of the hosts; an unreadable file has none."""
    candidates = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for path in (Path(name).expanduser() for name in candidates):
        try:
            entries = netrc.netrc(path)
        except (OSError, netrc.NetrcParseError):
            continue
        return any((entries.authenticators(host) or ("", "", ""))[2] for host in hosts)
    return False


def settings_files() -> dict[str, str]:
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
