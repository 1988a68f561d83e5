"""What the platform in the tests answers about flavors, as its OpenAPI document has it."""

from __future__ import annotations

from typing import Any

from tests.extension.conftest import LEASE, Platform, quota_document

PROBLEMS = "https://sublet.dev/problems/"
LIMIT_REACHED = {
    "type": f"{PROBLEMS}quota-exceeded",
    "title": "A quota is used up",
    "detail": "The limit of 6 GPUs at once in the quota of group:lab is reached.",
    "retry_at": None,
    "limit": {"what": "gpus", "limit": 6, "window": None, "flavor": None},
    "subject": "group:lab",
}


def choice(tier: str = "surplus", account: str = "group:lab", **other: Any) -> dict[str, Any]:
    return {
        "account": account,
        "tier": tier,
        "available": "problem" not in other,
        "lasts_seconds": 3600,
        "held_seconds": 600,
        "problem": None,
        "fits": None,
        "fits_problem": None,
        **other,
    }


def flavor(name: str, gpus_milli: int = 1000, **other: Any) -> dict[str, Any]:
    """One that costs 2 USD (surplus: 0.80 USD) per GPU-hour."""
    prices = {"guaranteed": 2_000_000, "surplus": 800_000}
    return {
        "flavor": name,
        "title": name,
        "gpu_model": "H100",
        "gpus_milli": gpus_milli,
        "gpus": -(-gpus_milli // 1000),
        "cpus": 8,
        "memory_bytes": 64 << 30,
        "gpu_memory_bytes": 80 << 30,
        "pool": "h100",
        "simulated": True,
        "currency": "USD",
        "free": None,
        "tiers": [
            {
                "tier": tier,
                "price_microunits_per_gpu_hour": price,
                "price_microunits_per_hour": price * gpus_milli // 1000,
            }
            for tier, price in prices.items()
        ],
        "choices": [choice(tier, account) for account in ("group:lab", "user:alice") for tier in prices],
        **other,
    }


def says(platform: Platform, *flavors: dict[str, Any], lease: str = "h100-1x", **of_one: Any) -> None:
    """Let the platform offer these flavors, or one; the lease that asks is of the flavor `lease`."""
    platform.answers = {
        "/flavors": list(flavors) or [flavor("h100-1x", **of_one)],
        "/leases/lease-1": {**LEASE, "flavor": lease},
        "/quota": quota_document(),
    }
