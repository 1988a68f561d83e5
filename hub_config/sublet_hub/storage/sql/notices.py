"""Notices in the database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import sqlalchemy as sa

from sublet_hub.domain.lease import EndReason
from sublet_hub.domain.notices import Notice
from sublet_hub.storage.sql.session import Session, page_size
from sublet_hub.storage.sql.statement import Row, Statement, Value, insert, param
from sublet_hub.storage.sql.tables import IS_OPEN, leases
from sublet_hub.storage.sql.tables import notices as table

ADD = insert(table)
SAVE = Statement(sa.update(table).where(table.c.id == param("notice_id")))

_OPEN_LEASES = sa.select(leases.c.id).where(sa.text(IS_OPEN))
_CONDITIONS = {
    "user": table.c.user_name == param("user"),
    "lease": table.c.lease_id == param("lease"),
    "current": sa.and_(table.c.withdrawn_at_ms.is_(None), table.c.lease_id.in_(_OPEN_LEASES)),
    # The same of one lease. To find it among the open ones, SQLite would first make a list of all of them.
    "current of lease": sa.and_(
        table.c.withdrawn_at_ms.is_(None), sa.exists(_OPEN_LEASES.where(leases.c.id == param("lease")))
    ),
}


@lru_cache(maxsize=8)
def _listing(conditions: frozenset[str]) -> Statement:
    query = sa.select(table).where(*(_CONDITIONS[name] for name in sorted(conditions)))
    return Statement(query.order_by(table.c.written_at_ms.desc(), table.c.id.desc()).limit(param("page")))


class Notices(Session):
    def add_notices(self, notices: Sequence[Notice]) -> None:
        self._change_many(ADD, [_row(each) for each in notices])

    def save_notices(self, notices: Sequence[Notice]) -> None:
        rows = [{**_row(each), "notice_id": each.id} for each in notices]
        if self._change_many(SAVE, rows) < len(rows):
            raise KeyError(*[each.id for each in notices])

    def notices(self, *, user: str | None, lease_id: str | None, current_only: bool, limit: int) -> list[Notice]:
        conditions = set()
        if current_only:
            conditions.add("current" if lease_id is None else "current of lease")
        params: dict[str, Value] = {"page": page_size(limit)}
        if user is not None:
            conditions.add("user")
            params["user"] = user
        if lease_id is not None:
            conditions.add("lease")
            params["lease"] = lease_id
        return [notice_of(row) for row in self._all(_listing(frozenset(conditions)), **params)]


def _row(notice: Notice) -> dict[str, Value]:
    return {
        "id": notice.id,
        "lease_id": notice.lease_id,
        "user_name": notice.user,
        "reason": notice.reason.value,
        "deadline_at_ms": notice.deadline_at_ms,
        "lead_seconds": notice.lead_seconds,
        "message": notice.message,
        "written_at_ms": notice.written_at_ms,
        "withdrawn_at_ms": notice.withdrawn_at_ms,
    }


def notice_of(row: Row) -> Notice:
    notice_id, lease_id, user, reason, *rest = row
    return Notice(notice_id, lease_id, user, EndReason(reason), *rest)
