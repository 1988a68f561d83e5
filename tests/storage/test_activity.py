"""Records of what servers tell, on each store; and the database's idea of who is quiet against the domain's."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sublet_hub.domain.activity import MINUTE_MS, Activity, GpuUse
from sublet_hub.domain.flavors import IdlePolicy, Tier
from sublet_hub.domain.idle import is_quiet
from sublet_hub.domain.lease import LeaseState
from sublet_hub.storage.store import MOST_ROWS, Store
from tests.storage.examples import NOON_MS, lease

POLICY = IdlePolicy(30)
BASE_MS = NOON_MS - NOON_MS % MINUTE_MS


def record(minute: int, *gpus: GpuUse, into_ms: int = 0, kernels_busy: int = 0) -> Activity:
    return Activity(BASE_MS + minute * MINUTE_MS + into_ms, 60, gpus, 3, kernels_busy)


GPUS = (GpuUse("GPU-ü", 3, 2**40, 2**41), GpuUse("MIG-1", None, 0, 0))


def test_records_come_back_in_order_and_the_first_of_a_minute_stays(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.add_activity("a", [record(2, *GPUS, into_ms=59_999), record(0), record(2, kernels_busy=1)])
        tx.add_activity("a", [record(0, *GPUS), record(1, into_ms=7)])
        tx.add_activity("b", [record(1, *GPUS)])
    with store.transaction(write=False) as tx:
        all_of_a = [record(0), record(1, into_ms=7), record(2, *GPUS, into_ms=59_999)]
        assert tx.activity("a", after_ms=0, limit=9) == all_of_a
        assert tx.activity("a", after_ms=BASE_MS, limit=9) == all_of_a[1:]
        assert tx.activity("a", after_ms=BASE_MS + MINUTE_MS + 6, limit=1) == all_of_a[1:2]
        assert tx.activity("a", after_ms=BASE_MS + MINUTE_MS + 7, limit=9) == all_of_a[2:]
        assert tx.activity("c", after_ms=0, limit=9) == []


def test_a_read_is_bounded(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.add_activity("a", [record(minute) for minute in range(MOST_ROWS + 1)])
        assert len(tx.activity("a", after_ms=0, limit=10**6)) == MOST_ROWS


def test_the_oldest_are_dropped_so_many_at_a_time(store: Store) -> None:
    with store.transaction(write=True) as tx:
        for name in ("a", "b"):
            tx.add_activity(name, [record(minute) for minute in range(4)])
        before_ms = BASE_MS + 3 * MINUTE_MS
        assert tx.drop_activity(before_ms, 4) == 4
        assert [len(tx.activity(name, after_ms=0, limit=9)) for name in ("a", "b")] == [2, 2]
        assert tx.drop_activity(before_ms, 4) == 2
        assert tx.drop_activity(before_ms, 4) == 0
        assert tx.activity("b", after_ms=0, limit=9) == [record(3)]


def test_quiet_leases_are_open_ones_of_the_pool_and_tiers_that_told(store: Store) -> None:
    unlike: dict[str, dict[str, Any]] = {
        "quiet": {},
        "quiet-2": {"state": LeaseState.ACTIVE},
        "guaranteed": {"tier": Tier.GUARANTEED},
        "ended": {"state": LeaseState.ENDED},
        "elsewhere": {"pool": "cpu"},
        "silent": {},
        "quiet-long-ago": {},
        "busy": {},
    }
    used = GpuUse("GPU-0", 0, 0, 100)
    with store.transaction(write=True) as tx:
        for lease_id, changes in unlike.items():
            tx.add_lease(lease(lease_id, **changes))
            if lease_id != "silent":
                minute = 0 if lease_id == "quiet-long-ago" else 5
                tx.add_activity(lease_id, [record(minute, used), record(1, kernels_busy=1)])
        tx.add_activity("busy", [record(6, used, kernels_busy=1), record(7, used)])
        since_ms = BASE_MS + 2 * MINUTE_MS + 30_000
        assert sorted(tx.quiet_leases("h100", POLICY, since_ms)) == ["quiet", "quiet-2"]
        both = IdlePolicy(30, tiers=frozenset(Tier))
        assert sorted(tx.quiet_leases("h100", both, since_ms)) == ["guaranteed", "quiet", "quiet-2"]
        assert "quiet" not in tx.quiet_leases("h100", POLICY, BASE_MS)


uses = st.builds(
    GpuUse,
    st.just("GPU-0"),
    st.sampled_from([None, 0, 4, 5, 99, 100]),
    st.sampled_from([0, 9, 10, 100, 101]),
    st.sampled_from([0, 100]),
)
minutes = st.lists(st.tuples(st.lists(uses, max_size=2), st.sampled_from([0, 0, 0, 1])), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    told=minutes,
    parts=st.sampled_from([0, 7000]),
    simulated=st.booleans(),
    policy=st.sampled_from([POLICY, IdlePolicy(30, 100, 100), IdlePolicy(30, 1, 1)]),
)
def test_the_database_finds_quiet_what_the_domain_does(
    store: Store, told: list[tuple[list[GpuUse], int]], parts: int, simulated: bool, policy: IdlePolicy
) -> None:
    one = lease("x", parts=parts, simulated=simulated)
    records = [record(at, *gpus, kernels_busy=busy) for at, (gpus, busy) in enumerate(told)]
    with store.transaction(write=True) as tx:
        if tx.lease("x") is None:
            tx.add_lease(one)
        tx.save_lease(one)
        tx.drop_activity(2**62, 10**6)
        tx.add_activity("x", records)
        found = tx.quiet_leases("h100", policy, BASE_MS)
    assert found == (["x"] if all(is_quiet(each, one, policy) for each in records) else [])
