"""Leases in the database: one row each, changed in place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import sqlalchemy as sa

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.amounts import Amount, GpuParts, GpuTime, Micros
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import Binding, Deadline, EndReason, Lease, LeaseKind, LeaseState
from sublet_hub.storage.sql.session import Session, page_size, subject_of
from sublet_hub.storage.sql.statement import Row, Statement, Value, insert, param
from sublet_hub.storage.sql.tables import IS_OPEN
from sublet_hub.storage.sql.tables import leases as table
from sublet_hub.storage.store import LeaseFilter

_c = table.c
ADD = insert(table)
SAVE = Statement(sa.update(table).where(_c.id == param("lease_id")))
ONE = Statement(sa.select(table).where(_c.id == param("lease_id")))
AGE = Statement(sa.select(_c.requested_at_ms).where(_c.id == param("lease_id")))

_CONDITIONS = {
    "user": _c.user_name == param("user"),
    "account": sa.and_(_c.account_kind == param("kind"), _c.account_name == param("name")),
    "pool": _c.pool == param("in_pool"),
    "since": sa.or_(_c.ended_at_ms.is_(None), _c.ended_at_ms >= param("since")),
    "after": sa.tuple_(_c.requested_at_ms, _c.id) < sa.tuple_(param("at"), param("after")),
}


_OPEN_INDEXES = {"user": "ix_leases_open_user", "account": "ix_leases_open_account", "pool": "ix_leases_open_pool"}


@lru_cache(maxsize=16)
def _open(conditions: frozenset[str], *columns: str) -> Statement:
    """Open leases: whole, or what is different in some columns. SQLite is told the index: left alone, it may well
    take the one that holds all history."""
    what = sa.select(*(_c[name] for name in columns)).distinct() if columns else sa.select(table)
    query = what.where(sa.text(IS_OPEN), *(_CONDITIONS[name] for name in sorted(conditions)))
    index = next((index for name, index in _OPEN_INDEXES.items() if name in conditions), "ix_leases_open")
    return Statement(query.with_hint(table, f"INDEXED BY {index}", "sqlite"))


@lru_cache(maxsize=64)
def _listing(conditions: frozenset[str], states: frozenset[LeaseState] | None) -> Statement:
    query = sa.select(table).where(*(_CONDITIONS[name] for name in sorted(conditions)))
    if states is not None:
        query = query.where(_c.state.in_(sorted(state.value for state in states)))
    return Statement(query.order_by(_c.requested_at_ms.desc(), _c.id.desc()).limit(param("page")))


class Leases(Session):
    def add_lease(self, lease: Lease) -> None:
        self._change(ADD, _row(lease))

    def save_lease(self, lease: Lease) -> None:
        if not self._change(SAVE, {**_row(lease), "lease_id": lease.id}):
            raise KeyError(lease.id)

    def save_leases(self, leases: Sequence[Lease]) -> None:
        if leases and self._change_many(SAVE, [{**_row(each), "lease_id": each.id} for each in leases]) < len(leases):
            raise KeyError(*[each.id for each in leases])

    def lease(self, lease_id: str) -> Lease | None:
        row = self._one(ONE, lease_id=lease_id)
        return None if row is None else lease_of(row)

    def open_leases(
        self, *, user: str | None = None, account: Subject | None = None, pool: str | None = None
    ) -> list[Lease]:
        params: dict[str, Value] = {}
        conditions = _owner(params, user, account)
        if pool is not None:
            conditions.add("pool")
            params["in_pool"] = pool
        found = [lease_of(row) for row in self._all(_open(frozenset(conditions)), **params)]
        return sorted(found, key=lambda lease: (lease.requested_at_ms, lease.id))

    def open_parties(self, *, user: str | None = None) -> list[tuple[Subject, str]]:
        params: dict[str, Value] = {}
        conditions = _owner(params, user, None)
        statement = _open(frozenset(conditions), "account_kind", "account_name", "user_name")
        return [(subject_of(kind, name), whose) for kind, name, whose in self._all(statement, **params)]

    def leases(self, wanted: LeaseFilter, *, after: str | None, limit: int) -> list[Lease]:
        params: dict[str, Value] = {"page": page_size(limit)}
        conditions = _owner(params, wanted.user, wanted.account)
        if wanted.since_ms is not None:
            conditions.add("since")
            params["since"] = wanted.since_ms
        if after is not None:
            last = self._one(AGE, lease_id=after)
            if last is None:
                return []
            conditions.add("after")
            params |= {"at": last[0], "after": after}
        return [lease_of(row) for row in self._all(_listing(frozenset(conditions), wanted.states), **params)]


def _owner(params: dict[str, Value], user: str | None, account: Subject | None) -> set[str]:
    conditions = set()
    if user is not None:
        conditions.add("user")
        params["user"] = user
    if account is not None:
        conditions.add("account")
        params |= {"kind": account.kind, "name": account.name}
    return conditions


def _row(lease: Lease) -> dict[str, Value]:
    return {
        "id": lease.id,
        "user_name": lease.user,
        "account_kind": lease.account.kind,
        "account_name": lease.account.name,
        "flavor": lease.flavor,
        "pool": lease.pool,
        "tier": lease.tier.value,
        "kind": lease.kind,
        "server_name": lease.server_name,
        "state": lease.state.value,
        "parts": lease.parts,
        "price_micros_per_gpu_hour": lease.price_micros_per_gpu_hour,
        "currency": lease.currency,
        "simulated": lease.simulated,
        "devices": json.dumps(lease.devices),
        "requested_at_ms": lease.requested_at_ms,
        "posted_until_ms": lease.posted_until_ms,
        "held_until_ms": lease.held_until_ms,
        "deadline": _deadline_text(lease.deadline),
        "started_at_ms": lease.started_at_ms,
        "ended_at_ms": lease.ended_at_ms,
        "ordered": None if lease.ordered is None else _deadline_text(lease.ordered),
        "posted_gpu_time": lease.posted.gpu_time,
        "posted_money": lease.posted.money,
        "posted_tokens": lease.posted.tokens,
        "end_reason": None if lease.end_reason is None else lease.end_reason.value,
        "planned": json.dumps([_deadline_json(plan) for plan in lease.planned]) if lease.planned else None,
        "kept_at_ms": lease.kept_at_ms,
    }


def lease_of(row: Row) -> Lease:
    (
        lease_id, user, account_kind, account_name, flavor, pool, tier, kind, server_name, state, parts, price,
        currency, simulated, devices, requested_at, posted_until, held_until, deadline, started_at, ended_at,
        ordered, gpu_time, money, tokens, end_reason, planned, kept_at,
    ) = row  # fmt: skip
    return Lease(
        id=lease_id,
        user=user,
        account=subject_of(account_kind, account_name),
        flavor=flavor,
        pool=pool,
        tier=Tier(tier),
        kind=cast(LeaseKind, kind),
        server_name=server_name,
        state=LeaseState(state),
        parts=GpuParts(parts),
        price_micros_per_gpu_hour=Micros(price),
        currency=currency,
        simulated=bool(simulated),
        devices=tuple(json.loads(devices)),
        requested_at_ms=requested_at,
        posted_until_ms=posted_until,
        held_until_ms=held_until,
        deadline=_deadline(deadline),
        started_at_ms=started_at,
        ended_at_ms=ended_at,
        ordered=None if ordered is None else _deadline(ordered),
        posted=Amount(GpuTime(gpu_time), Micros(money), tokens),
        end_reason=None if end_reason is None else EndReason(end_reason),
        planned=() if planned is None else tuple(map(_deadline_of, json.loads(planned))),
        kept_at_ms=kept_at,
    )


def _deadline_text(deadline: Deadline) -> str:
    return json.dumps(_deadline_json(deadline))


def _deadline_json(deadline: Deadline) -> dict[str, Any]:
    bound = deadline.binding
    binding = None if bound is None else {name: getattr(bound, name) for name in Binding.__slots__}
    return {"at_ms": deadline.at_ms, "reason": deadline.reason.value, "binding": binding}


def _deadline(text: str) -> Deadline:
    return _deadline_of(json.loads(text))


def _deadline_of(saved: dict[str, Any]) -> Deadline:
    binding = saved["binding"]
    return Deadline(saved["at_ms"], EndReason(saved["reason"]), None if binding is None else Binding(**binding))
