from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from sublet_hub import storage
from sublet_hub.domain.accounts import DEFAULT, user
from sublet_hub.domain.amounts import ZERO
from sublet_hub.domain.ledger import BucketUse
from sublet_hub.domain.quota import Quota
from sublet_hub.storage.store import AuditFilter, SavedAnswer, Store, Transaction
from tests.storage.examples import amount, entry, lease, notice, record

ALICE = user("alice")
WAIT_SECONDS = 60

WRITES: dict[str, Callable[[Transaction], object]] = {
    "set_quota": lambda tx: tx.set_quota(ALICE, Quota()),
    "add_use": lambda tx: tx.add_use(ALICE, None, [BucketUse(0, amount(1))]),
    "add_lease": lambda tx: tx.add_lease(lease("1")),
    "append_entries": lambda tx: tx.append_entries([entry(ALICE, 1)]),
    "add_notices": lambda tx: tx.add_notices([notice("1")]),
    "append_audit": lambda tx: tx.append_audit([record(1)]),
    "save_answer": lambda tx: tx.save_answer("alice", "k", SavedAnswer("f", 200, "", 1)),
    "beat": lambda tx: tx.beat("meter", 1),
}
MORE_WRITES: dict[str, Callable[[Transaction], object]] = {
    "lock": lambda tx: tx.lock("user:alice"),
    "remove_quota": lambda tx: tx.set_quota(ALICE, None),
    "save_lease": lambda tx: tx.save_lease(lease("1")),
    "save_leases": lambda tx: tx.save_leases([lease("1")]),
    "save_notices": lambda tx: tx.save_notices([notice("1")]),
    "drop_answers": lambda tx: tx.drop_answers(9),
}


def is_empty(tx: Transaction) -> bool:
    return (
        tx.quotas(None, 9) == []
        and tx.used_in_all(ALICE, None) == ZERO
        and tx.lease("1") is None
        and tx.accounts(None, 9) == []
        and tx.entries(ALICE, after=0, limit=9) == []
        and tx.ledger_head(ALICE).number == 0
        and tx.notices(user=None, lease_id=None, current_only=False, limit=9) == []
        and tx.audit_records(AuditFilter(), after=0, limit=9, newest_first=False) == []
        and tx.audit_head().number == 0
        and tx.saved_answer("alice", "k") is None
        and tx.last_beat("meter") is None
    )


def test_an_exception_undoes_everything(store: Store) -> None:
    def write_all_and_fail() -> None:
        with store.transaction(write=True) as tx:
            for write in WRITES.values():
                write(tx)
            assert not is_empty(tx)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_all_and_fail()
    with store.transaction(write=True) as tx:
        assert is_empty(tx)


@pytest.mark.parametrize("write", [*WRITES.values(), *MORE_WRITES.values()], ids=[*WRITES, *MORE_WRITES])
def test_a_reading_transaction_refuses_to_write(store: Store, write: Callable[[Transaction], object]) -> None:
    with store.transaction(write=False) as tx, pytest.raises(RuntimeError, match="only reads"):
        write(tx)
    with store.transaction(write=True) as tx:
        assert is_empty(tx)


def test_a_reading_transaction_sees_one_moment(store: Store) -> None:
    with store.transaction(write=False) as reading:
        assert reading.quota(ALICE) is None
        with store.transaction(write=True) as writing:
            writing.set_quota(ALICE, Quota())
            writing.set_quota(DEFAULT, Quota())
            assert reading.quota(ALICE) is None
        assert reading.quota(ALICE) is None
        assert reading.quotas(None, 9) == []
    with store.transaction(write=False) as later:
        assert later.quota(ALICE) == Quota()


def test_a_writing_transaction_within_another_is_refused_at_once(store: Store) -> None:
    with store.transaction(write=True) as outer:
        outer.beat("meter", 1)
        with pytest.raises(RuntimeError, match="already"), store.transaction(write=True):
            pass
    with store.transaction(write=True) as tx:
        assert tx.last_beat("meter") == 1


def together(count: int, work: Callable[[int], None]) -> None:
    """Run `work` in so many threads that begin at one moment; the first exception is raised here."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> None:
        barrier.wait(WAIT_SECONDS)
        work(number)

    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(begin, number) for number in range(count)]:
            future.result(WAIT_SECONDS)


def test_what_is_read_under_a_lock_is_what_the_last_holder_left(store: Store) -> None:
    """Each writer reads a number and writes the next: a number lost means that two of them read the same."""

    def add_ten(_number: int) -> None:
        for _ in range(10):
            with store.transaction(write=True) as tx:
                tx.lock("user:alice")
                tx.beat("count", (tx.last_beat("count") or 0) + 1)

    together(8, add_ten)
    with store.transaction(write=False) as tx:
        assert tx.last_beat("count") == 80


def test_locks_taken_in_different_orders_do_not_wait_for_each_other_for_ever(store: Store) -> None:
    names = ["user:alice", "default", "pool:h100", "group:lab"]

    def lock_many(number: int) -> None:
        for turn in range(15):
            with store.transaction(write=True) as tx:
                if turn % 2:
                    tx.lock(*names[number:], "audit", *names[:number])
                else:
                    tx.lock("default", "group:lab")
                    tx.lock(*names[number:], *names[:number])
                    tx.lock("audit")
                tx.beat("count", (tx.last_beat("count") or 0) + 1)

    together(4, lock_many)
    with store.transaction(write=False) as tx:
        assert tx.last_beat("count") == 60


@pytest.mark.postgres
def test_on_postgresql_writers_of_different_things_do_not_wait_for_each_other(postgres_url: str) -> None:
    store = storage.open_store(postgres_url)

    def write_for_bob(_number: int) -> None:
        with store.transaction(write=True) as tx:
            tx.lock("user:bob")
            tx.beat("bob", 1)

    with store.transaction(write=True) as tx:
        tx.lock("user:alice")
        together(1, write_for_bob)
        assert tx.last_beat("bob") == 1, "a writer sees what was committed since it began"
    store.close()
