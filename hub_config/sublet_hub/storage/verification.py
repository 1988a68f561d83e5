"""Proving the ledger: chains whole, every lease's holds accounted for, balances equal to the sum of entries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.ledger import GENESIS, Entry, EntryKind, entry_hash
from sublet_hub.storage.store import MOST_ROWS, Store, Transaction

Holder = tuple[str, str | None]
"""What holds: `lease` or `allowance`, and its id."""

EVER_MS = 2**62
"""Later than any bucket."""


@dataclass(slots=True)
class _Sums:
    """What an account's entries add up to."""

    used: Amount = ZERO
    by_flavor: dict[str, Amount] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    by_model: dict[str, Amount] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    open_holds: dict[Holder, Amount] = field(default_factory=lambda: defaultdict(lambda: ZERO))

    def add(self, entry: Entry) -> None:
        if entry.kind in (EntryKind.POST, EntryKind.ADJUST):
            self.used += entry.amount
            if entry.flavor is not None:
                self.by_flavor[entry.flavor] += entry.amount
            if entry.model is not None:
                self.by_model[entry.model] += entry.amount
        holder = ("lease", entry.lease_id) if entry.allowance_id is None else ("allowance", entry.allowance_id)
        if entry.kind is EntryKind.HOLD:
            self.open_holds[holder] += entry.amount
        elif entry.kind in (EntryKind.POST, EntryKind.VOID):
            self.open_holds[holder] -= entry.amount


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
    used_of = {
        model: Amount(money=use.money, tokens=use.input_tokens + use.output_tokens)
        for model, use in tx.model_use(account, 0, EVER_MS).items()
    }
    return faults + [
        f"{account}: the use of model {model} differs from the sum of its entries"
        for model in sorted(used_of.keys() | sums.by_model.keys())
        if used_of.get(model, ZERO) != sums.by_model[model]
    ]


def _hold_faults(tx: Transaction, account: Subject, sums: _Sums) -> list[str]:
    held: dict[Holder, Amount] = {("lease", lease.id): lease.held for lease in tx.open_leases(account=account)}
    held |= {("allowance", each.id): each.held for each in tx.open_allowances(account)}
    faults = []
    for holder in dict.fromkeys([*sums.open_holds, *held]):
        amount, expected = sums.open_holds[holder], held.get(holder, ZERO)
        if amount != expected:
            faults.append(f"{account}: {holder[0]} {holder[1]} holds {amount}, not the {expected} that it should")
    return faults
