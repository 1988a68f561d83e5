"""Reading and changing quotas; a change takes effect on running leases in the same transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import DEFAULT, Subject
from sublet_hub.domain.audit import Json
from sublet_hub.domain.errors import Conflict, NotFound
from sublet_hub.domain.lease import Lease
from sublet_hub.domain.quota import Limit, LimitState, Quota, check_quota, merged
from sublet_hub.storage import audit
from sublet_hub.storage.books import DEFAULT_LOCK, Books
from sublet_hub.storage.limits import Effective, effective_quota, limit_states
from sublet_hub.storage.notifying import warn_of_nearer
from sublet_hub.storage.planning import replan
from sublet_hub.storage.read_once import ReadOnce
from sublet_hub.storage.store import Transaction


@dataclass(frozen=True, slots=True)
class QuotaReading:
    """A subject's quota as it stands; `own` is false where the default's rules."""

    subject: Subject
    quota: Quota
    own: bool
    states: tuple[LimitState, ...]


@dataclass(frozen=True, slots=True)
class QuotaChange:
    """The quota after a change (None if neither an own nor a default one is left), and the leases it moved."""

    reading: QuotaReading | None
    moved: tuple[Lease, ...]


def read(books: Books, subject: Subject) -> QuotaReading:
    """The quota that rules a subject, with what is used, held and left. NoQuota where there is none."""
    with books.store.transaction(write=False) as tx:
        return _reading(tx, books, subject)


def list_own(books: Books, after: Subject | None, limit: int) -> list[QuotaReading]:
    """Subjects with a quota of their own, in order of name."""
    now_ms = books.clock.now_ms()
    with books.store.transaction(write=False) as tx:
        return [
            _as_it_stands(tx, subject, Effective(quota, own=True), now_ms)
            for subject, quota in tx.quotas(after, limit)
        ]


def set_quota(books: Books, subject: Subject, quota: Quota, *, actor: str, why: str) -> QuotaChange:
    """Give a subject its own quota, whole. InvalidRequest names the field that is wrong."""
    checked = check_quota(quota, frozenset(books.catalog.flavors))
    return _change(books, subject, lambda _tx: checked, actor, why)


def set_first_quota(books: Books, subject: Subject, quota: Quota, *, actor: str, why: str) -> bool:
    """Give a subject a quota if nothing has ever been recorded; says whether it did. Safe when several do it at
    once: one of them does."""
    checked = check_quota(quota, frozenset(books.catalog.flavors))

    def first(tx: Transaction) -> Quota:
        if tx.audit_head().number > 0:
            raise Conflict("Something has been recorded already.")
        return checked

    try:
        _change(books, subject, first, actor, why)
    except Conflict:
        return False
    return True


def patch_quota(
    books: Books,
    subject: Subject,
    changes: tuple[Limit, ...],
    removed: tuple[Limit, ...],
    time_zone: str | None,
    *,
    actor: str,
    why: str,
) -> QuotaChange:
    """Change single limits of the subject's quota, starting from the default's if it has none of its own."""
    flavors = frozenset(books.catalog.flavors)
    # Removed limits are checked as well, so that a misspelt one is an error and not a change that changes nothing.
    named = check_quota(Quota((*changes, *removed), time_zone or "UTC"), flavors).limits
    changes, removed = named[: len(changes)], named[len(changes) :]

    def patched(tx: Transaction) -> Quota:
        base = effective_quota(tx, subject).quota if _has_any(tx, subject) else Quota()
        return check_quota(merged(base, changes, removed, time_zone), flavors)

    return _change(books, subject, patched, actor, why)


def delete_quota(books: Books, subject: Subject, *, actor: str, why: str) -> QuotaChange:
    """Remove a subject's own quota, so that the default's rules it. NotFound where it has none."""

    def removed(tx: Transaction) -> None:
        if tx.quota(subject) is None:
            raise NotFound(f"{subject} has no quota of its own.", field="name")

    return _change(books, subject, removed, actor, why)


def _change(
    books: Books, subject: Subject, new: Callable[[Transaction], Quota | None], actor: str, why: str
) -> QuotaChange:
    now_ms = books.clock.now_ms()
    with books.store.transaction(write=True) as tx:
        affected = _lock_affected(tx, subject)
        before, after = tx.quota(subject), new(tx)
        tx.set_quota(subject, after)
        reads = ReadOnce(tx, everyone=subject == DEFAULT)
        leases = {lease.id: lease for account in affected for lease in reads.open_leases(account=account)}
        moved = replan(tx, books, affected, now_ms, reads)
        warn_of_nearer(tx, books, leases, moved, actor)
        audit.append(
            tx,
            books,
            actor=actor,
            action="quota.deleted" if after is None else "quota.set",
            subject=str(subject),
            before=quota_json(before),
            after=quota_json(after),
            reason=why,
        )
        reading = _reading(tx, books, subject) if _has_any(tx, subject) else None
    return QuotaChange(reading, tuple(moved))


def _lock_affected(tx: Transaction, subject: Subject) -> list[Subject]:
    """Lock and name the accounts whose leases a change of this quota can move.

    A lease that is granted to the user on a group's account between the look and the lock is planned anew with
    its next post, within seconds.
    """
    tx.lock(DEFAULT_LOCK)
    parties = tx.open_parties(user=subject.name) if subject.kind == "user" else []
    if subject == DEFAULT:
        parties = tx.open_parties()
    affected = {account for account, _ in parties}
    if subject != DEFAULT:
        affected.add(subject)
    names = affected | {accounts.user(user) for _, user in parties}
    tx.lock(DEFAULT_LOCK, *map(str, names))
    return sorted(affected)


def _has_any(tx: Transaction, subject: Subject) -> bool:
    return tx.quota(subject) is not None or (subject != DEFAULT and tx.quota(DEFAULT) is not None)


def _reading(tx: Transaction, books: Books, subject: Subject) -> QuotaReading:
    return _as_it_stands(tx, subject, effective_quota(tx, subject), books.clock.now_ms())


def _as_it_stands(tx: Transaction, subject: Subject, effective: Effective, now_ms: int) -> QuotaReading:
    states = limit_states(tx, subject, effective, now_ms)
    return QuotaReading(subject, effective.quota, effective.own, states)


def quota_json(quota: Quota | None) -> Json:
    """A quota as it stands in the audit record: the fields of the API."""
    if quota is None:
        return None
    limits: list[Json] = [
        {"what": limit.what.value, "limit": limit.limit, "window": limit.window, "flavor": limit.flavor}
        for limit in quota.limits
    ]
    return {"limits": limits, "time_zone": quota.time_zone}
