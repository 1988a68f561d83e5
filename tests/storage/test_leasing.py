"""A lease's whole way through the store: granted, run, posted, warned, moved, ended; and every refusal."""

from __future__ import annotations

import pytest

from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.amounts import GPU_TIME_PER_GPU_SECOND, ZERO
from sublet_hub.domain.errors import Conflict, MeterAway, NoCapacity, NoQuota, NotAllowed, NotFound, QuotaExceeded
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import Deadline, EndReason, Lease, LeaseState
from sublet_hub.domain.quota import Limit, Quota, What
from sublet_hub.storage import leasing, metering, quotas, reporting
from sublet_hub.storage.audit import verify_audit
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import AuditFilter, Store
from sublet_hub.storage.verification import verify_account
from tests.fixtures.books import TurnedClock, books, limit
from tests.fixtures.factories import HOUR, NOW

ALICE, LAB = accounts.user("alice"), accounts.group("lab")


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def all_books(store: Store, clock: TurnedClock) -> Books:
    return books(store, clock)


def wanted(user: str = "alice", flavor: str = "gpu-1x", **changes: object) -> LeaseRequest:
    fields: dict[str, object] = {"account": accounts.user(user), "tier": Tier.GUARANTEED, "server_name": ""}
    return LeaseRequest(user=user, flavor=flavor, **{**fields, **changes})  # type: ignore[arg-type]  # by name


def ask(of: Books, **changes: object) -> Lease:
    return leasing.request(of, wanted(**changes), actor="service:spawner")  # type: ignore[arg-type]  # by name


def current(of: Books, lease: Lease) -> Lease:
    with of.store.transaction(write=False) as tx:
        return leasing.stored(tx, lease.id)


def actions(of: Books) -> list[str]:
    with of.store.transaction(write=False) as tx:
        return [record.action for record in tx.audit_records(AuditFilter(), after=0, limit=100, newest_first=False)]


def test_from_grant_to_end(all_books: Books, clock: TurnedClock) -> None:
    limit(all_books, gpu_seconds=(3600, "day"))
    granted = ask(all_books)
    assert (granted.state, granted.devices, granted.simulated) == (LeaseState.GRANTED, ("SIM-0",), True)
    assert granted.held_until_ms - granted.posted_until_ms == 600_000
    start = clock.turn(3000)
    active = metering.start(all_books, granted.id, start)
    assert (active.state, active.started_at_ms) == (LeaseState.ACTIVE, start)
    assert active.deadline.at_ms == start + HOUR - all_books.policy.end_margin_ms
    metering.post(all_books, granted.id, clock.turn(60_000))
    assert metering.post(all_books, granted.id, start + 60_000).added == ZERO  # repeating it changes nothing
    ended = metering.end(all_books, granted.id, start, clock.turn(30_500), EndReason.USER).lease
    assert (ended.state, ended.end_reason, ended.ended_at_ms) == (LeaseState.ENDED, EndReason.USER, start + 90_500)
    assert ended.posted.gpu_time == 90_500 * 7000
    assert ended.posted.money == 90_500 * 2_000_000 // 3_600_000
    reading = quotas.read(all_books, ALICE)
    assert (reading.states[0].used, reading.states[0].held) == (ended.posted.gpu_time, 0)
    assert verify_account(all_books.store, ALICE) == []
    assert verify_audit(all_books, {}) is None
    assert actions(all_books) == ["quota.set", "lease.granted", "lease.started", "lease.ended"]


