"""The generated passwords and tokens: `credentials`, for people to read, and `secrets.json`, for us alone.

Both are made on the first start and kept ever after. They are created with mode 0600, never world-readable
for a moment, and appear under their name whole or not at all.

Where something else makes and keeps them (a Secret that Kubernetes mounts), they are read from a folder with a file
for each instead, and every process is given only those that it needs.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

CREDENTIALS_FILE = "credentials"
SECRETS_FILE = "secrets.json"
PRIVATE = 0o600
ADDED_LATER = ("gateway_token", "dask_token")
"""Secrets that the first versions did not have."""


class CredentialsError(Exception):
    """A file of credentials is missing, or lacks what it must hold. The message says which and how to mend
    it."""


class _Given:
    """Values of which a process may have been given a part: to read one that it wasn't raises CredentialsError."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if value == "":
            raise CredentialsError(f"This process was not given the secret {name}, and needs it.")
        return value

    def has(self, name: str) -> bool:
        """Whether this process was given that one."""
        return bool(super().__getattribute__(name))


@dataclass(frozen=True, slots=True)
class Credentials(_Given):
    """What people sign in with. Edit the file and start again to change a password."""

    admin_user: str
    """The administrator's name; signs in with `admin_password`."""

    admin_password: str = field(repr=False)
    """At least 32 characters, as JupyterHub's shared-password authenticator asks."""

    user_password: str = field(repr=False)
    """Any other name signs in with it."""

    admin_token: str = field(repr=False)
    """A hub token with the scopes of a quota admin, for the command line."""

    file_name: ClassVar[str] = CREDENTIALS_FILE

    @classmethod
    def generate(cls, admin_user: str) -> Self:
        return cls(
            admin_user=admin_user,
            admin_password=secrets.token_urlsafe(24),
            user_password=secrets.token_urlsafe(12),
            admin_token=secrets.token_hex(32),
        )

    def to_text(self) -> str:
        return "".join(f"{name}={value}\n" for name, value in asdict(self).items())

    @classmethod
    def from_text(cls, text: str, path: Path) -> Self:
        lines = (line.partition("=") for line in text.splitlines() if line.strip())
        return cls(**_only_known(cls, {name.strip(): value.strip() for name, _, value in lines}, path))


@dataclass(frozen=True, slots=True)
class Secrets(_Given):
    """What the parts of the platform show each other."""

    cookie_secret: str = field(repr=False)
    """Hex; signs the hub's cookies."""

    proxy_token: str = field(repr=False)
    """The hub shows it to the proxy's API."""

    api_token: str = field(repr=False)
    """Hub token of the service `sublet`, and the secret of its OAuth client."""

    spawner_token: str = field(repr=False)
    """Hub token of the service `sublet-spawner`, which the hub's spawner shows to the api."""

    gateway_token: str = field(repr=False)
    """Hub token of the service `sublet-gateway`, which the gateway shows to the api."""

    dask_token: str = field(repr=False)
    """Hub token of the service `sublet-dask`: the Dask gateway asks for leases with it."""

    runner_token: str = field(repr=False)
    """Hub token of the service `sublet-up`: tells the hub that the proxy was started anew."""

    audit_key: str = field(repr=False)
    """Hex; key of the chain over the audit records. Without it nobody can make a changed record look right."""

    session_key: str = field(repr=False)
    """Hex; signs the sessions of the api's pages."""

    file_name: ClassVar[str] = SECRETS_FILE

    @classmethod
    def generate(cls) -> Self:
        return cls(**{each.name: secrets.token_hex(32) for each in fields(cls)})

    def to_text(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_text(cls, text: str, path: Path) -> Self:
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise CredentialsError(f"{path} is not valid JSON: {error}") from None
        return cls(**_only_known(cls, values if isinstance(values, dict) else {}, path))


def read_credentials(data: Path, folder: Path | None = None) -> Credentials:
    """The credentials of the platform in a data folder, or in a folder of single files; CredentialsError where it
    has none."""
    if folder is not None:
        return Credentials(**_from_folder(Credentials, folder))
    return Credentials.from_text(*_read(data / CREDENTIALS_FILE))


def read_secrets(data: Path, folder: Path | None = None) -> Secrets:
    """The secrets of the platform in a data folder, or in a folder of single files; CredentialsError where it has
    none."""
    if folder is not None:
        return Secrets(**_from_folder(Secrets, folder))
    return Secrets.from_text(*_read(data / SECRETS_FILE))


def ensure_credentials(data: Path, admin_user: str) -> Credentials:
    """The credentials there, or new ones. For the one process that holds the data folder's lock."""
    if not (data / CREDENTIALS_FILE).exists():
        write_private(data / CREDENTIALS_FILE, Credentials.generate(admin_user).to_text())
    return read_credentials(data)


def ensure_secrets(data: Path) -> Secrets:
    """The secrets there, or new ones; those that an earlier version had no use for are added. For the one process
    that holds the data folder's lock."""
    path = data / SECRETS_FILE
    if not path.exists():
        write_private(path, Secrets.generate().to_text())
    else:
        _add_newer_secrets(path)
    return read_secrets(data)


def _add_newer_secrets(path: Path) -> None:
    """Add those of `ADDED_LATER` that a file lacks. Another that is missing is a fault, which reading it tells."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return
    if isinstance(kept, dict) and (missing := [name for name in ADDED_LATER if name not in kept]):
        kept |= {name: secrets.token_hex(32) for name in missing}
        write_private(path, json.dumps(kept, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600 so that it is there whole or not at all, also after a power cut."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 by contract
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path) -> tuple[str, Path]:
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(PRIVATE)
        return path.read_text(encoding="utf-8"), path
    except FileNotFoundError:
        raise CredentialsError(f"There is no {path}; `sublet up` makes it on its first start.") from None


def _from_folder(cls: type[Credentials | Secrets], folder: Path) -> dict[str, str]:
    """What there is of a class's fields in a folder of single files; the others are empty, and raise when read."""
    if not folder.is_dir():
        raise CredentialsError(f"There is no folder {folder} with the platform's secrets.")
    names = (each.name for each in fields(cls))
    return {
        name: (folder / name).read_text(encoding="utf-8").strip() if (folder / name).exists() else ""
        for name in names
    }


def _only_known(cls: type[Credentials | Secrets], values: dict[str, object], path: Path) -> dict[str, str]:
    """The values of a class's fields; lines we don't know are left alone, so that a newer file still
    works."""
    known = {}
    for name in (each.name for each in fields(cls)):
        value = values.get(name)
        if not isinstance(value, str) or not value:
            raise CredentialsError(f"{path} lacks {name}. Add it, or move the file away to have a new one made.")
        known[name] = value
    return known
