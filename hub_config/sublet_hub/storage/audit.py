"""Writing audit records, and proving that none was changed or removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sublet_hub.domain.audit import AuditRecord, ChainFault, Json, find_fault, record_mac
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import MOST_ROWS, AuditFilter, Transaction

AUDIT_LOCK = "audit"


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
    tx.lock(AUDIT_LOCK)
    head = tx.audit_head()
    record = AuditRecord(
        number=head.number + 1,
        at_ms=books.clock.now_ms(),
        actor=actor,
        action=action,
        subject=subject,
        lease_id=lease_id,
        before=before,
        after=after,
        reason=reason,
        previous=head.mark,
        mac="",
    )
    record = replace(record, mac=record_mac(record, books.audit_key))
    tx.append_audit(record)
    return record


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