def test_the_leases_of_an_account_are_posted_together(all_books: Books, clock: TurnedClock) -> None:
    limit(all_books, gpus=1, leases=1)
    limit(all_books, LAB, gpu_seconds=(3600, "day"), gpus=4, leases=4)
    users = ("alice", "bob", "carol")
    started = [
        metering.start(all_books, ask(all_books, user=user, account=LAB, groups=("lab",)).id, clock.now_ms())
        for user in users
    ]
    at_ms = clock.turn(60_000)
    posting = {lease.id: at_ms - 1000 * number for number, lease in enumerate(started)}
    assert metering.post_together(all_books, LAB, posting).gpu_time == (60 + 59 + 58) * GPU_TIME_PER_GPU_SECOND
    assert metering.post_together(all_books, LAB, posting) == ZERO  # repeating it changes nothing
    for lease in started:
        now = current(all_books, lease)
        assert now.posted_until_ms == posting[lease.id]
        assert now.held_until_ms >= min(now.deadline.at_ms, posting[lease.id] + all_books.policy.slice_ms)
    assert verify_account(all_books.store, LAB) == []


def test_what_began_and_ended_unseen_is_charged(all_books: Books) -> None:
    limit(all_books, gpu_seconds=(3600, "day"))
    granted = ask(all_books)
    ended = metering.end(all_books, granted.id, NOW + 2000, NOW + 12_000, EndReason.EXITED).lease
    assert ended.posted.gpu_time == 10 * GPU_TIME_PER_GPU_SECOND
    assert metering.end(all_books, granted.id, NOW + 2000, NOW + 99_000, EndReason.EXITED).lease == ended


def test_an_end_before_the_last_post_is_corrected_by_an_adjustment(all_books: Books, clock: TurnedClock) -> None:
    limit(all_books, gpu_seconds=(3600, "day"))
    granted = ask(all_books)
    metering.start(all_books, granted.id, NOW)
    metering.post(all_books, granted.id, clock.turn(60_000))
    ended = metering.end(all_books, granted.id, NOW, NOW + 59_000, EndReason.LOST).lease
    assert ended.posted.gpu_time == 59 * GPU_TIME_PER_GPU_SECOND
    assert quotas.read(all_books, ALICE).states[0].used == ended.posted.gpu_time
    assert verify_account(all_books.store, ALICE) == []


def test_a_grant_that_never_started_gives_everything_back(all_books: Books) -> None:
    limit(all_books, gpu_seconds=(600, "day"))
    granted = ask(all_books)
    with pytest.raises(QuotaExceeded):
        ask(all_books, server_name="other")
    assert metering.void(all_books, granted.id).state is LeaseState.VOID
    assert metering.start(all_books, granted.id, NOW).state is LeaseState.VOID
    assert ask(all_books, server_name="other").state is LeaseState.GRANTED
    assert verify_account(all_books.store, ALICE) == []


def test_refusals(all_books: Books) -> None:
    with pytest.raises(NoQuota):
        ask(all_books)
    limit(all_books, gpu_seconds=(36_000, "day"), gpus=8)
    with pytest.raises(NotFound, match="gpu-1x"):
        ask(all_books, flavor="h200-9x")
    with pytest.raises(NotAllowed):
        ask(all_books, account=LAB)
    with pytest.raises(NotAllowed):
        ask(all_books, account=accounts.user("bob"))
    with pytest.raises(NotFound, match="not offered as surplus"):
        ask(all_books, flavor="cpu", tier=Tier.SURPLUS)
    for name in ("a", "b"):
        ask(all_books, flavor="gpu-2x", server_name=name)
    with pytest.raises(NoCapacity):
        ask(all_books, server_name="c")
    refused = [action for action in actions(all_books) if action == "lease.refused"]
    assert len(refused) == 6


def test_nothing_is_granted_while_the_meter_is_away(all_books: Books, clock: TurnedClock) -> None:
    limit(all_books, gpu_seconds=(36_000, "day"))
    clock.turn(all_books.policy.meter_stale_ms + 1)
    with pytest.raises(MeterAway):
        ask(all_books)
    metering.beat(all_books)
    assert ask(all_books).state is LeaseState.GRANTED


def test_no_device_is_leased_twice(all_books: Books) -> None:
    limit(all_books)
    leases = [ask(all_books, server_name=str(n)) for n in range(4)]
    assert {device for lease in leases for device in lease.devices} == {f"SIM-{n}" for n in range(4)}
    metering.end(all_books, leases[2].id, NOW, NOW + 1000, EndReason.USER)
    assert ask(all_books, server_name="again").devices == ("SIM-2",)


