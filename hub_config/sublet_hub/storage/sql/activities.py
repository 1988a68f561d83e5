"""Records of activity in the database: one row for each lease and minute, found by these.

What decides about idleness stands in columns of its own, so that the database finds the quiet leases of a pool.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sublet_hub.domain.activity import Activity, GpuUse, minute_of
from sublet_hub.domain.flavors import IdlePolicy, Tier
from sublet_hub.storage.sql.session import Session, page_size
from sublet_hub.storage.sql.statement import Row, Statement, param
from sublet_hub.storage.sql.tables import IS_OPEN, leases
from sublet_hub.storage.sql.tables import activity as table

_c = table.c
UNKNOWN_PERCENT = 100
"""What counts where a use isn't known: a policy asks for less than this at most, so it isn't quiet."""

ADD = Statement(
    {
        "sqlite": sqlite.insert(table).on_conflict_do_nothing(),
        "postgresql": postgresql.insert(table).on_conflict_do_nothing(),
    }
)
LISTING = Statement(
    sa.select(_c.at_ms, _c.seconds, _c.gpus, _c.kernels, _c.kernels_busy)
    .where(_c.lease_id == param("lease"), _c.minute_ms >= param("minute"), _c.at_ms > param("after"))
    .order_by(_c.minute_ms)
    .limit(param("page"))
)
_OLDEST = sa.select(_c.lease_id, _c.minute_ms).where(_c.minute_ms < param("before")).order_by(_c.minute_ms)
DROP = Statement(
    sa.delete(table).where(sa.tuple_(_c.lease_id, _c.minute_ms).in_(_OLDEST.limit(param("most", sa.Integer()))))
)


@lru_cache(maxsize=4)
def quiet(tiers: frozenset[Tier]) -> Statement:
    """Open leases of a pool none of whose records of late tells of any use; the same as `is_quiet` of the domain."""
    unseen = sa.case((sa.or_(leases.c.parts == 0, leases.c.simulated), 0), else_=UNKNOWN_PERCENT)
    none_seen = sa.case((_c.gpus == "[]", unseen), else_=UNKNOWN_PERCENT)
    query = (
        sa.select(_c.lease_id)
        .join_from(leases, table, _c.lease_id == leases.c.id)
        .with_hint(leases, "INDEXED BY ix_leases_open_pool", "sqlite")
        .where(
            sa.text(IS_OPEN),
            leases.c.pool == param("in_pool"),
            leases.c.tier.in_(sorted(tier.value for tier in tiers)),
            _c.minute_ms >= param("since"),
        )
        .group_by(_c.lease_id)
        .having(
            sa.func.max(_c.kernels_busy) == 0,
            sa.func.max(sa.func.coalesce(_c.utilisation_percent, none_seen)) < param("use"),
            sa.func.max(sa.func.coalesce(_c.memory_percent, none_seen)) < param("memory"),
        )
    )
    return Statement(query)


class Activities(Session):
    def add_activity(self, lease_id: str, records: Sequence[Activity]) -> None:
        self._change_many(
            ADD,
            [
                {
                    "lease_id": lease_id,
                    "minute_ms": each.minute_ms,
                    "at_ms": each.at_ms,
                    "seconds": each.seconds,
                    "kernels": each.kernels,
                    "kernels_busy": each.kernels_busy,
                    "utilisation_percent": each.utilisation_percent,
                    "memory_percent": each.memory_percent,
                    "gpus": _gpus_text(each.gpus),
                }
                for each in records
            ],
        )

    def activity(self, lease_id: str, *, after_ms: int, limit: int) -> list[Activity]:
        rows = self._all(LISTING, lease=lease_id, minute=minute_of(after_ms), after=after_ms, page=page_size(limit))
        return [_activity(row) for row in rows]

    def quiet_leases(self, pool: str, policy: IdlePolicy, since_ms: int) -> list[str]:
        rows = self._all(
            quiet(policy.tiers),
            in_pool=pool,
            since=minute_of(since_ms),
            use=policy.utilisation_percent,
            memory=policy.memory_percent,
        )
        return [row[0] for row in rows]

    def drop_activity(self, before_ms: int, limit: int) -> int:
        return self._change(DROP, {"before": before_ms, "most": limit})


def _gpus_text(gpus: tuple[GpuUse, ...]) -> str:
    return json.dumps(
        [[gpu.device, gpu.utilisation_percent, gpu.memory_used_bytes, gpu.memory_total_bytes] for gpu in gpus],
        separators=(",", ":"),
    )


def _activity(row: Row) -> Activity:
    at_ms, seconds, gpus, kernels, kernels_busy = row
    return Activity(at_ms, seconds, tuple(GpuUse(*gpu) for gpu in json.loads(gpus)), kernels, kernels_busy)
