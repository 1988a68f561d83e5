"""Migrations of the database, run by `sublet up` before anything opens it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from sublet_hub.domain.errors import Unavailable
from sublet_hub.storage.sql.engine import POSTGRES_CONNECT_SECONDS, SQLITE_BUSY_SECONDS, database_of, parse_url

MIGRATIONS = Path(__file__).with_name("migrations")
_one_at_a_time = threading.Lock()
"""Alembic keeps the migration that it runs in globals of its modules."""

_MIGRATION_LOCK = 7_236_155_090
"""Any number that others who use the same database don't lock on."""


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the tables to a revision; in one transaction, and one process at a time."""
    with _alone(url) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Take the tables back to a revision. What only later revisions keep is lost."""
    with _alone(url) as connection:
        command.downgrade(_config(connection), revision)


def check_version(engine: sa.Engine) -> None:
    """Unavailable if the tables aren't those of this version."""
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
        raise Unavailable(f"There is no database {engine.url.database}: start the platform with `sublet up`.")
    expected = set(ScriptDirectory.from_config(_config()).get_heads())
    with engine.connect() as connection:
        found = set(MigrationContext.configure(connection).get_current_heads())
    if found != expected:
        raise Unavailable(
            f"The database has version {', '.join(sorted(found)) or 'none'} of the tables, not "
            f"{', '.join(sorted(expected))}: start the platform with `sublet up`, which migrates it."
        )


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _alone(url: str) -> Iterator[sa.Connection]:
    """A connection in a transaction that no other migration runs beside."""
    parsed = parse_url(url)
    try:
        if database_of(parsed) == "sqlite":
            engine = _sqlite_engine(parsed)
        else:
            engine = sa.create_engine(
                parsed, poolclass=NullPool, connect_args={"connect_timeout": POSTGRES_CONNECT_SECONDS}
            )
        with _one_at_a_time, engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            yield connection
    except OperationalError as error:
        raise Unavailable(f"The database can't be migrated: {error.orig}") from error


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    """Makes the file, readable by its owner only, and puts it in WAL mode, which the file then keeps."""
    assert url.database is not None
    # A file that is there is not opened: closing it would drop the locks that SQLite has on it in this process
    # (https://www.sqlite.org/howtocorrupt.html, 2.2).
    with suppress(FileExistsError):
        os.close(os.open(url.database, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    engine = sa.create_engine(
        url, poolclass=NullPool, connect_args={"timeout": SQLITE_BUSY_SECONDS, "isolation_level": None}
    )
    with engine.connect() as connection:
        _use_wal(connection)
    sa.event.listen(engine, "begin", _begin_immediate)
    return engine


def _use_wal(connection: sa.Connection) -> None:
    """Try until it works: where two processes do this at once, SQLite doesn't wait but says `locked` to one."""
    deadline = time.monotonic() + SQLITE_BUSY_SECONDS
    while True:
        try:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
