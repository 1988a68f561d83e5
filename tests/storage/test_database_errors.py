from __future__ import annotations

import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy.engine import URL, make_url

from sublet_hub import storage
from sublet_hub.domain.errors import Unavailable
from sublet_hub.storage import turns
from sublet_hub.storage.sql import engine
from sublet_hub.storage.sql.store import SqlStore
from sublet_hub.storage.store import Store


def beat(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.beat("meter", 1)


def last_beat(store: Store) -> int | None:
    with store.transaction(write=False) as tx:
        return tx.last_beat("meter")


def test_a_file_that_another_process_keeps_locked_is_unavailable(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SQLITE_BUSY_SECONDS", 0.05)
    store = storage.open_store(sqlite_url)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        beat(store)
    assert last_beat(store) is None, "readers don't wait for a writer"
    other.execute("COMMIT")
    other.close()
    beat(store)
    assert last_beat(store) == 1
    store.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_turn_that_does_not_come_is_unavailable(
    sqlite_url: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "TIMEOUT_SECONDS", 0.05)
    store = storage.open_store(storage.MEMORY_URL if kind == "memory" else sqlite_url)
    with ThreadPoolExecutor(1) as other_thread, store.transaction(write=True), pytest.raises(Unavailable):
        other_thread.submit(beat, store).result(60)
    beat(store)
    store.close()


@pytest.mark.postgres
def test_a_lost_connection_is_unavailable_and_the_next_transaction_works(postgres_url: str) -> None:
    store = storage.open_store(postgres_url)

    def lose_it_midway() -> None:
        with store.transaction(write=True) as tx:
            tx.beat("meter", 1)
            cut_connections(postgres_url)
            tx.beat("meter", 2)

    with pytest.raises(Unavailable):
        lose_it_midway()
    assert last_beat(store) is None
    beat(store)
    cut_connections(postgres_url)
    assert last_beat(store) == 1, "idle connections that were cut are replaced unseen"
    store.close()


def cut_connections(url: str) -> None:
    """As a server that restarts does to all of ours."""
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.postgres
def test_a_lock_that_does_not_come_is_unavailable(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "POSTGRES_OPTIONS", "-c lock_timeout=50")
    store, other = storage.open_store(postgres_url), storage.open_store(postgres_url)

    def lock() -> None:
        with other.transaction(write=True) as tx:
            tx.lock("user:bob", "user:alice")

    with store.transaction(write=True) as tx:
        tx.lock("user:alice")
        with pytest.raises(Unavailable):
            lock()
    lock()
    store.close()
    other.close()


@pytest.mark.postgres
@pytest.mark.parametrize("what", ["database", "server"])
def test_a_database_that_is_not_there_is_unavailable(postgres_server: URL, what: str) -> None:
    wrong = postgres_server.set(database="none")
    if what == "server":
        wrong = wrong.update_query_dict({"host": "/tmp/no-such-folder"})
    url = wrong.render_as_string(hide_password=False)
    with pytest.raises(Unavailable):
        storage.open_store(url)
    with pytest.raises(Unavailable):
        storage.migrate(url)


def test_a_server_that_takes_no_connections_is_unavailable() -> None:
    """SQLAlchemy passes the driver's own error on where a connection can't be had for a transaction."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = engine.parse_url(f"postgresql://nobody@127.0.0.1:{taken.getsockname()[1]}/none")
        store = SqlStore(engine.open_engine(url))
        with pytest.raises(Unavailable):
            last_beat(store)
        store.close()


@pytest.mark.postgres
def test_a_server_that_falls_silent_is_given_up(postgres_url: str) -> None:
    with storage.open_store(postgres_url).transaction(write=False) as tx:
        parameters = tx._driver.info.get_parameters()  # type: ignore[attr-defined]  # psycopg's, not of the port
    assert {name: int(parameters[name]) for name in engine.POSTGRES_SILENCE} == engine.POSTGRES_SILENCE
