"""Audit records: who did what to whom, before, after and why, in one chain that a change or a gap breaks.

Each record's MAC covers its content and the MAC before it (RFC 2104 with SHA-256), under a key that lies outside
the database: who can write the database alone can't make a chain that verifies.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"

GENESIS = ""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One record. `actor` is a user, `service:NAME` or `meter`; `subject` whom it concerns (`user:alice`, …).

    `action` is dotted, noun first: quota.set, lease.granted, lease.refused, notice.written, lease.stopped, …
    `number` counts all records from 1.
    """

    number: int
    at_ms: int
    actor: str
    action: str
    subject: str
    lease_id: str | None
    before: Json
    after: Json
    reason: str
    previous: str
    mac: str


def record_mac(record: AuditRecord, key: bytes) -> str:
    """HMAC-SHA256, as hex, over the canonical JSON of all fields but the MAC itself."""
    content = [
        record.number, record.at_ms, record.actor, record.action, record.subject, record.lease_id,
        record.before, record.after, record.reason, record.previous,
    ]  # fmt: skip
    message = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class ChainFault:
    """The first place where the chain doesn't hold, in words."""

    number: int
    what: str


def find_fault(
    records: Iterable[AuditRecord], key: bytes, anchors: Mapping[int, str], head_number: int
) -> ChainFault | None:
    """The first fault of the whole chain in order of number, or None.

    `anchors` are MACs by number that were noted outside the database; `head_number` is the last number that the
    database says it gave out. Together they show a tail that was cut off.
    """
    expected, previous = 1, GENESIS
    for record in records:
        if record.number != expected:
            return ChainFault(expected, f"record {expected} is missing")
        if record.previous != previous or not hmac.compare_digest(record_mac(record, key), record.mac):
            return ChainFault(expected, f"record {expected} was changed")
        if record.number in anchors and anchors[record.number] != record.mac:
            return ChainFault(expected, f"record {expected} is not the one that was noted when it was written")
        expected, previous = expected + 1, record.mac
    last = max([head_number, *anchors])
    if last >= expected:
        return ChainFault(expected, f"records {expected} to {last} are missing at the end")
    return None
