"""Telling the platform that a lease is needed, where it is about to end for idleness and a kernel begins to work.

The platform learns what kernels do once a minute, which may be too late for the last one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sublet_server.loops import pause
from sublet_server.platform_api import PlatformApi, PlatformAwayError
from sublet_server.state import LeaseState

if TYPE_CHECKING:
    from sublet_server.kernels import Kernels

LOOK_SECONDS = 2.0
NOTHING_TO_DO_SECONDS = 300.0


async def keep_while_busy(api: PlatformApi, state: LeaseState, kernels: Kernels) -> None:
    """Ask for the lease to be kept whenever a kernel is busy while an idle end stands. It decides nothing: the
    platform takes back what its user may take back."""
    failures = 0
    while not state.is_over:
        if state.reason != "idle":
            await state.wait(state.version, NOTHING_TO_DO_SECONDS)
            continue
        if not kernels.busy():
            await asyncio.sleep(LOOK_SECONDS)
            continue
        try:
            await api.ask("POST", api.lease_path("/keep"), {})
            failures = 0
        except PlatformAwayError:
            failures += 1
        await asyncio.sleep(pause(failures) if failures else LOOK_SECONDS)
