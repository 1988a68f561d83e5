"""The audit chain: any change, gap, reordering or cut tail is found."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet_hub.domain.audit import GENESIS, AuditRecord, find_fault, record_mac

KEY = b"a key outside the database"


def chain(length: int) -> list[AuditRecord]:
    records: list[AuditRecord] = []
    for number in range(1, length + 1):
        previous = records[-1].mac if records else GENESIS
        record = AuditRecord(
            number, 1000 * number, "admin", "quota.set", "user:a", None, None, {"n": number}, "", previous, ""
        )
        records.append(replace(record, mac=record_mac(record, KEY)))
    return records


def test_a_whole_chain_has_no_fault() -> None:
    records = chain(5)
    assert find_fault(records, KEY, {3: records[2].mac}, 5) is None
    assert find_fault([], KEY, {}, 0) is None


@pytest.mark.parametrize("field", ["at_ms", "actor", "action", "subject", "after", "reason"])
def test_a_changed_field_is_found(field: str) -> None:
    records = chain(5)
    changed: dict[str, object] = {field: 7 if field == "at_ms" else "other"}
    records[2] = replace(records[2], **changed)  # type: ignore[arg-type]  # fields by name
    fault = find_fault(records, KEY, {}, 5)
    assert fault is not None
    assert fault.number == 3


@given(gone=st.integers(0, 4))
def test_a_removed_record_is_found(gone: int) -> None:
    records = chain(5)
    del records[gone]
    assert find_fault(records, KEY, {}, 5) is not None


def test_a_tail_cut_off_with_its_head_is_found_by_the_anchor() -> None:
    records = chain(5)
    assert find_fault(records[:3], KEY, {}, 3) is None
    fault = find_fault(records[:3], KEY, {5: records[4].mac}, 3)
    assert fault is not None
    assert "missing at the end" in fault.what


def test_a_chain_made_anew_without_the_key_is_found() -> None:
    forged = [replace(record, mac=record_mac(record, b"guessed")) for record in chain(1)]
    assert find_fault(forged, KEY, {}, 1) is not None


def test_a_chain_made_anew_with_the_key_is_found_by_an_anchor() -> None:
    fault = find_fault(chain(5), KEY, {2: "another mac"}, 5)
    assert fault is not None
    assert fault.number == 2