def test_seven_mig_slices_cost_one_gpu(all_books: Books) -> None:
    limit(all_books)
    slices = [ask(all_books, flavor="mig-1x", server_name=str(n)) for n in range(7)]
    used = [metering.end(all_books, one.id, NOW, NOW + HOUR, EndReason.USER).lease.posted for one in slices]
    assert sum(one.gpu_time for one in used) == 3600 * GPU_TIME_PER_GPU_SECOND


def test_a_group_pays_for_its_member_and_the_user_at_once_limits_hold(all_books: Books) -> None:
    limit(all_books, gpus=1)
    limit(all_books, LAB, gpu_seconds=(3600, "day"))
    lease = ask(all_books, account=LAB, groups=("lab",))
    with pytest.raises(QuotaExceeded) as refused:
        ask(all_books, account=LAB, groups=("lab",), server_name="two")
    assert refused.value.detail_fields["subject"] == "user:alice"
    metering.end(all_books, lease.id, NOW, NOW + 60_000, EndReason.USER)
    assert quotas.read(all_books, LAB).states[0].used == 60 * GPU_TIME_PER_GPU_SECOND
    with all_books.store.transaction(write=False) as tx:
        assert tx.used_in_all(ALICE, None) == ZERO


def test_a_quota_per_flavor(all_books: Books) -> None:
    of_two = Quota((Limit(What.GPU_SECONDS, 600, "day", "gpu-2x"),))
    quotas.set_quota(all_books, accounts.DEFAULT, of_two, actor="admin", why="")
    assert ask(all_books, flavor="gpu-2x").held_until_ms == NOW + 300_000
    with pytest.raises(QuotaExceeded, match="of flavor gpu-2x"):
        ask(all_books, flavor="gpu-2x", server_name="two")
    assert ask(all_books, server_name="one").state is LeaseState.GRANTED


def test_raising_and_lowering_moves_running_leases_at_once(all_books: Books, clock: TurnedClock) -> None:
    limit(all_books, gpu_seconds=(3600, "day"))
    lease = ask(all_books)
    metering.start(all_books, lease.id, NOW)
    raised = limit(all_books, ALICE, gpu_seconds=(7200, "day"))
    assert [moved.deadline.at_ms for moved in raised.moved] == [NOW + 2 * HOUR - all_books.policy.end_margin_ms]
    clock.turn(60_000)
    metering.beat(all_books)
    lowered = limit(all_books, ALICE, gpu_seconds=(30, "day"))
    assert [moved.deadline.at_ms for moved in lowered.moved] == [clock.at_ms + 300_000]
    with all_books.store.transaction(write=False) as tx:
        (notice,) = tx.notices(user="alice", lease_id=None, current_only=True, limit=10)
    assert (notice.reason, notice.deadline_at_ms) == (EndReason.QUOTA, clock.at_ms + 300_000)
    limit(all_books, ALICE, gpu_seconds=(7200, "day"))
    with all_books.store.transaction(write=False) as tx:
        assert tx.notices(user="alice", lease_id=None, current_only=True, limit=10) == []


def test_changing_the_default_moves_those_it_rules_and_no_others(all_books: Books) -> None:
    limit(all_books, gpu_seconds=(3600, "day"))
    limit(all_books, accounts.user("bob"), gpu_seconds=(3600, "day"))
    mine, bobs = ask(all_books), ask(all_books, user="bob")
    for lease in (mine, bobs):
        metering.start(all_books, lease.id, NOW)
    change = limit(all_books, gpu_seconds=(7200, "day"))
    assert [moved.id for moved in change.moved] == [mine.id]


def test_deleting_every_quota_ends_leases_with_notice(all_books: Books) -> None:
    limit(all_books, gpu_seconds=(3600, "day"))
    lease = ask(all_books)
    metering.start(all_books, lease.id, NOW)
    change = quotas.delete_quota(all_books, accounts.DEFAULT, actor="admin", why="")
    assert change.reading is None
    assert current(all_books, lease).deadline.at_ms == NOW + 300_000


