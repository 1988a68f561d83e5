"""Writing audit records, and proving that none was changed or removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from sublet_hub.domain.audit import AuditRecord, ChainFault, Json, find_fault, record_mac
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import MOST_ROWS, AuditFilter, Transaction

AUDIT_LOCK = "audit"


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: a record's fields but for its place in the chain."""

    actor: str
    action: str
    subject: str
    lease_id: str | None = None
    before: Json = None
    after: Json = None
    reason: str = ""


def append(  # noqa: PLR0913 - the fields of a record
    tx: Transaction,
    books: Books,
    *,
    actor: str,
    action: str,
    subject: str,
    lease_id: str | None = None,
    before: Json = None,
    after: Json = None,
    reason: str = "",
) -> AuditRecord:
    """Append a record to the chain. Takes the chain's lock, so do it last in a transaction."""
    (record,) = append_all(tx, books, [Event(actor, action, subject, lease_id, before, after, reason)])
    return record


def append_all(tx: Transaction, books: Books, events: Iterable[Event]) -> list[AuditRecord]:
    """Append a record of each event, in their order, and give them. Takes the chain's lock, as `append` does."""
    tx.lock(AUDIT_LOCK)
    head, at_ms = tx.audit_head(), books.clock.now_ms()
    number, previous = head.number, head.mark
    added = []
    for event in events:
        number += 1
        record = AuditRecord(
            number=number,
            at_ms=at_ms,
            actor=event.actor,
            action=event.action,
            subject=event.subject,
            lease_id=event.lease_id,
            before=event.before,
            after=event.after,
            reason=event.reason,
            previous=previous,
            mac="",
        )
        previous = record_mac(record, books.audit_key)
        added.append(replace(record, mac=previous))
    tx.append_audit(added)
    return added


def records(tx: Transaction) -> Iterator[AuditRecord]:
    """All records from the first, read page by page."""
    after = 0
    while page := tx.audit_records(AuditFilter(), after=after, limit=MOST_ROWS, newest_first=False):
        yield from page
        after = page[-1].number


def verify_audit(books: Books, anchors: Mapping[int, str]) -> ChainFault | None:
    """The first fault of the audit chain, or None. `anchors` are MACs noted outside the database, by number."""
    with books.store.transaction(write=False) as tx:
        return find_fault(records(tx), books.audit_key, anchors, tx.audit_head().number)
