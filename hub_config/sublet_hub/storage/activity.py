"""Keeping what servers say of themselves, and looking at who is idle. Nothing here changes a lease or the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sublet_hub.domain import idle
from sublet_hub.domain.activity import Activity, is_within
from sublet_hub.domain.errors import InvalidRequest
from sublet_hub.domain.flavors import IdlePolicy
from sublet_hub.domain.lease import Lease
from sublet_hub.storage.books import Books
from sublet_hub.storage.leasing import stored
from sublet_hub.storage.store import MOST_ROWS, Transaction

KEPT_MS = 7 * 24 * 3_600_000
"""How long a record is kept."""

DROPPED_AT_ONCE = 12_000
"""The most records that one transaction forgets: somewhat more than 10,000 servers tell in a minute."""


def report(books: Books, lease_id: str, records: Sequence[Activity]) -> None:
    """Keep what a server tells of itself, a record for each minute that wasn't told of yet.

    InvalidRequest names the first record that isn't of the lease's own time. It may be told when the lease is over.
    """
    with books.store.transaction(write=True) as tx:
        lease, now_ms = stored(tx, lease_id), books.clock.now_ms()
        for number, record in enumerate(records):
            if not is_within(lease, record.at_ms, now_ms):
                raise InvalidRequest("The lease was not held at that moment.", field=f"records[{number}].at")
        tx.add_activity(lease_id, [record for record in records if record.at_ms > now_ms - KEPT_MS])


def recent(books: Books, lease_id: str, after_ms: int) -> list[Activity]:
    """A lease's records of later than that moment, oldest first, a thousand at most."""
    with books.store.transaction(write=False) as tx:
        return tx.activity(lease_id, after_ms=after_ms, limit=MOST_ROWS)


def drop_old(books: Books) -> int:
    """Forget some of the records that were kept long enough; gives how many."""
    with books.store.transaction(write=True) as tx:
        return tx.drop_activity(books.clock.now_ms() - KEPT_MS, DROPPED_AT_ONCE)


def look(books: Books, leases: Iterable[Lease], *, all_of_them: bool) -> dict[str, bool]:
    """Whether each of the leases is idle, by id. Left out are those that no policy covers, nor is about to end.

    Of `all_of_them`, the database finds those that are quiet, in one query for each pool, and only their records are
    read; of a few, each one's are.
    """
    ruled: dict[str, tuple[IdlePolicy, list[Lease]]] = {}
    found: dict[str, bool] = {}
    for lease in leases:
        policy = idle.policy_for(lease, books.catalog.pools.get(lease.pool))
        if policy is not None:
            ruled.setdefault(lease.pool, (policy, []))[1].append(lease)
        elif lease.planned:
            found[lease.id] = False
    now_ms = books.clock.now_ms()
    with books.store.transaction(write=False) as tx:
        for pool, (policy, of_pool) in ruled.items():
            quiet = {lease.id for lease in of_pool}
            if all_of_them:
                quiet.intersection_update(tx.quiet_leases(pool, policy, idle.quiet_since(policy, now_ms)))
            for lease in of_pool:
                found[lease.id] = lease.id in quiet and is_idle(tx, lease, policy, now_ms)
    return found


def is_idle(tx: Transaction, lease: Lease, policy: IdlePolicy, now_ms: int) -> bool:
    """Whether the lease is idle by its records."""
    records = tx.activity(lease.id, after_ms=idle.looks_back_to(policy, now_ms), limit=MOST_ROWS)
    return idle.is_idle(lease, policy, records, now_ms)