def test_patching_starts_from_the_default(all_books: Books) -> None:
    limit(all_books, gpu_seconds=(3600, "day"), gpus=2)
    new = Limit(What.GPUS, 5)
    change = quotas.patch_quota(all_books, ALICE, (new,), (), None, actor="admin", why="")
    assert change.reading is not None
    assert change.reading.own
    assert {limit_.key: limit_.limit for limit_ in change.reading.quota.limits} == {
        (What.GPU_SECONDS, "day", None): 3600,
        (What.GPUS, None, None): 5,
    }


def test_an_admins_stop_comes_with_notice_a_users_own_at_once(all_books: Books, clock: TurnedClock) -> None:
    limit(all_books)
    lease = ask(all_books)
    metering.start(all_books, lease.id, NOW)
    stopped = leasing.order_end(all_books, lease.id, at_ms=None, reason=EndReason.ADMIN, actor="root", why="repair")
    assert (stopped.state, stopped.deadline.at_ms) == (LeaseState.ACTIVE, NOW + 300_000)
    now = clock.turn(1000)
    stopped = leasing.order_end(all_books, lease.id, at_ms=now, reason=EndReason.USER, actor="alice", why="")
    assert (stopped.state, stopped.deadline.at_ms) == (LeaseState.ENDING, now)
    metering.end(all_books, lease.id, NOW, now, EndReason.USER)
    with pytest.raises(Conflict):
        leasing.order_end(all_books, lease.id, at_ms=now, reason=EndReason.USER, actor="alice", why="")


def test_starting_the_same_server_again_ends_what_the_hub_forgot(all_books: Books) -> None:
    limit(all_books)
    first = ask(all_books)
    metering.start(all_books, first.id, NOW)
    second = ask(all_books)
    assert second.id != first.id
    ended = current(all_books, first)
    assert (ended.ordered and ended.ordered.reason, ended.state) == (EndReason.REPLACED, LeaseState.ENDING)
    assert ended.deadline.at_ms == NOW + all_books.policy.stop_ms


def test_a_stop_at_once_leaves_time_to_save_and_never_more_than_there_was(all_books: Books) -> None:
    limit(all_books, gpu_seconds=(3600, "day"), lease_seconds=20)
    lease = ask(all_books)
    metering.start(all_books, lease.id, NOW)
    stopped = leasing.stop_at_once(all_books, lease.id, reason=EndReason.USER, actor="alice", why="")
    assert (stopped.state, stopped.deadline) == (
        LeaseState.ENDING,
        Deadline(NOW + all_books.policy.stop_ms, EndReason.USER),
    )


def test_a_stop_at_once_just_before_the_deadline_moves_nothing(all_books: Books, clock: TurnedClock) -> None:
    limit(all_books, gpu_seconds=(3600, "day"), lease_seconds=20)
    lease = ask(all_books)
    metering.start(all_books, lease.id, NOW)
    clock.turn(18_000)
    stopped = leasing.stop_at_once(all_books, lease.id, reason=EndReason.USER, actor="alice", why="")
    assert (stopped.state, stopped.deadline.at_ms) == (LeaseState.ENDING, NOW + 20_000)
    assert stopped.ordered is not None
    assert stopped.ordered.reason is EndReason.USER


def test_a_server_that_was_told_to_stop_before_its_start_was_seen_is_ending_from_the_start(all_books: Books) -> None:
    limit(all_books)
    lease = ask(all_books)
    leasing.stop_at_once(all_books, lease.id, reason=EndReason.USER, actor="alice", why="")
    assert metering.start(all_books, lease.id, NOW + 500).state is LeaseState.ENDING


