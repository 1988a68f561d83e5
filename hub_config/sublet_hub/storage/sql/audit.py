"""Audit records in the database: added, never changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

import sqlalchemy as sa

from sublet_hub.domain.audit import GENESIS, AuditRecord
from sublet_hub.storage.sql.ledger import AUDIT_CHAIN, Chains
from sublet_hub.storage.sql.session import page_size
from sublet_hub.storage.sql.statement import Row, Statement, Value, insert, param
from sublet_hub.storage.sql.tables import audit_records as table
from sublet_hub.storage.store import AuditFilter, ChainHead

ADD = insert(table)

_CONDITIONS = {
    "lease": table.c.lease_id == param("lease"),
    "action": table.c.action == param("did"),
    "before": table.c.number < param("place"),
    "after": table.c.number > param("place"),
}


@lru_cache(maxsize=128)
def _listing(conditions: frozenset[str], subject_count: int | None, newest_first: bool) -> Statement:
    query = sa.select(table).where(*(_CONDITIONS[name] for name in sorted(conditions)))
    if subject_count is not None:
        subjects = [param(f"subject_{i}", sa.Text()) for i in range(subject_count)]
        query = query.where(sa.or_(table.c.subject.in_(subjects), table.c.actor.in_(subjects)))
    order = table.c.number.desc() if newest_first else table.c.number
    return Statement(query.order_by(order).limit(param("page")))


class Audit(Chains):
    def audit_head(self) -> ChainHead:
        return self._head(*AUDIT_CHAIN, GENESIS)

    def append_audit(self, records: Sequence[AuditRecord]) -> None:
        if not records:
            return
        self._change_many(ADD, [_row(record) for record in records])
        last = records[-1]
        self._move_head(*AUDIT_CHAIN, ChainHead(last.number, last.mac))

    def audit_records(self, wanted: AuditFilter, *, after: int, limit: int, newest_first: bool) -> list[AuditRecord]:
        conditions: set[str] = set()
        params: dict[str, Value] = {"page": page_size(limit)}
        if after:
            conditions.add("before" if newest_first else "after")
            params["place"] = after
        if wanted.lease_id is not None:
            conditions.add("lease")
            params["lease"] = wanted.lease_id
        if wanted.action is not None:
            conditions.add("action")
            params["did"] = wanted.action
        count = None
        if wanted.subjects is not None:
            count = len(wanted.subjects)
            params |= {f"subject_{i}": subject for i, subject in enumerate(sorted(wanted.subjects))}
        return [_record(row) for row in self._all(_listing(frozenset(conditions), count, newest_first), **params)]


def _row(record: AuditRecord) -> dict[str, Value]:
    return {
        "number": record.number,
        "at_ms": record.at_ms,
        "actor": record.actor,
        "action": record.action,
        "subject": record.subject,
        "lease_id": record.lease_id,
        "before_json": json.dumps(record.before, separators=(",", ":")),
        "after_json": json.dumps(record.after, separators=(",", ":")),
        "reason": record.reason,
        "previous": record.previous,
        "mac": record.mac,
    }


def _record(row: Row) -> AuditRecord:
    number, at_ms, actor, action, subject, lease_id, before, after, *rest = row
    return AuditRecord(number, at_ms, actor, action, subject, lease_id, json.loads(before), json.loads(after), *rest)
