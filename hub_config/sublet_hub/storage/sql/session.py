"""What every part of a transaction on a database shares: running statements on the driver's connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from sublet_hub.domain.accounts import Kind, Subject
from sublet_hub.storage.sql.statement import Database, Row, Statement, Value
from sublet_hub.storage.store import MOST_ROWS


class Cursor(Protocol):
    """What we use of a driver's cursor."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Row | None: ...
    def fetchall(self) -> list[Row]: ...
    def executemany(self, sql: str, rows: Sequence[Mapping[str, Value]], /) -> object: ...


class Driver(Protocol):
    """What we use of a driver's connection: sqlite3's and psycopg's are alike in this."""

    def execute(self, sql: str, params: Mapping[str, object] = ..., /) -> Cursor: ...
    def cursor(self) -> Cursor: ...
    def rollback(self) -> None: ...


class Session:
    """One open transaction on one connection."""

    def __init__(self, driver: Driver, database: Database, *, writes: bool) -> None:
        self._driver = driver
        self._database = database
        self._writes = writes

    def _run(self, statement: Statement, params: Mapping[str, Value]) -> Cursor:
        compiled = statement.on(self._database)
        return self._driver.execute(compiled.sql, {**compiled.fixed, **params} if compiled.fixed else params)

    def _one(self, statement: Statement, **params: Value) -> Row | None:
        return self._run(statement, params).fetchone()

    def _all(self, statement: Statement, **params: Value) -> list[Row]:
        return self._run(statement, params).fetchall()

    def _change(self, statement: Statement, params: Mapping[str, Value]) -> int:
        """Run a statement that writes; gives how many rows it touched."""
        self._must_write()
        return self._run(statement, params).rowcount

    def _change_many(self, statement: Statement, rows: Sequence[Mapping[str, Value]]) -> int:
        """Run a statement that writes once for each set of parameters; gives how many rows were touched in all."""
        self._must_write()
        compiled = statement.on(self._database)
        merged = [{**compiled.fixed, **row} for row in rows] if compiled.fixed else rows
        cursor = self._driver.cursor()
        cursor.executemany(compiled.sql, merged)
        return cursor.rowcount

    def _must_write(self) -> None:
        if not self._writes:
            raise RuntimeError("this transaction only reads")


def subject_of(kind: str, name: str) -> Subject:
    """The subject that two columns name."""
    return Subject(cast(Kind, kind), name)


def page_size(limit: int) -> int:
    return min(limit, MOST_ROWS)
