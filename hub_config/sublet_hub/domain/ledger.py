"""The ledger's rules: append-only entries that hold, post and void, chained so that tampering shows.

Terms as in double-entry reservation: a *hold* reserves an amount, a *post* turns held into used, a *void* releases
the rest. For every lease and every allowance at any time:  holds = posts + voids + what is still held.
An *adjust* corrects an account's use with a reason; it may be negative.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.amounts import Amount
from sublet_hub.domain.lease import Lease
from sublet_hub.domain.windows import BUCKET_MS, bucket_of

GENESIS = ""
"""The hash before an account's first entry."""


class EntryKind(StrEnum):
    HOLD = "hold"
    POST = "post"
    VOID = "void"
    ADJUST = "adjust"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger. `number` counts the account's entries from 1; `hash` covers it and `previous`.

    `from_ms` and `to_ms` are the time that a post charges or a hold covers; `at_ms` is when it was written. It is of
    a lease, with its flavor, or of an allowance (`domain/allowances.py`); a post of the latter names the model.
    """

    account: Subject
    number: int
    kind: EntryKind
    amount: Amount
    lease_id: str | None
    flavor: str | None
    from_ms: int
    to_ms: int
    at_ms: int
    reason: str
    previous: str
    hash: str
    allowance_id: str | None = None
    model: str | None = None


def entry_hash(entry: Entry) -> str:
    """SHA-256 over the canonical JSON (no spaces) of all other fields, the previous hash among them. Those of
    allowances are left out where there is none, so that chains from before there were any still hold."""
    content: list[int | str | None] = [
        str(entry.account), entry.number, entry.kind.value, entry.amount.gpu_time, entry.amount.money,
        entry.amount.tokens, entry.lease_id, entry.flavor, entry.from_ms, entry.to_ms, entry.at_ms, entry.reason,
        entry.previous,
    ]  # fmt: skip
    if entry.allowance_id is not None:
        content += [entry.allowance_id, entry.model]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class BucketUse:
    """The part of a post that falls into one bucket of 15 minutes."""

    bucket_ms: int
    amount: Amount


def by_bucket(lease: Lease, from_ms: int, to_ms: int) -> Iterator[BucketUse]:
    """A lease's use from one moment to another, cut at the buckets' edges; the parts add up to the whole."""
    start = from_ms
    while start < to_ms:
        end = min(to_ms, bucket_of(start) + BUCKET_MS)
        yield BucketUse(bucket_of(start), lease.use_between(start, end))
        start = end
