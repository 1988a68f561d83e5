"""What the platform does with idle GPUs of this lease's pool, to tell its user in time. It decides by itself."""

from __future__ import annotations

import asyncio
import json
import random

from sublet_server.loops import pause
from sublet_server.platform_api import PlatformApi, PlatformAwayError
from sublet_server.state import Document, LeaseState

AGAIN_SECONDS = 3600.0
"""A policy changes with the platform's configuration: once in a long while."""


async def learn_idle_policy(api: PlatformApi, state: LeaseState) -> None:
    """Ask for the pool's policy once the lease is known, and about once an hour after that."""
    failures = 0
    while not state.is_over:
        if state.lease is None:
            await state.wait(state.version, AGAIN_SECONDS)
            continue
        try:
            answer = await api.ask("GET", "/pools")
        except PlatformAwayError:
            failures += 1
            await asyncio.sleep(pause(failures))
            continue
        failures = 0
        policy = _policy(answer.body, state.lease) if answer.status == 200 else None
        if policy != state.idle_policy:
            state.idle_policy = policy
            state.changed()
        await asyncio.sleep(random.uniform(AGAIN_SECONDS / 2, AGAIN_SECONDS))  # noqa: S311 — no secret


def _policy(body: bytes, lease: Document) -> Document | None:
    """The policy that covers the lease; None where there is none."""
    try:
        pools = json.loads(body)
    except ValueError:
        return None
    for pool in pools if isinstance(pools, list) else []:
        if isinstance(pool, dict) and pool.get("name") == lease.get("pool"):
            policy = pool.get("idle")
            covers = isinstance(policy, dict) and lease.get("tier") in policy.get("tiers", ())
            return policy if covers else None
    return None
