"""What a user may take back, and what stands."""

from __future__ import annotations

import pytest

from sublet_hub.domain.errors import Conflict, DeadlineStands, InvalidRequest, TooManyChanges
from sublet_hub.domain.keeping import (
    KEPT_JUST_NOW_MS,
    MOST_STOPS,
    STOPS_WITHIN_MS,
    TOO_LATE_MS,
    check_pace,
    kept,
    planned_stop,
    stands,
)
from sublet_hub.domain.lease import Binding, Deadline, EndReason, LeaseState, with_plan
from tests.fixtures.factories import FAR, HOUR, NOW, lease

NOTICE = 300_000


def test_a_stop_is_planned_before_the_deadline_and_not_in_the_past() -> None:
    planned = planned_stop(lease(), NOW + HOUR, NOW)
    assert planned.deadline == Deadline(NOW + HOUR, EndReason.USER)
    assert planned_stop(lease(), FAR.at_ms, NOW).deadline.at_ms == FAR.at_ms
    for at_ms in (FAR.at_ms + 1, NOW, NOW - 1):
        with pytest.raises(InvalidRequest):
            planned_stop(lease(), at_ms, NOW)


def test_a_stop_is_planned_so_often_within_an_hour() -> None:
    stops_at_ms = [NOW - 1000 * number for number in range(MOST_STOPS)]
    check_pace(stops_at_ms[:-1], NOW)
    oldest_ms = stops_at_ms[-1]
    with pytest.raises(TooManyChanges) as refused:
        check_pace(stops_at_ms, oldest_ms + STOPS_WITHIN_MS - 1)
    assert refused.value.retry_at_ms == oldest_ms + STOPS_WITHIN_MS
    check_pace(stops_at_ms, oldest_ms + STOPS_WITHIN_MS)


def test_keeping_over_and_over_changes_nothing() -> None:
    once = kept(lease(), NOW, NOTICE, may_idle=True)
    assert kept(once, NOW + KEPT_JUST_NOW_MS - 1, NOTICE, may_idle=True) is once
    later_ms = NOW + KEPT_JUST_NOW_MS
    assert kept(once, later_ms, NOTICE, may_idle=True).kept_at_ms == later_ms


@pytest.mark.parametrize("reason", [EndReason.USER, EndReason.IDLE])
def test_keeping_takes_back_what_was_planned(reason: EndReason) -> None:
    planned = with_plan(lease(), Deadline(NOW + HOUR, reason))
    after = kept(planned, NOW, NOTICE, may_idle=False)
    assert (after.planned, after.kept_at_ms) == ((), NOW)


def test_keeping_comes_too_late_shortly_before_the_end() -> None:
    planned = with_plan(lease(), Deadline(NOW + TOO_LATE_MS, EndReason.IDLE))
    assert kept(planned, NOW, NOTICE, may_idle=True).planned == ()
    with pytest.raises(Conflict, match="too late"):
        kept(planned, NOW + 1, NOTICE, may_idle=True)


@pytest.mark.parametrize("state", [LeaseState.ENDING, LeaseState.ENDED, LeaseState.VOID])
def test_what_is_over_is_not_kept(state: LeaseState) -> None:
    with pytest.raises(Conflict):
        kept(with_plan(lease(state=state), Deadline(NOW + HOUR, EndReason.IDLE)), NOW, NOTICE, may_idle=True)


def test_where_idleness_counts_keeping_starts_its_clock_anew() -> None:
    assert kept(lease(), NOW, NOTICE, may_idle=True).kept_at_ms == NOW
    with pytest.raises(DeadlineStands):
        kept(lease(), NOW, NOTICE, may_idle=False)
    near = lease(deadline=Deadline(NOW + NOTICE, EndReason.RECLAIM))
    with pytest.raises(DeadlineStands):
        kept(near, NOW, NOTICE, may_idle=True)


def test_an_order_is_no_plan() -> None:
    """Whoever plans an earlier stop than an admin's, and takes it back, still has the admin's."""
    ordered = Deadline(NOW + NOTICE, EndReason.ADMIN)
    stopping = with_plan(lease(ordered=ordered, deadline=ordered), Deadline(NOW + 200_000, EndReason.USER))
    after = kept(stopping, NOW, NOTICE, may_idle=False)
    assert (after.ordered, after.orders) == (ordered, (ordered,))


@pytest.mark.parametrize(
    ("deadline", "words"),
    [
        (Deadline(NOW, EndReason.ADMIN), "An admin has ended it"),
        (Deadline(NOW, EndReason.RECLAIM), "takes them back"),
        (Deadline(NOW, EndReason.LIMIT), "No lease may last longer"),
        (Deadline(NOW, EndReason.SHUTDOWN), "has been told to stop"),
        (
            Deadline(NOW, EndReason.QUOTA, Binding("group:lab", "gpu_seconds", 3600, "day", "gpu-1x", NOW + 9)),
            "limit of 3600 GPU-seconds of flavor gpu-1x (day) of group:lab. Ask an admin for more",
        ),
        (
            Deadline(NOW, EndReason.LIMIT, Binding("user:alice", "lease_seconds", 60)),
            "limit of 60 seconds per lease of user:alice. Save your work, and start a new one",
        ),
    ],
)
def test_a_refusal_says_which_limit_it_is_and_what_to_do(deadline: Deadline, words: str) -> None:
    refusal = stands(deadline)
    assert words in refusal.message
    assert refusal.message.endswith(".")
    if deadline.binding is not None:
        assert refusal.detail_fields["subject"] == deadline.binding.subject
        assert refusal.retry_at_ms == deadline.binding.resets_at_ms
