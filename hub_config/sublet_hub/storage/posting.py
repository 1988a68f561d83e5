"""Entries and balances of one lease's use: hold, post, void, adjust, and the running totals with them.

Called inside a transaction that holds the account's lock. Each function gives the lease as it then is, unsaved.
"""

from __future__ import annotations

from dataclasses import replace

from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.lease import Lease
from sublet_hub.domain.ledger import BucketUse, Entry, EntryKind, by_bucket, entry_hash
from sublet_hub.domain.policy import Policy
from sublet_hub.storage.store import Transaction


def append_entry(
    tx: Transaction,
    lease: Lease,
    kind: EntryKind,
    amount: Amount,
    from_ms: int,
    to_ms: int,
    at_ms: int,
    reason: str,
) -> None:
    """Append an entry to the account's chain; nothing is written for an amount of nothing."""
    if amount == ZERO:
        return
    head = tx.ledger_head(lease.account)
    entry = Entry(
        account=lease.account,
        number=head.number + 1,
        kind=kind,
        amount=amount,
        lease_id=lease.id,
        flavor=lease.flavor,
        from_ms=from_ms,
        to_ms=to_ms,
        at_ms=at_ms,
        reason=reason,
        previous=head.mark,
        hash="",
    )
    tx.append_entries([replace(entry, hash=entry_hash(entry))])


def hold_until(tx: Transaction, lease: Lease, until_ms: int, now_ms: int, reason: str) -> Lease:
    """Extend the hold to a later moment; does nothing where it already reaches there."""
    if until_ms <= lease.held_until_ms:
        return lease
    amount = lease.use_between(lease.held_until_ms, until_ms)
    append_entry(tx, lease, EntryKind.HOLD, amount, lease.held_until_ms, until_ms, now_ms, reason)
    return replace(lease, held_until_ms=until_ms)


def hold_ahead(tx: Transaction, policy: Policy, lease: Lease, from_ms: int, now_ms: int, reason: str) -> Lease:
    """Hold the next slice of a running lease from a moment on, as far as it may still run."""
    furthest_ms = lease.deadline.at_ms + policy.end_margin_ms
    return hold_until(tx, lease, min(from_ms + policy.slice_ms, furthest_ms), now_ms, reason)


def post_until(tx: Transaction, lease: Lease, until_ms: int, now_ms: int) -> Lease:
    """Post use up to a moment out of the hold; what was not held is held first, since use is a fact.

    A moment before what is already posted (the end was found out to lie earlier) becomes an adjustment.
    """
    if until_ms < lease.posted_until_ms:
        return _take_back(tx, lease, until_ms, now_ms)
    lease = hold_until(tx, lease, until_ms, now_ms, "overrun")
    amount = lease.use_between(lease.posted_until_ms, until_ms)
    append_entry(tx, lease, EntryKind.POST, amount, lease.posted_until_ms, until_ms, now_ms, "")
    tx.add_use(lease.account, lease.flavor, list(by_bucket(lease, lease.posted_until_ms, until_ms)))
    return replace(lease, posted_until_ms=until_ms, posted=lease.posted + amount)


def void_hold(tx: Transaction, lease: Lease, now_ms: int, reason: str) -> Lease:
    """Release what is still held."""
    append_entry(tx, lease, EntryKind.VOID, lease.held, lease.posted_until_ms, lease.held_until_ms, now_ms, reason)
    return replace(lease, held_until_ms=lease.posted_until_ms)


def _take_back(tx: Transaction, lease: Lease, until_ms: int, now_ms: int) -> Lease:
    lease = void_hold(tx, lease, now_ms, "ended earlier than posted")
    amount = -lease.use_between(until_ms, lease.posted_until_ms)
    append_entry(
        tx,
        lease,
        EntryKind.ADJUST,
        amount,
        until_ms,
        lease.posted_until_ms,
        now_ms,
        "ended earlier than posted",
    )
    back = [BucketUse(use.bucket_ms, -use.amount) for use in by_bucket(lease, until_ms, lease.posted_until_ms)]
    tx.add_use(lease.account, lease.flavor, back)
    return replace(lease, posted_until_ms=until_ms, held_until_ms=until_ms, posted=lease.posted + amount)
