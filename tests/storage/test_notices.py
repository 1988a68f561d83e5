from __future__ import annotations

from dataclasses import replace

import pytest

from sublet_hub.domain.errors import Conflict
from sublet_hub.domain.lease import LeaseState
from sublet_hub.storage.store import Store
from tests.storage.examples import NOON_MS, lease, notice


def test_notices_are_listed_newest_first_by_any_filter(store: Store) -> None:
    current = notice("a", written_at_ms=NOON_MS + 1)
    same_moment = notice("b", written_at_ms=NOON_MS + 1)
    withdrawn = notice("c", written_at_ms=NOON_MS + 2, withdrawn_at_ms=NOON_MS + 3)
    of_ended = notice("d", lease_id="lease-2")
    of_bob = notice("e", lease_id="lease-3", user="bob", written_at_ms=NOON_MS + 5)
    with store.transaction(write=True) as tx:
        tx.add_lease(lease("lease-1"))
        tx.add_lease(lease("lease-2", state=LeaseState.ENDED))
        tx.add_lease(lease("lease-3", state=LeaseState.ENDING))
        tx.add_notices([current, same_moment, withdrawn, of_ended, of_bob])
    with store.transaction(write=False) as tx:
        assert tx.notices(user=None, lease_id=None, current_only=False, limit=9) == [
            of_bob, withdrawn, same_moment, current, of_ended,
        ]  # fmt: skip
        assert tx.notices(user=None, lease_id=None, current_only=False, limit=2) == [of_bob, withdrawn]
        assert tx.notices(user=None, lease_id=None, current_only=True, limit=9) == [of_bob, same_moment, current]
        assert tx.notices(user="alice", lease_id=None, current_only=True, limit=9) == [same_moment, current]
        assert tx.notices(user="alice", lease_id="lease-2", current_only=False, limit=9) == [of_ended]
        assert tx.notices(user="bob", lease_id="lease-1", current_only=False, limit=9) == []


def test_a_saved_notice_replaces_the_row(store: Store) -> None:
    withdrawn = replace(notice("a"), withdrawn_at_ms=NOON_MS + 9)
    with store.transaction(write=True) as tx:
        tx.add_notices([notice("a"), notice("b")])
        tx.add_notices([])
        tx.save_notices([withdrawn])
        tx.save_notices([])
        assert tx.notices(user=None, lease_id=None, current_only=False, limit=9) == [notice("b"), withdrawn]
        with pytest.raises(KeyError):
            tx.save_notices([notice("a"), notice("none")])


def test_a_notice_is_added_once(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.add_notices([notice("a")])
    with pytest.raises(Conflict), store.transaction(write=True) as tx:
        tx.add_notices([notice("a")])
