from __future__ import annotations

from sublet_hub.domain.accounts import DEFAULT, group, user
from sublet_hub.domain.quota import Limit, Quota, What
from sublet_hub.storage.store import Store

FULL = Quota(
    (
        Limit(What.GPU_SECONDS, 10**12, "P30D", "h100-1"),
        Limit(What.MONEY, 0, "month"),
        Limit(What.LEASES, 3),
    ),
    "Europe/Berlin",
)
EMPTY = Quota()


def test_a_quota_comes_back_as_it_was_set(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.set_quota(user("alice"), FULL)
        tx.set_quota(DEFAULT, EMPTY)
    with store.transaction(write=False) as tx:
        assert tx.quota(user("alice")) == FULL
        assert tx.quota(DEFAULT) == EMPTY
        assert tx.quota(group("alice")) is None


def test_a_quota_is_replaced_and_removed(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.set_quota(user("alice"), FULL)
        tx.set_quota(user("alice"), EMPTY)
        assert tx.quota(user("alice")) == EMPTY
        tx.set_quota(user("alice"), None)
        tx.set_quota(user("alice"), None)
        assert tx.quota(user("alice")) is None


def test_quotas_are_listed_by_kind_and_name_a_page_at_a_time(store: Store) -> None:
    subjects = [DEFAULT, group("Zoo"), group("lab"), user("B"), user("a"), user("a b"), user("é")]
    with store.transaction(write=True) as tx:
        for subject in reversed(subjects):
            tx.set_quota(subject, FULL)
    with store.transaction(write=False) as tx:
        listed, after = [], None
        while page := tx.quotas(after, 3):
            assert len(page) <= 3
            listed += page
            after = page[-1][0]
    assert listed == [(subject, FULL) for subject in subjects]
