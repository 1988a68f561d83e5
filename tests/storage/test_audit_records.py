from __future__ import annotations

import pytest

from sublet_hub.domain.audit import AuditRecord
from sublet_hub.domain.errors import Conflict
from sublet_hub.storage.store import AuditFilter, ChainHead, Store
from tests.storage.examples import record


def test_records_come_back_as_they_were_written(store: Store) -> None:
    written = [
        record(1),
        record(2, lease_id="x", before={"b": 1, "a": [None, False]}, after=None),
        record(3, before="text", after=-5),
    ]
    with store.transaction(write=True) as tx:
        tx.append_audit([])
        assert tx.audit_head() == ChainHead(0, "")
        tx.append_audit(written[:2])
        assert tx.audit_head() == ChainHead(2, "mac-2")
        tx.append_audit(written[2:])
    with store.transaction(write=False) as tx:
        assert tx.audit_records(AuditFilter(), after=0, limit=9, newest_first=False) == written
        assert tx.audit_head() == ChainHead(3, "mac-3")


def test_a_number_is_given_once(store: Store) -> None:
    with store.transaction(write=True) as tx:
        tx.append_audit([record(1)])
    with pytest.raises(Conflict), store.transaction(write=True) as tx:
        tx.append_audit([record(1, reason="other")])


FILTERS = [
    AuditFilter(subjects=subjects, lease_id=lease_id, action=action)
    for subjects in (
        None,
        frozenset({"user:alice"}),
        frozenset({"alice", "user:alice", "group:lab"}),
        frozenset[str](),
    )
    for lease_id in (None, "lease-1")
    for action in (None, "lease.granted")
]


@pytest.mark.parametrize("newest_first", [False, True])
def test_records_are_listed_by_any_filter_a_page_at_a_time(store: Store, newest_first: bool) -> None:
    written = [
        record(
            number,
            actor=("alice", "root", "meter")[number % 3],
            subject=("user:alice", "group:lab", "user:bob", "default")[number % 4],
            action=("lease.granted", "quota.set")[number % 2],
            lease_id=(None, "lease-1", "lease-2")[number // 2 % 3],
        )
        for number in range(1, 41)
    ]
    with store.transaction(write=True) as tx:
        tx.append_audit(written)
    with store.transaction(write=False) as tx:
        for wanted in FILTERS:
            expected = [
                one
                for one in written
                if (wanted.subjects is None or {one.subject, one.actor} & wanted.subjects)
                and wanted.lease_id in {None, one.lease_id}
                and wanted.action in {None, one.action}
            ]
            listed: list[AuditRecord] = []
            after = 0
            while page := tx.audit_records(wanted, after=after, limit=3, newest_first=newest_first):
                assert len(page) <= 3
                listed += page
                after = page[-1].number
            assert listed == (expected[::-1] if newest_first else expected), wanted
