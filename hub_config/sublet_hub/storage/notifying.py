"""Writing notices, each with its audit record, in the transaction that makes them due."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence

from sublet_hub.domain.audit import Json
from sublet_hub.domain.lease import Lease, LeaseState
from sublet_hub.domain.notices import WHY, Notice, message
from sublet_hub.storage import audit
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import Transaction


def write_notice(tx: Transaction, books: Books, lease: Lease, lead_seconds: int, actor: str) -> None:
    """Warn the lease's user of its present deadline."""
    write_notices(tx, books, [(lease, lead_seconds)], actor)


def write_notices(tx: Transaction, books: Books, due: Sequence[tuple[Lease, int]], actor: str) -> None:
    """Warn the leases' users of their present deadlines; each lease comes with its lead in seconds."""
    now_ms = books.clock.now_ms()
    tx.add_notices([_notice(lease, lead_seconds, now_ms) for lease, lead_seconds in due])
    audit.append_all(tx, books, [_event(lease, lead_seconds, actor) for lease, lead_seconds in due])


def _notice(lease: Lease, lead_seconds: int, now_ms: int) -> Notice:
    return Notice(
        id=uuid.uuid4().hex,
        lease_id=lease.id,
        user=lease.user,
        reason=lease.deadline.reason,
        deadline_at_ms=lease.deadline.at_ms,
        lead_seconds=lead_seconds,
        message=message(lease),
        written_at_ms=now_ms,
    )


def _event(lease: Lease, lead_seconds: int, actor: str) -> audit.Event:
    told: dict[str, Json] = {
        "reason": lease.deadline.reason.value,
        "deadline_at_ms": lease.deadline.at_ms,
        "lead_seconds": lead_seconds,
    }
    return audit.Event(actor, "notice.written", f"user:{lease.user}", lease.id, after=told)


def warn_of_nearer(
    tx: Transaction, books: Books, before: Mapping[str, Lease], moved: Iterable[Lease], actor: str
) -> None:
    """Warn the users of running leases whose deadline an admin (or the owner) brought nearer."""
    now_ms = books.clock.now_ms()
    nearer = (each for each in moved if each.id in before and each.deadline.at_ms < before[each.id].deadline.at_ms)
    due = [
        (lease, max(0, round((lease.deadline.at_ms - now_ms) / 1000)))
        for lease in nearer
        if lease.state is LeaseState.ACTIVE and lease.deadline.reason in WHY
    ]
    if due:
        write_notices(tx, books, due, actor)
