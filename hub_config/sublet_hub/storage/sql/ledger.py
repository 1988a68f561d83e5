"""The ledger in the database: entries are added, never changed; a head per account says where its chain ends."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.amounts import Amount, GpuTime, Micros
from sublet_hub.domain.ledger import GENESIS, Entry, EntryKind
from sublet_hub.storage.sql.session import Session, page_size, subject_of
from sublet_hub.storage.sql.statement import Row, Statement, Value, insert, param, upsert
from sublet_hub.storage.sql.tables import chain_heads as heads
from sublet_hub.storage.sql.tables import ledger_entries as table
from sublet_hub.storage.store import ChainHead

AUDIT_CHAIN = ("audit", "")
"""The key of the audit chain's head, beside those of the accounts' chains: (kind, name)."""

_ACCOUNT = sa.tuple_(heads.c.kind, heads.c.name)
_ACCOUNTS = (
    sa.select(heads.c.kind, heads.c.name)
    .where(heads.c.kind.in_(["group", "user"]))
    .order_by(heads.c.kind, heads.c.name)
    .limit(param("page"))
)

HEAD = Statement(
    sa.select(heads.c.number, heads.c.mark).where(heads.c.kind == param("kind"), heads.c.name == param("name"))
)
MOVE_HEAD = upsert(heads)
ADD = insert(table)
PAGE = Statement(
    sa.select(table)
    .where(
        table.c.account_kind == param("kind"),
        table.c.account_name == param("name"),
        table.c.number > param("after"),
    )
    .order_by(table.c.number)
    .limit(param("page"))
)
ACCOUNTS_FIRST = Statement(_ACCOUNTS)
ACCOUNTS_NEXT = Statement(_ACCOUNTS.where(sa.tuple_(param("kind"), param("name")) < _ACCOUNT))


class Chains(Session):
    """Where chains end."""

    def _head(self, kind: str, name: str, genesis: str) -> ChainHead:
        row = self._one(HEAD, kind=kind, name=name)
        return ChainHead(*row) if row else ChainHead(0, genesis)

    def _move_head(self, kind: str, name: str, head: ChainHead) -> None:
        self._change(MOVE_HEAD, {"kind": kind, "name": name, "number": head.number, "mark": head.mark})


class Ledger(Chains):
    def ledger_head(self, account: Subject) -> ChainHead:
        return self._head(account.kind, account.name, GENESIS)

    def append_entries(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        self._change_many(ADD, [_row(entry) for entry in entries])
        for account, last in {entry.account: entry for entry in entries}.items():
            self._move_head(account.kind, account.name, ChainHead(last.number, last.hash))

    def entries(self, account: Subject, *, after: int, limit: int) -> list[Entry]:
        page = page_size(limit)
        return [_entry(row) for row in self._all(PAGE, kind=account.kind, name=account.name, after=after, page=page)]

    def accounts(self, after: Subject | None, limit: int) -> list[Subject]:
        page = page_size(limit)
        if after is None:
            rows = self._all(ACCOUNTS_FIRST, page=page)
        else:
            rows = self._all(ACCOUNTS_NEXT, kind=after.kind, name=after.name, page=page)
        return [subject_of(*row) for row in rows]


def _row(entry: Entry) -> dict[str, Value]:
    return {
        "account_kind": entry.account.kind,
        "account_name": entry.account.name,
        "number": entry.number,
        "kind": entry.kind.value,
        "gpu_time": entry.amount.gpu_time,
        "money": entry.amount.money,
        "tokens": entry.amount.tokens,
        "lease_id": entry.lease_id,
        "flavor": entry.flavor,
        "from_ms": entry.from_ms,
        "to_ms": entry.to_ms,
        "at_ms": entry.at_ms,
        "reason": entry.reason,
        "previous": entry.previous,
        "hash": entry.hash,
        "allowance_id": entry.allowance_id,
        "model": entry.model,
    }


def _entry(row: Row) -> Entry:
    account_kind, account_name, number, kind, gpu_time, money, tokens, *rest = row
    amount = Amount(GpuTime(gpu_time), Micros(money), tokens)
    return Entry(subject_of(account_kind, account_name), number, EntryKind(kind), amount, *rest)
