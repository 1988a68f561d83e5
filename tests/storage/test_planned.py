"""Deadlines that can be taken back, through the store: a user's own stop, an idle lease's end, and keeping it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sublet_hub.domain import accounts
from sublet_hub.domain.activity import MINUTE_MS, Activity, GpuUse
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.errors import Conflict, DeadlineStands, InvalidRequest, NotFound
from sublet_hub.domain.flavors import IdlePolicy, Tier
from sublet_hub.domain.lease import EndReason, Lease, LeaseState
from sublet_hub.domain.notices import Notice
from sublet_hub.storage import activity, leasing, metering, planned
from sublet_hub.storage.audit import verify_audit
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import AuditFilter, Store
from sublet_hub.storage.verification import verify_account
from tests.fixtures.books import TurnedClock, books, limit
from tests.fixtures.factories import HOUR, NOW

ALICE = accounts.user("alice")
NOTICE_MS = 300_000
UNUSED, USED = GpuUse("SIM-0", 0, 1, 100), GpuUse("SIM-0", 90, 50, 100)


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def all_books(store: Store, clock: TurnedClock) -> Books:
    """Books whose GPUs are taken from surplus leases that are idle for ten minutes."""
    made = books(store, clock)
    limit(made, gpu_seconds=(36_000, "day"))
    pools = {**made.catalog.pools, "gpu": replace(made.catalog.pools["gpu"], idle=IdlePolicy(10))}
    return replace(made, catalog=replace(made.catalog, pools=pools))


def running(of: Books, tier: Tier = Tier.SURPLUS) -> Lease:
    asked = LeaseRequest(user="alice", account=ALICE, flavor="gpu-1x", tier=tier, server_name=tier.value)
    return metering.start(of, leasing.request(of, asked, actor="test").id, of.clock.now_ms())


def tell(of: Books, lease: Lease, clock: TurnedClock, minutes: int, gpu: GpuUse = UNUSED, busy: int = 0) -> None:
    """Let minutes pass, and the server tell at the end of each."""
    for _ in range(minutes):
        at_ms = clock.turn(MINUTE_MS)
        activity.report(of, lease.id, [Activity(at_ms, 60, (gpu,), 1, busy)])


def now(of: Books, lease: Lease) -> Lease:
    with of.store.transaction(write=False) as tx:
        return leasing.stored(tx, lease.id)


def notices(of: Books, *, current: bool = True) -> list[Notice]:
    with of.store.transaction(write=False) as tx:
        return tx.notices(user="alice", lease_id=None, current_only=current, limit=20)


def audited(of: Books) -> list[tuple[str, str, str]]:
    with of.store.transaction(write=False) as tx:
        records = tx.audit_records(AuditFilter(), after=0, limit=100, newest_first=False)
    return [
        (each.action, each.actor, each.reason) for each in records if each.action in {"lease.stopped", "lease.kept"}
    ]


def test_an_idle_lease_ends_after_the_longest_notice(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    before = lease.deadline
    tell(all_books, lease, clock, 9)
    assert planned.settle_idleness(all_books, lease.id).deadline == before
    tell(all_books, lease, clock, 1)
    ending = planned.settle_idleness(all_books, lease.id)
    assert (ending.deadline.at_ms, ending.deadline.reason) == (clock.at_ms + NOTICE_MS, EndReason.IDLE)
    assert ending.state is LeaseState.ACTIVE
    (notice,) = notices(all_books)
    assert (notice.reason, notice.lead_seconds, notice.deadline_at_ms) == (EndReason.IDLE, 300, ending.deadline.at_ms)
    assert "idle" in notice.message
    assert planned.settle_idleness(all_books, lease.id) == ending, "repeating it changes nothing"
    assert audited(all_books) == [("lease.stopped", "meter", "idle for 10 minutes")]
    clock.turn(NOTICE_MS - 60_000)
    assert metering.warn(all_books, lease.id)
    assert sorted(each.lead_seconds for each in notices(all_books)) == [60, 300]
    metering.end(all_books, lease.id, NOW, clock.turn(60_000), EndReason.IDLE)
    assert verify_account(all_books.store, ALICE) == []
    assert verify_audit(all_books, {}) is None


@pytest.mark.parametrize(("gpu", "busy"), [(USED, 0), (UNUSED, 1)])
def test_who_starts_to_work_again_keeps_the_lease(
    all_books: Books, clock: TurnedClock, gpu: GpuUse, busy: int
) -> None:
    lease = running(all_books)
    before = lease.deadline
    tell(all_books, lease, clock, 10)
    planned.settle_idleness(all_books, lease.id)
    tell(all_books, lease, clock, 1, gpu, busy)
    kept = planned.settle_idleness(all_books, lease.id)
    assert (kept.deadline, kept.planned) == (before, ())
    assert notices(all_books) == []
    assert audited(all_books)[1:] == [("lease.kept", "meter", "it is in use again")]


def test_who_tells_no_more_is_not_ended_for_it(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    before = lease.deadline
    tell(all_books, lease, clock, 10)
    planned.settle_idleness(all_books, lease.id)
    clock.turn(200_000)
    assert planned.settle_idleness(all_books, lease.id).deadline == before


def test_keeping_an_idle_lease_starts_its_clock_anew(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    before = lease.deadline
    tell(all_books, lease, clock, 10)
    planned.settle_idleness(all_books, lease.id)
    kept = planned.keep(all_books, lease.id, actor="user:alice", why="thinking")
    assert (kept.deadline, kept.kept_at_ms) == (before, clock.at_ms)
    assert notices(all_books) == []
    tell(all_books, lease, clock, 9)
    assert planned.settle_idleness(all_books, lease.id).deadline == before
    tell(all_books, lease, clock, 1)
    assert planned.settle_idleness(all_books, lease.id).deadline.reason is EndReason.IDLE
    assert audited(all_books)[1] == ("lease.kept", "user:alice", "thinking")


def test_keeping_before_anything_is_ordered_starts_the_clock_anew_too(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    tell(all_books, lease, clock, 9)
    assert planned.keep(all_books, lease.id, actor="user:alice", why="").deadline == lease.deadline
    tell(all_books, lease, clock, 9)
    assert planned.settle_idleness(all_books, lease.id).planned == ()
    assert audited(all_books) == []


def test_a_nearer_deadline_stays(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    tell(all_books, lease, clock, 10)
    near = leasing.order_end(all_books, lease.id, at_ms=None, reason=EndReason.ADMIN, actor="root", why="")
    assert planned.settle_idleness(all_books, lease.id) == near
    with pytest.raises(DeadlineStands, match="An admin has ended it"):
        planned.keep(all_books, lease.id, actor="user:alice", why="")


def test_an_admins_stop_is_not_taken_back_with_ones_own(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    tell(all_books, lease, clock, 10)
    planned.settle_idleness(all_books, lease.id)
    ordered_ms = clock.turn(60_000) + 100_000
    leasing.order_end(all_books, lease.id, at_ms=ordered_ms, reason=EndReason.ADMIN, actor="root", why="")
    planned.plan_stop(all_books, lease.id, ordered_ms - 50_000, actor="user:alice", why="")
    kept = planned.keep(all_books, lease.id, actor="user:alice", why="")
    assert (kept.deadline.at_ms, kept.deadline.reason, kept.planned) == (ordered_ms, EndReason.ADMIN, ())
    assert notices(all_books)[0].reason is EndReason.ADMIN, "and its user is told at once whose deadline counts now"


@pytest.mark.parametrize("without", ["tier", "policy"])
def test_without_a_policy_for_it_nothing_idle_is_ended(all_books: Books, clock: TurnedClock, without: str) -> None:
    of = replace(all_books, catalog=books(all_books.store, clock).catalog) if without == "policy" else all_books
    lease = running(of, Tier.GUARANTEED if without == "tier" else Tier.SURPLUS)
    tell(of, lease, clock, 60)
    assert activity.look(of, [now(of, lease)], all_of_them=True) == {}
    assert planned.settle_idleness(of, lease.id) == now(of, lease)
    assert now(of, lease).deadline == lease.deadline
    with pytest.raises(DeadlineStands, match="36000 GPU-seconds"):
        planned.keep(of, lease.id, actor="user:alice", why="")


def test_an_idle_end_is_taken_back_where_its_policy_is_gone(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    tell(all_books, lease, clock, 10)
    ending = planned.settle_idleness(all_books, lease.id)
    without = replace(all_books, catalog=books(all_books.store, clock).catalog)
    assert activity.look(without, [ending], all_of_them=False) == {lease.id: False}
    assert planned.settle_idleness(without, lease.id).deadline == lease.deadline


@pytest.mark.parametrize("all_of_them", [True, False])
def test_looking_tells_who_is_idle(all_books: Books, clock: TurnedClock, *, all_of_them: bool) -> None:
    idle, busy = running(all_books), running(all_books, Tier.GUARANTEED)
    pools = {
        name: replace(pool, idle=IdlePolicy(10, tiers=frozenset(Tier)))
        for name, pool in all_books.catalog.pools.items()
    }
    of = replace(all_books, catalog=replace(all_books.catalog, pools=pools))
    for _ in range(10):
        at_ms = clock.turn(MINUTE_MS)
        activity.report(of, idle.id, [Activity(at_ms, 60, (UNUSED,), 1, 0)])
        activity.report(of, busy.id, [Activity(at_ms, 60, (UNUSED,), 1, 1)])
    assert activity.look(of, [idle, busy], all_of_them=all_of_them) == {idle.id: True, busy.id: False}


def test_a_user_plans_a_stop_moves_it_and_takes_it_back(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    stopping = lease
    for at_ms in (NOW + HOUR, NOW + 2 * HOUR, NOW + HOUR // 2):
        stopping = planned.plan_stop(all_books, lease.id, at_ms, actor="user:alice", why="lunch")
        assert (stopping.deadline.at_ms, stopping.deadline.reason) == (at_ms, EndReason.USER)
        metering.post(all_books, lease.id, clock.turn(30_000))
        assert now(all_books, lease).deadline == stopping.deadline, "planning anew leaves it"
    assert notices(all_books, current=False) == []
    assert not metering.warn(all_books, lease.id)
    with pytest.raises(InvalidRequest, match="later than"):
        planned.plan_stop(all_books, lease.id, lease.deadline.at_ms + 1, actor="user:alice", why="")
    assert now(all_books, lease).deadline == stopping.deadline
    kept = planned.keep(all_books, lease.id, actor="user:alice", why="")
    assert abs(kept.deadline.at_ms - lease.deadline.at_ms) < 1000
    assert kept.deadline.reason is EndReason.QUOTA
    assert [action for action, _, _ in audited(all_books)] == ["lease.stopped"] * 3 + ["lease.kept"]
    assert verify_account(all_books.store, ALICE) == []


def test_a_planned_stop_outlives_an_idle_end_that_is_taken_back(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    planned.plan_stop(all_books, lease.id, NOW + HOUR, actor="user:alice", why="")
    tell(all_books, lease, clock, 10)
    assert planned.settle_idleness(all_books, lease.id).deadline.reason is EndReason.IDLE
    tell(all_books, lease, clock, 1, USED)
    after = planned.settle_idleness(all_books, lease.id)
    assert (after.deadline.at_ms, after.deadline.reason) == (NOW + HOUR, EndReason.USER)


def test_a_stop_can_be_planned_before_the_server_runs(all_books: Books) -> None:
    asked = LeaseRequest(user="alice", account=ALICE, flavor="gpu-1x", tier=Tier.SURPLUS)
    granted = leasing.request(all_books, asked, actor="test")
    planned.plan_stop(all_books, granted.id, NOW + HOUR, actor="user:alice", why="")
    started = metering.start(all_books, granted.id, NOW + 5000)
    assert (started.deadline.at_ms, started.deadline.reason) == (NOW + HOUR, EndReason.USER)


def test_a_lowered_quota_is_not_put_off_by_planning_and_keeping(all_books: Books, clock: TurnedClock) -> None:
    """Whoever is given five minutes, once, doesn't get more of them by asking again and again."""
    lease = running(all_books)
    clock.turn(HOUR)
    metering.post(all_books, lease.id, clock.at_ms)
    limit(all_books, ALICE, gpu_seconds=(30, "day"))
    last_ms = now(all_books, lease).deadline.at_ms
    assert last_ms == clock.at_ms + NOTICE_MS
    for _ in range(4):
        planned.plan_stop(all_books, lease.id, last_ms - 10_000, actor="user:alice", why="")
        clock.turn(50_000)
        kept = planned.keep(all_books, lease.id, actor="user:alice", why="")
        assert kept.deadline.at_ms <= last_ms
        assert kept.deadline.reason is EndReason.QUOTA
        last_ms = kept.deadline.at_ms
    with pytest.raises(DeadlineStands, match="30 GPU-seconds"):
        planned.keep(all_books, lease.id, actor="user:alice", why="")


