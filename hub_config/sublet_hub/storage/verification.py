"""Proving the ledger: chains whole, every lease's holds accounted for, balances equal to the sum of entries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.ledger import GENESIS, Entry, EntryKind, entry_hash
from sublet_hub.storage.store import MOST_ROWS, Store, Transaction


@dataclass(slots=True)
class _Sums:
    """What an account's entries add up to."""

    used: Amount = ZERO
    by_flavor: dict[str | None, Amount] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    open_holds: dict[str | None, Amount] = field(default_factory=lambda: defaultdict(lambda: ZERO))

    def add(self, entry: Entry) -> None:
        if entry.kind in (EntryKind.POST, EntryKind.ADJUST):
            self.used += entry.amount
            self.by_flavor[entry.flavor] += entry.amount
        if entry.kind is EntryKind.HOLD:
            self.open_holds[entry.lease_id] += entry.amount
        elif entry.kind in (EntryKind.POST, EntryKind.VOID):
            self.open_holds[entry.lease_id] -= entry.amount


def accounts(store: Store) -> Iterator[Subject]:
    """All accounts that have entries."""
    last: Subject | None = None
    while True:
        with store.transaction(write=False) as tx:
            page = tx.accounts(last, MOST_ROWS)
        yield from page
        if not page:
            return
        last = page[-1]


def verify_account(store: Store, account: Subject) -> list[str]:
    """What doesn't hold in one account's ledger, as sentences; empty where all is well."""
    with store.transaction(write=False) as tx:
        faults: list[str] = []
        sums, number, previous = _Sums(), 0, GENESIS
        for entry in _entries(tx, account):
            number += 1
            if entry.number != number:
                return [f"{account}: entry {number} is missing"]
            if entry.previous != previous or entry_hash(entry) != entry.hash:
                return [f"{account}: entry {number} was changed"]
            previous = entry.hash
            sums.add(entry)
        head = tx.ledger_head(account)
        if (head.number, head.mark) != (number, previous):
            faults.append(f"{account}: entries {number + 1} to {head.number} are missing at the end")
        return faults + _balance_faults(tx, account, sums) + _hold_faults(tx, account, sums)


def _entries(tx: Transaction, account: Subject) -> Iterator[Entry]:
    after = 0
    while page := tx.entries(account, after=after, limit=MOST_ROWS):
        yield from page
        after = page[-1].number


def _balance_faults(tx: Transaction, account: Subject, sums: _Sums) -> list[str]:
    faults = []
    if tx.used_in_all(account, None) != sums.used:
        faults.append(f"{account}: the balance differs from the sum of its entries")
    for flavor, used in sums.by_flavor.items():
        if tx.used_in_all(account, flavor) != used:
            faults.append(f"{account}: the balance of flavor {flavor} differs from the sum of its entries")
    return faults


def _hold_faults(tx: Transaction, account: Subject, sums: _Sums) -> list[str]:
    held = {lease.id: lease.held for lease in tx.open_leases(account=account)}
    return [
        f"{account}: lease {lease_id} holds {amount}, not the {held.get(lease_id or '', ZERO)} that it should"
        for lease_id, amount in sums.open_holds.items()
        if amount != held.get(lease_id or "", ZERO)
    ]
