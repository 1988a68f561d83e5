"""Statements: written with SQLAlchemy Core, compiled once for each database, run on the driver itself.

Through a SQLAlchemy connection a statement costs about 30 µs beyond what SQLite itself takes, which is 5 µs for a
look-up by key. A quota and its balances are up to ten look-ups, made for every request, so we skip the 30.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

Database: TypeAlias = Literal["sqlite", "postgresql"]

Value: TypeAlias = "str | int | bool | None"

Row: TypeAlias = tuple[Any, ...]
"""One row as the driver gives it, in the order of the statement's columns; typed values are made of it at once."""


class _HintedSqlite(sqlite.base.SQLiteCompiler):
    """Writes hints, such as INDEXED BY (https://www.sqlite.org/lang_indexedby.html), which SQLAlchemy leaves out."""

    def get_from_hint_text(self, table: sa.FromClause, text: str | None) -> str | None:  # noqa: ARG002
        return text


def _sqlite() -> sa.Dialect:
    dialect = sqlite.dialect(paramstyle="named")
    dialect.statement_compiler = _HintedSqlite
    return dialect


_DIALECTS: Mapping[Database, sa.Dialect] = {
    "sqlite": _sqlite(),
    "postgresql": postgresql.psycopg.dialect(),  # type: ignore[no-untyped-call]  # SQLAlchemy left it untyped
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """SQL text in the driver's style, and the values of the parameters that the statement fixes itself."""

    sql: str
    fixed: dict[str, Value]


@dataclass(slots=True)
class Statement:
    """One statement, or one for each database where their dialects differ."""

    source: sa.ClauseElement | Mapping[Database, sa.ClauseElement]
    _compiled: dict[Database, Compiled] = field(default_factory=dict)

    def on(self, database: Database) -> Compiled:
        compiled = self._compiled.get(database)
        if compiled is None:
            compiled = self._compiled[database] = self._compile(database)
        return compiled

    def _compile(self, database: Database) -> Compiled:
        source = self.source[database] if isinstance(self.source, Mapping) else self.source
        compiled = source.compile(dialect=_DIALECTS[database], compile_kwargs={"render_postcompile": True})
        fixed = {name: value for name, value in (compiled.params or {}).items() if value is not None}
        return Compiled(compiled.string, fixed)


def param(name: str, type_: TypeEngine[Any] | None = None) -> sa.BindParameter[Any]:
    """A value given when the statement is run. No name of a column that the statement sets: those are taken."""
    return sa.bindparam(name, type_=type_, required=False)


def insert(table: sa.Table) -> Statement:
    """Add a row; its values are parameters with the columns' names."""
    return Statement(sa.insert(table))


def upsert(table: sa.Table) -> Statement:
    """Add a row, or change all other columns of the one that has its primary key."""
    keys = [column.name for column in table.primary_key]

    def build(insert: sqlite.Insert | postgresql.Insert) -> sa.ClauseElement:
        new = {column.name: insert.excluded[column.name] for column in table.c if column.name not in keys}
        return insert.on_conflict_do_update(index_elements=keys, set_=new)

    return Statement({"sqlite": build(sqlite.insert(table)), "postgresql": build(postgresql.insert(table))})
