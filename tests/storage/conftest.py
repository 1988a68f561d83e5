"""The stores under test."""

from tests.fixtures.stores import (
    database_url,
    postgres_server,
    postgres_url,
    sqlite_url,
    store,
    store_url,
)

__all__ = ["database_url", "postgres_server", "postgres_url", "sqlite_url", "store", "store_url"]
