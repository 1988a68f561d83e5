"""Deadlines: computed from rates, shared fairly, never overshooting a limit, never a surprise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.domain.amounts import GPU_TIME_PER_GPU_SECOND, ZERO
from sublet_hub.domain.deadlines import Margins, beyond, exhaustion, plan_deadlines
from sublet_hub.domain.lease import Deadline, EndReason, Lease, LeaseState
from sublet_hub.domain.quota import LimitState, What
from sublet_hub.domain.windows import Window
from tests.fixtures.factories import FAR, HOUR, NOW, lease, state

MARGINS = Margins(end_ms=1000, notice_ms=300_000, longest_ms=7 * 24 * HOUR)
FOREVER = NOW + 7 * 24 * HOUR


def gpu_seconds(limit: int, used_seconds: int = 0, **changes: Any) -> LimitState:
    return state(What.GPU_SECONDS, limit, used=used_seconds * GPU_TIME_PER_GPU_SECOND, **changes)


def test_one_lease_runs_as_long_as_the_limit_lasts() -> None:
    assert exhaustion(gpu_seconds(7200, 3600), [lease()], FOREVER) == {"l1": NOW + HOUR}


def test_two_gpus_use_it_up_twice_as_fast() -> None:
    assert exhaustion(gpu_seconds(7200), [lease(parts=14000)], FOREVER) == {"l1": NOW + HOUR}


def test_two_leases_share() -> None:
    both = [lease("l1"), lease("l2")]
    assert exhaustion(gpu_seconds(7200), both, FOREVER) == {"l1": NOW + HOUR, "l2": NOW + HOUR}


def test_what_a_lease_holds_is_its_own() -> None:
    """900 s are left; l1 holds 600 of them, so that l2, which holds 100, can't be given more than 300."""
    both = [lease("l1"), lease("l2", held_until_ms=NOW + 100_000)]
    assert exhaustion(gpu_seconds(900), both, FOREVER) == {"l1": NOW + 600_000, "l2": NOW + 300_000}


def test_a_lowered_limit_ends_all_at_one_moment() -> None:
    both = [lease("l1"), lease("l2", held_until_ms=NOW + 100_000)]
    assert exhaustion(gpu_seconds(100), both, FOREVER) == {"l1": NOW + 50_000, "l2": NOW + 50_000}


def test_money_runs_out_by_the_price() -> None:
    assert exhaustion(state(What.MONEY, 4_000_000), [lease()], FOREVER) == {"l1": NOW + 2 * HOUR}


def test_the_rounding_of_money_takes_no_lease_what_it_holds() -> None:
    """Admission let both hold what the money lasts for, rounded down to a micro-unit for each: together a fraction of
    one more than there is. l1 keeps its ten minutes but for that, and l2 gets none of them."""
    leases = [lease("l1"), lease("l2", held_until_ms=NOW + 479_999)]
    held = sum(each.held.money for each in leases)
    assert held + 1 > 2_000_000 * (600_000 + 479_999) / HOUR > held
    assert exhaustion(state(What.MONEY, held), leases, FOREVER) == {"l1": NOW + 599_999, "l2": NOW + 479_999}


def test_where_too_much_is_held_the_latest_ends_come_nearer_first() -> None:
    three = [lease("l1"), lease("l2", held_until_ms=NOW + 400_000), lease("l3", held_until_ms=NOW + 100_000)]
    ends = [(1100, 600, 400), (1000, 500, 400), (800, 350, 350), (300, 100, 100), (150, 50, 50)]
    for left, first, second in ends:
        found = exhaustion(gpu_seconds(left), three, FOREVER)
        assert found == {"l1": NOW + first * 1000, "l2": NOW + second * 1000, "l3": NOW + min(100, second) * 1000}


