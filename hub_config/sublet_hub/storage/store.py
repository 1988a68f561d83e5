"""The Protocol of the store: what a transaction can read and write. It holds no rule; the domain decides.

Every implementation passes the contract suite in tests/storage/.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from sublet_hub.domain.acceptances import Acceptance
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.activity import Activity
from sublet_hub.domain.allowances import Allowance, ModelUse
from sublet_hub.domain.amounts import Amount
from sublet_hub.domain.audit import AuditRecord
from sublet_hub.domain.flavors import IdlePolicy
from sublet_hub.domain.lease import Lease, LeaseState
from sublet_hub.domain.ledger import BucketUse, Entry
from sublet_hub.domain.notices import Notice
from sublet_hub.domain.quota import Quota

MOST_ROWS = 1000
"""The most rows that one read of a list gives; callers page with `after`."""

ALREADY_THERE = "Another request changed the same thing at the same moment; try again."
"""What a Conflict says when a row is added whose key is taken: it means that a lock was not taken first."""


@dataclass(frozen=True, slots=True)
class LeaseFilter:
    """Which leases to list; None leaves a field open. `since_ms` keeps those not ended before that moment."""

    user: str | None = None
    account: Subject | None = None
    states: frozenset[LeaseState] | None = None
    since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which audit records to list. `subjects` keeps those that concern any of them (or were done by that actor)."""

    subjects: frozenset[str] | None = None
    lease_id: str | None = None
    action: str | None = None


@dataclass(frozen=True, slots=True)
class SavedAnswer:
    """What was answered to the first request with an idempotency key. `fingerprint` is a hash of that request."""

    fingerprint: str
    status: int
    body: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The end of a chain: the number of its last member (0 if there is none) and that one's hash or MAC."""

    number: int
    mark: str


