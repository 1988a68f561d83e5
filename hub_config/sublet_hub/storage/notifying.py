"""Writing notices, each with its audit record, in the transaction that makes them due."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from sublet_hub.domain.lease import Lease, LeaseState
from sublet_hub.domain.notices import WHY, Notice, message
from sublet_hub.storage import audit
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import Transaction


def write_notice(tx: Transaction, books: Books, lease: Lease, lead_seconds: int, actor: str) -> Notice:
    """Warn the lease's user of its present deadline."""
    now_ms = books.clock.now_ms()
    notice = Notice(
        id=uuid.uuid4().hex,
        lease_id=lease.id,
        user=lease.user,
        reason=lease.deadline.reason,
        deadline_at_ms=lease.deadline.at_ms,
        lead_seconds=lead_seconds,
        message=message(lease),
        written_at_ms=now_ms,
    )
    tx.add_notice(notice)
    audit.append(
        tx,
        books,
        actor=actor,
        action="notice.written",
        subject=f"user:{lease.user}",
        lease_id=lease.id,
        after={
            "reason": notice.reason.value,
            "deadline_at_ms": notice.deadline_at_ms,
            "lead_seconds": lead_seconds,
        },
    )
    return notice


def warn_of_nearer(
    tx: Transaction, books: Books, before: dict[str, Lease], moved: Iterable[Lease], actor: str
) -> None:
    """Warn the users of running leases whose deadline an admin (or the owner) brought nearer."""
    for lease in moved:
        old = before.get(lease.id)
        if old is None or lease.deadline.at_ms >= old.deadline.at_ms:
            continue
        if lease.state is LeaseState.ACTIVE and lease.deadline.reason in WHY:
            lead_ms = lease.deadline.at_ms - books.clock.now_ms()
            write_notice(tx, books, lease, max(0, round(lead_ms / 1000)), actor)
