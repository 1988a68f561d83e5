"""What event streams read: many leases at once, and whether anything of them changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from sublet_hub.domain.lease import Deadline, EndReason, LeaseState
from sublet_hub.storage.sql import following, notices
from sublet_hub.storage.sql.engine import database_of, parse_url
from sublet_hub.storage.store import Store, Transaction
from tests.storage.examples import NOON_MS, lease, notice

HELD = lease("lease-1", state=LeaseState.ACTIVE, started_at_ms=NOON_MS)
NAMES = ("lease-1", "lease-2", "lease-9")


@pytest.fixture
def kept(store: Store) -> Store:
    with store.transaction(write=True) as tx:
        tx.add_lease(HELD)
        for name in ("lease-2", "lease-3"):
            tx.add_lease(replace(lease(name), state=LeaseState.ENDED))
        tx.add_notices([notice("b", lease_id="lease-1", written_at_ms=NOON_MS)])
        tx.add_notices([notice("a", lease_id="lease-1", written_at_ms=NOON_MS + 1)])
        tx.add_notices([notice("c", lease_id="lease-1", withdrawn_at_ms=NOON_MS + 2)])
        tx.add_notices([notice("d", lease_id="lease-2")])
        tx.add_notices([notice("e", lease_id="lease-3")])
    return store


def test_the_named_ones_are_read_and_no_others(kept: Store) -> None:
    with kept.transaction(write=False) as tx:
        assert {each.id for each in tx.leases_named(NAMES)} == {"lease-1", "lease-2"}
        assert next(each for each in tx.leases_named(["lease-1"])) == HELD
        assert [each.id for each in tx.current_notices(["lease-1"])] == ["b", "a"]
        assert {each.id for each in tx.current_notices(NAMES)} == {"a", "b", "d"}
        assert tx.lease_marks(NAMES).keys() == {"lease-1", "lease-2"}
        assert (tx.leases_named([]), tx.current_notices([]), tx.lease_marks([])) == ([], [], {})


CHANGES: dict[str, Callable[[Transaction], None]] = {
    "posted": lambda tx: tx.save_lease(replace(HELD, posted_until_ms=NOON_MS + 1)),
    "held": lambda tx: tx.save_lease(replace(HELD, held_until_ms=NOON_MS + 1)),
    "state": lambda tx: tx.save_lease(replace(HELD, state=LeaseState.ENDING)),
    "deadline": lambda tx: tx.save_lease(replace(HELD, deadline=replace(HELD.deadline, at_ms=NOON_MS + 1))),
    "reason": lambda tx: tx.save_lease(replace(HELD, deadline=replace(HELD.deadline, reason=EndReason.QUOTA))),
    "ordered": lambda tx: tx.save_lease(replace(HELD, ordered=Deadline(NOON_MS, EndReason.ADMIN))),
    "started": lambda tx: tx.save_lease(replace(HELD, started_at_ms=NOON_MS + 1)),
    "ended": lambda tx: tx.save_lease(replace(HELD, ended_at_ms=NOON_MS + 1)),
    "noticed": lambda tx: tx.add_notices([notice("f", lease_id="lease-1", written_at_ms=NOON_MS)]),
    "withdrawn": lambda tx: tx.save_notices(
        [replace(notice("b", lease_id="lease-1", written_at_ms=NOON_MS), withdrawn_at_ms=NOON_MS + 9)]
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_makes_another_mark(kept: Store, change: str) -> None:
    with kept.transaction(write=False) as tx:
        before = tx.lease_marks(NAMES)
    with kept.transaction(write=True) as tx:
        CHANGES[change](tx)
    with kept.transaction(write=False) as tx:
        after = tx.lease_marks(NAMES)
    assert after["lease-1"] != before["lease-1"]
    assert after["lease-2"] == before["lease-2"]


def test_a_notice_in_the_place_of_another_makes_another_mark(kept: Store) -> None:
    with kept.transaction(write=False) as tx:
        before = tx.lease_marks(NAMES)
    with kept.transaction(write=True) as tx:
        tx.save_notices(
            [replace(notice("a", lease_id="lease-1", written_at_ms=NOON_MS + 1), withdrawn_at_ms=NOON_MS + 9)]
        )
        tx.add_notices([notice("f", lease_id="lease-1", written_at_ms=NOON_MS + 9)])
    with kept.transaction(write=False) as tx:
        assert tx.lease_marks(NAMES)["lease-1"] != before["lease-1"]


def test_on_sqlite_they_are_found_by_key(sqlite_url: str) -> None:
    engine = sa.create_engine(parse_url(sqlite_url))
    with engine.connect() as connection:
        of_one_lease = notices._listing(frozenset({"lease", "current of lease"}))
        for statement in (following.MARKS, following.LEASES, following.CURRENT, of_one_lease):
            compiled = statement.on(database_of(engine.url))
            params = {**compiled.fixed, "ids": "[]", "lease": "lease-1", "page": 9}
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled.sql}", params)
            steps = [str(row[-1]) for row in plan]
            assert not [step for step in steps if step.startswith(("SCAN leases", "SCAN notices", "SCAN l"))], steps
            assert not [step for step in steps if "ix_leases_open" in step], "no list of all that is open"
    engine.dispose()
