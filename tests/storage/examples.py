"""Values to store: each with every field set to something that tells it apart."""

from __future__ import annotations

from typing import Any

from sublet_hub.domain.accounts import Subject, user
from sublet_hub.domain.amounts import Amount, GpuParts, GpuTime, Micros
from sublet_hub.domain.audit import AuditRecord
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import Binding, Deadline, EndReason, Lease, LeaseState
from sublet_hub.domain.ledger import Entry, EntryKind
from sublet_hub.domain.notices import Notice

NOON_MS = 1_800_000_000_000
LARGEST = 2**63 - 1
"""The largest amount that a database column holds."""


def amount(gpu_time: int, money: int = 0, tokens: int = 0) -> Amount:
    return Amount(GpuTime(gpu_time), Micros(money), tokens)


def lease(lease_id: str, **changes: Any) -> Lease:
    """A granted lease of alice's, with the fields that are given changed."""
    fields: dict[str, Any] = {
        "id": lease_id,
        "user": "alice",
        "account": user("alice"),
        "flavor": "h100-1",
        "pool": "h100",
        "tier": Tier.SURPLUS,
        "kind": "notebook",
        "server_name": "",
        "state": LeaseState.GRANTED,
        "parts": GpuParts(7000),
        "price_micros_per_gpu_hour": Micros(1_990_000),
        "currency": "USD",
        "simulated": False,
        "devices": ("GPU-1",),
        "requested_at_ms": NOON_MS,
        "posted_until_ms": NOON_MS,
        "held_until_ms": NOON_MS + 600_000,
        "deadline": Deadline(NOON_MS + 3_600_000, EndReason.LIMIT),
    }
    return Lease(**{**fields, **changes})


def full_lease(lease_id: str) -> Lease:
    """A lease that has ended, with every optional field set."""
    return lease(
        lease_id,
        user="bob",
        account=Subject("group", "lab ümlaut"),
        kind="worker",
        server_name="gpu 2",
        state=LeaseState.ENDED,
        simulated=True,
        devices=("GPU-2", "MIG-3"),
        deadline=Deadline(
            NOON_MS + 5,
            EndReason.QUOTA,
            Binding("group:lab ümlaut", "gpu_seconds", 36_000, "P30D", "h100-1", NOON_MS + 9),
        ),
        started_at_ms=NOON_MS + 1,
        ended_at_ms=NOON_MS + 8,
        ordered=Deadline(NOON_MS + 7, EndReason.ADMIN, Binding("user:bob", "gpus", 1)),
        posted=amount(LARGEST, LARGEST, LARGEST),
        end_reason=EndReason.QUOTA,
        planned=(Deadline(NOON_MS + 6, EndReason.USER), Deadline(NOON_MS + 9, EndReason.IDLE)),
        kept_at_ms=NOON_MS + 4,
    )


def entry(account: Subject, number: int, **changes: Any) -> Entry:
    """The entry of an account with that number. Its hash is not a real one: the store doesn't look at it."""
    fields: dict[str, Any] = {
        "account": account,
        "number": number,
        "kind": EntryKind.POST,
        "amount": amount(number, -number, 3 * number),
        "lease_id": f"lease-{number}",
        "flavor": "h100-1",
        "from_ms": NOON_MS,
        "to_ms": NOON_MS + number,
        "at_ms": NOON_MS + 2 * number,
        "reason": "slice",
        "previous": f"hash-{number - 1}",
        "hash": f"hash-{number}",
    }
    return Entry(**{**fields, **changes})


def record(number: int, **changes: Any) -> AuditRecord:
    fields: dict[str, Any] = {
        "number": number,
        "at_ms": NOON_MS + number,
        "actor": "root",
        "action": "quota.set",
        "subject": "user:alice",
        "lease_id": None,
        "before": None,
        "after": {"limits": [{"limit": LARGEST, "ratio": "1/7"}], "ok": True, "ü": []},
        "reason": "more",
        "previous": f"mac-{number - 1}",
        "mac": f"mac-{number}",
    }
    return AuditRecord(**{**fields, **changes})


def notice(notice_id: str, **changes: Any) -> Notice:
    fields: dict[str, Any] = {
        "id": notice_id,
        "lease_id": "lease-1",
        "user": "alice",
        "reason": EndReason.RECLAIM,
        "deadline_at_ms": NOON_MS + 300_000,
        "lead_seconds": 300,
        "message": "This notebook stops soon.",
        "written_at_ms": NOON_MS,
    }
    return Notice(**{**fields, **changes})
