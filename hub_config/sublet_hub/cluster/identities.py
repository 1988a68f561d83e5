"""Who a user is to the system: a user id and a home folder of their own.

Where the platform runs as root, each user gets a user id that no other user ever has, kept in
`identities.json` of the data folder. Where it doesn't, all servers run under the platform's own.
"""

import fcntl
import json
import os
import pwd
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sublet_hub.cluster.records import sync_folder

FIRST_UID = 200_000
"""Above what systems give to people and services."""
_PLAIN = frozenset(string.ascii_letters + string.digits + "-.@")
_LONGEST_NAME_BYTES = 255


class IdentitiesError(Exception):
    """The table of identities can't be read, and guessing could give a user another one's files."""


@dataclass(frozen=True)
class Identity:
    """What a user's servers run as."""

    system_name: str
    uid: int | None
    """None: the platform's own."""
    gid: int | None
    home: Path


def folder_name(name: str) -> str:
    """Turn any user name into a file name, different names into different ones: odd bytes become `_hex`."""
    made = "".join(c if c in _PLAIN else "".join(f"_{byte:02x}" for byte in c.encode()) for c in name)
    if made.startswith("."):
        made = f"_2e{made[1:]}"
    if not made or len(made) > _LONGEST_NAME_BYTES:
        raise ValueError(f"{name[:40]!r} can't be a user here: too short or too long for a folder's name")
    return made


class Identities:
    """The table of identities of one data folder. Safe to use from several processes at once."""

    def __init__(self, data: Path, *, first_uid: int = FIRST_UID) -> None:
        self._data = data
        self._table = data / "identities.json"
        self._first_uid = first_uid

    def identity_of(self, name: str) -> Identity:
        """Find out, or decide for good, what a user runs as, and make the home (mode 0700) if need be.

        Raises `ValueError` for a name no folder can have, `IdentitiesError` if the table is damaged.
        """
        system_name = folder_name(name)
        uid = self.uid_for(name) if os.geteuid() == 0 else None
        homes = self._data / "homes"
        homes.mkdir(mode=0o711, parents=True, exist_ok=True)
        home = homes / system_name
        home.mkdir(mode=0o700, exist_ok=True)
        if uid is not None and home.stat().st_uid != uid:
            os.chown(home, uid, uid, follow_symlinks=False)
        return Identity(system_name, uid, uid, home)

    def uid_for(self, name: str) -> int:
        """Look up a user's id, or allocate the next one that neither a user here nor the system has."""
        with self._locked():
            known = self._read()
            if name not in known:
                known[name] = self._next_uid(known)
                self._write(known)
            return known[name]

    def _next_uid(self, known: dict[str, int]) -> int:
        taken = {*known.values(), *(entry.pw_uid for entry in pwd.getpwall())}
        uid = max(known.values(), default=self._first_uid - 1) + 1
        while uid in taken:
            uid += 1
        return uid

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._data / "identities.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _read(self) -> dict[str, int]:
        try:
            table = json.loads(self._table.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise IdentitiesError(f"{self._table} is no JSON: {error}") from error
        if not isinstance(table, dict) or any(type(uid) is not int or uid <= 0 for uid in table.values()):
            raise IdentitiesError(f"{self._table} is no table of user names and user ids")
        if len(set(table.values())) != len(table):
            raise IdentitiesError(f"{self._table} gives one user id to two users")
        return table

    def _write(self, table: dict[str, int]) -> None:
        fresh = self._table.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(table, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._table)
        sync_folder(self._data)
