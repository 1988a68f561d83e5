"""The meter's plan, by every state that a lease and what runs it can be in together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sublet_hub.cluster.base import Cause, Claims, Observed
from sublet_hub.domain.lease import Deadline, EndReason, Lease, LeaseKind, LeaseState
from sublet_hub.domain.policy import Policy
from sublet_hub.meter.plan import (
    OVERDUE_MS,
    Action,
    Adopt,
    Arm,
    End,
    Fault,
    Forget,
    Post,
    Start,
    Stop,
    Void,
    Warn,
    end_reason,
    plan,
)
from tests.fixtures.factories import FAR, NOW, lease

POLICY = Policy()


def seen(**changes: object) -> Observed:
    running = Observed("l1", NOW, None, None, None, FAR.at_ms, alive_at_ms=NOW)
    return replace(running, **changes)  # type: ignore[arg-type]  # fields by name


def planned(one: Lease | None, observed: Observed | None, now_ms: int = NOW) -> list[Action]:
    leases = {one.id: one} if one else {}
    return plan([observed] if observed else [], leases, now_ms, POLICY, frozenset())


GRANTED = lease(state=LeaseState.GRANTED, started_at_ms=None)
UNSTARTED = seen(started_at_ms=None, alive_at_ms=None)


def test_a_grant_waits_for_its_start() -> None:
    assert planned(GRANTED, None) == []
    assert planned(GRANTED, UNSTARTED) == []


def test_a_start_is_taken_from_the_record() -> None:
    assert planned(GRANTED, seen(started_at_ms=NOW + 777), NOW + 5000) == [Start("l1", NOW + 777)]


@pytest.mark.parametrize("observed", [None, UNSTARTED])
def test_a_grant_that_is_not_used_is_voided(observed: Observed | None) -> None:
    assert planned(GRANTED, observed, NOW + POLICY.grant_ttl_ms + 1) == [Void("l1")]


def test_a_grant_that_was_taken_back_is_voided_at_once() -> None:
    assert planned(replace(GRANTED, ordered=Deadline(NOW, EndReason.USER)), UNSTARTED) == [Void("l1")]


def test_a_grant_that_started_and_ended_unseen_is_closed() -> None:
    gone = seen(ended_at_ms=NOW + 3000, cause="exited")
    assert planned(GRANTED, gone, NOW + 10**9) == [End("l1", NOW, NOW + 3000, EndReason.EXITED), Forget("l1")]


def test_a_running_lease_is_posted_up_to_when_it_was_seen_alive() -> None:
    late = seen(alive_at_ms=NOW + POLICY.post_interval_ms)
    assert planned(lease(), late, NOW + POLICY.post_interval_ms + 900) == [
        Post("l1", lease().account, NOW + POLICY.post_interval_ms)
    ]
    assert planned(lease(), seen(alive_at_ms=NOW + 100), NOW + 200) == []


def test_a_deadline_that_differs_is_armed() -> None:
    assert planned(lease(), seen(armed_deadline_ms=NOW + 1)) == [Arm("l1", FAR.at_ms, "limit")]
    assert planned(lease(), seen(armed_deadline_ms=None)) == [Arm("l1", FAR.at_ms, "limit")]


def test_what_was_told_to_stop_is_asked_to_at_once_and_its_deadline_is_armed() -> None:
    told = lease(state=LeaseState.ENDING, deadline=Deadline(NOW + 6_000, EndReason.USER))
    asked = [Stop("l1"), Arm("l1", NOW + 6_000, "user")]
    assert planned(told, seen()) == asked
    assert planned(told, seen(armed_deadline_ms=NOW + 6_000), NOW + 5_000) == asked[:1]


def test_what_nothing_else_ends_is_stopped_at_its_deadline() -> None:
    due = lease(deadline=Deadline(NOW + 6_000, EndReason.USER))
    unguarded = seen(armed_deadline_ms=NOW + 6_000, guarded=False)
    assert planned(due, unguarded, NOW + 5_999) == []
    assert planned(due, unguarded, NOW + 6_000) == [Stop("l1")]
    assert planned(due, seen(armed_deadline_ms=NOW + 6_000), NOW + 6_000) == []


def test_a_notice_is_asked_for_once() -> None:
    deadline = Deadline(NOW + 200_000, EndReason.QUOTA)
    near, running = lease(deadline=deadline), seen(armed_deadline_ms=deadline.at_ms)
    assert plan([running], {"l1": near}, NOW, POLICY, frozenset()) == [Warn("l1", 300)]
    assert plan([running], {"l1": near}, NOW, POLICY, frozenset({("l1", 300, deadline.at_ms)})) == []
    later = plan([running], {"l1": near}, NOW + 150_000, POLICY, frozenset({("l1", 300, deadline.at_ms)}))
    assert later == [Warn("l1", 60)]


def test_an_end_is_taken_from_the_record_not_from_now() -> None:
    gone = seen(ended_at_ms=NOW + 3000, cause="lost")
    assert planned(lease(), gone, NOW + 10**9) == [End("l1", NOW, NOW + 3000, EndReason.LOST), Forget("l1")]


def test_a_lease_whose_record_is_gone_ends_at_its_last_post_and_is_reported() -> None:
    actions = planned(lease(posted_until_ms=NOW + 60_000), None, NOW + 90_000)
    assert [type(action) for action in actions] == [Fault, End]
    assert actions[1] == End("l1", NOW, NOW + 60_000, EndReason.LOST)


def test_a_broken_record_is_reported_and_nothing_is_guessed() -> None:
    assert [type(action) for action in planned(lease(), seen(broken="torn"))] == [Fault]


def test_what_nobody_granted_is_stopped_and_reported() -> None:
    assert [type(action) for action in planned(None, seen())] == [Fault, Stop]
    assert planned(None, seen(broken="torn")) == []


@pytest.mark.parametrize("state", [LeaseState.ENDED, LeaseState.VOID])
def test_what_runs_under_a_closed_lease_is_stopped_and_reported(state: LeaseState) -> None:
    assert [type(action) for action in planned(lease(state=state), seen())] == [Fault, Stop]


def test_a_closed_lease_is_forgotten_after_a_crash_in_between() -> None:
    assert planned(lease(state=LeaseState.ENDED), seen(ended_at_ms=NOW, cause="exited")) == [Forget("l1")]
    assert planned(lease(state=LeaseState.VOID), UNSTARTED) == [Forget("l1")]


@pytest.mark.parametrize(
    ("cause", "ordered", "reason"),
    [
        ("exited", None, EndReason.EXITED),
        ("stop", None, EndReason.USER),
        ("lost", EndReason.ADMIN, EndReason.LOST),
        ("stop", EndReason.SHUTDOWN, EndReason.SHUTDOWN),
        ("exited", EndReason.ADMIN, EndReason.ADMIN),
        ("deadline", None, EndReason.QUOTA),
        ("oom", EndReason.USER, EndReason.OUT_OF_MEMORY),
        ("evicted", None, EndReason.EVICTED),
        ("evicted", EndReason.USER, EndReason.USER),
    ],
)
def test_why_a_lease_ended(cause: Cause, ordered: EndReason | None, reason: EndReason) -> None:
    one = lease(
        deadline=Deadline(NOW, EndReason.QUOTA),
        ordered=Deadline(NOW, ordered) if ordered else None,
    )
    assert end_reason(one, seen(ended_at_ms=NOW, cause=cause), Policy()) is reason


@pytest.mark.parametrize(
    ("kind", "before_ms", "reason"),
    [
        ("worker", 59_000, EndReason.QUOTA),
        ("worker", 61_000, EndReason.EXITED),
        ("notebook", 59_000, EndReason.EXITED),
    ],
)
def test_a_dask_worker_that_was_retired_at_its_last_warning_ended_for_that_reason(
    kind: LeaseKind, before_ms: int, reason: EndReason
) -> None:
    one = lease(kind=kind, deadline=Deadline(NOW + before_ms, EndReason.QUOTA))
    assert end_reason(one, seen(ended_at_ms=NOW, cause="exited"), Policy()) is reason


def test_one_broken_lease_hides_no_other() -> None:
    other = replace(GRANTED, id="l2")
    actions = plan(
        [seen(broken="torn"), replace(seen(), lease_id="l2")], {"l1": lease(), "l2": other}, NOW, POLICY, frozenset()
    )
    assert Start("l2", NOW) in actions


CLAIMS = Claims("alice", "user:alice", "h100-1x", "guaranteed")


def test_what_was_started_past_the_hub_is_made_a_lease_and_reported() -> None:
    assert [type(action) for action in planned(None, seen(claims=CLAIMS))] == [Fault, Adopt]
    assert planned(None, seen(claims=CLAIMS))[1] == Adopt("l1", CLAIMS, NOW)
    assert planned(None, replace(UNSTARTED, claims=CLAIMS)) == []
    assert planned(None, replace(UNSTARTED, claims=CLAIMS, ended_at_ms=NOW)) == [Forget("l1")]


def test_what_came_and_went_past_the_hub_while_the_meter_was_away_is_charged_too() -> None:
    gone = seen(claims=CLAIMS, ended_at_ms=NOW + 5000, cause="exited")
    assert [type(action) for action in planned(None, gone)] == [Fault, Adopt]


def test_what_runs_long_past_its_deadline_is_stopped_and_reported() -> None:
    late = FAR.at_ms + POLICY.end_margin_ms + OVERDUE_MS + 1
    actions = plan([seen(alive_at_ms=NOW)], {"l1": lease()}, late, POLICY, frozenset())
    assert [type(action) for action in actions][:2] == [Fault, Stop]
    assert Stop("l1") not in planned(lease(), seen(), late - 1)


def test_a_lease_whose_cluster_lost_the_record_of_its_start_ends_when_the_cluster_says() -> None:
    gone = seen(started_at_ms=None, ended_at_ms=NOW + 4000, cause="evicted", alive_at_ms=None)
    assert planned(lease(), gone) == [End("l1", NOW, NOW + 4000, EndReason.EVICTED), Forget("l1")]


def test_a_grant_that_can_never_start_is_voided_at_once() -> None:
    assert planned(GRANTED, replace(UNSTARTED, ended_at_ms=NOW, cause="evicted")) == [Void("l1")]


def test_a_pod_whose_status_is_away_for_a_moment_is_left_alone() -> None:
    assert planned(lease(), replace(UNSTARTED, claims=CLAIMS)) == []