def test_a_notice_is_written_once_per_lead(all_books: Books, clock: TurnedClock) -> None:
    limit(all_books, gpu_seconds=(400, "day"))
    lease = ask(all_books)
    metering.start(all_books, lease.id, NOW)
    assert not metering.warn(all_books, lease.id)
    clock.turn(100_000)
    assert [metering.warn(all_books, lease.id) for _ in range(2)] == [True, False]
    clock.turn(240_000)
    assert [metering.warn(all_books, lease.id) for _ in range(2)] == [True, False]
    with all_books.store.transaction(write=False) as tx:
        found = tx.notices(user="alice", lease_id=lease.id, current_only=True, limit=10)
    assert sorted(notice.lead_seconds for notice in found) == [60, 300]


def test_offers_say_what_can_be_had_and_why_not(all_books: Books) -> None:
    limit(all_books, gpu_seconds=(3600, "day"), gpus=1)
    offers = {offer.flavor.name: offer for offer in reporting.offers(all_books, "alice", ["lab"])}
    one = offers["gpu-1x"]
    assert one.free == 4
    assert {(str(c.account), c.tier.value) for c in one.choices} == {
        (account, tier) for account in ("user:alice", "group:lab") for tier in ("guaranteed", "surplus")
    }
    assert all(choice.lasts_ms == HOUR and choice.problem is None for choice in one.choices)
    assert all(isinstance(choice.problem, QuotaExceeded) for choice in offers["gpu-2x"].choices)
    assert offers["cpu"].free is None
    assert all(choice.lasts_ms is None for choice in offers["cpu"].choices)


def test_usage_by_day_splits_at_midnight(all_books: Books, clock: TurnedClock) -> None:
    limit(all_books)
    clock.turn(23 * HOUR)
    metering.beat(all_books)
    lease = ask(all_books)
    metering.start(all_books, lease.id, clock.at_ms)
    clock.turn(3 * HOUR)
    metering.end(all_books, lease.id, NOW + 23 * HOUR, clock.at_ms, EndReason.USER)
    days = reporting.usage_by_day(all_books, ALICE, 3, "UTC")
    assert [day.gpu_time // GPU_TIME_PER_GPU_SECOND for day in days] == [0, 3600, 7200]
    assert [day.money for day in days] == [0, 2_000_000, 4_000_000]
    berlin = reporting.usage_by_day(all_books, ALICE, 2, "Europe/Berlin")
    assert sum(day.gpu_time for day in berlin) == 3 * 3600 * GPU_TIME_PER_GPU_SECOND


def test_pools_show_what_is_leased(all_books: Books) -> None:
    limit(all_books)
    ask(all_books, flavor="gpu-2x")
    assert [(use.pool.name, use.leased_parts, use.leases) for use in reporting.pools(all_books)] == [
        ("gpu", 14_000, 1),
        ("mig", 0, 0),
        ("cpu", 0, 0),
    ]


def test_a_rolling_limit_tells_when_its_first_use_falls_out(all_books: Books, clock: TurnedClock) -> None:
    limit(all_books, gpu_seconds=(600, "P1D"))
    assert quotas.read(all_books, ALICE).states[0].resets_at_ms is None
    lease = ask(all_books)
    metering.end(all_books, lease.id, NOW, clock.turn(600_000), EndReason.QUOTA)
    quarter = 900_000
    assert quotas.read(all_books, ALICE).states[0].resets_at_ms == NOW + quarter + 24 * HOUR
    metering.beat(all_books)
    with pytest.raises(QuotaExceeded) as refused:
        ask(all_books)
    assert refused.value.retry_at_ms == NOW + quarter + 24 * HOUR
    clock.at_ms = NOW + quarter + 24 * HOUR
    metering.beat(all_books)
    assert quotas.read(all_books, ALICE).states[0].used == 0
    assert ask(all_books).state is LeaseState.GRANTED


def test_what_ran_on_unposted_is_not_granted_to_another_lease(all_books: Books, clock: TurnedClock) -> None:
    limit(all_books, gpu_seconds=(3600, "day"))
    first = ask(all_books, flavor="gpu-2x")
    metering.start(all_books, first.id, clock.at_ms)
    clock.turn(1_700_000)
    metering.beat(all_books)
    with pytest.raises(QuotaExceeded):
        ask(all_books, server_name="other")
