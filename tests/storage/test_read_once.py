"""A change of the default quota reads each row once, and plans as it would account by account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import DEFAULT, Subject
from sublet_hub.domain.lease import Lease, LeaseState
from sublet_hub.domain.notices import Notice
from sublet_hub.domain.quota import Limit, Quota, What
from sublet_hub.storage import quotas
from sublet_hub.storage.audit import verify_audit
from sublet_hub.storage.books import Books
from sublet_hub.storage.planning import replan
from sublet_hub.storage.read_once import ReadOnce
from sublet_hub.storage.store import AuditFilter, Store, Transaction
from tests.fixtures.books import TurnedClock, books, limit
from tests.fixtures.factories import HOUR, lease

LAB, PEERS = accounts.group("lab"), accounts.group("peers")
USERS = tuple(f"user{number}" for number in range(8))


class Counted:
    """A transaction that counts what it is asked for."""

    def __init__(self, tx: Transaction, asked: Counter[str]) -> None:
        self._tx = tx
        self._asked = asked

    def __getattr__(self, name: str) -> object:
        self._asked[name] += 1
        return getattr(self._tx, name)


class CountedStore:
    """A store whose transactions are counted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: Counter[str] = Counter()

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Transaction]:
        with self._store.transaction(write=write) as tx:
            yield Counted(tx, self.asked)  # type: ignore[misc]  # it has what `tx` has

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def crowd(store: Store, clock: TurnedClock) -> Books:
    """Users with one or two leases each, on their own accounts and on groups'; some have quotas of their own."""
    made = books(store, clock)
    limit(made, gpu_seconds=(200_000, "day"))
    limit(made, accounts.user("user3"), gpu_seconds=(7_000, "P7D"), leases=1)
    limit(made, LAB, money_microunits=(9_000_000, "month"), gpus=2)
    with store.transaction(write=True) as tx:
        for number, user in enumerate(USERS):
            for account in (accounts.user(user), (LAB, PEERS, accounts.user(user))[number % 3]):
                state = LeaseState.GRANTED if number == 5 else LeaseState.ACTIVE
                tx.add_lease(
                    lease(
                        f"{user} {account} {len(tx.open_leases(user=user))}", user=user, account=account, state=state
                    )
                )
        replan(tx, made, all_accounts(tx), clock.now_ms())
    return made


def all_accounts(tx: Transaction) -> list[Subject]:
    return sorted({each.account for each in tx.open_leases()})


def leases(of: Books) -> dict[str, Lease]:
    with of.store.transaction(write=False) as tx:
        return {each.id: each for each in tx.open_leases()}


def notices(of: Books) -> list[Notice]:
    with of.store.transaction(write=False) as tx:
        return tx.notices(user=None, lease_id=None, current_only=True, limit=100)


def lower(of: Books) -> quotas.QuotaChange:
    return limit(of, gpu_seconds=(3_000, "day"), leases=1, lease_seconds=50_000)


def test_all_leases_are_planned_as_account_by_account(crowd: Books, clock: TurnedClock) -> None:
    before = leases(crowd)
    clock.turn(HOUR // 4)
    moved = lower(crowd).moved
    together = leases(crowd)
    assert {each.id: each for each in moved} == {key: each for key, each in together.items() if each != before[key]}
    with crowd.store.transaction(write=True) as tx:
        tx.save_leases(list(before.values()))
        for account in all_accounts(tx):
            replan(tx, crowd, [account], clock.now_ms())
    assert leases(crowd) == together
    assert len({each.deadline for each in together.values()}) > 3, "they don't all have one deadline"


def test_each_lease_is_read_and_written_with_all_others(crowd: Books, clock: TurnedClock) -> None:
    counted = CountedStore(crowd.store)
    change = lower(replace(crowd, store=counted))
    assert len(change.moved) > len(USERS)
    assert (counted.asked["open_parties"], counted.asked["open_leases"]) == (1, 1), (
        "whom to lock, then what they have"
    )
    assert counted.asked["quota"] <= len(all_names(crowd)) + 5
    for write in ("save_leases", "add_notices"):
        assert counted.asked[write] == 1, write
    assert counted.asked["append_audit"] == 2, "that of the notices, and that of the change"


def all_names(of: Books) -> set[str]:
    return {str(each.account) for each in leases(of).values()} | {each.user for each in leases(of).values()}


def test_each_lease_brought_nearer_has_its_notice_and_record_and_loses_it_when_moved_out(
    crowd: Books, clock: TurnedClock
) -> None:
    before = leases(crowd)
    lower(crowd)
    nearer = {
        each.id
        for each in leases(crowd).values()
        if each.deadline.at_ms < before[each.id].deadline.at_ms and each.state is LeaseState.ACTIVE
    }
    assert {each.lease_id for each in notices(crowd)} == nearer
    assert len(notices(crowd)) == len(nearer) > len(USERS)
    with crowd.store.transaction(write=False) as tx:
        told = tx.audit_records(AuditFilter(action="notice.written"), after=0, limit=100, newest_first=False)
        last = tx.audit_records(AuditFilter(), after=0, limit=1, newest_first=True)
    assert {each.lease_id for each in told} == nearer
    assert [each.action for each in last] == ["quota.set"], "the change comes last, after what follows from it"
    clock.turn(60_000)
    limit(crowd, gpu_seconds=(10**9, "day"))
    out = {key for key, each in leases(crowd).items() if each.deadline == before[key].deadline}
    assert {each.lease_id for each in notices(crowd)}.isdisjoint(out)
    assert verify_audit(crowd, {}) is None


def test_what_was_read_is_not_read_again(crowd: Books) -> None:
    with crowd.store.transaction(write=True) as tx:
        reads = ReadOnce(tx)
        first = reads.open_leases(account=LAB), reads.quota(DEFAULT)
        tx.save_lease(replace(first[0][0], devices=()))
        tx.set_quota(DEFAULT, Quota((Limit(What.LEASES, 1),)))
        assert (reads.open_leases(account=LAB), reads.quota(DEFAULT)) == first
        assert ReadOnce(tx).open_leases(account=LAB) == tx.open_leases(account=LAB) != first[0]
        everyone = ReadOnce(tx, everyone=True)
        for user in (*USERS, "nobody"):
            assert everyone.open_leases(user=user) == tx.open_leases(user=user)
        for account in (*all_accounts(tx), accounts.user("nobody")):
            assert everyone.open_leases(account=account) == tx.open_leases(account=account)
