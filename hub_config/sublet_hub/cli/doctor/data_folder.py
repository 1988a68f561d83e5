"""Checks of the data folder: its files and their modes, the configuration in it, room on its disk."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from sublet_hub.catalog import load_catalog
from sublet_hub.cli import units
from sublet_hub.cli.doctor.findings import Finding, ok, problem, warning
from sublet_hub.credentials import CREDENTIALS_FILE, SECRETS_FILE
from sublet_hub.settings import Settings, SettingsError, unknown_environment

GIB = 2**30
LITTLE_ROOM_BYTES, NO_ROOM_BYTES = 5 * GIB, GIB
PRIVATE_FILES = (CREDENTIALS_FILE, SECRETS_FILE, "sublet.sqlite", "jupyterhub.sqlite", "audit.anchors")
PRIVATE_FOLDERS = ("leases", "logs")


def has_platform(settings: Settings) -> bool:
    """Whether a platform was ever started here."""
    return (settings.data / CREDENTIALS_FILE).exists() and (settings.data / SECRETS_FILE).exists()


def files(settings: Settings) -> Iterator[Finding]:
    """The data folder is there, and nobody else on the machine can read what is secret in it."""
    data = settings.data
    if not has_platform(settings):
        yield problem("files", f"{data} holds no platform.", "Start one with: sublet up")
        return
    open_to_others = [name for name in PRIVATE_FILES if _mode(data / name) & 0o077]
    open_to_others += [name for name in PRIVATE_FOLDERS if _mode(data / name) & 0o077]
    for name in open_to_others:
        mend = f"chmod go= {data / name}; if others use this machine, also have new secrets made (docs/security.md)."
        yield problem("files", f"{data / name} can be read by other users of this machine.", mend)
    if _mode(data) & 0o022:
        yield problem("files", f"{data} can be written by other users of this machine.", f"chmod go-w {data}")
    owner = data.stat().st_uid
    if owner != os.geteuid():
        yield warning(
            "files",
            f"{data} belongs to the user id {owner}, and you are {os.geteuid()}.",
            "Run sublet as the user who owns the data folder.",
        )
    if not open_to_others:
        yield ok("files", f"{data} and the secrets in it are private.")


def _mode(path: Path) -> int:
    """Permission bits; 0 where there is no such file."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0


def configuration(settings: Settings) -> Iterator[Finding]:
    """Settings are spelt right, sublet.toml can be read, and the public address is safe to open."""
    for name in unknown_environment(os.environ):
        yield warning("configuration", f"{name} is no setting of Sublet.", "Correct its spelling, or unset it.")
    if not has_platform(settings):
        return
    try:
        catalog = load_catalog(settings)
    except SettingsError as error:
        for line in str(error).splitlines():
            yield problem("configuration", line, f"Mend {settings.toml_file} and start Sublet again.")
        return
    if not catalog.flavors:
        mend = f"Add a [[pools]] and a [[flavors]] table to {settings.toml_file}."
        yield problem("configuration", "There is no flavor, so nothing can be leased.", mend)
    if settings.host not in {"127.0.0.1", "::1", "localhost"}:
        mend = "Put a proxy with TLS in front and let Sublet listen on 127.0.0.1 (SUBLET_HOST)."
        yield warning("configuration", f"The public port listens on {settings.host} without TLS.", mend)
    yield ok("configuration", f"{len(catalog.pools)} pools and {len(catalog.flavors)} flavors in sublet.toml.")


def disk(settings: Settings) -> Iterator[Finding]:
    """There is room for the databases, the logs and people's homes."""
    place = settings.data if settings.data.exists() else settings.data.parent
    free = shutil.disk_usage(place).free
    text = f"{units.size(free)} free at {place}."
    mend = f"Make room: {settings.homes_dir} and {settings.logs_dir} are what grows."
    if free < NO_ROOM_BYTES:
        yield problem("disk", f"Only {text}", mend)
    elif free < LITTLE_ROOM_BYTES:
        yield warning("disk", f"Only {text}", mend)
    else:
        yield ok("disk", text)
