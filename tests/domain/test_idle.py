"""Who is idle: only what has been quiet throughout, and told so minute by minute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.domain.activity import MINUTE_MS, Activity, GpuUse, is_within
from sublet_hub.domain.flavors import IdlePolicy, Pool, Tier
from sublet_hub.domain.idle import is_due, is_idle, is_quiet, policy_for
from sublet_hub.domain.lease import Deadline, EndReason, LeaseState, with_plan, without_plans
from tests.fixtures.factories import FAR, HOUR, NOW, catalog, lease

POLICY = IdlePolicy(after_minutes=10)
LATER = NOW + HOUR


def gpu(percent: int | None = 0, used: int = 0, total: int = 100) -> GpuUse:
    return GpuUse("GPU-0", percent, used, total)


def record(at_ms: int, *gpus: GpuUse, **changes: Any) -> Activity:
    return replace(Activity(at_ms, 60, gpus or (gpu(),), 1, 0), **changes)


def quiet(minutes: int = 12, until_ms: int = LATER) -> list[Activity]:
    return [record(until_ms - back * MINUTE_MS) for back in reversed(range(minutes))]


def test_quiet_for_as_long_as_the_policy_says_is_idle() -> None:
    assert is_idle(lease(), POLICY, quiet(10), LATER)
    assert is_idle(lease(), POLICY, quiet(10), LATER + 179_000), "the next record may be on its way"
    assert not is_idle(lease(), POLICY, quiet(9), LATER)


@pytest.mark.parametrize("back", range(10))
def test_one_minute_in_use_is_enough(back: int) -> None:
    records = quiet(10)
    for changed in (
        record(records[back].at_ms, kernels_busy=1),
        record(records[back].at_ms, gpu(5)),
        record(records[back].at_ms, gpu(0, 10)),
        record(records[back].at_ms, gpu(), gpu(80)),
        record(records[back].at_ms, gpu(None)),
        record(records[back].at_ms, gpu(0, 0, 0)),
        record(records[back].at_ms, gpus=()),
    ):
        assert not is_idle(lease(), POLICY, [*records[:back], changed, *records[back + 1 :]], LATER)


@pytest.mark.parametrize("back", range(9))
def test_a_minute_that_was_not_told_is_no_idleness(back: int) -> None:
    records = quiet(12)
    del records[len(records) - 2 - back]
    assert not is_idle(lease(), POLICY, records, LATER)


def test_who_tells_nothing_or_no_more_is_not_idle() -> None:
    assert not is_idle(lease(), POLICY, [], LATER)
    assert not is_idle(lease(), POLICY, quiet(60), LATER + 181_000)


def test_records_may_drift_through_the_minutes() -> None:
    slow = [record(LATER - back * 61_000, seconds=61) for back in reversed(range(11))]
    assert is_idle(lease(), POLICY, slow, LATER)


def test_what_was_before_the_start_or_before_it_was_kept_does_not_count() -> None:
    assert not is_idle(lease(started_at_ms=LATER - 9 * MINUTE_MS), POLICY, quiet(30), LATER)
    kept = lease(kept_at_ms=LATER - 10 * MINUTE_MS + 1)
    assert not is_idle(kept, POLICY, quiet(30), LATER)
    assert is_idle(kept, POLICY, quiet(30, LATER + MINUTE_MS), LATER + MINUTE_MS)


@pytest.mark.parametrize("state", [LeaseState.GRANTED, LeaseState.ENDING, LeaseState.ENDED, LeaseState.VOID])
def test_only_what_runs_is_idle(state: LeaseState) -> None:
    assert not is_idle(lease(state=state), POLICY, quiet(60), LATER)
    assert not is_due(lease(state=state), NOW, 300_000, idle=True)


def test_without_a_gpu_kernels_decide_alone() -> None:
    nothing_seen = record(LATER, gpus=())
    assert not is_quiet(nothing_seen, lease(), POLICY)
    assert is_quiet(nothing_seen, lease(parts=0), POLICY)
    assert is_quiet(nothing_seen, lease(simulated=True), POLICY)
    assert not is_quiet(replace(nothing_seen, kernels_busy=2), lease(parts=0), POLICY)


def test_memory_is_rounded_up_so_that_a_model_is_not_overlooked() -> None:
    assert gpu(0, 901, 10_000).memory_percent == 10
    assert not is_quiet(record(LATER, gpu(0, 901, 10_000)), lease(), POLICY)
    assert is_quiet(record(LATER, gpu(4, 900, 10_000)), lease(), POLICY)


def test_a_policy_rules_its_own_pool_and_tiers() -> None:
    pool = replace(catalog().pools["gpu"], idle=POLICY)
    surplus = lease(tier=Tier.SURPLUS)
    assert policy_for(surplus, pool) == POLICY
    assert policy_for(lease(tier=Tier.GUARANTEED), pool) is None, "off for guaranteed unless it is named"
    both = replace(pool, idle=replace(POLICY, tiers=frozenset(Tier)))
    assert policy_for(lease(tier=Tier.GUARANTEED), both) is not None
    without: list[Pool | None] = [catalog().pools["gpu"], None]
    assert [policy_for(surplus, each) for each in without] == [None, None]


def test_an_end_is_ordered_once_and_only_before_any_nearer_deadline() -> None:
    notice = 300_000
    assert is_due(lease(), NOW, notice, idle=True)
    assert not is_due(lease(), NOW, notice, idle=False)
    near = lease(deadline=Deadline(NOW + notice, EndReason.QUOTA))
    assert not is_due(near, NOW, notice, idle=True)
    ending = with_plan(lease(), Deadline(NOW + notice, EndReason.IDLE))
    assert not is_due(ending, NOW, notice, idle=True)
    assert is_due(ending, NOW, notice, idle=False)
    assert not is_due(ending, NOW + notice, notice, idle=False), "it has come"


@given(at=st.integers(-HOUR, 10 * 24 * HOUR), reason=st.sampled_from([EndReason.IDLE, EndReason.USER]))
def test_a_plan_brings_a_deadline_nearer_or_leaves_it(at: int, reason: EndReason) -> None:
    planned = with_plan(lease(deadline=FAR), Deadline(NOW + at, reason))
    assert planned.deadline.at_ms == min(FAR.at_ms, NOW + at)
    assert without_plans(planned, reason).planned == ()
    again = with_plan(planned, Deadline(NOW + at + 1, reason))
    assert [plan.at_ms for plan in again.planned] == [NOW + at + 1]


def test_a_record_is_of_the_leases_own_time() -> None:
    running = lease()
    assert is_within(running, NOW - 120_000, NOW)
    assert not is_within(running, NOW - 120_001, NOW)
    assert is_within(running, LATER + 120_000, LATER)
    assert not is_within(running, LATER + 120_001, LATER)
    over = lease(state=LeaseState.ENDED, ended_at_ms=LATER)
    assert is_within(over, LATER + 120_000, LATER + HOUR)
    assert not is_within(over, LATER + 120_001, LATER + HOUR)