def test_what_is_over_or_was_never_there(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    metering.end(all_books, lease.id, NOW, clock.turn(60_000), EndReason.EXITED)
    with pytest.raises(Conflict):
        planned.plan_stop(all_books, lease.id, NOW + HOUR, actor="user:alice", why="")
    with pytest.raises(Conflict):
        planned.keep(all_books, lease.id, actor="user:alice", why="")
    assert planned.settle_idleness(all_books, lease.id).state is LeaseState.ENDED
    with pytest.raises(NotFound):
        planned.keep(all_books, "0" * 32, actor="user:alice", why="")
    with pytest.raises(NotFound):
        planned.plan_stop(all_books, "0" * 32, NOW + HOUR, actor="user:alice", why="")
    with pytest.raises(NotFound):
        activity.report(all_books, "0" * 32, [])


def test_records_of_another_time_are_refused_whole(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    clock.turn(HOUR)
    good = Activity(clock.at_ms, 60, (), 0, 0)
    for at_ms in (NOW - 120_001, clock.at_ms + 120_001):
        with pytest.raises(InvalidRequest) as refused:
            activity.report(all_books, lease.id, [good, replace(good, at_ms=at_ms)])
        assert refused.value.detail_fields["field"] == "records[1].at"
    assert activity.recent(all_books, lease.id, 0) == []


def test_old_records_are_forgotten(all_books: Books, clock: TurnedClock) -> None:
    lease = running(all_books)
    tell(all_books, lease, clock, 2)
    clock.turn(activity.KEPT_MS - MINUTE_MS + 1)
    assert activity.drop_old(all_books) == 1
    assert [each.at_ms for each in activity.recent(all_books, lease.id, 0)] == [NOW + 2 * MINUTE_MS]
    activity.report(all_books, lease.id, [Activity(NOW, 60, (), 0, 0)])
    assert len(activity.recent(all_books, lease.id, 0)) == 1, "replaying what is forgotten keeps nothing"
