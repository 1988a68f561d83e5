"""The store on a database: transactions, locks, and what becomes of the database's errors.

Why locks suffice. On SQLite a writing transaction begins with BEGIN IMMEDIATE: there is one writer at a time, so
all is locked. On PostgreSQL a writer takes advisory locks on the names of what it will change, and only then reads.
Locks are let go after a commit is visible, and under READ COMMITTED every statement sees what was committed before it
began; so what is read under a lock is what the last holder left, and nobody else changes it. No stricter isolation
is needed, and no transaction fails for another's sake. Readers take a snapshot on both, so all they read is of one
moment.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import cast

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection

from sublet_hub.domain.errors import Conflict, Unavailable
from sublet_hub.storage.sql.acceptances import Acceptances
from sublet_hub.storage.sql.activities import Activities
from sublet_hub.storage.sql.allowances import Allowances
from sublet_hub.storage.sql.answers import Answers
from sublet_hub.storage.sql.audit import Audit
from sublet_hub.storage.sql.balances import Balances
from sublet_hub.storage.sql.checkpoints import Checkpoints
from sublet_hub.storage.sql.engine import database_of, open_engine, parse_url
from sublet_hub.storage.sql.following import Following
from sublet_hub.storage.sql.leases import Leases
from sublet_hub.storage.sql.ledger import Ledger
from sublet_hub.storage.sql.migrate import check_version
from sublet_hub.storage.sql.notices import Notices
from sublet_hub.storage.sql.quotas import Quotas
from sublet_hub.storage.sql.session import Driver
from sublet_hub.storage.store import ALREADY_THERE, Transaction
from sublet_hub.storage.turns import Turns

_LOCK = "SELECT pg_advisory_xact_lock(key) FROM unnest(%(keys)s::bigint[]) AS key"
_BEGIN = {
    ("sqlite", True): "BEGIN IMMEDIATE",
    ("sqlite", False): "BEGIN",
    ("postgresql", True): "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    ("postgresql", False): "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
}


class SqlTransaction(
    Quotas, Balances, Leases, Following, Ledger, Allowances, Acceptances, Notices, Activities, Audit, Answers
):
    """One database transaction."""

    def lock(self, *names: str) -> None:
        self._must_write()
        if self._database == "postgresql":
            # By name, "audit" last: one order for everybody, so that two writers never wait for each other. Two names
            # with one hash share a lock, which does no harm.
            ordered = sorted(set(names), key=lambda name: (name == "audit", name))
            self._driver.execute(_LOCK, {"keys": [_lock_key(name) for name in ordered]})


def _lock_key(name: str) -> int:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class SqlStore:
    """Keeps everything in a database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._database = database_of(engine.url)
        self._unavailable, self._conflicts = _errors(self._database)
        # Where no connection can be made, the pool passes the driver's own error on.
        self._unreachable: _Errors = (DBAPIError, PoolTimeoutError, *self._unavailable)
        self._turns = Turns(alone=self._database == "sqlite")
        path = engine.url.database if self._database == "sqlite" else None
        self._checkpoints = Checkpoints(path) if path else None

    @classmethod
    def open(cls, url: str) -> SqlStore:
        """Unavailable where the database doesn't answer or needs to be migrated first."""
        engine = open_engine(parse_url(url))
        try:
            check_version(engine)
        except DBAPIError as error:
            engine.dispose()
            raise Unavailable(f"The database can't be opened: {error.orig}") from error
        return cls(engine)

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Transaction]:
        with self._turns.take() if write else nullcontext(), self._connection() as connection:
            driver = cast(Driver, connection.driver_connection)
            try:
                driver.execute(_BEGIN[self._database, write])
                yield SqlTransaction(driver, self._database, writes=write)
                driver.execute("COMMIT")
            except BaseException as error:
                self._roll_back(connection, driver)
                if isinstance(error, self._conflicts):
                    raise Conflict(ALREADY_THERE) from error
                if isinstance(error, self._unavailable):
                    raise Unavailable("The database does not answer; try again in a moment.") from error
                raise
            if write and self._checkpoints is not None:
                self._checkpoints.count_commit()

    @contextmanager
    def _connection(self) -> Iterator[PoolProxiedConnection]:
        try:
            connection = self._engine.raw_connection()
        except self._unreachable as error:
            raise Unavailable("The database does not answer; try again in a moment.") from error
        try:
            yield connection
        finally:
            connection.close()

    def _roll_back(self, connection: PoolProxiedConnection, driver: Driver) -> None:
        try:
            driver.rollback()
        except self._unavailable:  # the connection is gone, and the transaction with it
            connection.invalidate()

    def close(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.stop()
        self._engine.dispose()


_Errors = tuple[type[BaseException], ...]


def _errors(database: str) -> tuple[_Errors, _Errors]:
    """The driver's errors that mean that the database doesn't answer, and that a row is there already."""
    if database == "sqlite":
        return (sqlite3.OperationalError,), (sqlite3.IntegrityError,)
    import psycopg

    return (psycopg.OperationalError, psycopg.InterfaceError), (psycopg.IntegrityError,)
