"""Recomputing the deadlines of an account's leases in the transaction that changes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.deadlines import beyond, plan_deadlines
from sublet_hub.domain.lease import Deadline, Lease
from sublet_hub.domain.quota import WINDOWED, LimitState, What
from sublet_hub.storage.books import Books
from sublet_hub.storage.limits import limit_states, ruling_quota
from sublet_hub.storage.read_once import ReadOnce, Reads
from sublet_hub.storage.store import Transaction

JITTER_MS = 100
"""A deadline that would move by less is left alone: rounding of money must not re-arm a supervisor every post."""

WITHDRAW_MS = 1_000
"""A deadline that moves out by more takes back the notices that were given for the old one."""


def replan(
    tx: Transaction, books: Books, of: Iterable[Subject], now_ms: int, read: Reads | None = None
) -> list[Lease]:
    """Recompute the deadlines of all open leases of the accounts; gives the leases whose deadline moved, saved.

    `read`: what is read of these accounts already, under their locks.
    """
    reads = ReadOnce(tx) if read is None else read
    moved = [each for account in of for each in _moved_of_account(reads, books, account, now_ms)]
    further = [new.id for old, new in moved if new.deadline.at_ms > old.deadline.at_ms + WITHDRAW_MS]
    if further:
        withdrawn = [replace(each, withdrawn_at_ms=now_ms) for each in tx.current_notices(further)]
        tx.save_notices(withdrawn)
    leases = [new for _, new in moved]
    tx.save_leases(leases)
    return leases


def _moved_of_account(reads: Reads, books: Books, account: Subject, now_ms: int) -> Iterator[tuple[Lease, Lease]]:
    """The account's leases whose deadline moves, each as it was and as it is to be."""
    leases = reads.open_leases(account=account)
    if not leases:
        return
    states = limit_states(reads, account, ruling_quota(reads, account), now_ms)
    windowed = [state for state in states if state.limit.what in WINDOWED]
    own = _own_limits(reads, account, leases, states, now_ms)
    deadlines = plan_deadlines(now_ms, leases, windowed, own, books.policy.margins)
    for lease in leases:
        deadline = deadlines[lease.id]
        if not _is_same(lease.deadline, deadline):
            yield lease, replace(lease, deadline=deadline)


def _is_same(old: Deadline, new: Deadline) -> bool:
    return (old.reason, old.binding) == (new.reason, new.binding) and abs(old.at_ms - new.at_ms) < JITTER_MS


def _own_limits(
    reads: Reads, account: Subject, leases: Sequence[Lease], states: Sequence[LimitState], now_ms: int
) -> dict[str, list[LimitState]]:
    """By lease, the limits that bind it alone: on the account it is charged to, and on its user."""
    own: dict[str, list[LimitState]] = {lease.id: [] for lease in leases}
    for user_name in {lease.user for lease in leases}:
        user = accounts.user(user_name)
        users_leases = reads.open_leases(user=user_name)
        of_user = states if user == account else limit_states(reads, user, ruling_quota(reads, user), now_ms)
        _collect(own, [lease for lease in leases if lease.user == user_name], of_user, users_leases)
    if account.kind == "group":
        _collect(own, leases, states, leases)
    return own


def _collect(
    own: dict[str, list[LimitState]],
    leases: Sequence[Lease],
    states: Sequence[LimitState],
    counted: Sequence[Lease],
) -> None:
    for state in states:
        if state.limit.what in WINDOWED:
            continue
        over = beyond(state, counted)
        for lease in leases:
            per_lease = state.limit.what is What.LEASE_SECONDS and state.applies_to(lease.flavor)
            if per_lease or lease.id in over:
                own[lease.id].append(state)
