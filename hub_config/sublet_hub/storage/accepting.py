"""Accepting licences, and who accepted what."""

from __future__ import annotations

from collections.abc import Iterable

from sublet_hub.domain import accounts
from sublet_hub.domain.acceptances import ACCEPTED, Acceptance, readable
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.audit import Json
from sublet_hub.domain.lease import Lease
from sublet_hub.storage import audit
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import MOST_ROWS, AuditFilter, Transaction


def accept(books: Books, subject: Subject, licence: str, version: str, *, actor: str, why: str = "") -> Acceptance:
    """Record that a licence was accepted, for a user or for a group. Gives the acceptance that there is already where
    it is repeated."""
    with books.store.transaction(write=True) as tx:
        tx.lock(f"licence:{subject}")
        for each in tx.acceptances_of([subject]):
            if (each.licence, each.version) == (licence, version):
                return each
        told: dict[str, Json] = {"licence": licence, "version": version}
        record = audit.append(tx, books, actor=actor, action=ACCEPTED, subject=str(subject), after=told, reason=why)
        accepted = Acceptance(record.number, subject, licence, version, actor, record.at_ms)
        tx.add_acceptance(accepted)
        return accepted


def accepted_by(books: Books, subjects: Iterable[Subject]) -> list[Acceptance]:
    """What any of them accepted."""
    with books.store.transaction(write=False) as tx:
        return tx.acceptances_of(list(subjects))


def readable_in(books: Books, lease: Lease) -> tuple[str, ...]:
    """Names of the gated models that a lease's server may read: by what its user accepted, or who pays."""
    return readable(books.models, accepted_by(books, [accounts.user(lease.user), lease.account]))


def listed(books: Books, licence: str | None, after: int, limit: int) -> list[Acceptance]:
    """All acceptances, oldest first."""
    with books.store.transaction(write=False) as tx:
        return tx.acceptances(licence=licence, after=after, limit=limit)


def find_fault(tx: Transaction) -> str | None:
    """The first acceptance that the audit chain doesn't tell of, or that it tells of and is not there; else None."""
    after = 0
    while True:
        kept = tx.acceptances(licence=None, after=after, limit=MOST_ROWS)
        told = tx.audit_records(AuditFilter(action=ACCEPTED), after=after, limit=MOST_ROWS, newest_first=False)
        for number in sorted({each.number for each in kept} ^ {record.number for record in told}):
            return f"the acceptance of audit record {number} is not in both places"
        for each, record in zip(kept, told, strict=True):
            after_json: Json = {"licence": each.licence, "version": each.version}
            found = (record.subject, record.actor, record.after, record.at_ms)
            if found != (str(each.subject), each.accepted_by, after_json, each.at_ms):
                return f"the acceptance of audit record {each.number} was changed"
        if len(kept) < MOST_ROWS:
            return None
        after = kept[-1].number
