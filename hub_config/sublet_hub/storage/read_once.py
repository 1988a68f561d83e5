"""Reading each row once where thousands of leases are planned in one transaction."""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.lease import Lease
from sublet_hub.domain.quota import Quota
from sublet_hub.storage.store import Transaction


class Reads(Protocol):
    """What planning reads. A transaction does, and so does `ReadOnce`."""

    def quota(self, subject: Subject) -> Quota | None: ...
    def open_leases(self, *, user: str | None = None, account: Subject | None = None) -> list[Lease]: ...
    def used_before(self, account: Subject, flavor: str | None, at_ms: int) -> Amount: ...
    def used_in_all(self, account: Subject, flavor: str | None) -> Amount: ...
    def first_use(self, account: Subject, flavor: str | None, from_ms: int) -> int | None: ...
    def held_by_allowances(self, account: Subject) -> Amount: ...


class ReadOnce:
    """Quotas, open leases and what calls hold, of one transaction, as they were when they were first asked for.

    What it is asked for is locked, and whoever holds it changes nothing of it but deadlines meanwhile. `everyone`:
    begin with all that is open, by one query for leases and one for calls in place of three for each account.
    """

    def __init__(self, tx: Transaction, *, everyone: bool = False) -> None:
        self._tx = tx
        self._quotas: dict[Subject, Quota | None] = {}
        self._leases: defaultdict[tuple[str | None, Subject | None], list[Lease]] = defaultdict(list)
        self._has_everyone = everyone
        self._for_calls: dict[Subject, Amount] = {}
        if everyone:
            self._for_calls = tx.held_by_all_allowances()
            for lease in tx.open_leases():
                self._leases[None, None].append(lease)
                self._leases[lease.user, None].append(lease)
                self._leases[None, lease.account].append(lease)

        self.used_before = tx.used_before
        self.used_in_all = tx.used_in_all
        self.first_use = tx.first_use

    def quota(self, subject: Subject) -> Quota | None:
        if subject not in self._quotas:
            self._quotas[subject] = self._tx.quota(subject)
        return self._quotas[subject]

    def open_leases(self, *, user: str | None = None, account: Subject | None = None) -> list[Lease]:
        """Of a user, or of an account, oldest first."""
        if not self._has_everyone and (user, account) not in self._leases:
            self._leases[user, account] = self._tx.open_leases(user=user, account=account)
        return self._leases[user, account]

    def held_by_allowances(self, account: Subject) -> Amount:
        """What calls of an account hold together."""
        if not self._has_everyone and account not in self._for_calls:
            self._for_calls[account] = self._tx.held_by_allowances(account)
        return self._for_calls.get(account, ZERO)
