"""Leases for what was started past us: nobody asked, so nothing is refused, but all of it is charged and limited."""

from __future__ import annotations

from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.lease import Lease
from sublet_hub.storage import audit
from sublet_hub.storage.books import Books
from sublet_hub.storage.leasing import named, new_lease

ACTOR = "meter"
WHY = "It was started past the hub, and says itself who pays for it"


def adopt(books: Books, lease_id: str, wanted: LeaseRequest, started_at_ms: int) -> Lease:
    """Write a lease for something that already runs, from its start on. The next rounds mark it active, post its use
    and compute its deadline, as for any other. Nothing is held beforehand: use is a fact.

    NotFound where the flavor isn't in the catalog, or not offered in that tier: then there is no price for it. Gives
    the lease that there is already if it is repeated.
    """
    with books.store.transaction(write=True) as tx:
        tx.lock(str(wanted.account))
        there = tx.lease(lease_id)
        if there is not None:
            return there
        now_ms = books.clock.now_ms()
        lease = new_lease(
            books, wanted, lease_id, requested_at_ms=now_ms, from_ms=started_at_ms, hold_ms=0, devices=()
        )
        tx.add_lease(lease)
        audit.append(
            tx,
            books,
            actor=ACTOR,
            action="lease.adopted",
            subject=f"user:{wanted.user}",
            lease_id=lease_id,
            after=named(wanted),
            reason=WHY,
        )
        return lease
