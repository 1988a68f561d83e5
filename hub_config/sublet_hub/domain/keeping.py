"""Stopping later than now, and thinking better of it: what a user may set, and what only others may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sublet_hub.domain.admission import UNITS
from sublet_hub.domain.errors import Conflict, DeadlineStands, InvalidRequest, TooManyChanges
from sublet_hub.domain.lease import Deadline, EndReason, Lease, LeaseState, with_plan, without_plans
from sublet_hub.domain.quota import What

TAKEN_BACK = (EndReason.USER, EndReason.IDLE)
"""Reasons of planned deadlines that their user may take back."""

TOO_LATE_MS = 5_000
"""Nearer than this a deadline can't be taken back: what holds it may not hear of that in time, and the server is
stopping already."""

MOST_STOPS = 30
STOPS_WITHIN_MS = 3_600_000
"""How many stops a user may plan in such a time, for one lease: code in the server could plan and undo in a loop,
and audit records are never deleted. Taking back needs no bound of its own: there has to be something to take back,
and an idle policy sets its end no oftener than its minutes go by."""

KEPT_JUST_NOW_MS = 5_000
"""A lease without a planned end that was kept so lately isn't written anew: idleness is counted in minutes."""

NEXT = {
    EndReason.LIMIT: "No lease may last longer. Save your work, and start a new one when it has ended.",
    EndReason.RECLAIM: "The owner of the GPUs takes them back. Save your work, and start again on another flavor.",
    EndReason.ADMIN: "An admin has ended it. Save your work, and ask the admin if you need it for longer.",
}


def check_runs(lease: Lease) -> None:
    """Conflict where the lease is ending or over."""
    if lease.state not in {LeaseState.GRANTED, LeaseState.ACTIVE}:
        raise Conflict(f"Lease {lease.id} is ending or has ended already.")


def check_pace(stops_at_ms: Sequence[int], now_ms: int) -> None:
    """TooManyChanges where the user has planned as many stops of a lease lately as they may; newest first."""
    if len(stops_at_ms) >= MOST_STOPS:
        again_ms = stops_at_ms[MOST_STOPS - 1] + STOPS_WITHIN_MS
        if again_ms > now_ms:
            raise TooManyChanges(
                f"The stop of this lease was planned {MOST_STOPS} times within an hour. Try later, or stop it now.",
                retry_at_ms=again_ms,
            )


def planned_stop(lease: Lease, at_ms: int, now_ms: int) -> Lease:
    """The lease with its user's wish to stop at a moment; its deadline must be that of everything else.

    InvalidRequest where the moment is past, or later than that deadline.
    """
    if at_ms <= now_ms:
        raise InvalidRequest("It is past. Leave it out to stop at once.", field="at")
    if at_ms > lease.deadline.at_ms:
        raise InvalidRequest("It is later than the lease's deadline: it ends before that anyway.", field="at")
    return with_plan(lease, Deadline(at_ms, EndReason.USER))


def kept(lease: Lease, now_ms: int, notice_ms: int, *, may_idle: bool) -> Lease:
    """The lease as its user wants to keep it: without planned deadlines, and not idle until now. Its deadline has to
    be computed anew.

    `may_idle` tells that an idle policy covers it. Conflict where it is over or too late, DeadlineStands where there
    is nothing that its user may take back: no planned deadline, nor an idle policy that would have set one.
    """
    check_runs(lease)
    if lease.planned:
        if lease.deadline in lease.planned and lease.deadline.at_ms - now_ms < TOO_LATE_MS:
            raise Conflict(f"It is too late to keep lease {lease.id}: it is stopping. Start a new one.")
        return replace(without_plans(lease, *TAKEN_BACK), kept_at_ms=now_ms)
    if may_idle and lease.deadline.at_ms - now_ms > notice_ms:
        just_now = lease.kept_at_ms is not None and now_ms - lease.kept_at_ms < KEPT_JUST_NOW_MS
        return lease if just_now else replace(lease, kept_at_ms=now_ms)
    raise stands(lease.deadline)


def stands(deadline: Deadline) -> DeadlineStands:
    """The refusal to move a deadline that isn't its user's: which limit it is, and what to do."""
    bound = deadline.binding
    if bound is None:
        return DeadlineStands(NEXT.get(deadline.reason, "It has been told to stop. Save your work."))
    units = UNITS[What(bound.what)]
    window = f" ({bound.window})" if bound.window else ""
    flavor = f" of flavor {bound.flavor}" if bound.flavor else ""
    advice = (
        "Save your work, and start a new one when it has ended."
        if bound.what == What.LEASE_SECONDS
        else "Ask an admin for more, or save your work and go on with another account."
    )
    return DeadlineStands(
        f"It comes from the limit of {bound.limit} {units}{flavor}{window} of {bound.subject}. {advice}",
        retry_at_ms=bound.resets_at_ms,
        subject=bound.subject,
        limit={"what": bound.what, "limit": bound.limit, "window": bound.window, "flavor": bound.flavor},
    )