class Transaction(Protocol):
    """One database transaction: all of it happens, or nothing."""

    def lock(self, *names: str) -> None:
        """Make this the only writer of the named things until the transaction ends, whatever order they come in.

        Names are accounts (`user:alice`), pools (`pool:h100`) and chains (`audit`). Take all locks
        before reading what they guard, in one call; it takes them in order of name, so only a name that sorts after
        those held may be locked by a later call. "audit" counts as the last of all: whoever appends takes it.
        """

    # Quotas
    def quota(self, subject: Subject) -> Quota | None: ...
    def set_quota(self, subject: Subject, quota: Quota | None) -> None:
        """Keep the subject's own quota; None removes it."""

    def quotas(self, after: Subject | None, limit: int) -> list[tuple[Subject, Quota]]:
        """Own quotas in order of subject (`kind`, then `name`), those after `after` only."""

    # Balances: use by account, in all (`flavor` None) and by flavor, as running totals at the buckets' ends
    def used_before(self, account: Subject, flavor: str | None, at_ms: int) -> Amount:
        """All that was ever used in buckets that start before `at_ms`. One index look-up, whatever the history."""

    def used_in_all(self, account: Subject, flavor: str | None) -> Amount:
        """All that was ever used. One index look-up."""

    def first_use(self, account: Subject, flavor: str | None, from_ms: int) -> int | None:
        """The first bucket from `from_ms` on in which anything was used; None if there is none. One index look-up."""

    def add_use(self, account: Subject, flavor: str | None, uses: Iterable[BucketUse]) -> None:
        """Add to the buckets' running totals, in all and for `flavor`, and to those of all later buckets."""

    # Leases
    def add_lease(self, lease: Lease) -> None: ...
    def save_lease(self, lease: Lease) -> None:
        """Replace a lease's row. KeyError if there is none of that id."""

    def save_leases(self, leases: Sequence[Lease]) -> None:
        """Replace the rows of many leases. KeyError where any of them isn't there."""

    def lease(self, lease_id: str) -> Lease | None: ...
    def open_leases(
        self, *, user: str | None = None, account: Subject | None = None, pool: str | None = None
    ) -> list[Lease]:
        """Leases in an open state, oldest first. Costs by what is open, not by history."""

    def open_parties(self, *, user: str | None = None) -> list[tuple[Subject, str]]:
        """Who has open leases: each account with each user that has one on it, once. Costs by what is open."""

    def leases(self, wanted: LeaseFilter, *, after: str | None, limit: int) -> list[Lease]:
        """Newest first by (requested_at_ms, id); `after` is the id of the last lease of the page before."""

    # Following, for event streams: all at once, since thousands are asked about a few times a second
    def lease_marks(self, lease_ids: Collection[str]) -> dict[str, str]:
        """For each of the leases a mark, which is another one after any change of it or of its current notices."""

    def leases_named(self, lease_ids: Collection[str]) -> list[Lease]:
        """Those of the leases that there are, in no order."""

    def current_notices(self, lease_ids: Collection[str]) -> list[Notice]:
        """The leases' notices that are not withdrawn, oldest first; those of closed leases as well."""

    # Ledger
    def ledger_head(self, account: Subject) -> ChainHead: ...
    def append_entries(self, entries: Sequence[Entry]) -> None: ...
    def entries(self, account: Subject, *, after: int, limit: int) -> list[Entry]:
        """An account's entries in order of number, those after number `after` only."""

    def accounts(self, after: Subject | None, limit: int) -> list[Subject]:
        """Accounts that have any entry, in order."""

    # Allowances
    def add_allowance(self, allowance: Allowance) -> None: ...
    def save_allowance(self, allowance: Allowance) -> None:
        """Replace an allowance's row. KeyError if there is none of that id."""

    def allowance(self, allowance_id: str) -> Allowance | None: ...
    def open_allowances(self, account: Subject) -> list[Allowance]:
        """An account's open allowances, in no order. Costs by what is open, not by history."""

    def held_by_allowances(self, account: Subject) -> Amount:
        """What an account's open allowances hold together."""

    def held_by_all_allowances(self) -> dict[Subject, Amount]:
        """The same of every account with open allowances. Costs by what is open, not by history."""

    def expired_allowances(self, now_ms: int, limit: int) -> list[Allowance]:
        """Open allowances whose time is over, the oldest first."""

    def drop_allowances(self, before_ms: int, limit: int) -> int:
        """Forget allowances that were closed before that moment, so many at most; gives how many."""

    # Use by model: sums by bucket
    def add_model_use(self, account: Subject, bucket_ms: int, uses: Mapping[str, ModelUse]) -> None:
        """Add to what an account used in a bucket, by model."""

    def model_use(self, account: Subject, from_ms: int, to_ms: int) -> dict[str, ModelUse]:
        """What an account used, by model, in buckets from that moment on and before the other."""

    # Acceptances of licences
    def add_acceptance(self, acceptance: Acceptance) -> None: ...
    def acceptances_of(self, subjects: Collection[Subject]) -> list[Acceptance]:
        """What any of them accepted, in order of number."""

    def acceptances(self, *, licence: str | None, after: int, limit: int) -> list[Acceptance]:
        """All, in order of number, those after number `after` only."""

    # Notices
    def add_notices(self, notices: Sequence[Notice]) -> None: ...
    def save_notices(self, notices: Sequence[Notice]) -> None:
        """Replace the notices' rows. KeyError where any of them isn't there."""

    def notices(self, *, user: str | None, lease_id: str | None, current_only: bool, limit: int) -> list[Notice]:
        """Newest first. `current_only`: not withdrawn, and their lease is open."""

    # Activity: what servers say of themselves
    def add_activity(self, lease_id: str, records: Sequence[Activity]) -> None:
        """Keep a lease's records. Of a minute that was told already the first one stays."""

    def activity(self, lease_id: str, *, after_ms: int, limit: int) -> list[Activity]:
        """A lease's records of later than that moment, oldest first."""

    def quiet_leases(self, pool: str, policy: IdlePolicy, since_ms: int) -> list[str]:
        """Ids of the pool's open leases, in the policy's tiers, that have records of the minutes since then, all of
        them quiet as `domain/idle.py` has it. All in one query: few of many leases are."""

    def drop_activity(self, before_ms: int, limit: int) -> int:
        """Forget the oldest of the records older than that, so many at most; gives how many."""

    # Audit
    def audit_head(self) -> ChainHead: ...
    def append_audit(self, records: Sequence[AuditRecord]) -> None: ...
    def audit_records(self, wanted: AuditFilter, *, after: int, limit: int, newest_first: bool) -> list[AuditRecord]:
        """Records by number; `after` is the number of the last one of the page before, 0 to begin with."""

    # The rest
    def saved_answer(self, actor: str, key: str) -> SavedAnswer | None: ...
    def save_answer(self, actor: str, key: str, answer: SavedAnswer) -> None: ...
    def answers_of(self, actor: str, since_ms: int) -> tuple[int, int]:
        """How many answers to an actor's keys were given since then, and when the first of them was; 0 for none."""

    def drop_answers(self, before_ms: int) -> int:
        """Forget answers older than that; gives how many."""

    def beat(self, name: str, at_ms: int) -> None:
        """Note that the process of that name was alive at that moment."""

    def last_beat(self, name: str) -> int | None: ...


class Store(Protocol):
    """A place that keeps everything."""

    def transaction(self, *, write: bool) -> AbstractContextManager[Transaction]:
        """Begin a transaction; leaving the block commits it, an exception rolls it back.

        A writing transaction on SQLite takes the write lock at once, so that it can't fail half-way.
        """

    def close(self) -> None: ...
