"""What the meter does next: a pure function of what runs, what is written, and the time.

Every action may be carried out twice, or not at all, and the next round puts it right: nothing is remembered from
one round to the next but which notices have been asked for, and that only saves work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sublet_hub.cluster.base import Cause, Claims, Observed
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.idle import is_due, notice_ms
from sublet_hub.domain.lease import EndReason, Lease, LeaseState
from sublet_hub.domain.notices import due_lead
from sublet_hub.domain.policy import Policy


@dataclass(frozen=True, slots=True)
class Start:
    """The server runs: mark the lease active from its true start on."""

    lease_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Post:
    """Post use up to a moment at which the server was seen alive."""

    lease_id: str
    account: Subject
    until_ms: int


@dataclass(frozen=True, slots=True)
class Arm:
    """Move the deadline in the thing that runs the lease to the one that is written."""

    lease_id: str
    deadline_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Warn:
    """A notice is due. `lead_seconds` tells which."""

    lease_id: str
    lead_seconds: int


@dataclass(frozen=True, slots=True)
class Idle:
    """The lease is idle, or isn't any more: its end is to be ordered, or to be taken back."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class End:
    """The server is gone: close the lease at its true end."""

    lease_id: str
    started_at_ms: int
    at_ms: int
    reason: EndReason


@dataclass(frozen=True, slots=True)
class Void:
    """The grant wasn't used in time: see to it that it can't be any more, then release it."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Forget:
    """The lease is closed: nothing more is to be learned from the cluster about it."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Something runs that was told to stop, that is overdue, or that no open lease covers: end it."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Something was started past us that says who pays for it: make it a lease, so that it is metered and limited."""

    lease_id: str
    claims: Claims
    at_ms: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something an admin should look at; `kind` is the label of the metric."""

    lease_id: str
    kind: str
    sentence: str


Action = Start | Post | Arm | Warn | Idle | End | Void | Forget | Stop | Adopt | Fault

OVERDUE_MS = 10_000
"""How long after a deadline, and what it takes to end a server, we stop what still runs: then the thing that should
have ended it is broken."""


LEAST_WARNING_SECONDS = 60
"""How long before its end a Dask worker is retired where all warnings are turned off."""

NOT_LOOKED_AT: Mapping[str, bool] = MappingProxyType({})


def plan(
    observed: Sequence[Observed],
    leases: Mapping[str, Lease],
    now_ms: int,
    policy: Policy,
    warned: frozenset[tuple[str, int, int]],
    idle: Mapping[str, bool] = NOT_LOOKED_AT,
) -> list[Action]:
    """All actions of one round.

    `leases` are the open ones, and those that the cluster still shows, by id. `warned` are the notices that were
    asked for already, as (lease id, lead in seconds, deadline). `idle` tells whether a lease is, of those that were
    looked at.
    """
    seen = {each.lease_id: each for each in observed}
    actions: list[Action] = []
    for lease in leases.values():
        if lease.is_open:
            actions += _for_open(lease, seen.get(lease.id), now_ms, policy, warned)
            actions += _for_idle(lease, seen.get(lease.id), now_ms, policy, idle)
    for each in observed:
        lease_or_none = leases.get(each.lease_id)
        if lease_or_none is None or not lease_or_none.is_open:
            actions += _for_closed(each, lease_or_none)
    return actions


def _for_open(
    lease: Lease, seen: Observed | None, now_ms: int, policy: Policy, warned: frozenset[tuple[str, int, int]]
) -> Iterator[Action]:
    if seen is not None and seen.broken is not None:
        yield Fault(lease.id, "broken_record", seen.broken)
        return
    # What ran a lease may have lost its record of the start; ours has it.
    started = lease.started_at_ms if seen is None or seen.started_at_ms is None else seen.started_at_ms
    if seen is not None and seen.ended_at_ms is not None and started is not None:
        yield End(lease.id, started, max(seen.ended_at_ms, started), end_reason(lease, seen, policy))
        yield Forget(lease.id)
    elif seen is None or seen.started_at_ms is None:
        yield from _for_unstarted(lease, seen, now_ms, policy)
    elif lease.state is LeaseState.GRANTED:
        yield Start(lease.id, seen.started_at_ms)
    else:
        yield from _for_running(lease, seen, now_ms, policy, warned)


