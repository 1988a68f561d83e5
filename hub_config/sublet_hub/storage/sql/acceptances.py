"""Acceptances of licences in the database: added, never changed."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

import sqlalchemy as sa

from sublet_hub.domain.acceptances import Acceptance
from sublet_hub.domain.accounts import Subject
from sublet_hub.storage.sql.session import Session, page_size, subject_of
from sublet_hub.storage.sql.statement import Row, Statement, Value, insert, param
from sublet_hub.storage.sql.tables import acceptances as table

ADD = insert(table)


@lru_cache(maxsize=2)
def _listing(*, of_licence: bool) -> Statement:
    query = sa.select(table).where(table.c.number > param("after")).order_by(table.c.number).limit(param("page"))
    return Statement(query.where(table.c.licence == param("of")) if of_licence else query)


@lru_cache(maxsize=256)
def _of(subjects: int) -> Statement:
    """Those of so many subjects. Each is looked up in the index by itself: a list of pairs would not be."""
    each = (
        sa.and_(table.c.subject_kind == param(f"kind_{i}"), table.c.subject_name == param(f"name_{i}"))
        for i in range(subjects)
    )
    return Statement(sa.select(table).where(sa.or_(sa.false(), *each)).order_by(table.c.number))


AT_ONCE = 200
"""Subjects in one query."""


class Acceptances(Session):
    def add_acceptance(self, acceptance: Acceptance) -> None:
        row: dict[str, Value] = {
            "number": acceptance.number,
            "subject_kind": acceptance.subject.kind,
            "subject_name": acceptance.subject.name,
            "licence": acceptance.licence,
            "version": acceptance.version,
            "accepted_by": acceptance.accepted_by,
            "at_ms": acceptance.at_ms,
        }
        self._change(ADD, row)

    def acceptances_of(self, subjects: Collection[Subject]) -> list[Acceptance]:
        wanted, found = sorted(set(subjects)), []
        for start in range(0, len(wanted), AT_ONCE):
            params: dict[str, Value] = {}
            some = wanted[start : start + AT_ONCE]
            for i, subject in enumerate(some):
                params |= {f"kind_{i}": subject.kind, f"name_{i}": subject.name}
            found += [_acceptance(row) for row in self._all(_of(len(some)), **params)]
        return sorted(found, key=lambda each: each.number)

    def acceptances(self, *, licence: str | None, after: int, limit: int) -> list[Acceptance]:
        params: dict[str, Value] = {"after": after, "page": page_size(limit)}
        if licence is not None:
            params["of"] = licence
        return [_acceptance(row) for row in self._all(_listing(of_licence=licence is not None), **params)]


def _acceptance(row: Row) -> Acceptance:
    number, kind, name, *rest = row
    return Acceptance(number, subject_of(kind, name), *rest)
