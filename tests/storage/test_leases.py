from __future__ import annotations

from dataclasses import replace

import pytest

from sublet_hub.domain.accounts import Subject, group, user
from sublet_hub.domain.errors import Conflict
from sublet_hub.domain.lease import OPEN, Lease, LeaseState
from sublet_hub.storage.store import MOST_ROWS, LeaseFilter, Store
from tests.storage.examples import NOON_MS, full_lease, lease


def test_a_lease_comes_back_as_it_was_added(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.add_lease(lease("1"))
        tx.add_lease(full_lease("2"))
    with store.transaction(write=False) as tx:
        assert tx.lease("1") == lease("1")
        assert tx.lease("2") == full_lease("2")
        assert tx.lease("3") is None


def test_a_saved_lease_replaces_the_row_whole(store: Store) -> None:
    changed = replace(full_lease("1"), id="1")
    with store.transaction(write=True) as tx:
        tx.add_lease(lease("1"))
        tx.add_lease(lease("2"))
        tx.save_lease(changed)
        assert tx.lease("1") == changed
        assert tx.lease("2") == lease("2")
        with pytest.raises(KeyError):
            tx.save_lease(lease("none"))


def test_many_leases_are_saved_at_once(store: Store) -> None:
    changed = [replace(full_lease(lease_id), id=lease_id) for lease_id in ("1", "2")]
    with store.transaction(write=True) as tx:
        for lease_id in ("1", "2", "3"):
            tx.add_lease(lease(lease_id))
        tx.save_leases(changed)
        tx.save_leases([])
        assert [tx.lease(lease_id) for lease_id in ("1", "2", "3")] == [*changed, lease("3")]
        with pytest.raises(KeyError):
            tx.save_leases([lease("1"), lease("none")])


def test_a_lease_is_added_once(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.add_lease(lease("1"))
    with pytest.raises(Conflict), store.transaction(write=True) as tx:
        tx.add_lease(lease("1"))


def sample(store: Store) -> list[Lease]:
    """Leases in every state, of two users, on two accounts, in two pools; oldest first."""
    leases = []
    for i in range(40):
        state = list(LeaseState)[i % 5]
        ended = NOON_MS + 100 * i if state in {LeaseState.ENDED, LeaseState.VOID} else None
        leases.append(
            lease(
                f"{97 * i % 40:02}",
                user=("alice", "bob")[i // 5 % 2],
                account=(user("alice"), group("lab"))[i // 3 % 2],
                pool=("h100", "cpu")[i // 7 % 2],
                state=state,
                requested_at_ms=NOON_MS + i // 2,  # pairs have one moment: the id decides between them
                ended_at_ms=ended,
            )
        )
    with store.transaction(write=True) as tx:
        for one in leases[::3] + leases[1::3] + leases[2::3]:
            tx.add_lease(one)
    return sorted(leases, key=lambda one: (one.requested_at_ms, one.id))


@pytest.mark.parametrize("by_user", [None, "alice", "nobody"])
@pytest.mark.parametrize("account", [None, group("lab"), user("lab")])
@pytest.mark.parametrize("pool", [None, "cpu"])
def test_open_leases(store: Store, by_user: str | None, account: Subject | None, pool: str | None) -> None:
    expected = [
        one
        for one in sample(store)
        if one.state in OPEN
        and by_user in {None, one.user}
        and account in {None, one.account}
        and pool in {None, one.pool}
    ]
    with store.transaction(write=False) as tx:
        assert tx.open_leases(user=by_user, account=account, pool=pool) == expected


@pytest.mark.parametrize("by_user", [None, "alice", "nobody"])
def test_who_has_open_leases_is_told_once(store: Store, by_user: str | None) -> None:
    expected = {(one.account, one.user) for one in sample(store) if one.state in OPEN and by_user in {None, one.user}}
    with store.transaction(write=False) as tx:
        told = tx.open_parties(user=by_user)
    assert sorted(told) == sorted(expected)


FILTERS = [
    LeaseFilter(user=by_user, account=account, states=states, since_ms=since)
    for by_user in (None, "bob")
    for account in (None, group("lab"))
    for states in (None, frozenset({LeaseState.ENDED, LeaseState.ACTIVE}), frozenset[LeaseState]())
    for since in (None, NOON_MS + 2000)
]


def test_leases_are_listed_newest_first_by_any_filter_a_page_at_a_time(store: Store) -> None:
    newest_first = sample(store)[::-1]
    with store.transaction(write=False) as tx:
        for wanted in FILTERS:
            expected = [
                one
                for one in newest_first
                if wanted.user in {None, one.user}
                and wanted.account in {None, one.account}
                and (wanted.states is None or one.state in wanted.states)
                and (wanted.since_ms is None or one.ended_at_ms is None or one.ended_at_ms >= wanted.since_ms)
            ]
            listed: list[Lease] = []
            after = None
            while page := tx.leases(wanted, after=after, limit=7):
                assert len(page) <= 7
                listed += page
                after = page[-1].id
            assert listed == expected, wanted


def test_a_page_after_a_lease_that_is_not_there_is_empty(store: Store) -> None:
    sample(store)
    with store.transaction(write=False) as tx:
        assert tx.leases(LeaseFilter(), after="gone", limit=7) == []


def test_no_list_is_longer_than_the_most_rows(store: Store) -> None:
    with store.transaction(write=True) as tx:
        for i in range(MOST_ROWS + 1):
            tx.add_lease(lease(f"{i:05}"))
    with store.transaction(write=False) as tx:
        assert len(tx.leases(LeaseFilter(), after=None, limit=10**6)) == MOST_ROWS
