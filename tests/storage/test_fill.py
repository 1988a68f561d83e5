"""What the bench fills a database with is what the store would have written."""

from __future__ import annotations

from sublet_hub import storage
from sublet_hub.domain.accounts import user
from sublet_hub.domain.amounts import ZERO
from sublet_hub.storage.store import AuditFilter, LeaseFilter
from tests.bench.fill import account_name, fill

NOW_MS = 1_800_000_012_345


def test_filled_history_hangs_together(database_url: str) -> None:
    fill(database_url, 5, 350, now_ms=NOW_MS)
    store = storage.open_store(database_url)
    with store.transaction(write=False) as tx:
        assert [account.name for account in tx.accounts(None, 9)] == [account_name(i) for i in range(5)]
        alice = user(account_name(3))
        entries = tx.entries(alice, after=0, limit=1000)
        assert [entry.number for entry in entries] == list(range(1, 71))
        assert [entry.previous for entry in entries] == ["", *(entry.hash for entry in entries[:-1])]
        assert (tx.ledger_head(alice).number, tx.ledger_head(alice).mark) == (70, entries[-1].hash)
        assert entries[-1].to_ms == NOW_MS
        for moment in [*(entry.from_ms - entry.from_ms % 900_000 for entry in entries), NOW_MS]:
            expected = ZERO
            for entry in entries:
                if entry.from_ms - entry.from_ms % 900_000 < moment:
                    expected = expected + entry.amount
            assert tx.used_before(alice, None, moment) == tx.used_before(alice, "gpu-1", moment) == expected
        leases = tx.leases(LeaseFilter(user=alice.name), after=None, limit=9)
        assert {lease.id for lease in leases} == {entry.lease_id for entry in entries}
        assert sum((lease.posted for lease in leases), ZERO) == tx.used_in_all(alice, None)
        assert tx.open_leases() == []
        assert tx.quota(alice) is not None
        records = tx.audit_records(AuditFilter(), after=0, limit=99, newest_first=False)
        assert [record.number for record in records] == list(range(1, 16))
        assert (tx.audit_head().number, tx.audit_head().mark) == (15, records[-1].mac)
    store.close()