def _for_unstarted(lease: Lease, seen: Observed | None, now_ms: int, policy: Policy) -> Iterator[Action]:
    if lease.started_at_ms is not None:
        if seen is None or seen.claims is None:  # a pod without a status will have one again; a lost file stays lost
            yield Fault(lease.id, "record_lost", "what ran this lease left no record; it is closed at its last post")
            yield End(lease.id, lease.started_at_ms, lease.posted_until_ms, EndReason.LOST)
    elif (
        lease.ordered is not None
        or now_ms - lease.requested_at_ms > policy.grant_ttl_ms
        or (seen is not None and seen.ended_at_ms is not None)
    ):
        yield Void(lease.id)


def _for_running(
    lease: Lease, seen: Observed, now_ms: int, policy: Policy, warned: frozenset[tuple[str, int, int]]
) -> Iterator[Action]:
    if now_ms > lease.deadline.at_ms + policy.end_margin_ms + OVERDUE_MS:
        yield Fault(lease.id, "overdue", "it runs past its deadline; what should have ended it is broken")
        yield Stop(lease.id)
    elif lease.state is LeaseState.ENDING or (not seen.guarded and now_ms >= lease.deadline.at_ms):
        yield Stop(lease.id)
    if seen.armed_deadline_ms != lease.deadline.at_ms:
        yield Arm(lease.id, lease.deadline.at_ms, lease.deadline.reason.value)
    alive_ms = seen.alive_at_ms if seen.alive_at_ms is not None else lease.posted_until_ms
    if alive_ms - lease.posted_until_ms >= policy.post_interval_ms:
        yield Post(lease.id, lease.account, alive_ms)
    lead = due_lead(lease, now_ms, policy.notice_leads_seconds)
    if lead is not None and (lease.id, lead, lease.deadline.at_ms) not in warned:
        yield Warn(lease.id, lead)


def _for_idle(
    lease: Lease, seen: Observed | None, now_ms: int, policy: Policy, idle: Mapping[str, bool]
) -> Iterator[Action]:
    """Only of what is seen to run: whatever else is wrong with a lease comes first."""
    found = idle.get(lease.id)
    if found is None or seen is None or not seen.running:
        return
    if is_due(lease, now_ms, notice_ms(policy.margins.notice_ms), idle=found):
        yield Idle(lease.id)


def _for_closed(seen: Observed, lease: Lease | None) -> Iterator[Action]:
    if lease is None:
        yield from _for_unknown(seen)
    elif seen.running:
        yield Fault(seen.lease_id, "closed_lease_runs", "a server runs although its lease is closed")
        yield Stop(seen.lease_id)
    elif seen.broken is None:
        yield Forget(seen.lease_id)


def _for_unknown(seen: Observed) -> Iterator[Action]:
    if seen.broken is not None:
        return
    if seen.claims is not None:
        if seen.started_at_ms is not None:
            yield Fault(seen.lease_id, "past_the_hub", "something was started past the hub; it is metered as a lease")
            yield Adopt(seen.lease_id, seen.claims, seen.started_at_ms)
        elif seen.ended_at_ms is not None:
            yield Forget(seen.lease_id)
    elif seen.ended_at_ms is None:
        yield Fault(seen.lease_id, "unknown_lease", "something runs under a lease that nobody granted")
        yield Stop(seen.lease_id)


def end_reason(lease: Lease, seen: Observed, policy: Policy) -> EndReason:
    """Why a lease ended: what the cluster saw, and what had been ordered or was due.

    A Dask worker that ends after the last warning was retired for it: what it held had to move on before the end.
    """
    if seen.cause == "lost":
        return EndReason.LOST
    if seen.cause == "oom":
        return EndReason.OUT_OF_MEMORY
    if seen.cause == "deadline":
        return lease.deadline.reason
    if lease.ordered is not None:
        return lease.ordered.reason
    last_warning_ms = min(policy.notice_leads_seconds, default=LEAST_WARNING_SECONDS) * 1000
    if lease.kind == "worker" and (seen.ended_at_ms or 0) >= lease.deadline.at_ms - last_warning_ms:
        return lease.deadline.reason
    return _UNORDERED.get(seen.cause, EndReason.EXITED)


_UNORDERED: Mapping[Cause | None, EndReason] = {"stop": EndReason.USER, "evicted": EndReason.EVICTED}
"""Why a lease ended that nobody had ordered to, where it didn't end by itself."""
