from __future__ import annotations

import pytest

from sublet_hub.domain.accounts import group, user
from sublet_hub.domain.errors import Conflict
from sublet_hub.storage.store import ChainHead, Store
from tests.storage.examples import LARGEST, amount, entry

ALICE = user("alice")


def test_entries_come_back_in_order_a_page_at_a_time(store: Store) -> None:
    entries = [
        entry(ALICE, 1),
        entry(ALICE, 2, lease_id=None, flavor=None),
        entry(ALICE, 3, amount=amount(LARGEST, -LARGEST, 0), reason="zurück ☂"),
        entry(ALICE, 4),
    ]
    with store.transaction(write=True) as tx:
        tx.append_entries(entries[:3])
        tx.append_entries([])
    with store.transaction(write=True) as tx:
        tx.append_entries(entries[3:])
    with store.transaction(write=False) as tx:
        assert tx.entries(ALICE, after=0, limit=3) == entries[:3]
        assert tx.entries(ALICE, after=3, limit=3) == entries[3:]
        assert tx.entries(ALICE, after=4, limit=3) == []
        assert tx.entries(user("bob"), after=0, limit=3) == []


def test_the_head_is_the_last_entry_of_each_account(store: Store) -> None:
    with store.transaction(write=True) as tx:
        assert tx.ledger_head(ALICE) == ChainHead(0, "")
        tx.append_entries([entry(ALICE, 1), entry(group("alice"), 1), entry(ALICE, 2)])
    with store.transaction(write=False) as tx:
        assert tx.ledger_head(ALICE) == ChainHead(2, "hash-2")
        assert tx.ledger_head(group("alice")) == ChainHead(1, "hash-1")


def test_a_number_is_given_once(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.append_entries([entry(ALICE, 1), entry(ALICE, 2)])
    with pytest.raises(Conflict), store.transaction(write=True) as tx:
        tx.append_entries([entry(ALICE, 3), entry(ALICE, 2, reason="again")])
    with store.transaction(write=False) as tx:
        assert tx.entries(ALICE, after=0, limit=9) == [entry(ALICE, 1), entry(ALICE, 2)]
        assert tx.ledger_head(ALICE).number == 2


def test_accounts_are_those_with_entries_in_order(store: Store) -> None:
    accounts = [group("Zoo"), group("lab"), user("B"), user("alice"), user("é")]
    with store.transaction(write=True) as tx:
        for account in reversed(accounts):
            tx.append_entries([entry(account, 1)])
    with store.transaction(write=False) as tx:
        assert tx.accounts(None, 3) == accounts[:3]
        assert tx.accounts(accounts[2], 3) == accounts[3:]
