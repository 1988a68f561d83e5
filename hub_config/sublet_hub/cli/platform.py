"""Which platform a command talks to, and as whom.

Beside a platform (in its folder or below it, or where SUBLET_DATA says) its address and its admin token are found
by themselves. Anywhere else `--url` and SUBLET_TOKEN say so. SUBLET_TOKEN, where it is set, always is the token
that is shown; the admin token of a data folder is never sent to an address that was given by hand.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sublet_hub.cli.exits import NotAllowed, Unreachable, UsageProblem
from sublet_hub.credentials import CREDENTIALS_FILE, CredentialsError, read_credentials
from sublet_hub.settings import Settings, SettingsError, load_settings

DATA_FOLDER = ".sublet"
UP_LOCK = "up.lock"
"""`sublet up` holds it while it runs, and writes its address there (run/lock.py)."""

ELSEWHERE = "Run this in the platform's folder, or give --url and set SUBLET_TOKEN to a hub token."
AS_OWNER = (
    "Run this as the user whom the platform runs as, or give --url and set SUBLET_TOKEN to a hub token of yours."
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send requests (no slash at the end), and the hub token to show."""

    url: str
    token: str = field(repr=False)


def find_data(start: Path, env: Mapping[str, str]) -> Path | None:
    """The data folder of the platform that we are beside; None where there is none."""
    if named := env.get("SUBLET_DATA"):
        return Path(named).expanduser().absolute()
    for folder in (start, *start.parents):
        if folder.name == DATA_FOLDER and _has_platform(folder):
            return folder
        if _has_platform(folder / DATA_FOLDER):
            return folder / DATA_FOLDER
    return None


def _has_platform(data: Path) -> bool:
    try:
        return (data / CREDENTIALS_FILE).exists()
    except PermissionError:
        return False


def find_target(url: str | None, env: Mapping[str, str] | None = None, start: Path | None = None) -> Target:
    """The platform to talk to; Unreachable where none is found, NotAllowed where no token is."""
    env = os.environ if env is None else env
    token = env.get("SUBLET_TOKEN")
    if url is not None:
        if not token:
            raise NotAllowed(
                "With --url, SUBLET_TOKEN must hold a hub token.",
                hint=f"Make one at {_checked(url)}/hub/token and run: export SUBLET_TOKEN=...",
            )
        return Target(_checked(url), token)
    settings = local_settings(env, start)
    url = running_url(settings.data) or settings.public_url
    if token:
        return Target(url, token)
    try:
        return Target(url, read_credentials(settings.data).admin_token)
    except CredentialsError as error:
        raise Unreachable(str(error)) from None
    except PermissionError:
        raise NotAllowed(f"You may not read {settings.data / CREDENTIALS_FILE}.", hint=AS_OWNER) from None


def is_running(data: Path) -> bool:
    """Whether a `sublet up` holds the data folder."""
    try:
        descriptor = os.open(data / UP_LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def running_url(data: Path) -> str | None:
    """Where the platform of a data folder listens, by its own word; None where it doesn't run, or isn't up yet."""
    if not is_running(data):
        return None
    try:
        address = json.loads((data / UP_LOCK).read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return address if isinstance(address, str) else None


def local_settings(env: Mapping[str, str] | None = None, start: Path | None = None) -> Settings:
    """The settings of the platform that we are beside; Unreachable where there is none."""
    env = os.environ if env is None else env
    data = find_data(start or Path.cwd(), env)
    if data is None:
        raise Unreachable("There is no Sublet platform in this folder or above it.", hint=ELSEWHERE)
    try:
        if not data.is_dir():
            raise Unreachable(f"SUBLET_DATA names {data}, which is no folder.", hint=ELSEWHERE)
        return load_settings({**env, "SUBLET_DATA": str(data)})
    except PermissionError as error:
        raise NotAllowed(f"You may not read {error.filename}.", hint=AS_OWNER) from None
    except SettingsError as error:
        raise UsageProblem(str(error), hint=f"Mend {data / 'sublet.toml'} or the environment.") from None


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise UsageProblem(f"--url {url!r} is no address; write for example https://hub.example.org.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