def test_what_allowances_hold_is_not_the_leases() -> None:
    running = [lease()]
    assert exhaustion(state(What.MONEY, 4_000_000, held=1_000_000, reserved=1_000_000), running, FOREVER) == {
        "l1": NOW + HOUR + HOUR // 2
    }
    later = state(What.MONEY, 50_000_000, reserved=48_000_000)
    assert exhaustion(later, running, FOREVER) == {"l1": NOW + HOUR}, "nor in a later window"


def test_a_fresh_window_brings_a_full_limit_again() -> None:
    """Ten hours a day: from 20:00 on with all of it left, four hours until midnight, then ten more."""
    evening = NOW + 20 * HOUR
    running = lease(started_at_ms=evening, posted_until_ms=evening, held_until_ms=evening + 600_000)
    assert exhaustion(gpu_seconds(36_000), [running], FOREVER) == {"l1": NOW + 34 * HOUR}


def test_a_limit_that_outlasts_every_window_never_binds() -> None:
    assert exhaustion(gpu_seconds(86_400), [lease()], FOREVER) == {}


def test_a_rolling_window_brings_nothing_again() -> None:
    rolling = gpu_seconds(86_400 * 2, window=Window(NOW - 24 * HOUR, None))
    assert exhaustion(rolling, [lease()], FOREVER) == {"l1": NOW + 48 * HOUR}


def test_a_flavors_limit_leaves_other_flavors_alone() -> None:
    of_other = replace(gpu_seconds(60), limit=replace(gpu_seconds(60).limit, flavor="gpu-2x"))
    assert exhaustion(of_other, [lease()], FOREVER) == {}


def test_a_lease_without_gpu_is_bounded_by_no_gpu_time() -> None:
    assert exhaustion(gpu_seconds(60), [lease(parts=0)], FOREVER) == {}


def plan_one(one: Lease, states: list[LimitState], own: list[LimitState], now_ms: int = NOW) -> Deadline:
    return plan_deadlines(now_ms, [one], states, {one.id: own}, MARGINS)[one.id]


def test_the_deadline_leaves_room_for_the_kill_and_names_the_limit() -> None:
    deadline = plan_one(lease(), [gpu_seconds(7200)], [])
    assert deadline.at_ms == NOW + 2 * HOUR - 1000
    assert deadline.reason is EndReason.QUOTA
    assert deadline.binding is not None
    assert (deadline.binding.what, deadline.binding.limit, deadline.binding.window) == ("gpu_seconds", 7200, "day")


def test_the_tightest_binds() -> None:
    deadline = plan_one(lease(), [gpu_seconds(7200), state(What.MONEY, 2_000_000)], [state(What.LEASE_SECONDS, 5400)])
    assert (deadline.at_ms, deadline.binding and deadline.binding.what) == (NOW + HOUR - 1000, "money_microunits")
    deadline = plan_one(lease(), [gpu_seconds(7200)], [state(What.LEASE_SECONDS, 600)])
    assert (deadline.at_ms, deadline.reason) == (NOW + 600_000, EndReason.LIMIT)


def test_a_grant_that_is_planned_anew_is_promised_no_more() -> None:
    """It may run unseen, while the meter is away, by the deadline that it was granted with."""
    granted = lease(state=LeaseState.GRANTED, started_at_ms=None)
    limits = {"l1": [state(What.LEASE_SECONDS, 7200)]}
    for later in (NOW, NOW + HOUR):
        assert plan_deadlines(later, [granted], [], limits, MARGINS)["l1"].at_ms == NOW + 2 * HOUR


def test_without_limits_the_hard_cap_holds() -> None:
    assert plan_one(lease(), [], []) == Deadline(NOW + MARGINS.longest_ms, EndReason.LIMIT)


def test_a_lowered_quota_leaves_the_notice_period() -> None:
    now = NOW + HOUR
    assert plan_one(lease(), [gpu_seconds(60)], [], now).at_ms == now + 300_000


def test_planning_again_does_not_put_the_stop_off_further() -> None:
    now = NOW + HOUR
    lowered = replace(lease(), deadline=plan_one(lease(), [gpu_seconds(60)], [], now))
    assert plan_one(lowered, [gpu_seconds(60)], [], now + 100_000) == lowered.deadline


