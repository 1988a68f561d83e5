"""A lease: one holding of a flavor by one user on one account, from grant to end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.amounts import ZERO, Amount, GpuParts, GpuTime, Micros, cost, gpu_time
from sublet_hub.domain.flavors import Tier

LeaseKind = Literal["notebook", "worker"]


class LeaseState(StrEnum):
    GRANTED = "granted"
    ACTIVE = "active"
    ENDING = "ending"
    ENDED = "ended"
    VOID = "void"


OPEN = frozenset({LeaseState.GRANTED, LeaseState.ACTIVE, LeaseState.ENDING})
"""States in which a lease holds its devices and counts against limits."""

TRANSITIONS = frozenset(
    {
        (LeaseState.GRANTED, LeaseState.ACTIVE),
        (LeaseState.GRANTED, LeaseState.VOID),
        (LeaseState.ACTIVE, LeaseState.ENDING),
        (LeaseState.ENDING, LeaseState.ENDED),
    }
)


class EndReason(StrEnum):
    """Why a lease ended or will end. The first five also head a notice; the others come without one."""

    QUOTA = "quota"
    LIMIT = "limit"
    RECLAIM = "reclaim"
    IDLE = "idle"
    ADMIN = "admin"
    USER = "user"
    EXITED = "exited"
    LOST = "lost"
    OUT_OF_MEMORY = "out_of_memory"
    EVICTED = "evicted"
    SHUTDOWN = "shutdown"
    REPLACED = "replaced"
    NEVER_STARTED = "never_started"


@dataclass(frozen=True, slots=True)
class Binding:
    """Which limit a deadline or a refusal comes from: enough to tell a user what to do next.

    `limit` is in the limit's own unit; `resets_at_ms` is when more is left again, None if never.
    """

    subject: str
    what: str
    limit: int
    window: str | None = None
    flavor: str | None = None
    resets_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a lease must be over, and why."""

    at_ms: int
    reason: EndReason
    binding: Binding | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as the store keeps it. Moments are milliseconds since the epoch.

    `parts` and `price_micros_per_gpu_hour` are fixed at the grant. Use is posted up to `posted_until_ms` and an
    amount is held from there to `held_until_ms`; before the start both count from the moment of the grant.
    `posted` is what has been charged so far. `ordered` is a deadline that somebody set by hand and that stands (an
    admin's stop, a reclaim). `planned` are those that can be taken back: the user's own wish to stop at a moment, and
    an idle policy's, at most one of each; they are kept apart from the order, so that taking one back never takes an
    admin's back. `deadline` is the nearest of all. `kept_at_ms` is when the user last said that the lease is needed:
    what it did before doesn't count as idleness.
    """

    id: str
    user: str
    account: Subject
    flavor: str
    pool: str
    tier: Tier
    kind: LeaseKind
    server_name: str
    state: LeaseState
    parts: GpuParts
    price_micros_per_gpu_hour: Micros
    currency: str
    simulated: bool
    devices: tuple[str, ...]
    requested_at_ms: int
    posted_until_ms: int
    held_until_ms: int
    deadline: Deadline
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    ordered: Deadline | None = None
    posted: Amount = ZERO
    end_reason: EndReason | None = None
    planned: tuple[Deadline, ...] = ()
    kept_at_ms: int | None = None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def orders(self) -> tuple[Deadline, ...]:
        """All deadlines that don't come from limits."""
        return self.planned if self.ordered is None else (self.ordered, *self.planned)

    def plan_of(self, reason: EndReason) -> Deadline | None:
        """The planned deadline of that reason; None where there is none."""
        return next((plan for plan in self.planned if plan.reason is reason), None)

    @property
    def held(self) -> Amount:
        """The outstanding hold: what the time from `posted_until_ms` to `held_until_ms` will use."""
        return self.use_between(self.posted_until_ms, self.held_until_ms) if self.is_open else ZERO

    def use_between(self, from_ms: int, to_ms: int) -> Amount:
        """What running from one moment to another uses.

        Money is the difference of two costs since the start, so that slices add up to the whole exactly.
        """
        start = self.started_at_ms if self.started_at_ms is not None else self.requested_at_ms
        price = self.price_micros_per_gpu_hour
        money = cost(self.parts, to_ms - start, price) - cost(self.parts, from_ms - start, price)
        return Amount(GpuTime(gpu_time(self.parts, to_ms - from_ms)), Micros(money))


def with_plan(lease: Lease, plan: Deadline) -> Lease:
    """The lease with one more planned deadline, in place of one of the same reason. Its deadline is brought nearer,
    never further: moving it out is for who knows all limits."""
    others = (each for each in lease.planned if each.reason is not plan.reason)
    nearest = min(plan, lease.deadline, key=lambda deadline: deadline.at_ms)
    return replace(lease, planned=(*others, plan), deadline=nearest)


def without_plans(lease: Lease, *reasons: EndReason) -> Lease:
    """The lease without the planned deadlines of those reasons. Its deadline has to be computed anew."""
    return replace(lease, planned=tuple(plan for plan in lease.planned if plan.reason not in reasons))


def told_to_end(lease: Lease, now_ms: int, stop_ms: int) -> Lease:
    """The lease, ending if it runs and an order leaves it no more time than a stop takes: then there is nothing to
    wait for, and what runs it is asked to end at once."""
    if lease.state is LeaseState.ACTIVE and lease.ordered is not None and lease.ordered.at_ms <= now_ms + stop_ms:
        return moved(lease, LeaseState.ENDING)
    return lease


def moved(lease: Lease, state: LeaseState) -> Lease:
    """The lease in another state; ValueError for a transition that the table doesn't list."""
    if (lease.state, state) not in TRANSITIONS:
        raise ValueError(f"lease {lease.id} can't go from {lease.state} to {state}")
    return replace(lease, state=state)
