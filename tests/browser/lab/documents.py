"""What a server tells its browsers: a state with a lease in it, and what the platform answers."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

Document = dict[str, Any]

GIB = 2**30


def moment(seconds_from_now: float = 0) -> str:
    at = datetime.now(UTC) + timedelta(seconds=seconds_from_now)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lease(seconds_left: float = 2 * 3600 + 90, **changes: Any) -> Document:
    """A lease of one GPU at $2.40 an hour, 40 minutes old."""
    return {
        "id": "lease-1",
        "user": "ada",
        "account": "group:lab",
        "flavor": "h100-1x",
        "tier": "surplus",
        "kind": "notebook",
        "state": "active",
        "requested_at": moment(-2405),
        "started_at": moment(-2400),
        "ended_at": None,
        "deadline_at": moment(seconds_left),
        "gpus_milli": 1000,
        "gpu_seconds": 2400,
        "cost_microunits": 1_600_000,
        "currency": "USD",
        "end_reason": None,
        "simulated": False,
        "server_name": "",
        "pool": "h100",
        "deadline_reason": "quota",
        "deadline_limit": {
            "subject": "group:lab",
            "what": "gpu_seconds",
            "limit": 36_000,
            "window": "week",
            "flavor": None,
            "resets_at": moment(3 * 86_400),
        },
        "price_microunits_per_gpu_hour": 2_400_000,
        **changes,
    }


def notice(reason: str, seconds_left: float, **changes: Any) -> Document:
    return {
        "id": f"notice-{reason}-1",
        "lease_id": "lease-1",
        "user": "ada",
        "reason": reason,
        "message": "It stops.",
        "deadline_at": moment(seconds_left),
        "written_at": moment(),
        "withdrawn_at": None,
        "lead_seconds": 300,
        **changes,
    }


def gpu(utilisation: float, memory_gib: float) -> Document:
    return {
        "device": "GPU-1",
        "utilisation_percent": utilisation,
        "memory_used_bytes": int(memory_gib * GIB),
        "memory_total_bytes": 80 * GIB,
    }


def history(minutes: int = 40) -> list[Document]:
    """A training run that waits for its data now and then."""
    told = []
    for ago in range(minutes, 0, -1):
        busy = 78 + 14 * math.sin(ago) if ago % 13 > 2 else 8
        memory = min(52.0, 6.0 + 2.5 * (minutes - ago))
        told.append(
            {"at": moment(-60 * ago), "seconds": 60, "gpus": [gpu(busy, memory)], "kernels": 1, "kernels_busy": 1}
        )
    return told


def state(**changes: Any) -> Document:
    return {
        "lease": lease(),
        "notices": [],
        "connected": True,
        "trouble": None,
        "ending": False,
        "accepting": True,
        "refusal": None,
        "gpu": {"gpus": [{**gpu(82, 52), "processes": []}]},
        "history": history(),
        "previous": None,
        "idle_minutes": 0,
        "idle_stop": None,
        **changes,
    }


def warned(reason: str, seconds_left: float, **changes: Any) -> Document:
    """A state in which a notice stands."""
    bound = {"deadline_reason": reason} | ({} if reason == "quota" else {"deadline_limit": None})
    return state(lease=lease(seconds_left, **bound), notices=[notice(reason, seconds_left)], **changes)


def quota() -> Document:
    def limit(what: str, limit: int, used: int, held: int, window: str | None) -> Document:
        return {
            "what": what,
            "limit": limit,
            "window": window,
            "flavor": None,
            "used": used,
            "held": held,
            "left": limit - used - held,
            "resets_at": moment(3 * 86_400) if window else None,
        }

    own = {
        "subject": "user:ada",
        "own": True,
        "time_zone": "UTC",
        "limits": [limit("gpus", 2, 0, 1, None), limit("lease_seconds", 28_800, 0, 0, None)],
    }
    group = {
        "subject": "group:lab",
        "own": True,
        "time_zone": "UTC",
        "limits": [
            limit("gpu_seconds", 36_000, 24_000, 3_600, "week"),
            limit("money_microunits", 40_000_000, 37_200_000, 0, "month"),
        ],
    }
    return {"user": "ada", "currency": "USD", "leases": [], "accounts": [own, group]}


def flavors() -> list[Document]:
    return [{"flavor": "h100-1x", "title": "H100, whole"}]
