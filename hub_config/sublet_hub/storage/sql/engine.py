"""Connections to the database: how each is set up, and how many are kept open.

SQLite runs in WAL mode with synchronous=FULL: a committed entry survives the loss of power, not only of the
process. It costs one fsync per writing transaction (0.15 ms on an NVMe disk, a few on a slow one); Sublet writes some
tens of transactions a second at most, so it is worth it. The busy timeout lets writers of several processes wait for
each other.

PostgreSQL gives up a statement after 30 s, a lock after 10 s, and a transaction left idle after 60 s, so that nothing
of ours waits for ever. Connections are tried before they are used (pre-ping), so a restarted server is no error. One
whose machine is gone without a word is given up within half a minute (keepalives, TCP's user timeout): the kernel's
own patience is a quarter of an hour, and a meter that waited so long would keep new leases from being granted.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from sublet_hub.storage.sql.checkpoints import PAGES_MOST
from sublet_hub.storage.sql.statement import Database

SQLITE_BUSY_SECONDS = 30
SQLITE_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -16000",  # 16 MB a connection
    f"PRAGMA wal_autocheckpoint = {PAGES_MOST}",
    "PRAGMA journal_size_limit = 67108864",  # bytes: the WAL shrinks back after a burst
)

POSTGRES_OPTIONS = "-c statement_timeout=30000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"
POSTGRES_CONNECT_SECONDS = 5
POSTGRES_SILENCE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""When a server that says nothing is given up: seconds, but for the last one's milliseconds. libpq's own options."""

POOL_KEPT = 8
POOL_MOST = 64
"""Connections kept open and the most there may be. The api has 40 threads that each use one at a time."""

POOL_TIMEOUT_SECONDS = 10


def parse_url(url: str) -> sa.URL:
    """The URL with its driver. ValueError for a database that Sublet doesn't run on."""
    try:
        parsed = make_url(url)
    except ArgumentError:  # its message shows the URL, which may hold a password
        raise ValueError("database_url is no URL, such as sqlite:///path or postgresql://…") from None
    if parsed.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"} and parsed.database not in {None, "", ":memory:"}:
        return parsed.set(drivername="sqlite+pysqlite")
    raise ValueError(
        f"{parsed.render_as_string()} is no database that Sublet runs on: memory://, sqlite:///path or postgresql://…"
    )


def database_of(url: sa.URL) -> Database:
    return "sqlite" if url.drivername.startswith("sqlite") else "postgresql"


def open_engine(url: sa.URL) -> sa.Engine:
    """A pool of connections that begin and commit only where they are told to (autocommit at the driver)."""
    if database_of(url) == "postgresql":
        return sa.create_engine(
            url,
            pool_size=POOL_KEPT,
            max_overflow=POOL_MOST - POOL_KEPT,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            pool_recycle=1800,
            pool_pre_ping=True,
            pool_use_lifo=True,
            connect_args={
                "autocommit": True,
                "connect_timeout": POSTGRES_CONNECT_SECONDS,
                "options": POSTGRES_OPTIONS,
                "application_name": "sublet",
                **POSTGRES_SILENCE,
            },
        )
    engine = sa.create_engine(
        url,
        pool_size=POOL_KEPT,
        max_overflow=POOL_MOST - POOL_KEPT,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_use_lifo=True,
        connect_args={"timeout": SQLITE_BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
    )
    sa.event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in SQLITE_PRAGMAS:
        connection.execute(pragma)
