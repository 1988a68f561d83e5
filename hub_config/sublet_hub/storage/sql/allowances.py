"""Allowances and the use of models in the database."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.allowances import Allowance, ModelUse
from sublet_hub.domain.amounts import Amount, Micros
from sublet_hub.storage.sql.session import Session, page_size, subject_of
from sublet_hub.storage.sql.statement import Row, Statement, Value, insert, param
from sublet_hub.storage.sql.tables import IS_HELD
from sublet_hub.storage.sql.tables import allowances as table
from sublet_hub.storage.sql.tables import model_use as uses_table

_c = table.c
_ACCOUNT = sa.and_(_c.account_kind == param("kind"), _c.account_name == param("name"))
_BY_ACCOUNT = (table, "INDEXED BY ix_allowances_open_account", "sqlite")

ADD = insert(table)
SAVE = Statement(sa.update(table).where(_c.id == param("allowance_id")))
ONE = Statement(sa.select(table).where(_c.id == param("allowance_id")))
OPEN = Statement(sa.select(table).where(sa.text(IS_HELD), _ACCOUNT).with_hint(*_BY_ACCOUNT))
HELD = Statement(
    sa.select(sa.func.coalesce(sa.func.sum(_c.held_money), 0), sa.func.coalesce(sa.func.sum(_c.held_tokens), 0))
    .where(sa.text(IS_HELD), _ACCOUNT)
    .with_hint(*_BY_ACCOUNT)
)
ALL_HELD = Statement(
    sa.select(_c.account_kind, _c.account_name, sa.func.sum(_c.held_money), sa.func.sum(_c.held_tokens))
    .where(sa.text(IS_HELD))
    .group_by(_c.account_kind, _c.account_name)
    .with_hint(*_BY_ACCOUNT)
)
EXPIRED = Statement(
    sa.select(table)
    .where(sa.text(IS_HELD), _c.expires_at_ms <= param("now"))
    .order_by(_c.expires_at_ms, _c.id)
    .limit(param("page"))
    .with_hint(table, "INDEXED BY ix_allowances_open_expiring", "sqlite")
)
DROP = Statement(
    sa.delete(table).where(
        _c.id.in_(
            sa.select(_c.id).where(_c.closed_at_ms < param("before")).order_by(_c.closed_at_ms).limit(param("page"))
        )
    )
)

_SUMS = ("calls", "input_tokens", "output_tokens", "money")


def _add_use() -> Statement:
    keys = [column.name for column in uses_table.primary_key]

    def build(added: sqlite.Insert | postgresql.Insert) -> sa.ClauseElement:
        sums = {name: uses_table.c[name] + added.excluded[name] for name in _SUMS}
        return added.on_conflict_do_update(index_elements=keys, set_=sums)

    return Statement({"sqlite": build(sqlite.insert(uses_table)), "postgresql": build(postgresql.insert(uses_table))})


ADD_USE = _add_use()
USE = Statement(
    sa.select(uses_table.c.model, *(sa.func.sum(uses_table.c[name]) for name in _SUMS))
    .where(
        uses_table.c.account_kind == param("kind"),
        uses_table.c.account_name == param("name"),
        uses_table.c.bucket_ms >= param("at"),
        uses_table.c.bucket_ms < param("until"),
    )
    .group_by(uses_table.c.model)
    .order_by(uses_table.c.model)
)


class Allowances(Session):
    def add_allowance(self, allowance: Allowance) -> None:
        self._change(ADD, _row(allowance))

    def save_allowance(self, allowance: Allowance) -> None:
        if not self._change(SAVE, {**_row(allowance), "allowance_id": allowance.id}):
            raise KeyError(allowance.id)

    def allowance(self, allowance_id: str) -> Allowance | None:
        row = self._one(ONE, allowance_id=allowance_id)
        return None if row is None else _allowance(row)

    def open_allowances(self, account: Subject) -> list[Allowance]:
        return [_allowance(row) for row in self._all(OPEN, kind=account.kind, name=account.name)]

    def held_by_allowances(self, account: Subject) -> Amount:
        row = self._one(HELD, kind=account.kind, name=account.name)
        assert row is not None  # an aggregate always has one
        return Amount(money=Micros(int(row[0])), tokens=int(row[1]))

    def held_by_all_allowances(self) -> dict[Subject, Amount]:
        return {
            subject_of(kind, name): Amount(money=Micros(int(money)), tokens=int(tokens))
            for kind, name, money, tokens in self._all(ALL_HELD)
        }

    def expired_allowances(self, now_ms: int, limit: int) -> list[Allowance]:
        return [_allowance(row) for row in self._all(EXPIRED, now=now_ms, page=page_size(limit))]

    def drop_allowances(self, before_ms: int, limit: int) -> int:
        return self._change(DROP, {"before": before_ms, "page": limit})

    def add_model_use(self, account: Subject, bucket_ms: int, uses: Mapping[str, ModelUse]) -> None:
        if uses:
            self._change_many(ADD_USE, [_use_row(account, bucket_ms, model, use) for model, use in uses.items()])

    def model_use(self, account: Subject, from_ms: int, to_ms: int) -> dict[str, ModelUse]:
        rows = self._all(USE, kind=account.kind, name=account.name, at=from_ms, until=to_ms)
        # PostgreSQL's sum of 64-bit integers is a Decimal.
        return {
            model: ModelUse(int(calls), int(input_tokens), int(output_tokens), Micros(int(money)))
            for model, calls, input_tokens, output_tokens, money in rows
        }


def _use_row(account: Subject, bucket_ms: int, model: str, use: ModelUse) -> dict[str, Value]:
    return {
        "account_kind": account.kind,
        "account_name": account.name,
        "bucket_ms": bucket_ms,
        "model": model,
        "calls": use.calls,
        "input_tokens": use.input_tokens,
        "output_tokens": use.output_tokens,
        "money": use.money,
    }


def _row(allowance: Allowance) -> dict[str, Value]:
    return {
        "id": allowance.id,
        "user_name": allowance.user,
        "account_kind": allowance.account.kind,
        "account_name": allowance.account.name,
        "granted_at_ms": allowance.granted_at_ms,
        "expires_at_ms": allowance.expires_at_ms,
        "held_money": allowance.held.money,
        "held_tokens": allowance.held.tokens,
        "posted_at_ms": allowance.posted_at_ms,
        "posted_money": allowance.posted.money,
        "posted_tokens": allowance.posted.tokens,
        "posts": allowance.posts,
        "post_mark": allowance.post_mark,
        "closed_at_ms": allowance.closed_at_ms,
    }


def _allowance(row: Row) -> Allowance:
    (
        allowance_id, user, account_kind, account_name, granted_at, expires_at, held_money, held_tokens, posted_at,
        posted_money, posted_tokens, posts, post_mark, closed_at,
    ) = row  # fmt: skip
    return Allowance(
        id=allowance_id,
        user=user,
        account=subject_of(account_kind, account_name),
        granted_at_ms=granted_at,
        expires_at_ms=expires_at,
        held=Amount(money=Micros(held_money), tokens=held_tokens),
        posted_at_ms=posted_at,
        posted=Amount(money=Micros(posted_money), tokens=posted_tokens),
        posts=posts,
        post_mark=post_mark,
        closed_at_ms=closed_at,
    )
