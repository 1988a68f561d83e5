"""Balances in the database: running totals, so that what was used in a window is the difference of two rows."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.ledger import BucketUse
from sublet_hub.storage.sql.session import Session
from sublet_hub.storage.sql.statement import Row, Statement, Value, param
from sublet_hub.storage.sql.tables import use_totals as table

_AMOUNTS = (table.c.gpu_time, table.c.money, table.c.tokens)

_ACCOUNT = sa.and_(
    table.c.account_kind == param("kind"),
    table.c.account_name == param("name"),
    table.c.flavor == param("of"),
)
_LATEST = (
    sa.select(*_AMOUNTS)
    .where(_ACCOUNT)
    .order_by(table.c.bucket_ms.desc())
    .limit(sa.literal(1, sa.Integer, literal_execute=True))
)
_BEFORE = _LATEST.where(table.c.bucket_ms < param("at"))

FIRST = Statement(
    sa.select(table.c.bucket_ms)
    .where(_ACCOUNT, table.c.bucket_ms >= param("at"))
    .order_by(table.c.bucket_ms)
    .limit(sa.literal(1, sa.Integer, literal_execute=True))
)
IN_ALL = Statement(_LATEST)
BEFORE = Statement(_BEFORE)


def _open_bucket() -> Statement:
    """Add a bucket's row, if it is missing, with the running total before it."""
    last = _BEFORE.subquery()
    params = {"kind": "account_kind", "name": "account_name", "of": "flavor", "at": "bucket_ms"}
    key = (param(name, table.c[column].type) for name, column in params.items())
    totals = (sa.func.coalesce(sa.func.max(last.c[column.name]), 0) for column in _AMOUNTS)
    # One row comes out of the aggregate even if none goes in. SQLite needs the WHERE to tell ON from a join's ON.
    source = sa.select(*key, *totals).where(sa.true())
    columns = [*params.values(), *(column.name for column in _AMOUNTS)]
    return Statement(
        {
            "sqlite": sqlite.insert(table).from_select(columns, source).on_conflict_do_nothing(),
            "postgresql": postgresql.insert(table).from_select(columns, source).on_conflict_do_nothing(),
        }
    )


OPEN_BUCKET = _open_bucket()
ADD = Statement(
    sa.update(table)
    .where(_ACCOUNT, table.c.bucket_ms >= param("at"))
    .values({column.name: column + param(f"more_{column.name}") for column in _AMOUNTS})
)


class Balances(Session):
    def used_before(self, account: Subject, flavor: str | None, at_ms: int) -> Amount:
        return _amount(self._one(BEFORE, kind=account.kind, name=account.name, of=flavor or "", at=at_ms))

    def used_in_all(self, account: Subject, flavor: str | None) -> Amount:
        return _amount(self._one(IN_ALL, kind=account.kind, name=account.name, of=flavor or ""))

    def first_use(self, account: Subject, flavor: str | None, from_ms: int) -> int | None:
        row = self._one(FIRST, kind=account.kind, name=account.name, of=flavor or "", at=from_ms)
        return int(row[0]) if row else None

    def add_use(self, account: Subject, flavor: str | None, uses: Iterable[BucketUse]) -> None:
        keys: list[dict[str, Value]] = []
        sums: list[dict[str, Value]] = []
        for use in uses:
            for of in {"", flavor or ""}:
                key: dict[str, Value] = {"kind": account.kind, "name": account.name, "of": of, "at": use.bucket_ms}
                keys.append(key)
                sums.append(
                    {
                        **key,
                        "more_gpu_time": use.amount.gpu_time,
                        "more_money": use.amount.money,
                        "more_tokens": use.amount.tokens,
                    }
                )
        if keys:
            # All rows first, then all sums: each sum reaches every later row, whatever order the buckets come in.
            self._change_many(OPEN_BUCKET, keys)
            self._change_many(ADD, sums)


def _amount(row: Row | None) -> Amount:
    return Amount(*row) if row else ZERO
