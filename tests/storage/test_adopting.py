"""What was started past us: a lease like any other from then on, with a price and a deadline."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.amounts import GPU_TIME_PER_GPU_SECOND
from sublet_hub.domain.errors import NotFound
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import EndReason, LeaseState
from sublet_hub.storage import adopting, metering
from sublet_hub.storage.audit import verify_audit
from sublet_hub.storage.store import AuditFilter, Store
from sublet_hub.storage.verification import verify_account
from tests.fixtures.books import TurnedClock, books, limit
from tests.fixtures.factories import NOW

ALICE = accounts.user("alice")
WANTED = LeaseRequest("alice", ALICE, "gpu-1x", Tier.GUARANTEED, kind="worker")
ID = "ab" * 16


def test_it_is_charged_from_its_start_and_limited_by_the_quota(store: Store) -> None:
    clock = TurnedClock()
    of = books(store, clock)
    limit(of, gpu_seconds=(3600, "day"))
    now = clock.turn(100_000)
    assert adopting.adopt(of, ID, WANTED, NOW + 60_000).state is LeaseState.GRANTED
    active = metering.start(of, ID, NOW + 60_000)
    assert (active.started_at_ms, active.deadline.reason) == (NOW + 60_000, EndReason.QUOTA)
    assert metering.post(of, ID, now).added.gpu_time == 40 * GPU_TIME_PER_GPU_SECOND
    ended = metering.end(of, ID, NOW + 60_000, now + 5_000, EndReason.EXITED).lease
    assert ended.posted.gpu_time == 45 * GPU_TIME_PER_GPU_SECOND
    assert verify_account(of.store, ALICE) == []
    assert verify_audit(of, {}) is None


def test_it_is_adopted_once_and_recorded(store: Store) -> None:
    of = books(store, TurnedClock())
    first = adopting.adopt(of, ID, WANTED, NOW)
    metering.start(of, ID, NOW)
    assert adopting.adopt(of, ID, WANTED, NOW + 1).id == first.id
    with of.store.transaction(write=False) as tx:
        seen = tx.audit_records(AuditFilter(), after=0, limit=100, newest_first=False)
        lease = tx.lease(ID)
    assert [record.action for record in seen] == ["lease.adopted", "lease.started"]
    assert lease is not None
    assert lease.state is LeaseState.ACTIVE


def test_what_has_no_price_is_refused(store: Store) -> None:
    of = books(store, TurnedClock())
    with pytest.raises(NotFound, match="no flavor"):
        adopting.adopt(of, ID, replace(WANTED, flavor="gpu-9x"), NOW)
