"""Deadlines that can be taken back: a user's own stop at a moment, and an idle lease's."""

from __future__ import annotations

from sublet_hub.domain import idle
from sublet_hub.domain.audit import Json
from sublet_hub.domain.keeping import check_pace, check_runs, kept, planned_stop
from sublet_hub.domain.lease import Deadline, EndReason, Lease, with_plan, without_plans
from sublet_hub.domain.notices import due_lead
from sublet_hub.storage import audit
from sublet_hub.storage.activity import is_idle
from sublet_hub.storage.books import Books
from sublet_hub.storage.leasing import locked, stored
from sublet_hub.storage.notifying import write_notice
from sublet_hub.storage.planning import replan
from sublet_hub.storage.store import AuditFilter, Transaction

METER = "meter"

STOPPED = "lease.stopped"
LOOKED_THROUGH = 300
"""How many of a lease's newest audit records are looked through for its user's stops: with all that goes with a stop,
and what the meter writes, more than an hour has."""


def plan_stop(books: Books, lease_id: str, at_ms: int, *, actor: str, why: str) -> Lease:
    """Let a lease end at a moment that its user chose, in place of one chosen before. Nobody is warned of their own
    wish, and `keep` takes it back.

    NotFound; Conflict where the lease is ending; InvalidRequest where the moment is past, or later than the deadline;
    TooManyChanges where that was done too often lately.
    """
    with books.store.transaction(write=True) as tx:
        lease, now_ms = locked(tx, lease_id), books.clock.now_ms()
        check_runs(lease)
        check_pace(_own_stops(tx, lease), now_ms)
        freed = _replanned(tx, books, without_plans(lease, EndReason.USER), now_ms)
        planned = planned_stop(freed, at_ms, now_ms)
        tx.save_lease(planned)
        _audit(tx, books, STOPPED, lease, planned, actor, why)
        return planned


def _own_stops(tx: Transaction, lease: Lease) -> list[int]:
    """When its user planned a stop of the lease, newest first, as far as it matters."""
    # Not by action as well: a database might then look through all leases' stops for this one's.
    found = tx.audit_records(AuditFilter(lease_id=lease.id), after=0, limit=LOOKED_THROUGH, newest_first=True)
    return [each.at_ms for each in found if each.action == STOPPED and each.actor == f"user:{lease.user}"]


def keep(books: Books, lease_id: str, *, actor: str, why: str) -> Lease:
    """Take back what a lease's user may take back, and let idleness count from now on. All limits hold as before.

    NotFound; Conflict where the lease is ending; DeadlineStands where its deadline isn't the user's to take back.
    """
    with books.store.transaction(write=True) as tx:
        lease, now_ms = locked(tx, lease_id), books.clock.now_ms()
        policy = idle.policy_for(lease, books.catalog.pools.get(lease.pool))
        wanted = kept(lease, now_ms, _notice_ms(books), may_idle=policy is not None)
        if not lease.planned:
            if wanted is not lease:
                tx.save_lease(wanted)
            return wanted
        after = _replanned(tx, books, wanted, now_ms)
        _audit(tx, books, "lease.kept", lease, after, actor, why)
        return after


def settle_idleness(books: Books, lease_id: str) -> Lease:
    """Order an idle lease to end, with the longest notice, or take that back where it isn't idle any more. Nothing
    where neither is due; so it may be repeated, and what was seen before the lock doesn't matter."""
    with books.store.transaction(write=True) as tx:
        lease, now_ms = locked(tx, lease_id), books.clock.now_ms()
        policy = idle.policy_for(lease, books.catalog.pools.get(lease.pool))
        found_idle = policy is not None and is_idle(tx, lease, policy, now_ms)
        notice_ms = _notice_ms(books)
        if not idle.is_due(lease, now_ms, notice_ms, idle=found_idle):
            return lease
        if policy is None or not found_idle:
            after = _replanned(tx, books, without_plans(lease, EndReason.IDLE), now_ms)
            _audit(tx, books, "lease.kept", lease, after, METER, "it is in use again")
            return after
        after = with_plan(lease, Deadline(now_ms + notice_ms, EndReason.IDLE))
        tx.save_lease(after)
        write_notice(tx, books, after, notice_ms // 1000, METER)
        _audit(tx, books, STOPPED, lease, after, METER, f"idle for {policy.after_minutes} minutes")
        return after


def plan_idle_end(books: Books, lease_id: str, *, actor: str, why: str) -> Lease:
    """Let a Dask worker's lease end for idleness, with the longest notice; `keep` takes it back, and so does
    `unplan_idle_end`. The cluster as a whole is idle or not, which its gateway knows; so no policy is asked.

    Nothing where that is planned already, or where it ends sooner anyway. NotFound; Conflict where it is ending.
    """
    with books.store.transaction(write=True) as tx:
        lease, now_ms = locked(tx, lease_id), books.clock.now_ms()
        check_runs(lease)
        notice_ms = _notice_ms(books)
        if lease.plan_of(EndReason.IDLE) is not None or now_ms + notice_ms >= lease.deadline.at_ms:
            return lease
        after = with_plan(lease, Deadline(now_ms + notice_ms, EndReason.IDLE))
        tx.save_lease(after)
        write_notice(tx, books, after, notice_ms // 1000, actor)
        _audit(tx, books, STOPPED, lease, after, actor, why)
        return after


def unplan_idle_end(books: Books, lease_id: str, *, actor: str, why: str) -> Lease:
    """Take that back. Nothing where there is nothing to take back; NotFound, or Conflict where it is ending."""
    with books.store.transaction(write=True) as tx:
        lease, now_ms = locked(tx, lease_id), books.clock.now_ms()
        check_runs(lease)
        if lease.plan_of(EndReason.IDLE) is None:
            return lease
        after = _replanned(tx, books, without_plans(lease, EndReason.IDLE), now_ms)
        _audit(tx, books, "lease.kept", lease, after, actor, why)
        return after


def _notice_ms(books: Books) -> int:
    return idle.notice_ms(books.policy.margins.notice_ms)


def _replanned(tx: Transaction, books: Books, lease: Lease, now_ms: int) -> Lease:
    """The lease with the deadline that all its limits and orders give it. Notices of a nearer one are withdrawn;
    where the one that then counts is near as well, its user is warned of that."""
    tx.save_lease(lease)
    replan(tx, books, [lease.account], now_ms)
    after = stored(tx, lease.id)
    is_another = after.deadline.reason is not lease.deadline.reason
    if is_another and due_lead(after, now_ms, books.policy.notice_leads_seconds) is not None:
        write_notice(tx, books, after, max(0, round((after.deadline.at_ms - now_ms) / 1000)), METER)
    return after


def _audit(tx: Transaction, books: Books, action: str, before: Lease, after: Lease, actor: str, why: str) -> None:
    told: dict[str, Json] = {"deadline_at_ms": after.deadline.at_ms, "reason": after.deadline.reason.value}
    audit.append(
        tx,
        books,
        actor=actor,
        action=action,
        subject=f"user:{before.user}",
        lease_id=before.id,
        before={"deadline_at_ms": before.deadline.at_ms, "reason": before.deadline.reason.value},
        after=told,
        reason=why,
    )
