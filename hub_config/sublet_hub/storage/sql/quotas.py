"""Quotas in the database: one row per subject, its limits as JSON."""

from __future__ import annotations

import json

import sqlalchemy as sa

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.quota import Limit, Quota, What
from sublet_hub.storage.sql.session import Session, page_size, subject_of
from sublet_hub.storage.sql.statement import Statement, param, upsert
from sublet_hub.storage.sql.tables import quotas as table

_HERE = sa.and_(table.c.subject_kind == param("kind"), table.c.subject_name == param("name"))
_SUBJECT = sa.tuple_(table.c.subject_kind, table.c.subject_name)
_LIST = sa.select(table).order_by(table.c.subject_kind, table.c.subject_name).limit(param("page"))

ONE = Statement(sa.select(table.c.limits, table.c.time_zone).where(_HERE))
PUT = upsert(table)
REMOVE = Statement(sa.delete(table).where(_HERE))
FIRST = Statement(_LIST)
NEXT = Statement(_LIST.where(sa.tuple_(param("kind"), param("name")) < _SUBJECT))


class Quotas(Session):
    def quota(self, subject: Subject) -> Quota | None:
        row = self._one(ONE, kind=subject.kind, name=subject.name)
        return None if row is None else _quota(row[0], row[1])

    def set_quota(self, subject: Subject, quota: Quota | None) -> None:
        if quota is None:
            self._change(REMOVE, {"kind": subject.kind, "name": subject.name})
            return
        limits = [
            {"what": one.what.value, "limit": one.limit, "window": one.window, "flavor": one.flavor}
            for one in quota.limits
        ]
        row = {"subject_kind": subject.kind, "subject_name": subject.name, "time_zone": quota.time_zone}
        self._change(PUT, {**row, "limits": json.dumps(limits, separators=(",", ":"))})

    def quotas(self, after: Subject | None, limit: int) -> list[tuple[Subject, Quota]]:
        page = page_size(limit)
        if after is None:
            rows = self._all(FIRST, page=page)
        else:
            rows = self._all(NEXT, page=page, kind=after.kind, name=after.name)
        return [(subject_of(kind, name), _quota(limits, zone)) for kind, name, zone, limits in rows]


def _quota(limits: str, time_zone: str) -> Quota:
    return Quota(
        tuple(Limit(What(o["what"]), o["limit"], o["window"], o["flavor"]) for o in json.loads(limits)), time_zone
    )
