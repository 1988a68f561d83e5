"""Which leases are idle, by their pool's policy and by what their servers say of themselves.

What isn't known is never idleness: a minute without a record, a GPU that nothing is heard of, one that doesn't tell
its utilisation.
"""

from __future__ import annotations

from collections.abc import Sequence

from sublet_hub.domain.activity import MINUTE_MS, Activity
from sublet_hub.domain.flavors import IdlePolicy, Pool
from sublet_hub.domain.lease import EndReason, Lease, LeaseState

APART_MS = 90_000
"""Two records further apart than this leave a minute out: one a minute comes every 60 s, give or take half of it."""

LATE_MS = 180_000
"""A newest record older than this means that the server has ceased to tell."""

LEAST_NOTICE_MS = 60_000
"""The notice that an idle lease has where the platform's own warnings are all turned off."""


def policy_for(lease: Lease, pool: Pool | None) -> IdlePolicy | None:
    """The policy that rules the lease; None for pools without one, and for tiers that it leaves alone."""
    if pool is None or pool.idle is None or lease.tier not in pool.idle.tiers:
        return None
    return pool.idle


def quiet_since(policy: IdlePolicy, now_ms: int) -> int:
    """The moment since which a lease must have been quiet to be idle; it need not be enough."""
    return now_ms - policy.after_minutes * MINUTE_MS


def looks_back_to(policy: IdlePolicy, now_ms: int) -> int:
    """The moment from which on records decide."""
    return quiet_since(policy, now_ms) - LATE_MS - APART_MS


def is_quiet(record: Activity, lease: Lease, policy: IdlePolicy) -> bool:
    """Whether nothing was done in the record's minute. A lease of real GPUs must have told how they were used."""
    if record.kernels_busy:
        return False
    if not record.gpus:
        return lease.parts == 0 or lease.simulated
    used, memory = record.utilisation_percent, record.memory_percent
    return (
        used is not None
        and memory is not None
        and used < policy.utilisation_percent
        and memory < policy.memory_percent
    )


def is_idle(lease: Lease, policy: IdlePolicy, records: Sequence[Activity], now_ms: int) -> bool:
    """Whether the lease has been quiet for as long as the policy says, up to now, without a minute left out.

    `records` are its own from `looks_back_to` on, oldest first. What was before its start, or before its user last
    said that it is needed, doesn't count.
    """
    if lease.state is not LeaseState.ACTIVE or lease.started_at_ms is None or not records:
        return False
    counts_from_ms = max(lease.started_at_ms, lease.kept_at_ms or 0)
    newest_ms = later_ms = records[-1].at_ms
    if now_ms - newest_ms > LATE_MS:
        return False
    for record in reversed(records):
        if record.from_ms < counts_from_ms or later_ms - record.at_ms > APART_MS:
            return False
        if not is_quiet(record, lease, policy):
            return False
        if newest_ms - record.from_ms >= policy.after_minutes * MINUTE_MS:
            return True
        later_ms = record.at_ms
    return False


def is_due(lease: Lease, now_ms: int, notice_ms: int, *, idle: bool) -> bool:
    """Whether there is something to do about it: an end to order, or one to take back.

    An idle end is ordered only where it is nearer than the deadline that the lease has. It is taken back as long as
    it hasn't come.
    """
    ending = lease.plan_of(EndReason.IDLE)
    if lease.state is not LeaseState.ACTIVE:
        return False
    if ending is not None:
        return not idle and now_ms < lease.deadline.at_ms
    return idle and now_ms + notice_ms < lease.deadline.at_ms


def notice_ms(longest_lead_ms: int) -> int:
    """How long before an idle lease ends its user is told: the longest of all warnings."""
    return max(longest_lead_ms, LEAST_NOTICE_MS)
