"""Writing what leases really did: their start, their use slice by slice, their end. Each call may be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.audit import Json
from sublet_hub.domain.lease import EndReason, Lease, LeaseState, moved, told_to_end
from sublet_hub.domain.notices import due_lead
from sublet_hub.storage import audit
from sublet_hub.storage.books import METER, Books
from sublet_hub.storage.idempotency import KEPT_MS
from sublet_hub.storage.leasing import locked, stored
from sublet_hub.storage.notifying import write_notice
from sublet_hub.storage.planning import replan
from sublet_hub.storage.posting import hold_ahead, post_until, void_hold
from sublet_hub.storage.store import Transaction

ACTOR = "meter"


@dataclass(frozen=True, slots=True)
class Posted:
    """A lease after a post, and the amount that this post added (negative after a correction)."""

    lease: Lease
    added: Amount = ZERO


def start(books: Books, lease_id: str, at_ms: int) -> Lease:
    """Mark a granted lease active from its true start on; the hold moves along. Nothing if it already is."""
    with books.store.transaction(write=True) as tx:
        lease = locked(tx, lease_id)
        if lease.state is not LeaseState.GRANTED:
            return lease
        return _started(tx, books, lease, at_ms)


def _started(tx: Transaction, books: Books, lease: Lease, at_ms: int) -> Lease:
    hold_ms = lease.held_until_ms - lease.posted_until_ms
    lease = replace(
        moved(lease, LeaseState.ACTIVE),
        started_at_ms=at_ms,
        posted_until_ms=at_ms,
        held_until_ms=at_ms + hold_ms,
    )
    tx.save_lease(lease)
    replan(tx, books, [lease.account], books.clock.now_ms())
    _audit(tx, books, lease, "lease.started", {"started_at_ms": at_ms})
    tx.save_lease(lease := told_to_end(stored(tx, lease.id), books.clock.now_ms(), books.policy.stop_ms))
    return lease


def post(books: Books, lease_id: str, until_ms: int) -> Posted:
    """Post one running lease's use; see `post_together`."""
    with books.store.transaction(write=True) as tx:
        account = locked(tx, lease_id).account
        added = _post(tx, books, account, {lease_id: until_ms})
        return Posted(stored(tx, lease_id), added)


def post_together(books: Books, account: Subject, until_ms: Mapping[str, int]) -> Amount:
    """Post the use of an account's running leases, by id, each up to a moment, and renew their holds as far as their
    deadlines allow; gives what was added. Their deadlines are computed once for all of them.

    Does nothing for those of which that much is posted already, so it may be repeated, and by whoever comes first.
    """
    with books.store.transaction(write=True) as tx:
        tx.lock(str(account))
        return _post(tx, books, account, until_ms)


def _post(tx: Transaction, books: Books, account: Subject, until_ms: Mapping[str, int]) -> Amount:
    now_ms, added = books.clock.now_ms(), ZERO
    due = [lease for lease_id in until_ms if _is_due(lease := stored(tx, lease_id), until_ms[lease_id])]
    for lease in due:
        posted = post_until(tx, lease, until_ms[lease.id], now_ms)
        tx.save_lease(posted)
        added += posted.posted - lease.posted
    if due:
        replan(tx, books, [account], now_ms)
    for lease in due:
        tx.save_lease(hold_ahead(tx, books.policy, stored(tx, lease.id), until_ms[lease.id], now_ms, "renewal"))
    return added


def _is_due(lease: Lease, until_ms: int) -> bool:
    return lease.state in (LeaseState.ACTIVE, LeaseState.ENDING) and until_ms > lease.posted_until_ms


def end(books: Books, lease_id: str, started_at_ms: int, at_ms: int, reason: EndReason) -> Posted:
    """Close a lease at its true end: post the last slice, void the rest of the hold. Nothing if it is closed.

    `started_at_ms` is the true start, for a lease that began and ended unseen.
    """
    with books.store.transaction(write=True) as tx:
        lease = locked(tx, lease_id)
        if not lease.is_open:
            return Posted(lease)
        now_ms, before = books.clock.now_ms(), lease.posted
        if lease.state is LeaseState.GRANTED:
            lease = _started(tx, books, lease, started_at_ms)
        lease = void_hold(tx, post_until(tx, lease, at_ms, now_ms), now_ms, "ended")
        if lease.state is LeaseState.ACTIVE:
            lease = moved(lease, LeaseState.ENDING)
        lease = replace(moved(lease, LeaseState.ENDED), ended_at_ms=at_ms, end_reason=reason)
        tx.save_lease(lease)
        replan(tx, books, [lease.account], now_ms)
        _audit(tx, books, lease, "lease.ended", {"ended_at_ms": at_ms, "reason": reason.value})
        return Posted(lease, lease.posted - before)


def void(books: Books, lease_id: str) -> Lease:
    """Release a grant that never started. Nothing if it did, or is void already."""
    with books.store.transaction(write=True) as tx:
        lease = locked(tx, lease_id)
        if lease.state is not LeaseState.GRANTED:
            return lease
        now_ms = books.clock.now_ms()
        reason = lease.ordered.reason if lease.ordered else EndReason.NEVER_STARTED
        lease = void_hold(tx, lease, now_ms, "never started")
        lease = replace(moved(lease, LeaseState.VOID), ended_at_ms=now_ms, end_reason=reason)
        tx.save_lease(lease)
        replan(tx, books, [lease.account], now_ms)
        _audit(tx, books, lease, "lease.voided", {"reason": reason.value})
        return lease


def warn(books: Books, lease_id: str) -> bool:
    """Write the notice that is due for a lease's deadline, if one is and isn't written yet; tells whether it did."""
    with books.store.transaction(write=True) as tx:
        lease = locked(tx, lease_id)
        lead = due_lead(lease, books.clock.now_ms(), books.policy.notice_leads_seconds)
        if lead is None:
            return False
        current = tx.notices(user=None, lease_id=lease_id, current_only=True, limit=100)
        if any(notice.lead_seconds <= lead for notice in current):
            return False
        write_notice(tx, books, lease, lead, ACTOR)
        return True


def beat(books: Books) -> None:
    """Note that the meter is alive. Admission refuses while it isn't."""
    with books.store.transaction(write=True) as tx:
        tx.beat(METER, books.clock.now_ms())


def drop_old_answers(books: Books) -> int:
    """Forget what was answered to idempotency keys longer ago than they are kept; gives how many."""
    with books.store.transaction(write=True) as tx:
        return tx.drop_answers(books.clock.now_ms() - KEPT_MS)


def _audit(tx: Transaction, books: Books, lease: Lease, action: str, after: dict[str, Json]) -> None:
    audit.append(tx, books, actor=ACTOR, action=action, subject=f"user:{lease.user}", lease_id=lease.id, after=after)
