"""What Sublet records: one store behind one Protocol, in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sublet_hub.storage.store import Store

MEMORY_URL = "memory://"


def open_store(url: str) -> Store:
    """The store that a URL names: `memory://`, `sqlite:///path`, or `postgresql://…` (with psycopg 3).

    A database must have been migrated first; Unavailable where it doesn't answer or has another version's tables.
    SQLAlchemy and the drivers are imported here, so that a command that needs none starts without them.
    """
    if url == MEMORY_URL:
        from sublet_hub.storage.memory import MemoryStore

        return MemoryStore()
    from sublet_hub.storage.sql.store import SqlStore

    return SqlStore.open(url)


def migrate(url: str) -> None:
    """Bring a database's tables to this version, from whatever version they are.

    Safe when two processes do it at once. Unavailable where the database doesn't answer. Nothing to do in memory.
    """
    if url == MEMORY_URL:
        return
    from sublet_hub.storage.sql.migrate import upgrade

    upgrade(url)