def test_a_raised_quota_moves_the_deadline_out() -> None:
    near = lease(deadline=Deadline(NOW + 10_000, EndReason.QUOTA))
    assert plan_one(near, [gpu_seconds(7200)], []).at_ms == NOW + 2 * HOUR - 1000


def test_an_order_is_kept_as_it_was_given() -> None:
    ordered = Deadline(NOW + 5_000, EndReason.ADMIN)
    assert plan_one(lease(ordered=ordered), [gpu_seconds(7200)], []) == ordered


def test_a_lease_beyond_a_limit_at_once_ends_with_notice() -> None:
    assert plan_one(lease(), [], [state(What.GPUS, 0, used=7000)]).at_ms == NOW + 300_000


def test_the_newest_leases_are_beyond() -> None:
    leases = [lease("old", requested_at_ms=NOW), lease("new", requested_at_ms=NOW + 1)]
    assert beyond(state(What.GPUS, 1), leases) == {"new"}
    assert beyond(state(What.LEASES, 0), leases) == {"old", "new"}
    assert beyond(state(What.GPUS, 2), leases) == frozenset()


leases_strategy = st.lists(
    st.tuples(st.sampled_from([1000, 7000, 14000, 56000]), st.integers(0, 600_000), st.integers(0, 600_000)),
    min_size=1,
    max_size=8,
)


@given(drawn=leases_strategy, limit=st.integers(0, 100_000), used=st.integers(0, 100_000), money=st.booleans())
def test_running_to_the_deadlines_never_overshoots(
    drawn: list[tuple[int, int, int]], limit: int, used: int, money: bool
) -> None:
    """If every lease ran to its moment and no further, the limit would hold; and holds are kept where they fit."""
    leases = [
        lease(f"l{i}", parts=parts, posted_until_ms=NOW + posted, held_until_ms=NOW + posted + held)
        for i, (parts, posted, held) in enumerate(drawn)
    ]
    rolling = Window(NOW - 24 * HOUR, None)
    if money:
        limited = state(What.MONEY, limit * 500, used=used * 500, window=rolling)
    else:
        limited = gpu_seconds(limit, used, window=rolling)
    ends = exhaustion(limited, leases, FOREVER)
    left = limited.limit.raw - limited.used
    held = sum((one.held for one in leases), ZERO)
    kept = (held.money if money else held.gpu_time) + len(leases) <= left
    drawn_until = [one.use_between(one.posted_until_ms, max(ends[one.id], one.posted_until_ms)) for one in leases]
    if kept:
        assert all(ends[one.id] >= one.held_until_ms for one in leases)
    if all(ends[one.id] >= one.posted_until_ms for one in leases):
        total = sum((use.money if money else use.gpu_time) for use in drawn_until)
        assert total <= left + (len(leases) if money else 0)


@given(drawn=leases_strategy, limit=st.integers(10_000, 100_000))
def test_nothing_is_left_over(drawn: list[tuple[int, int, int]], limit: int) -> None:
    """The leases' moments use the limit up: sharing wastes less than a millisecond of all rates."""
    leases = [
        lease(f"l{i}", parts=parts, posted_until_ms=NOW, held_until_ms=NOW + held)
        for i, (parts, _, held) in enumerate(drawn)
    ]
    limited = gpu_seconds(limit, window=Window(NOW - 24 * HOUR, None))
    ends = exhaustion(limited, leases, FOREVER)
    total = sum(one.use_between(NOW, ends[one.id]).gpu_time for one in leases)
    assert limited.limit.raw - total < sum(one.parts for one in leases)


def test_a_grant_that_has_not_started_needs_no_notice() -> None:
    granted = lease(state=LeaseState.GRANTED, started_at_ms=None, deadline=FAR)
    assert plan_one(granted, [gpu_seconds(60)], []).at_ms == NOW + 59_000
