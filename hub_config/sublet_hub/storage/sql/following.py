"""Following leases and their notices: many at once, by id. The ids go over as one JSON list.

What a few thousand streams ask four times a second is one row: SQLite hands out each row by itself, and every time
Python's other threads may come first.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import cast

import sqlalchemy as sa

from sublet_hub.domain.lease import Lease
from sublet_hub.domain.notices import Notice
from sublet_hub.storage.sql.leases import lease_of
from sublet_hub.storage.sql.notices import notice_of
from sublet_hub.storage.sql.session import Session
from sublet_hub.storage.sql.statement import Database, Statement
from sublet_hub.storage.sql.tables import leases, notices

_NAMED = {
    "sqlite": "SELECT value FROM json_each(:ids)",
    "postgresql": "SELECT value FROM json_array_elements_text(CAST(:ids AS json)) AS named(value)",
}
_AS_OBJECT = {"sqlite": "json_group_object", "postgresql": "json_object_agg"}

# An event stream shows what is here. All else of a lease changes together with one of these, or never.
_MARK = """l.state || ' ' || l.posted_until_ms || ' ' || l.held_until_ms || ' ' || l.deadline
    || ' ' || coalesce(l.ordered, '') || ' ' || coalesce(l.started_at_ms, 0) || ' ' || coalesce(l.ended_at_ms, 0)
    || (SELECT ' ' || count(*) || ' ' || coalesce(max(n.written_at_ms), 0) FROM notices AS n
        WHERE n.lease_id = l.id AND n.withdrawn_at_ms IS NULL)"""
_MARKS = "SELECT {as_object}(l.id, {mark}) FROM ({named}) AS named JOIN leases AS l ON l.id = named.value"


def _on_each(build: str) -> Statement:
    databases: tuple[Database, ...] = ("sqlite", "postgresql")
    return Statement(
        {
            each: sa.text(build.format(named=_NAMED[each], as_object=_AS_OBJECT[each], mark=_MARK))
            for each in databases
        }
    )


def _rows_of(query: sa.Select[tuple[object, ...]], lease_id: str) -> Statement:
    named: dict[Database, sa.ClauseElement] = {
        "sqlite": query.where(sa.text(f"{lease_id} IN ({_NAMED['sqlite']})")),
        "postgresql": query.where(sa.text(f"{lease_id} IN ({_NAMED['postgresql']})")),
    }
    return Statement(named)


MARKS = _on_each(_MARKS)
LEASES = _rows_of(sa.select(leases), "leases.id")
CURRENT = _rows_of(
    sa.select(notices).where(notices.c.withdrawn_at_ms.is_(None)).order_by(notices.c.written_at_ms, notices.c.id),
    "notices.lease_id",
)


class Following(Session):
    def lease_marks(self, lease_ids: Collection[str]) -> dict[str, str]:
        row = self._one(MARKS, ids=json.dumps(list(lease_ids)))
        marks = None if row is None else row[0]
        if isinstance(marks, str):
            marks = json.loads(marks)
        return cast(dict[str, str], marks or {})

    def leases_named(self, lease_ids: Collection[str]) -> list[Lease]:
        return [lease_of(row) for row in self._all(LEASES, ids=json.dumps(list(lease_ids)))]

    def current_notices(self, lease_ids: Collection[str]) -> list[Notice]:
        return [notice_of(row) for row in self._all(CURRENT, ids=json.dumps(list(lease_ids)))]
