"""Leases for what was started past us: nobody asked, so nothing is refused, but all of it is charged and limited."""

from __future__ import annotations

from dataclasses import dataclass

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import Deadline, EndReason, Lease, LeaseState
from sublet_hub.storage import audit
from sublet_hub.storage.books import Books

ACTOR = "meter"
WHY = "It was started past the hub, and says itself who pays for it"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What runs, by its own word."""

    user: str
    account: Subject
    flavor: str
    tier: Tier


def adopt(books: Books, lease_id: str, wanted: Wanted, started_at_ms: int) -> Lease:
    """Write a lease for something that already runs, from its start on. The next rounds mark it active, post its use
    and compute its deadline, as for any other. Nothing is held beforehand: use is a fact.

    NotFound where the flavor isn't in the catalog, or not offered in that tier: then there is no price for it. Gives
    the lease that there is already if it is repeated.
    """
    flavor = books.catalog.flavor(wanted.flavor)
    pool = books.catalog.pools[flavor.pool]
    price = books.catalog.price(flavor, wanted.tier)
    with books.store.transaction(write=True) as tx:
        tx.lock(str(wanted.account))
        there = tx.lease(lease_id)
        if there is not None:
            return there
        now_ms = books.clock.now_ms()
        lease = Lease(
            id=lease_id,
            user=wanted.user,
            account=wanted.account,
            flavor=flavor.name,
            pool=pool.name,
            tier=wanted.tier,
            kind="worker",  # a notebook of the hub's would be ended by the next start of its server
            server_name="",
            state=LeaseState.GRANTED,
            parts=flavor.parts,
            price_micros_per_gpu_hour=price,
            currency=books.catalog.currency,
            simulated=pool.simulated,
            devices=(),
            requested_at_ms=now_ms,
            posted_until_ms=started_at_ms,
            held_until_ms=started_at_ms,
            deadline=Deadline(now_ms + books.policy.longest_lease_ms, EndReason.LIMIT),
        )
        tx.add_lease(lease)
        audit.append(
            tx,
            books,
            actor=ACTOR,
            action="lease.adopted",
            subject=f"user:{wanted.user}",
            lease_id=lease_id,
            after={"account": str(wanted.account), "flavor": flavor.name, "tier": wanted.tier.value},
            reason=WHY,
        )
        return lease
